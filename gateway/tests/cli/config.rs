//! `dunlin check-config`, and where settings come from.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::program::Place;

#[test]
fn a_good_configuration_is_summed_up() {
    let place = Place::new();
    let out = place.run(&["check-config"]).done();
    assert!(out.contains("127.0.0.1:7410") && out.contains("registration    open"), "{out}");
    assert!(!place.data().exists(), "a check makes nothing");
}

#[test]
fn a_bad_value_and_an_unknown_key_are_named_wherever_they_are() {
    let place = Place::new();
    let file = place.path("dunlin.toml");
    std::fs::write(&file, "[limits]\nhandshakes_max = \"many\"\n").unwrap();
    place.run(&["check-config"]).refused("limits.handshakes_max: is a string, not an integer");
    std::fs::write(&file, "[limits]\nhandshake_max = 1\n").unwrap();
    place.run(&["check-config"]).refused("limits.handshake_max: there is no such key");
    std::fs::write(&file, "[limits\n").unwrap();
    assert!(!place.run(&["check-config"]).success);
    std::fs::remove_file(&file).unwrap();

    let mut command = place.command(&["check-config"]);
    let output = command.env("DUNLIN_STORE_READERS", "0").stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(error, "dunlin: DUNLIN_STORE_READERS: store.readers: 0 is not in 2 to 256\n");

    place.run(&["check-config", "--listen-tls", "nowhere"]).refused("listen.tls: \"nowhere\"");
    place.run(&["check-config", "--set", "store.color=red"]).refused("store.color: there is no");
    place.run(&["check-config", "--log", "loud=x=y"]).refused("log.level: ");
    place.run(&["check-config", "--config", "none.toml"]).refused("none.toml: ");
}

/// That the other file is not named hides nothing of this one.
#[test]
fn half_a_certificate_is_looked_at() {
    let place = Place::new();
    let set = |file: &str| format!("tls.{file}=/nowhere/a.pem");
    for (file, place_of_both) in [("certificate_file", true), ("key_file", false)] {
        let ended = place.run(&["check-config", "--set", &set(file)]);
        let lines: Vec<&str> = ended.error.lines().collect();
        assert_eq!(lines.len(), 2, "{ended:?}");
        let together = "tls.key_file: and tls.certificate_file go together";
        assert!(lines[0].ends_with(together) || place_of_both, "{ended:?}");
        let missing = format!("tls.{file}: /nowhere/a.pem: ");
        assert!(lines[1].contains(&missing), "{ended:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let place = Place::new();
    let file = "[limits]\nhandshake_max = 1\n[store]\nreaders = 1\n";
    std::fs::write(place.path("dunlin.toml"), file).unwrap();
    let mut command = place.command(&["check-config", "--listen-tls", "nowhere"]);
    let output = command.env("DUNLIN_LOG_FORMAT", "xml").stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    let begins = [
        "dunlin: dunlin.toml:2:1: limits.handshake_max: there is no such key; did you mean limits.",
        "dunlin: dunlin.toml:4:1: store.readers: 1 is not in 2 to 256",
        "dunlin: DUNLIN_LOG_FORMAT: log.format: ",
        "dunlin: --listen-tls: listen.tls: \"nowhere\" is no address:port",
    ];
    assert_eq!(error.lines().count(), begins.len(), "{error}");
    for (line, begin) in error.lines().zip(begins) {
        assert!(line.starts_with(begin), "{begin}: {error}");
    }
}

#[test]
fn an_unknown_level_or_module_is_refused_wherever_it_is() {
    let place = Place::new();
    for (level, because) in [
        ("loud", "log.level: \"loud\" is none of off, error, warn, info, debug, trace"),
        ("dunlin_gatway=debug", "log.level: \"dunlin_gatway\" is no module that logs something"),
    ] {
        for command in ["check-config", "serve"] {
            place.run(&[command, "--log", level]).refused(because);
            place.run(&[command, "--set", &format!("log.level={level}")]).refused(because);
            let file = place.path("dunlin.toml");
            std::fs::write(&file, format!("[log]\nlevel = {level:?}\n")).unwrap();
            place.run(&[command]).refused(because);
            std::fs::remove_file(&file).unwrap();
            let mut by_variable = place.command(&[command]);
            let output = by_variable.env("DUNLIN_LOG_LEVEL", level).output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && error.contains(because), "{error}");
        }
    }
    place.run(&["check-config", "--log", "warn,dunlin_core::store=debug"]).done();
}

#[test]
fn commands_end_quietly_when_nobody_reads_on() {
    let place = Place::new();
    place.add("ada", "a good password").done();
    for arguments in
        [&["check-config"][..], &["version"], &["--help"], &["user", "list"], &["verify"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(arguments);
        let output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && error.is_empty(), "{arguments:?}: {error}");
    }
    // Nor does a command that fails mind that nobody hears why.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["check-config", "--log", "loud"]);
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_check_reads_what_a_server_would_read_and_changes_nothing() {
    let place = Place::new();
    place.serve().end();
    let before = listing(&place.data());
    place.run(&["check-config"]).done();
    assert_eq!(listing(&place.data()), before);

    // While a server runs, too: it has the ports and the lock.
    let server = place.serve();
    place.run(&["check-config", "--listen-tcp", &server.tcp.to_string()]).done();
    server.end();

    set_mode(&place.data().join("signing.key"), 0o644);
    set_mode(&place.data().join("store/STORE"), 0o640);
    std::fs::write(place.data().join("tls/key.pem"), "no PEM").unwrap();
    let ended = place.run(&["check-config", "--set", "store.readers=1"]);
    assert!(!ended.success && ended.out.is_empty(), "{ended:?}");
    for (line, contains) in ended.error.lines().zip([
        "--set: store.readers: 1 is not in 2 to 256",
        "signing.key: others may read it (mode 644)",
        "STORE: others may read it (mode 640)",
        "tls.key_file: data/tls/key.pem: ",
    ]) {
        assert!(line.starts_with("dunlin: ") && line.contains(contains), "{contains}: {ended:?}");
    }
    assert_eq!(ended.error.lines().count(), 4, "{ended:?}");
    let foreign = place.run(&["check-config", "--data", "none", "--listen-tcp", "192.0.2.1:1"]);
    foreign.refused("dunlin: --listen-tcp: listen.tcp: 192.0.2.1:1: ");
    // And the server says the same of the first of them.
    let mut serve = place.command(&["serve"]);
    serve.args(["--listen-tcp", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"]);
    let refused = serve.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && error.contains("others may read it"), "{error}");
}

#[test]
fn a_secret_that_anybody_can_read_is_warned_of() {
    let place = Place::new();
    let file = place.path("dunlin.toml");
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA==";
    let issuer = format!("[issuers.app]\nalgorithm = \"HS256\"\nkey = \"{secret}\"\n");
    std::fs::write(&file, issuer).unwrap();
    set_mode(&place.path("."), 0o755);
    set_mode(&file, 0o644);
    let warned = place.run(&["check-config"]);
    assert!(warned.success, "{warned:?}");
    let expected = "dunlin: warning: dunlin.toml: there is a secret in it";
    // Unless nobody gets into the folder for temporary files.
    let reachable = place.path(".").canonicalize().unwrap();
    let reachable = reachable.ancestors().all(|folder| mode(folder) & 0o001 != 0);
    assert_eq!(warned.error.starts_with(expected), reachable, "{warned:?}");
    assert!(!warned.error.contains(secret));
    set_mode(&file, 0o600);
    assert_eq!(place.run(&["check-config"]).error, "");
}

#[test]
fn a_signing_key_that_is_missing_beside_a_store_is_warned_of() {
    let place = Place::new();
    let warned = || {
        let log = std::fs::read_to_string(place.path("server.log")).unwrap();
        log.matches("there was no signing key beside the store").count()
    };
    place.serve().end();
    assert_eq!(warned(), 0, "the store is new, too");
    std::fs::remove_file(place.data().join("signing.key")).unwrap();
    place.serve().end();
    assert_eq!(warned(), 1);
    place.serve().end();
    assert_eq!(warned(), 1);
    // Changed as the manual says: tokens of before stay good.
    let (key, retired) = (place.data().join("signing.key"), place.data().join("signing.key.1"));
    std::fs::rename(&key, retired).unwrap();
    place.serve().end();
    assert_eq!((warned(), key.exists()), (1, true));
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Every file below a folder, with its length, its mode and the time when it was changed.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let (bytes, mode) = (metadata.len(), metadata.permissions().mode());
            found.push(format!("{:?} {bytes} {mode} {:?}", entry.path(), metadata.modified()));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn a_reload_says_what_waits_for_a_restart_and_what_is_wrong() {
    let place = Place::new();
    let server = place.serve();
    let file = place.path("dunlin.toml");
    std::fs::write(&file, "[drain]\ntimeout_ms = 1000\n").unwrap();
    server.reload();
    place.wait_for_log("limits, timeouts and certificates are reloaded\"");
    std::fs::write(&file, "[engine]\nregistration = \"closed\"\n").unwrap();
    server.reload();
    place.wait_for_log("what has changed in [engine] waits for a restart");
    std::fs::write(&file, "[drain]\ntimeout = 1000\n").unwrap();
    server.reload();
    place.wait_for_log("drain.timeout: there is no such key");
    std::fs::remove_file(&file).unwrap();
    server.end();
}

#[test]
fn later_sources_win() {
    let place = Place::new();
    let tcp = |environment: Option<&str>, arguments: &[&str]| {
        let mut command = place.command(&["check-config"]);
        command.args(arguments).stdin(Stdio::null());
        command.envs(environment.map(|address| ("DUNLIN_LISTEN_TCP", address)));
        let output = command.output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        out.lines().next().unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(tcp(None, &[]), "127.0.0.1:7410");
    std::fs::write(place.path("dunlin.toml"), "[listen]\ntcp = \"127.0.0.1:1\"\n").unwrap();
    assert_eq!(tcp(None, &[]), "127.0.0.1:1");
    std::fs::write(place.path("other.toml"), "[listen]\ntcp = \"127.0.0.1:2\"\n").unwrap();
    assert_eq!(tcp(None, &["--config", "other.toml"]), "127.0.0.1:2");
    assert_eq!(tcp(Some("127.0.0.1:3"), &["--config", "other.toml"]), "127.0.0.1:3");
    assert_eq!(tcp(Some("127.0.0.1:3"), &["--listen-tcp", "127.0.0.1:4"]), "127.0.0.1:4");
    assert_eq!(tcp(Some("127.0.0.1:3"), &["--set", "listen.tcp=127.0.0.1:5"]), "127.0.0.1:5");
}

#[test]
fn every_setting_is_printed_with_where_it_was_said() {
    let place = Place::new();
    let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
    let file = format!(
        "[limits]\nhandshakes_max = 7\n\n[issuers.\"my app\"]\nalgorithm = \"HS256\"\nkey = \"{secret}\"\n"
    );
    std::fs::write(place.path("dunlin.toml"), file).unwrap();
    set_mode(&place.path("dunlin.toml"), 0o600);
    let mut command = place.command(&["config", "--log", "warn"]);
    let output = command.env("DUNLIN_STORE_READERS", "5").stdin(Stdio::null()).output().unwrap();
    let all = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{all}");
    for line in [
        "handshakes_max = 7  # dunlin.toml:2:1",
        "readers = 5  # DUNLIN_STORE_READERS",
        "level = \"warn\"  # --log",
        "tls = \"127.0.0.1:7411\"  # default",
        "[issuers.\"my app\"]",
        "key = \"(secret)\"  # dunlin.toml:6:1",
    ] {
        assert!(all.lines().any(|printed| printed == line), "{line}: {all}");
    }
    assert!(!all.contains(secret), "{all}");
    // It is a configuration, which says the same.
    let copy = place.path("copy.toml");
    std::fs::write(&copy, all.replace("(secret)", secret)).unwrap();
    set_mode(&copy, 0o600);
    let again = place.run(&["config", "--config", "copy.toml"]).done();
    let settings = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(settings(&again), settings(&all));

    let changed = place.run(&["config", "--changed"]).done();
    assert!(changed.contains("handshakes_max") && !changed.contains("default"), "{changed}");
    assert!(!changed.contains("[store]"), "{changed}");
    let wrong = place.run(&["config", "--set", "store.readers=1"]);
    assert!(!wrong.success && wrong.out.contains("readers = 1  # --set"), "{wrong:?}");
    assert!(wrong.error.contains("store.readers: 1 is not in 2 to 256"), "{wrong:?}");
}

#[test]
fn the_level_of_the_log_is_set_while_the_server_runs() {
    let place = Place::new();
    place.run(&["log", "debug"]).refused("no server runs on");
    let server = place.serve();
    place.run(&["log", "loud"]).refused("off, error, warn, info, debug, trace");
    let done = place.run(&["log", "warn"]).done();
    assert!(done.contains("warn until the next SIGHUP"), "{done}");
    place.run(&["status", "--over", "0"]).done();
    let log = || std::fs::read_to_string(place.path("server.log")).unwrap();
    let before = log();
    // What was told at debug is silent, and comes back.
    place.run(&["status", "--over", "0"]).done();
    place.run(&["log", "debug"]).done();
    place.wait_for_log("the level of the log is set by a command");
    place.run(&["status", "--over", "0"]).done();
    let looks = |text: &str| text.matches("\"command\":\"status\"").count();
    let deadline = std::time::Instant::now() + crate::program::PATIENCE;
    while looks(&log()) == looks(&before) {
        assert!(std::time::Instant::now() < deadline, "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(looks(&log()), looks(&before) + 1, "of three looks the last one is told");
    server.end();
}
