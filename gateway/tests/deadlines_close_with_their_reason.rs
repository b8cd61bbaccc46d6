//! Every deadline ends what it is for, and names itself. (No test here looks at a clock: they wait
//! for the close, and check its reason.)

mod support;

use std::io::{Read, Write};

use dunlin_gateway::config::Config;
use dunlin_protocol::wire::{CloseReason, frame::Body};
use socket2::SockRef;
use support::client::connect;
use support::messages::{history, login, message, password};
use support::{Client, Node, eventually, tls, token};

/// The shortest deadline for a hello, and ten minutes, which no test waits for, for all else.
fn hello_soon(config: &mut Config) {
    config.timeouts.handshake_timeout_ms = 100;
    config.timeouts.login_timeout_ms = 600_000;
    config.timeouts.write_timeout_ms = 600_000;
}

fn login_soon(config: &mut Config) {
    config.timeouts.handshake_timeout_ms = 600_000;
    config.timeouts.login_timeout_ms = 100;
    config.timeouts.write_timeout_ms = 600_000;
}

fn no_hurry(config: &mut Config) {
    config.timeouts.handshake_timeout_ms = 600_000;
    config.timeouts.login_timeout_ms = 600_000;
    config.timeouts.write_timeout_ms = 600_000;
}

/// Writes bytes again and again until the server has had enough; returns why.
fn drip(client: &mut Client, bytes: &[u8]) -> Option<CloseReason> {
    let mut other = client.stream.socket().try_clone().unwrap();
    std::thread::scope(|scope| {
        let dripping = scope.spawn(move || {
            // The end shows as an error of a write, some bytes after the server has closed.
            for byte in bytes.iter().cycle() {
                if other.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let reason = client.read_to_close();
        client.stream.socket().shutdown(std::net::Shutdown::Both).unwrap_or_default();
        dripping.join().unwrap();
        reason
    })
}

#[test]
fn who_says_nothing() {
    let node = Node::with(hello_soon);
    let mut silent = node.connect();
    assert_eq!(silent.read_to_close(), Some(CloseReason::HandshakeTimeout));
    // Over TLS nothing can be said before the handshake: the connection just ends.
    let mut silent_tls = Client::plain(node.tls());
    assert_eq!(silent_tls.read_to_close(), None);
    node.wait_closed(CloseReason::HandshakeTimeout, 2);
    drop((silent, silent_tls));
    node.settle();
}

#[test]
fn who_shakes_hands_and_says_nothing() {
    let node = Node::with(hello_soon);
    let config = tls::both_versions(&node.certificate());
    // The handshake itself has to be done within the deadline, so it may take some tries.
    let shaken = std::iter::repeat_with(|| tls::over(&config, connect(node.tls())));
    let mut shaken = shaken.flatten().next().unwrap();
    assert_eq!(shaken.read_to_close(), Some(CloseReason::HandshakeTimeout));
    drop(shaken);
    node.settle();
}

#[test]
fn who_says_hello_one_byte_at_a_time() {
    let node = Node::with(hello_soon);
    let mut slow = node.connect();
    // The frame is announced to be 60,000 bytes long, and never ends.
    slow.write(&60_000u32.to_be_bytes());
    assert_eq!(drip(&mut slow, &[0x0a]), Some(CloseReason::HandshakeTimeout));
    // Heartbeats are allowed, but are no hello.
    let mut beating = node.connect();
    assert_eq!(drip(&mut beating, &[0]), Some(CloseReason::HandshakeTimeout));
    node.wait_closed(CloseReason::HandshakeTimeout, 2);
    drop((slow, beating));
    node.settle();
}

#[test]
fn who_shakes_hands_one_byte_at_a_time() {
    let node = Node::with(hello_soon);
    let mut hello = Vec::new();
    let config = tls::both_versions(&node.certificate());
    tls::connection(&config).write_tls(&mut hello).unwrap();
    // All but the last byte, over and over: it never is a whole ClientHello.
    let mut slow = Client::plain(node.tls());
    let announced = [0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb];
    slow.write(&announced);
    assert_eq!(drip(&mut slow, &[3]), None);
    // One that stops in the middle, and one that stops after the server has answered.
    let mut half = Client::plain(node.tls());
    half.write(&hello[..hello.len() / 2]);
    assert_eq!(half.read_to_close(), None);
    // (Its hello has to come in time, so this may take some tries.)
    let mut tries = 0;
    let mut flight = Vec::new();
    while flight.is_empty() {
        tries += 1;
        let mut answered = connect(node.tls());
        let said = answered.write_all(&hello);
        said.and_then(|()| answered.read_to_end(&mut flight).map(drop)).unwrap_or_default();
    }
    eventually("all of them are closed", || {
        node.server.closed(CloseReason::HandshakeTimeout) == 2 + tries
    });
    drop((slow, half));
    node.settle();
}

#[test]
fn who_never_logs_in() {
    let node = Node::with(login_soon);
    for connect in [Node::connect, Node::connect_tls] {
        let mut client = connect(&node);
        client.greet();
        assert_eq!(client.read_to_close(), Some(CloseReason::LoginTimeout));
    }
    // Nor does it help to keep talking: heartbeats, half a login, a wrong one.
    let mut beating = node.connect();
    beating.greet();
    assert_eq!(drip(&mut beating, &[0]), Some(CloseReason::LoginTimeout));
    let mut wrong = node.connect();
    wrong.greet();
    let (_, failing) = wrong.encode(login(password("nobody", "a wrong one"), "x"));
    let (_, whole) = wrong.encode(login(token::credential("ada"), "ada"));
    let half = &whole.wire()[..whole.wire().len() - 1];
    // It may be too late for it already.
    wrong.try_write(&[failing.wire(), half].concat()).unwrap_or_default();
    assert_eq!(wrong.read_to_close(), Some(CloseReason::LoginTimeout));
    node.wait_closed(CloseReason::LoginTimeout, 4);
    drop((beating, wrong));
    node.settle();
}

#[test]
fn who_falls_silent() {
    let node = Node::with(|config| {
        no_hurry(config);
        config.protocol.heartbeat_interval_ms = 100;
        config.timeouts.frame_timeout_ms = 1000;
    });
    for connect in [Node::connect, Node::connect_tls] {
        let mut client = connect(&node);
        client.log_in("ada");
        assert_eq!(client.read_to_close(), Some(CloseReason::IdleTimeout));
    }
    // A frame that trickles in is a sign of life, and has to end all the same.
    let mut slow = node.connect();
    slow.log_in("ada");
    slow.try_write(&500_000u32.to_be_bytes()).unwrap_or_default();
    // Only a Sync may be so large.
    slow.try_write(&[0x08, 7, 0xaa, 0x02]).unwrap_or_default();
    assert_eq!(drip(&mut slow, &[0x0a]), Some(CloseReason::FrameTimeout));
    node.wait_closed(CloseReason::IdleTimeout, 2);
    drop(slow);
    node.settle();
}

/// Asks for more than the sockets hold, and reads none of it.
fn ask_and_look_away(mut client: Client) -> Client {
    SockRef::from(client.stream.socket()).set_recv_buffer_size(4096).unwrap();
    client.log_in("ada");
    let log = client.with(&client);
    for number in 0..16 {
        let sent = client.request(message(log, &number.to_string(), vec![7; 60_000]));
        assert!(matches!(sent, Body::Sent(_)));
    }
    for _ in 0..16 {
        client.send(history(log, 0));
    }
    client
}

/// The shortest deadline for writing, and room for all that a test asks for.
fn write_soon(config: &mut Config) {
    no_hurry(config);
    config.timeouts.write_timeout_ms = 100;
    config.limits.outbox_bytes_max = 64 << 20;
}

#[test]
fn who_takes_nothing() {
    let node = Node::with(write_soon);
    // Over TLS as well: what was encrypted and did not fit waits with the connection.
    for (count, connect) in (1..).zip([Node::connect, Node::connect_tls]) {
        let client = ask_and_look_away(connect(&node));
        node.wait_closed(CloseReason::WriteTimeout, count);
        node.wait_quiet();
        drop(client);
    }
    node.settle();
}

#[test]
fn who_takes_nothing_while_being_closed() {
    let node = Node::with(|config| {
        write_soon(config);
        config.timeouts.write_timeout_ms = 3000;
    });
    let client = ask_and_look_away(node.connect());
    eventually("more waits than the sockets take", || node.server.outbox_bytes() > 1_000_000);
    // Another login on the same device closes it; what waits for it is never taken.
    let mut other = node.connect();
    other.log_in("ada");
    node.wait_closed(CloseReason::Replaced, 1);
    drop((client, other));
    node.settle();
}

#[test]
fn who_is_told_to_go_and_stays() {
    let node = Node::with(hello_soon);
    let mut client = node.connect();
    assert!(client.read_frame().is_some(), "the Close frame");
    // Our side stays open; the server does not wait for ever.
    node.wait_closed(CloseReason::HandshakeTimeout, 1);
    node.wait_quiet();
    drop(client);
    node.settle();
}
