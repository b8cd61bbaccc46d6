//! docs/protocol.md is enough to write a client: one in Python, written from it alone, reads and
//! writes the golden bytes, and holds a conversation with the real server over connections that
//! keep breaking.
//!
//! It needs Python 3.11 (`DUNLIN_PYTHON`, or `python3`) with the package `protobuf`. If that is
//! missing, the test installs it into an environment of its own in the target folder.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use dunlin_loadtest::spawn::SpawnedServer;

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
fn run_example(program: &str, argument: Option<String>) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let descriptors = folder.path().join("dunlin.desc");
    fs::write(&descriptors, dunlin_protocol::FILE_DESCRIPTOR_SET).unwrap();
    let output = Command::new(python())
        .arg(root.join("docs/examples/python").join(program))
        .args(argument)
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
    let out = run_example("test_vectors.py", None);
    for file in ["frames.json", "streams.json", "ids.json"] {
        assert!(out.contains(file), "{out}");
    }
}

#[test]
fn it_loses_and_doubles_nothing_on_connections_that_break() {
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    let server = SpawnedServer::start(program, &[], &[], Stdio::inherit()).unwrap();
    let out = run_example("end_to_end.py", Some(server.target(false).address.to_string()));
    assert!(out.contains("none lost, none doubled"), "{out}");
}
