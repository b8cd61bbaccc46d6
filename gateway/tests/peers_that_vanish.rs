//! A peer may go in any phase, in good order, half or by a reset: nothing of it stays behind.

mod support;

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{CloseReason, Frame, ListSessions, frame::Body};
use socket2::SockRef;
use support::messages::{hello, history, login, message};
use support::store::HeldStore;
use support::{Client, Node, eventually, tls, token};

/// Brings a client into each phase of a connection's life, plain and over TLS.
fn in_every_phase(node: &Node) -> Vec<Client> {
    let mut clients = Vec::new();
    for connect in [Node::connect, Node::connect_tls] {
        let way = clients.len();
        clients.push(connect(node));

        let mut half_a_hello = connect(node);
        let (_, frame) = half_a_hello.encode(hello());
        half_a_hello.write(&frame.wire()[..5]);
        clients.push(half_a_hello);

        let mut greeted = connect(node);
        greeted.greet();
        clients.push(greeted);

        let mut logging_in = connect(node);
        logging_in.greet();
        logging_in.send(login(token::credential(&format!("in{way}")), "x"));
        clients.push(logging_in);

        let mut logged_in = connect(node);
        logged_in.log_in(&format!("logged{way}"));
        clients.push(logged_in);

        let mut busy = connect(node);
        busy.log_in(&format!("busy{way}"));
        busy.sync();
        let log = busy.with(&busy);
        for id in 0..20 {
            busy.send(message(log, &id.to_string(), vec![1; 10_000]));
            busy.send(history(log, 0));
        }
        clients.push(busy);
    }
    clients
}

/// TLS connections whose handshake is under way.
fn in_mid_handshake(node: &Node) -> Vec<Client> {
    let mut flight = Vec::new();
    tls::connection(&tls::both_versions(&node.certificate())).write_tls(&mut flight).unwrap();
    let lengths = [0, 1, 5, 50, flight.len()];
    let clients = lengths.map(|length| {
        let mut client = Client::plain(node.tls());
        client.write(&flight[..length]);
        client
    });
    clients.into()
}

/// Who shuts the writing side behind a request, as `nc` does, still reads.
#[test]
fn what_was_asked_before_the_end_is_answered() {
    let node = Node::start();
    for mut client in node.connect_each_way() {
        client.log_in("ada");
        let log = client.with(&client);
        let asked: Vec<u64> = (0..50)
            .map(|number| client.send(message(log, &format!("half {number}"), "x")))
            .collect();
        client.shut_writing();
        for request_id in asked {
            assert!(matches!(client.answer(request_id), Body::Sent(_)));
        }
        // A Close comes if the last answer was still to be written when the end was seen.
        assert!(matches!(client.read_to_close(), None | Some(CloseReason::PeerClosed)));
    }
    // So is what was asked before a login, or what was wrong with it.
    for mut client in node.connect_each_way() {
        client.greet();
        let refused = client.send(Body::ListSessions(ListSessions {}));
        client.shut_writing();
        assert!(matches!(client.answer(refused), Body::Error(_)));
    }
    // Who waits for nothing hears nothing.
    let mut quiet = node.user("bob");
    quiet.shut_writing();
    assert_eq!(quiet.read_to_close(), None);
    node.settle();
}

/// TLS says the end in a word of its own: no end of the socket follows it, and no time has to pass.
#[test]
fn who_says_the_end_in_tls_is_answered_and_let_go() {
    let node = Node::start();
    let mut client = node.connect_tls();
    client.log_in("ada");
    let log = client.with(&client);
    let asked: Vec<u64> =
        (0..50).map(|number| client.send(message(log, &format!("end {number}"), "x"))).collect();
    client.say_the_end();
    for request_id in asked {
        assert!(matches!(client.answer(request_id), Body::Sent(_)));
    }
    assert!(matches!(client.read_to_close(), None | Some(CloseReason::PeerClosed)));
    let mut quiet = node.user_over_tls("bob");
    quiet.say_the_end();
    assert_eq!(quiet.read_to_close(), None);
    node.wait_closed(CloseReason::PeerClosed, 2);
    node.settle();
}

/// More than may be under way at a time, so that a part of it waits when the end is seen.
#[test]
fn what_waits_when_the_end_is_seen_is_answered() {
    const SENDS: usize = 600;
    let node = Node::start();
    let mut client = node.connect_tls();
    client.log_in("ada");
    let log = client.with(&client);
    let sends: Vec<(u64, EncodedFrame)> = (0..SENDS)
        .map(|number| client.encode(message(log, &format!("all {number}"), "x")))
        .collect();
    let all: Vec<u8> = sends.iter().flat_map(|(_, frame)| frame.wire().to_vec()).collect();
    client.say_all(&all);
    for (request_id, _) in sends {
        assert!(matches!(client.answer(request_id), Body::Sent(_)));
    }
    assert!(matches!(client.read_to_close(), None | Some(CloseReason::PeerClosed)));
    node.settle();
}

#[test]
fn resets() {
    let node = Node::start();
    for connect_all in [in_every_phase, in_mid_handshake] {
        let clients = connect_all(&node);
        clients.into_iter().for_each(Client::reset);
        node.wait_quiet();
    }
    let closed = |reason| node.server.closed(reason);
    let all = || closed(CloseReason::PeerReset) + closed(CloseReason::PeerClosed);
    eventually("each has its reason", || all() == 17);
    assert!(closed(CloseReason::PeerReset) > 0);
    node.settle();
}

#[test]
fn closes() {
    let node = Node::start();
    for connect_all in [in_every_phase, in_mid_handshake] {
        let clients = connect_all(&node);
        drop(clients);
        node.wait_quiet();
    }
    node.settle();
}

#[test]
fn half_open() {
    let node = Node::start();
    let mut stay = Vec::new();
    for connect_all in [in_every_phase, in_mid_handshake] {
        let clients = connect_all(&node);
        for client in &clients {
            client.shut_writing();
        }
        // The server takes it as the end, though our side still listens.
        node.wait_quiet();
        stay.push(clients);
    }
    node.wait_closed(CloseReason::PeerClosed, 17);
    node.settle();
}

#[test]
fn a_login_that_nobody_waits_for_leaves_no_session_connected() {
    let node = Node::start();
    for round in 0..50 {
        let mut gone = node.connect();
        let (_, hello) = gone.encode(hello());
        let (_, login) = gone.encode(login(token::credential("ada"), &format!("{}", round % 3)));
        gone.write(&[&hello.wire()[..], login.wire()].concat());
        if round % 2 == 0 {
            gone.reset();
        }
    }
    let mut ada = node.connect();
    ada.log_in("ada");
    eventually("only this session is connected", || {
        match ada.request(Body::ListSessions(ListSessions {})) {
            Body::Sessions(list) => list.sessions.iter().filter(|it| it.connected).count() == 1,
            other => panic!("{other:?}"),
        }
    });
    drop(ada);
    node.settle();
}

#[test]
fn requests_that_nobody_waits_for_are_carried_out_and_answered_to_nobody() {
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |_| {});
    let mut bob = node.user("bob");
    for connect in [Node::user, Node::user_over_tls] {
        let mut ada = connect(&node, "ada");
        let log = ada.with(&bob);
        assert!(matches!(ada.request(message(log, "first", "x")), Body::Sent(_)));
        store.hold();
        for id in 0..10 {
            ada.send(message(log, &format!("{id}{connect:?}"), "x"));
        }
        eventually("the store has the first", || store.waiting() > 0);
        ada.heartbeat();
        ada.reset();
        eventually("ada is gone", || node.server.connections() == 1);
        // Somebody else may have the slot by now; the answers are not for them.
        let mut other = node.connect();
        other.greet();
        store.release();
        other.write(&[0; 4]);
        assert_eq!(other.read_frame(), Some(Frame::default()));
        drop(other);
        bob.heartbeat();
    }
    eventually("all were stored", || match bob.request(history(bob.with(&bob), 0)) {
        Body::HistoryPage(_) => store.memory.entries() >= 21,
        other => panic!("{other:?}"),
    });
    drop(bob);
    node.settle();
}

#[test]
fn who_still_listens_hears_why_it_was_closed() {
    let node = Node::start();
    for connect in [Node::connect, Node::connect_tls] {
        let mut slow = connect(&node);
        SockRef::from(slow.stream.socket()).set_recv_buffer_size(64 * 1024).unwrap();
        slow.log_in("ada");
        let log = slow.with(&slow);
        for number in 0..15 {
            let sent = slow.request(message(log, &number.to_string(), vec![7; 60_000]));
            assert!(matches!(sent, Body::Sent(_)));
        }
        for _ in 0..8 {
            slow.send(history(log, 0));
        }
        eventually("more waits than the sockets take", || node.server.outbox_bytes() > 1_000_000);
        settled(|| node.server.outbox_bytes());
        let waiting = node.server.outbox_bytes();
        // Another login on its device closes it.
        let mut other = node.connect();
        other.log_in("ada");
        eventually("the reason waits as well", || node.server.outbox_bytes() > waiting);
        slow.shut_writing();
        assert_eq!(slow.read_to_close(), Some(CloseReason::Replaced));
        drop((slow, other));
        node.wait_quiet();
    }
    node.settle();
}

/// Waits until a number does not change any more.
fn settled(mut number: impl FnMut() -> usize) {
    let mut seen = std::collections::VecDeque::new();
    eventually("a number is settled", || {
        seen.push_back(number());
        seen.len() > 40 && {
            let before = seen.pop_front();
            seen.iter().all(|&later| Some(later) == before)
        }
    });
}
