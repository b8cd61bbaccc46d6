//! Whatever standard error is, the server serves: a pipe that nobody reads, one whose reader has gone, a
//! full disk, a file that may not grow, a descriptor that would block. The same holds for standard output.

mod support;

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use dunlin_protocol::wire::{CloseReason, frame::Body};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Resource, Signal};
use support::messages::message;
use support::process::Process;
use support::{Client, eventually};

/// Everything that happens is logged.
const DEBUG: &str = "[log]\nlevel = \"debug\"\n";

/// What strangers can have logged: more than 200 KiB, at some 190 bytes for each of two lines a
/// connection. A pipe holds 64 KiB.
const STRANGERS: usize = 700;

/// Says Hello and then nonsense, again and again.
fn flood(server: &Process) {
    for _ in 0..STRANGERS {
        let mut stranger = Client::plain(server.tcp);
        stranger.greet();
        stranger.write(&[0xff; 4]);
        assert_eq!(stranger.read_to_close(), Some(CloseReason::FrameTooLarge));
        let mut vanishing = Client::plain(server.tcp);
        vanishing.greet();
    }
}

/// Users talk, the operator asks, and a signal ends it.
fn still_serves(mut server: Process) {
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| {
        let mut client = Client::plain(server.tcp);
        client.log_in(name);
        client.sync();
        client
    });
    let conversation = ada.with(&bob);
    assert!(matches!(ada.request(message(conversation, "first", "hello")), Body::Sent(_)));
    bob.wait_for(|frame| matches!(frame.body, Some(Body::Push(_))).then_some(()));
    let listed = server.ask(&["user", "list"]);
    assert!(listed.contains("ada") && listed.contains("bob"), "{listed}");
    drop((ada, bob));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

#[test]
fn a_pipe_that_nobody_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Process::start_logging_to(DEBUG, writer);
    flood(&server);
    still_serves(server);
    drop(reader);
}

#[test]
fn a_pipe_whose_reader_has_gone() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Process::start_logging_to(DEBUG, writer);
    drop(reader);
    flood(&server);
    still_serves(server);
}

#[test]
fn a_device_that_is_full() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let server = Process::start_logging_to(DEBUG, full);
    flood(&server);
    still_serves(server);
}

/// A file system of 64 KiB, where one may be made.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0.path()).status());
    }
}

#[test]
fn a_disk_that_becomes_full_and_has_room_again() {
    // Only an administrator may make one: without, the device above stands for it.
    let Some(disk) = SmallDisk::new() else { return };
    let path = disk.0.path().join("log");
    let log = File::options().create(true).append(true).open(&path).unwrap();
    let server = Process::start_logging_to(DEBUG, log);
    flood(&server);
    eventually("the disk is full", || std::fs::metadata(&path).unwrap().len() >= 60 * 1024);
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let told = || {
        drop(Client::plain(server.tcp));
        std::fs::read_to_string(&path).unwrap().contains("lines could not be written")
    };
    eventually("the log says that lines are missing", told);
    still_serves(server);
}

/// The limit of a file's size is told by a signal, which ends a process that expects none.
#[test]
fn a_file_that_may_not_grow() {
    const ROOM_BYTES: u64 = 16 * 1024;
    // Above the size of the store's own files.
    const LIMIT_BYTES: u64 = 80 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = File::options().create(true).append(true).open(&path).unwrap();
    log.set_len(LIMIT_BYTES - ROOM_BYTES).unwrap();
    let server = Process::start_logging_to(DEBUG, log);
    server.limit(Resource::Fsize, LIMIT_BYTES);
    flood(&server);
    eventually("the limit is reached", || std::fs::metadata(&path).unwrap().len() == LIMIT_BYTES);
    still_serves(server);
}

/// A pipe with no room left, whose writer would not wait for any.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(writer.as_fd()).unwrap();
    fcntl_setfl(writer.as_fd(), flags | OFlags::NONBLOCK).unwrap();
    loop {
        match writer.write(&[b'.'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (reader, writer),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_pipe_that_would_block() {
    let (mut reader, writer) = full_pipe();
    let server = Process::start_logging_to(DEBUG, writer);
    flood(&server);
    // Nothing is lost as long as the queue holds it.
    let mut read = Vec::new();
    eventually("the lines come when there is room", || {
        let mut bytes = [0; 4096];
        let count = reader.read(&mut bytes).unwrap();
        read.extend_from_slice(&bytes[..count]);
        String::from_utf8_lossy(&read).contains("FRAME_TOO_LARGE")
    });
    flood(&server);
    still_serves(server);
}

#[test]
fn a_standard_output_that_nobody_reads() {
    let (reader, writer) = full_pipe();
    // Now it does block.
    let flags = fcntl_getfl(writer.as_fd()).unwrap();
    fcntl_setfl(writer.as_fd(), flags - OFlags::NONBLOCK).unwrap();
    still_serves(Process::start_printing_to("", writer));
    drop(reader);
}

#[test]
fn a_standard_output_that_takes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    still_serves(Process::start_printing_to("", writer));
    let full = File::options().write(true).open("/dev/full").unwrap();
    still_serves(Process::start_printing_to("", full));
}
