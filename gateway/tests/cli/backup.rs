//! `dunlin backup`, `restore` and `verify`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dunlin_protocol::LogId;
use dunlin_protocol::wire;
use dunlin_protocol::wire::login::Credential;

use crate::program::{PATIENCE, Place, Server};
use crate::wire::Client;

/// All files below a folder but the locks.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("LOCK") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A server with two users, one of which is logged in; her conversation, and her access token.
fn two_users(place: &Place) -> (Server, Client, LogId, String) {
    place.add("ada", "pass word 1").done();
    place.add("bob", "pass word 2").done();
    let server = place.serve();
    let bob = Client::connect(server.tcp).log_in("bob", "pass word 2").unwrap();
    let mut client = Client::connect(server.tcp);
    let password =
        wire::PasswordCredential { username: "ada".into(), password: "pass word 1".into() };
    let logged_in = client.log_in_with(Credential::Password(password)).unwrap();
    let ada = dunlin_protocol::UserId::new(logged_in.user_id).unwrap();
    let token = logged_in.tokens.unwrap().access_token;
    (server, client, LogId::direct(ada, bob), token)
}

#[test]
fn a_backup_under_writes_brings_back_all_that_was_acknowledged_before_it() {
    let place = Place::new();
    let (server, mut client, log, token) = two_users(&place);
    let (acknowledged, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                let number = acknowledged.load(Ordering::Relaxed) + 1;
                assert_eq!(client.send(log, &format!("message {number}")), number);
                acknowledged.store(number, Ordering::Relaxed);
            }
        });
        let deadline = std::time::Instant::now() + PATIENCE;
        while acknowledged.load(Ordering::Relaxed) < 20 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let before = acknowledged.load(Ordering::Relaxed);
        let out = place.run(&["backup", "copy"]);
        enough.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert!(out.done().starts_with("backed up "));
        before
    });
    assert!(before >= 20);
    let (_, epoch) = client.history(log);
    server.end();

    let whole = place.run(&["verify", "--backup", "copy"]).done();
    assert!(whole.starts_with("the backup is whole: "), "{whole}");
    let out = place.run(&["restore", "copy", "--data", "again"]).done();
    assert!(out.contains("the epoch is new"), "{out}");
    let server = place.serve_on("again");
    let mut client = Client::connect(server.tcp);
    // The signing key came along: what was signed before the backup is good.
    client.log_in_with(Credential::AccessToken(token)).unwrap();
    let (texts, new_epoch) = client.history(log);
    assert!(texts.len() as u64 >= before, "{} of {before}", texts.len());
    for (number, text) in (1..).zip(&texts) {
        assert_eq!(*text, format!("message {number}"));
    }
    assert_ne!(new_epoch, epoch);
    assert_eq!(client.send(log, "and on"), texts.len() as u64 + 1);
}

#[test]
fn a_session_that_was_refreshed_after_the_backup_lives_on_after_the_restore() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    let server = place.serve();
    let password =
        wire::PasswordCredential { username: "ada".into(), password: "pass word 1".into() };
    let log_in = |server: &Server, credential| {
        Client::connect(server.tcp).log_in_with(credential).map(|logged_in| {
            let refresh_token = logged_in.tokens.expect("it brings tokens").refresh_token;
            (logged_in.session_id, Credential::RefreshToken(refresh_token))
        })
    };
    let (session, mut newest) = log_in(&server, Credential::Password(password)).unwrap();
    place.run(&["backup", "copy"]).done();
    for _ in 0..3 {
        newest = log_in(&server, newest).unwrap().1;
    }
    server.end();
    place.run(&["restore", "copy", "--data", "again"]).done();
    let server = place.serve_on("again");
    for _ in 0..3 {
        let (lives_on, next) = log_in(&server, newest).unwrap();
        assert_eq!(lives_on, session);
        newest = next;
    }
}

#[test]
fn the_secrets_of_a_backup_are_for_the_owner_alone() {
    let place = Place::new();
    place.serve().end();
    place.run(&["backup", "copy"]).done();
    let copy = place.path("copy");
    let names: Vec<String> = files(&copy)
        .iter()
        .map(|path| path.strip_prefix(&copy).unwrap().display().to_string())
        .collect();
    for name in ["CONTENTS", "signing.key", "tls/certificate.pem", "tls/key.pem", "store/STORE"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in files(&copy).iter().filter(|path| !path.ends_with("certificate.pem")) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    for folder in [copy.clone(), copy.join("store"), copy.join("tls")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
}

#[test]
fn nothing_is_written_over_anything() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    let online_too = [None, Some(place.serve())];
    for _server in online_too {
        fs::create_dir_all(place.path("full/thing")).unwrap();
        place.run(&["backup", "full"]).refused("full is not empty");
        place.run(&["backup", "data/copy"]).refused("inside of the data folder");
        place.run(&["backup", "full/../data/copy"]).refused("inside of the data folder");
    }
    assert!(!place.path("data/copy").exists());
    place.run(&["backup", "copy"]).done();
    place.run(&["backup", "copy"]).refused("copy is not empty");
    place.run(&["restore", "copy"]).refused("data is not empty");
    place.run(&["restore", "full", "--data", "new"]).refused("is no backup");
    place.run(&["backup", "other", "--data", "none"]).refused("holds no data of a server");
    assert!(!place.path("new").exists() && !place.path("none").exists());
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let (server, mut client, log, _) = two_users(&place);
    for number in 1..=10 {
        assert_eq!(client.send(log, "a message"), number);
    }
    server.end();
    place.run(&["backup", "copy"]).done();
    for path in files(&place.path("copy")) {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        for damaged in [Some(bad), None] {
            match damaged {
                Some(bad) => fs::write(&path, bad).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            for command in [&["verify", "--backup", "copy"][..], &["restore", "copy"]] {
                let ended = place.run(&[command, &["--data", "new"]].concat());
                assert!(!ended.success, "{}: {ended:?}", path.display());
                let left = fs::read_dir(place.path("new")).map_or(0, Iterator::count);
                assert_eq!(left, 0, "{}", path.display());
            }
        }
        fs::write(&path, good).unwrap();
    }
    place.run(&["restore", "copy", "--data", "new"]).done();
}

#[test]
fn a_folder_that_was_half_restored_is_not_served() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("RESTORING"), "").unwrap();
    place.run(&["serve", "--log", "error"]).refused("half of a backup");
    place.add("ada", "pass word 1").refused("half of a backup");
}

#[test]
fn every_command_says_that_a_restore_did_not_end() {
    let place = Place::new();
    let (server, _, _, _) = two_users(&place);
    place.run(&["backup", "copy"]).done();
    server.end();
    fs::write(place.data().join("RESTORING"), "").unwrap();
    fs::remove_file(place.data().join("store/STORE")).unwrap();
    let commands: [&[&str]; 6] = [
        &["user", "list"],
        &["consumer", "list"],
        &["verify"],
        &["new-epoch"],
        &["backup", "other"],
        &["restore", "copy"],
    ];
    for command in commands {
        place.run(command).refused("its restore did not end; empty it and restore again");
    }
}

#[test]
fn what_no_server_has_used_is_told_by_every_command() {
    let place = Place::new();
    for command in [&["user", "list"][..], &["verify"], &["new-epoch"], &["backup", "copy"]] {
        place.run(command).refused("data holds no data of a server; --data names another folder");
    }
    assert!(!place.data().exists() && !place.path("copy").exists());
}

#[test]
fn damage_that_was_told_has_its_time() {
    let place = Place::new();
    let (server, mut client, log, _) = two_users(&place);
    client.send(log, "one");
    server.end();
    fs::remove_file(place.data().join("store/00000001.log")).unwrap();
    place.serve().end();
    let ended = place.run(&["verify"]);
    assert!(ended.out.contains("told at 20"), "{ended:?}");
    assert!(!ended.out.contains("Unix"), "{ended:?}");
}

#[test]
fn a_flipped_bit_is_found_by_verify_with_and_without_a_server() {
    let place = Place::new();
    let (server, mut client, log, _) = two_users(&place);
    let text = "a text that can be found in the file";
    client.send(log, text);
    client.send(log, "the next one");
    let sound = place.run(&["verify"]).done();
    assert!(sound.contains("all of it is whole"), "{sound}");
    server.end();
    let holds = |path: &PathBuf| {
        let content = fs::read(path).unwrap();
        content.windows(text.len()).position(|window| window == text.as_bytes())
    };
    let segments = files(&place.data().join("store"));
    let (path, place_of_text) =
        segments.iter().find_map(|path| Some((path, holds(path)?))).expect("a segment has it");
    let mut content = fs::read(path).unwrap();
    content[place_of_text] ^= 1;
    fs::write(path, content).unwrap();
    let online_too = [None, Some(place.serve())];
    for (number, _server) in online_too.into_iter().enumerate() {
        let ended = place.run(&["verify"]);
        assert!(
            !ended.success && ended.out.contains("entry 1 of the conversation of users"),
            "{ended:?}"
        );
        assert!(ended.error.contains("1 places of damage"), "{ended:?}");
        // A backup is made all the same; but not as if all were well.
        let copy = format!("copy-{number}");
        let ended = place.run(&["backup", &copy]);
        assert!(
            !ended.success && ended.out.contains("entry 1 of the conversation of users"),
            "{ended:?}"
        );
        assert!(ended.error.contains("the backup was made, but"), "{ended:?}");
        let ended = place.run(&["verify", "--backup", &copy]);
        assert!(
            !ended.success && ended.out.contains("entry 1 of the conversation of users"),
            "{ended:?}"
        );
        let (data, new) = ("--data", format!("new-{number}"));
        let ended = place.run(&["restore", &copy, data, &new]);
        assert!(!ended.success && ended.error.contains("--accept-damage"), "{ended:?}");
        assert!(!place.path(&new).join("store").exists());
        let said = place.run(&["restore", "--accept-damage", &copy, data, &new]).done();
        assert!(
            said.contains("restored") && said.contains("entry 1 of the conversation of users"),
            "{said}"
        );
    }
}

/// All files below a folder, with their contents.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn without_a_server_verify_changes_nothing() {
    let place = Place::new();
    let (server, mut client, log, _) = two_users(&place);
    client.send(log, "one");
    server.end();
    let store = place.data().join("store");
    // As a copy is that somebody has made of the folder: no index, no lock.
    fs::remove_file(store.join("LOCK")).unwrap();
    let before = contents(&place.data());
    let sound = place.run(&["verify"]).done();
    assert!(sound.contains("all of it is whole"), "{sound}");
    assert_eq!(contents(&place.data()), before);
    assert!(!store.join("LOCK").exists());
    place.run(&["verify", "--data", "nowhere"]).refused("holds no data of a server");
}

#[test]
fn what_is_lost_is_told_until_it_is_acknowledged() {
    let place = Place::new();
    let (server, mut client, log, _) = two_users(&place);
    client.send(log, "one");
    server.end();
    fs::remove_file(place.data().join("store/00000001.log")).unwrap();
    for _ in 0..2 {
        let ended = place.run(&["verify"]);
        assert!(!ended.success && ended.out.contains("00000001.log is missing"), "{ended:?}");
        assert!(!ended.out.contains("epoch"), "nothing has changed: {ended:?}");
    }
    let server = place.serve();
    let ended = place.run(&["verify"]);
    assert!(!ended.success, "{ended:?}");
    assert!(ended.out.contains("00000001.log is missing"), "{ended:?}");
    assert!(ended.out.contains("the epoch is new since then"), "{ended:?}");
    let status = place.run(&["status", "--json"]).done();
    assert!(status.contains("\"damage_told\":1"), "{status}");
    let warns = || {
        let page = place.run(&["status", "--over", "0"]).done();
        page.contains("may have been lost") || page.contains("damaged")
    };
    assert!(warns());
    let ended = place.run(&["verify", "--acknowledge"]);
    assert!(!ended.out.contains("the epoch is new since then"), "{ended:?}");
    assert!(!warns(), "who has acknowledged it has read it");
    drop(server);
    let ended = place.run(&["verify"]);
    assert!(!ended.out.contains("the epoch is new since then"), "{ended:?}");
}

/// A folder that others can exchange is none to write to; and it says so.
#[test]
fn a_link_is_no_target() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    fs::create_dir(place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("link")).unwrap();
    let because = "link is a symbolic link; name the folder itself";
    place.run(&["backup", "link"]).refused(because);
    place.run(&["backup", "copy"]).done();
    place.run(&["restore", "copy", "--data", "link"]).refused(because);
    assert_eq!(fs::read_dir(place.path("elsewhere")).unwrap().count(), 0);
}

/// However many conversations were in it: a line with the file, and one with what is lost.
#[test]
fn a_backup_without_a_segment_is_told_in_two_lines() {
    let place = Place::new();
    for user in ["ada", "bob", "eve", "joe"] {
        place.add(user, "pass word 1").done();
    }
    place.serve().end();
    let store = place.data().join("store");
    let logs: Vec<_> =
        files(&store).into_iter().filter(|it| it.extension() == Some("log".as_ref())).collect();
    fs::remove_file(&logs[1]).unwrap();
    let name = logs[1].file_name().unwrap().to_str().unwrap();
    assert!(!place.run(&["backup", "copy"]).success);
    let ended = place.run(&["verify", "--backup", "copy"]);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains(name)), "{ended:?}");
    assert!(lines[0].ends_with("is missing") && lines[1].starts_with("lost with "), "{ended:?}");
    assert!(!ended.out.contains(" 0 entries"), "{ended:?}");
}

#[test]
fn a_planted_link_is_not_followed() {
    let place = Place::new();
    place.serve().end();
    let identity = place.data().join("store/STORE");
    let before = fs::read(&identity).unwrap();
    let copy = place.path("copy");
    fs::create_dir(&copy).unwrap();
    std::os::unix::fs::symlink(place.data().join("store"), copy.join("store")).unwrap();
    place.run(&["backup", "copy"]).refused("is not empty");
    fs::remove_file(copy.join("store")).unwrap();
    // Where others may write, one could come at any moment.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o777)).unwrap();
    place.run(&["backup", "copy"]).refused("others may write to it");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&copy, place.path("link")).unwrap();
    assert!(!place.run(&["backup", "link"]).success);
    assert_eq!(fs::read(&identity).unwrap(), before);
    place.run(&["backup", "copy"]).done();
    place.run(&["restore", "copy", "--data", "copy/data"]).refused("inside of the backup");
    place.run(&["restore", "copy", "--data", "copy"]).refused("inside of the backup");
    // A backup can be read where nothing can be written.
    place.run(&["restore", "copy", "--data", "again"]).done();
    assert!(!copy.join("store/LOCK").exists());
}

/// Five megabytes, which is more than a segment of these servers.
fn send_much(client: &mut Client, log: LogId, from: u64) {
    for number in from..from + 100 {
        assert_eq!(client.send(log, &"much ".repeat(10_000)), number);
    }
}

#[test]
fn a_backup_since_another_shares_its_files_and_is_whole_without_it() {
    let place = Place::new();
    let (server, mut client, log, token) = two_users(&place);
    send_much(&mut client, log, 1);
    place.run(&["backup", "first"]).done();
    send_much(&mut client, log, 101);
    let told = place.run(&["backup", "second", "--since", "first"]).done();
    let linked = told.lines().nth(1).expect("a second line");
    assert!(linked.contains(" bytes are linked to ") && !linked.starts_with("0 "), "{told}");
    let (texts, _) = client.history(log);
    server.end();
    // The same without a server; and what is damaged is told, and not taken over.
    let shared = place.path("first/store/00000001.log");
    let mut content = fs::read(&shared).unwrap();
    content[4200] ^= 1;
    fs::write(&shared, content).unwrap();
    let third = place.run(&["backup", "third", "--since", "second"]);
    assert!(third.success && third.error.contains("1 files of the earlier backup"), "{third:?}");
    assert!(!place.run(&["verify", "--backup", "second"]).success);
    for gone in ["first", "second"] {
        fs::remove_dir_all(place.path(gone)).unwrap();
    }
    place.run(&["verify", "--backup", "third"]).done();
    place.run(&["restore", "third", "--data", "again"]).done();
    let server = place.serve_on("again");
    let mut client = Client::connect(server.tcp);
    client.log_in_with(Credential::AccessToken(token)).unwrap();
    assert_eq!(client.history(log).0, texts);
}

#[test]
fn only_a_finished_backup_of_the_same_server_is_an_earlier_one() {
    let place = Place::new();
    place.serve().end();
    place.run(&["backup", "copy"]).done();
    place.run(&["backup", "copy/inner", "--since", "copy"]).refused("inside of the earlier backup");
    place.run(&["backup", "copy", "--since", "copy"]).refused("inside of the earlier backup");
    place.run(&["backup", "new", "--since", "missing"]).refused("missing");
    let contents = fs::read(place.path("copy/CONTENTS")).unwrap();
    fs::remove_file(place.path("copy/CONTENTS")).unwrap();
    place.run(&["backup", "new", "--since", "copy"]).refused("is no backup");
    fs::write(place.path("copy/CONTENTS"), contents).unwrap();
    fs::set_permissions(place.path("copy/CONTENTS"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(place.path("copy"), place.path("link")).unwrap();
    assert!(!place.run(&["backup", "new", "--since", "link"]).success);
    fs::set_permissions(place.path("copy"), fs::Permissions::from_mode(0o777)).unwrap();
    place.run(&["backup", "new", "--since", "copy"]).refused("others may write to it");
    fs::set_permissions(place.path("copy"), fs::Permissions::from_mode(0o700)).unwrap();
    let other = Place::new();
    other.serve().end();
    let copy = place.path("copy").display().to_string();
    other.run(&["backup", "new", "--since", &copy]).refused("belongs to another store");
    assert!(!other.path("new").exists() && !place.path("new").exists());
    place.run(&["backup", "new", "--since", "copy"]).done();
}

#[test]
fn a_new_epoch_is_begun_by_hand() {
    let place = Place::new();
    let (server, mut client, log, token) = two_users(&place);
    client.send(log, "one");
    let (texts, epoch) = client.history(log);
    place.run(&["new-epoch"]).refused("stop the server first");
    server.end();
    let out = place.run(&["new-epoch"]).done();
    assert!(out.contains("the epoch is new"), "{out}");
    let server = place.serve();
    let mut client = Client::connect(server.tcp);
    client.log_in_with(Credential::AccessToken(token)).unwrap();
    let (again, new_epoch) = client.history(log);
    assert_eq!(again, texts);
    assert_ne!(new_epoch, epoch);
    let sound = place.run(&["verify"]).done();
    assert!(sound.contains("all of it is whole"), "{sound}");
}
