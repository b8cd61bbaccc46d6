//! docs/protocol.md is enough to write a client: one in Python, written from it alone, reads and
//! writes the golden bytes, holds a conversation with the real server over connections that keep
//! breaking, and shows what is alive of one of which some entries are gone.
//!
//! It needs Python 3.11 (`DUNLIN_PYTHON`, or `python3`) with the package `protobuf`. If that is
//! missing, the test installs it into an environment of its own in the target folder.

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::question;
use dunlin_core::store::{Deleted, Deletion, Store};
use dunlin_loadtest::spawn::SpawnedServer;
use dunlin_protocol::LogId;
use support::Node;

const WHAT_TO_DO: &str = "The test of the Python client needs Python 3.11 or newer with the \
    package protobuf. Install it (Debian: apt install python3-protobuf) or let DUNLIN_PYTHON name \
    an interpreter that has it; with python3-venv and a network the test does it by itself.";

/// An interpreter that can import protobuf.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let system = std::env::var_os("DUNLIN_PYTHON").unwrap_or_else(|| "python3".into());
        let system = PathBuf::from(system);
        if is_good(&system) {
            return system;
        }
        let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client");
        let own = environment.join("bin/python");
        if !is_good(&own) {
            run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&environment));
            let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            run(Command::new(&own).args(install).arg("protobuf"));
            assert!(is_good(&own), "{WHAT_TO_DO}");
        }
        own
    })
}

fn is_good(python: &Path) -> bool {
    let imports = "import sys, google.protobuf; sys.exit(sys.version_info < (3, 11))";
    let tried = Command::new(python).args(["-c", imports]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}\n{WHAT_TO_DO}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}\n{WHAT_TO_DO}");
}

/// Runs a program of the example; returns what it printed.
fn run_example(program: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let descriptors = folder.path().join("dunlin.desc");
    fs::write(&descriptors, dunlin_protocol::FILE_DESCRIPTOR_SET).unwrap();
    let output = Command::new(python())
        .arg(root.join("docs/examples/python").join(program))
        .args(arguments)
        .env("DUNLIN_DESCRIPTORS", descriptors)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn it_reads_and_writes_the_golden_bytes() {
    let out = run_example("test_vectors.py", &[]);
    for file in ["frames.json", "streams.json", "ids.json"] {
        assert!(out.contains(file), "{out}");
    }
}

#[test]
fn it_loses_and_doubles_nothing_on_connections_that_break() {
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    // There is an issuer, too.
    let settings = ["engine.registration=open".to_owned()];
    let server = SpawnedServer::start(program, &[], &settings, Stdio::inherit()).unwrap();
    let address = server.target(false).address.to_string();
    let out = run_example("end_to_end.py", &[&address]);
    assert!(out.contains("none lost, none doubled"), "{out}");
}

/// Changes a byte of these messages on the disk.
fn damage(store: &Path, messages: &[String]) {
    for message in messages {
        let hit = fs::read_dir(store).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "log") {
                return false;
            }
            let content = fs::read(&path).unwrap();
            let Some(at) = content.windows(message.len()).position(|at| at == message.as_bytes())
            else {
                return false;
            };
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"M", at as u64).unwrap();
            true
        });
        assert!(hit, "{message} is not in the store");
    }
}

#[test]
fn it_shows_what_is_alive_and_goes_around_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let config = EmbeddedConfig { segment_bytes: 1 << 20, ..EmbeddedConfig::default() };
    let store = Arc::new(EmbeddedStore::open(&path, config).unwrap());
    let node = Node::over(store.clone(), |_| {});
    let address = node.tcp().to_string();
    let out = run_example("what_is_missing.py", &[&address, "write", "one"]);
    let id = out.trim().strip_prefix("conversation ").expect(&out);
    let log = LogId::from_bytes(&u128::from_str_radix(id, 16).unwrap().to_be_bytes()).unwrap();

    let (answer, answered) = mpsc::channel();
    let deletion = vec![Deletion::Truncate { log, below: 6 }];
    question::ask(&*store as &dyn Store, deletion, move |deleted| answer.send(deleted).unwrap());
    let deleted = answered.recv_timeout(support::DEADLINE).unwrap().unwrap();
    assert!(matches!(deleted[..], [Deleted::Done { .. }]), "{deleted:?}");
    let damaged = ["12", "60", "61", "145"];
    damage(&path, &damaged.map(|number| format!("message {number:0>3} of one")));

    let expected = [&["read", "one", "5"][..], &damaged[..]].concat();
    let out = run_example("what_is_missing.py", &[&[&*address][..], &expected[..]].concat());
    assert!(out.contains("141 shown, 4 damaged"), "{out}");
    node.settle();
}
