//! What is begun and never ended takes memory, time and slots of a server from nobody else: the node
//! holds so much of it, and whoever holds most goes first; a frame has a deadline that begins with its
//! first byte; and only what has to be large may be.

mod support;

use std::io::Write;

use dunlin_protocol::wire::{CloseReason, frame::Body};
use support::messages::{history, message, sync};
use support::store::HeldStore;
use support::{Client, Node, Stream, eventually};

/// The first bytes of a Sync of so many bytes.
fn begun_sync(body_bytes: u32) -> Vec<u8> {
    [&body_bytes.to_be_bytes()[..], &[0x08, 7, 0xaa, 0x02]].concat()
}

#[test]
fn who_holds_most_of_what_is_unfinished_goes_first() {
    const BOUND: usize = 1 << 20;
    const CROWD: usize = 60;
    let node = Node::with(|config| config.limits.input_bytes_node_max = BOUND);
    let mut honest = node.user("honest");
    let log = honest.with(&honest);
    let mut crowd: Vec<Client> =
        (0..CROWD).map(|number| node.user(&format!("u{number}"))).collect();
    let before_the_end = vec![0; 200_000];
    for client in &mut crowd {
        client.write(&begun_sync(600_000));
        // The server may have had enough of it already.
        let _closed = client.try_write(&before_the_end);
    }
    eventually("some are closed", || node.server.closed(CloseReason::Overloaded) > 0);
    eventually("the bound is kept", || {
        let unfinished = node.server.unfinished_bytes();
        unfinished <= BOUND && unfinished > 0
    });
    // Those who are left may go on, and everybody else.
    let text = vec![b'x'; 60_000];
    assert!(matches!(honest.request(message(log, "large", text)), Body::Sent(_)));
    eventually("all are closed but as many as there is room for", || {
        let closed = node.server.closed(CloseReason::Overloaded) as usize;
        closed >= CROWD - BOUND / before_the_end.len() - 1
    });
    let reasons: Vec<_> = crowd
        .iter_mut()
        .map(|client| {
            client.shut_writing();
            client.read_to_close()
        })
        .collect();
    assert!(reasons.contains(&Some(CloseReason::Overloaded)), "they are told why: {reasons:?}");
    drop((crowd, honest));
    eventually("nothing is left of them", || node.server.unfinished_bytes() == 0);
    node.settle();
}

#[test]
fn no_more_are_closed_than_there_is_no_room_for() {
    const CROWD: usize = 40;
    const BEGUN: usize = 100_000;
    let with_bound = |bound: usize| {
        move |config: &mut dunlin_gateway::config::Config| {
            config.listen.shards = 1;
            config.limits.input_bytes_node_max = bound;
        }
    };
    let mut node = Node::with(with_bound(3 * CROWD * BEGUN));
    let mut crowd: Vec<Client> =
        (0..CROWD).map(|number| node.user(&format!("u{number}"))).collect();
    let before_the_end = vec![0; BEGUN];
    for client in &mut crowd {
        client.write(&begun_sync(600_000));
        client.write(&before_the_end);
    }
    // All hold about the same, up to half of it in advance, and there is room for it, until there is less.
    eventually("all of it is held", || node.server.unfinished_bytes() >= CROWD * BEGUN);
    let bound = CROWD * BEGUN / 10 * 9;
    node.reload(with_bound(bound));
    eventually("the bound is kept", || node.server.unfinished_bytes() <= bound);
    let held = node.server.unfinished_bytes();
    assert!(held >= bound / 2, "{held} of {bound} are left");
    drop(crowd);
    eventually("some were closed", || node.server.closed(CloseReason::Overloaded) > 0);
    node.settle();
}

/// With everything else there is ten minutes.
fn frames_soon(config: &mut dunlin_gateway::config::Config) {
    config.timeouts.frame_timeout_ms = 100;
    config.timeouts.handshake_timeout_ms = 600_000;
    config.timeouts.login_timeout_ms = 600_000;
    config.timeouts.write_timeout_ms = 600_000;
    config.protocol.heartbeat_interval_ms = 300_000;
}

#[test]
fn a_frame_that_was_begun_has_a_deadline() {
    let node = Node::with(frames_soon);
    let mut silent = node.connect();
    silent.write(&[0]);
    assert_eq!(silent.read_to_close(), Some(CloseReason::FrameTimeout));
    for mut client in [node.user("ada"), node.user_over_tls("bob")] {
        client.write(&begun_sync(1000));
        assert_eq!(client.read_to_close(), Some(CloseReason::FrameTimeout));
    }
    node.wait_closed(CloseReason::FrameTimeout, 3);
    drop(silent);
    node.settle();
}

#[test]
fn a_byte_now_and_then_does_not_move_the_deadline() {
    let node = Node::with(frames_soon);
    let mut client = node.user("ada");
    client.write(&begun_sync(100_000));
    let mut socket = client.stream.socket().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while socket.write_all(&[0]).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    assert_eq!(client.read_to_close(), Some(CloseReason::FrameTimeout));
    client.stream.socket().shutdown(std::net::Shutdown::Both).unwrap_or_default();
    dripping.join().unwrap();
    drop(client);
    node.settle();
}

#[test]
fn a_record_that_was_begun_has_one_as_well() {
    let node = Node::with(frames_soon);
    let mut client = node.user_over_tls("ada");
    let Stream::Tls(tls) = &mut client.stream else { panic!("it is over TLS") };
    tls.conn.writer().write_all(&[0; 400]).unwrap();
    let mut record = Vec::new();
    tls.conn.write_tls(&mut record).unwrap();
    tls.sock.write_all(&record[..record.len() / 2]).unwrap();
    assert_eq!(client.read_to_close(), Some(CloseReason::FrameTimeout));
    drop(client);
    node.settle();
}

#[test]
fn who_has_to_wait_for_the_server_is_not_late() {
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |config| {
        frames_soon(config);
        config.protocol.requests_outstanding_max = 1;
    });
    let mut ada = node.user("ada");
    let others = ["bob", "eve"].map(|name| node.user(name));
    let log = ada.with(&ada);
    assert!(matches!(ada.request(message(log, "first", "x")), Body::Sent(_)));
    store.hold();
    let (first, frame) = ada.encode(message(log, "second", "x"));
    let (second, rest) = ada.encode(message(log, "third", "x"));
    let (begun, rest) = rest.wire().split_at(10);
    ada.write(&[frame.wire(), begun].concat());
    eventually("the store has the first of them", || store.waiting() == 1);
    // Two whose frames were begun later are late meanwhile, one after the other.
    for mut late in others {
        late.write(&begun_sync(1000));
        assert_eq!(late.read_to_close(), Some(CloseReason::FrameTimeout));
    }
    ada.write(rest);
    store.release();
    assert!(matches!(ada.answer(first), Body::Sent(sent) if sent.seq == 2));
    assert!(matches!(ada.answer(second), Body::Sent(sent) if sent.seq == 3));
    drop(ada);
    node.settle();
}

#[test]
fn only_what_has_to_be_large_may_be() {
    let node = Node::start();
    let mut client = node.user("ada");
    let log = client.with(&client);
    // A content that is too large is told so, as long as it is not absurd.
    let content = vec![0; 70_000];
    assert!(matches!(client.request(message(log, "large", content)), Body::Error(_)));
    assert!(matches!(client.request(sync()), Body::Synced(_)));
    let (_, frame) = client.encode(history(log, 1));
    let body_bytes = (16 * 1024 + 1u32).to_be_bytes();
    client.write(&[&body_bytes[..], &frame.wire()[4..8]].concat());
    assert_eq!(client.read_to_close(), Some(CloseReason::FrameTooLarge));
    drop(client);
    node.settle();
}
