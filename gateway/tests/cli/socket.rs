//! The admin socket: whose it is, and what it bears.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use crate::program::{PATIENCE, Place};

fn connect(data: &Path) -> UnixStream {
    let stream = UnixStream::connect(data.join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn garbage_and_silence_harm_nobody() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    let server = place.serve();
    let silent: Vec<UnixStream> = (0..5).map(|_| connect(&place.data())).collect();
    drop(connect(&place.data()));
    for garbage in [
        &b"\xff\xff\xff\xffxxxx"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\x02{}",
        b"\0\0\0\x08[[[[[[[[",
        b"\0\0\0\x1d{\"version\":9,\"message\":\"what\"}",
    ] {
        let mut stream = connect(&place.data());
        stream.write_all(garbage).unwrap();
        // It is told why. What it said beyond that is not even read.
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("\"Err\""), "{answer}");
    }
    assert!(place.run(&["user", "list"]).done().contains("ada"));
    // Who says nothing does not hold up the end either.
    server.end();
    drop(silent);
    assert!(!place.data().join("admin.sock").exists());
}

#[test]
fn more_callers_than_there_is_room_for_are_told_so() {
    let place = Place::new();
    let _server = place.serve();
    let deadline = Instant::now() + PATIENCE;
    // Those who are silent for too long are sent away, so a slow machine may need another try.
    let told = std::iter::repeat_with(|| {
        let mut callers: Vec<UnixStream> = (0..17).map(|_| connect(&place.data())).collect();
        let mut answer = Vec::new();
        callers.pop().unwrap().read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).contains("too many commands")
    });
    assert!(told.take_while(|_| Instant::now() < deadline).any(|told| told));
    // When the others have left, there is room again.
    while !place.run(&["user", "list"]).success {
        assert!(Instant::now() < deadline, "nobody is let in any more");
    }
}

#[test]
fn a_killed_server_leaves_a_socket_that_is_replaced() {
    let place = Place::new();
    place.serve().kill();
    let socket = place.data().join("admin.sock");
    assert!(socket.exists());
    // Nobody listens: the command works without a server.
    place.add("ada", "pass word 1").done();
    let _server = place.serve();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(place.run(&["user", "list"]).done().contains("ada"));
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let place = Place::new();
    let _server = place.serve();
    let second = place.run(&["--listen-tcp", "127.0.0.1:0", "--listen-tls", "", "--log", "error"]);
    second.refused("another server runs on this data folder");
    // And it has not taken the socket of the first one.
    place.run(&["user", "list"]).done();
}

#[test]
fn a_server_waits_for_a_command_that_has_the_store_open() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    let lock = fs::File::open(place.data().join("store/LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let command = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(lock);
    });
    let _server = place.serve();
    command.join().unwrap();
}

#[test]
fn a_long_path_has_a_socket_too() {
    let place = Place::new();
    let long = format!("{}/{}", "x".repeat(100), "y".repeat(100));
    fs::create_dir_all(place.path(&long)).unwrap();
    let _server = place.serve_on(&long);
    let add = ["user", "add", "ada", "--password-stdin", "--data", &long];
    place.run_with(&add, "pass word 1").done();
    // It went through the server: without it the store would be in use.
    assert!(place.run(&["user", "list", "--data", &long]).done().contains("ada"));
}
