//! docs/protocol.md is enough to write a client: one in TypeScript, written from it alone, holds
//! conversations with the real server over connections that keep breaking.
//!
//! It needs Node 18.19 or newer (`DUNLIN_NODE`, or `node`) and the built client (`npm ci && npm run build`
//! in docs/examples/typescript). Without them the test says that it was skipped, unless `DUNLIN_NODE`
//! asks for it, as `.ci/run` does, which builds the client first and so tries its golden bytes, too.
//!
//! The same client in a browser needs Chromium as well (`DUNLIN_CHROMIUM`, or `chromium`), and `dunlin-chat` beside
//! the server, which `cargo build --workspace` makes. Without them that test says that it was skipped, unless
//! `DUNLIN_CHROMIUM` asks for it, as `.ci/run` does.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use dunlin_loadtest::spawn::SpawnedServer;

const TESTS: [&str; 3] =
    ["build/test/end_to_end.test.js", "build/test/devices_agree.test.js", "build/test/tls.test.js"];

const CHROMIUM_TEST: &str = "build/test/chromium.test.js";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Node, or why it will not do.
fn node() -> Result<PathBuf, String> {
    let node = std::env::var_os("DUNLIN_NODE").unwrap_or_else(|| "node".into());
    let is_good = "const [major, minor] = process.versions.node.split('.').map(Number); \
        process.exit(major > 18 || (major === 18 && minor >= 19) ? 0 : 1)";
    let tried = Command::new(&node).args(["-e", is_good]).stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        Ok(node.into())
    } else {
        Err(format!("{} is not there, or older than 18.19", Path::new(&node).display()))
    }
}

/// When the newest of these files, and of those in folders of these, was written.
fn newest(paths: &[PathBuf]) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut left = paths.to_vec();
    while let Some(path) = left.pop() {
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else {
            newest = newest.max(metadata.modified()?);
        }
    }
    Ok(newest)
}

/// The built client, or why there is none to be trusted: one of yesterday may speak the wire of yesterday.
fn built() -> Result<PathBuf, String> {
    let client = root().join("docs/examples/typescript");
    let proto = root().join("protocol/proto");
    let build = "npm ci && npm run build, in docs/examples/typescript";
    let written = newest(&TESTS.map(|test| client.join(test)))
        .map_err(|error| format!("it is not built ({error}); build it by {build}"))?;
    // What the generator has made in src is as old as the build.
    let sources = ["generator", "src", "test"].map(|folder| client.join(folder));
    let changed = newest(&[&sources[..], &[proto]].concat()).map_err(|error| error.to_string())?;
    if changed > written {
        return Err(format!("it was built before its sources changed; build it again by {build}"));
    }
    Ok(client)
}

/// Past the capture of a test that succeeds: who runs it shall know that nothing was tried.
fn say_skipped(why: &str) {
    let said = writeln!(io::stderr(), "SKIPPED: the client in TypeScript was not tried: {why}");
    drop(said); // Nobody is there to be told.
}

#[test]
fn it_loses_and_doubles_nothing_on_connections_that_break() {
    let (node, client) = match node().and_then(|node| Ok((node, built()?))) {
        Ok(found) => found,
        Err(why) if std::env::var_os("DUNLIN_NODE").is_none() => return say_skipped(&why),
        Err(why) => panic!("DUNLIN_NODE asks for the client in TypeScript, but {why}"),
    };
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    // There is an issuer, too.
    let settings = ["engine.registration=open".to_owned()];
    let server = SpawnedServer::start(program, &[], &settings, Stdio::inherit()).unwrap();
    let output = Command::new(node)
        .args(["--test", "--test-reporter=tap"])
        .args(TESTS)
        .current_dir(client)
        .env("DUNLIN_ADDRESS", server.target(false).address.to_string())
        .env("DUNLIN_TLS_ADDRESS", server.target(true).address.to_string())
        .env("DUNLIN_CA", server.data_folder().join("tls/certificate.pem"))
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("none lost, none doubled"), "{out}");
    assert!(out.contains("# skipped 0"), "{out}");
}

/// Chromium, or why there is none.
fn chromium() -> Result<PathBuf, String> {
    let chromium = std::env::var_os("DUNLIN_CHROMIUM").unwrap_or_else(|| "chromium".into());
    let tried = Command::new(&chromium).arg("--version").stdout(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        Ok(chromium.into())
    } else {
        Err(format!("{} is not there", Path::new(&chromium).display()))
    }
}

/// The terminal chat, which is built beside the server.
fn chat() -> Result<PathBuf, String> {
    let chat = Path::new(env!("CARGO_BIN_EXE_dunlin")).with_file_name("dunlin-chat");
    let is_there = chat.exists();
    is_there.then_some(chat).ok_or_else(|| "dunlin-chat is not built beside the server".into())
}

#[test]
fn two_windows_of_a_browser_and_a_terminal_talk_through_a_kill_of_the_server() {
    let found = node().and_then(|node| Ok((node, built()?, chromium()?, chat()?)));
    let (node, client, chromium, chat) = match found {
        Ok(found) => found,
        Err(why) if std::env::var_os("DUNLIN_CHROMIUM").is_none() => return say_skipped(&why),
        Err(why) => panic!("DUNLIN_CHROMIUM asks for the client in a browser, but {why}"),
    };
    let output = Command::new(node)
        .args(["--test", "--test-reporter=tap", CHROMIUM_TEST])
        .current_dir(client)
        .env("DUNLIN_PROGRAM", env!("CARGO_BIN_EXE_dunlin"))
        .env("DUNLIN_CHAT_PROGRAM", chat)
        .env("DUNLIN_CHROMIUM", chromium)
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("none lost, none doubled"), "{out}");
    assert!(out.contains("# skipped 0"), "{out}");
}
