//! How many may come: of an address, in all, per second. What is refused is told why, and counts
//! for nothing.

mod support;

use std::io::Read;

use dunlin_gateway::config::Config;
use dunlin_protocol::wire::{CloseReason, frame::Body};
use support::messages::{hello, login, password};
use support::{Client, Node, eventually, tls};

/// This machine is an address like any other.
fn strict(config: &mut Config) {
    config.limits.loopback_exempt = false;
}

/// Connects and says hello at once; expects to be turned away in good order.
fn refused(node: &Node) -> (CloseReason, u32) {
    let mut client = node.connect();
    let (_, frame) = client.encode(hello());
    client.try_write(frame.wire()).unwrap_or_default();
    let frame = client.read_frame().expect("a word");
    let Some(Body::Close(close)) = frame.body else { panic!("{frame:?}") };
    assert!(client.read_frame().is_none());
    (close.reason(), close.reconnect_delay_ms)
}

#[test]
fn connections_of_an_address() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.connections_per_address_max = 3;
    });
    let mut inside = vec![node.connect(), node.connect_tls(), node.connect()];
    inside.iter_mut().for_each(Client::greet);
    for _ in 0..20 {
        let (reason, delay_ms) = refused(&node);
        assert_eq!(reason, CloseReason::Overloaded);
        assert!(delay_ms > 0);
        // Over TLS nothing can be said.
        let config = tls::both_versions(&node.certificate());
        tls::over(&config, support::client::connect(node.tls())).expect_err("the end");
    }
    assert_eq!(node.server.connections(), 3);
    // Those inside are not touched, and who leaves makes room.
    inside.iter_mut().for_each(Client::heartbeat);
    inside.pop();
    eventually("one has left", || node.server.connections() == 2);
    let mut next = node.connect();
    next.greet();
    drop((inside, next));
    node.settle();
}

#[test]
fn connections_of_the_node() {
    let node = Node::with(|config| config.limits.connections_max = 3);
    // Strangers would make room.
    let mut inside = vec![node.connect(), node.connect_tls(), node.connect()];
    for (number, client) in inside.iter_mut().enumerate() {
        client.log_in(&format!("user{number}"));
    }
    for _ in 0..20 {
        assert_eq!(refused(&node).0, CloseReason::Overloaded);
    }
    inside.iter_mut().for_each(Client::heartbeat);
    assert_eq!(node.server.connections(), 3);
    drop(inside);
    node.wait_quiet();
    node.connect().greet();
    node.settle();
}

#[test]
fn who_is_refused_is_not_reset() {
    let node = Node::with(|config| {
        config.listen.shards = 1;
        config.limits.connections_max = 1;
        config.limits.accepts_per_second = 1;
    });
    let mut inside = node.connect();
    inside.greet();
    // The next accept is a second away: the hello is there before it.
    let mut late = node.connect();
    let (_, frame) = late.encode(hello());
    late.write(frame.wire());
    let mut all = Vec::new();
    late.stream.read_to_end(&mut all).expect("an end, not a reset");
    assert!(!all.is_empty());
    drop(inside);
    node.settle();
}

#[test]
fn a_flood_on_one_port_leaves_room_on_the_other() {
    const FLOOD: usize = 900;
    let node = Node::with(|config| {
        config.listen.shards = 1;
        config.limits.accepts_per_second = 20;
    });
    // Three quarters of a minute of accepts wait on the plain port.
    let flood: Vec<_> = (0..FLOOD).map(|_| node.connect()).collect();
    let mut over_tls = node.connect_tls();
    over_tls.greet();
    let accepted = node.server.connections();
    assert!(accepted < FLOOD, "the flood came first: {accepted}");
    drop((flood, over_tls));
    let mut server = node.server;
    server.stop();
    server.finish().unwrap();
}

#[test]
fn handshakes_that_are_under_way() {
    let node = Node::with(|config| {
        config.limits.handshakes_max = 2;
        config.timeouts.handshake_timeout_ms = 600_000;
        config.timeouts.hurried_handshake_timeout_ms = 600_000;
    });
    let mut shaken = node.connect_tls();
    shaken.greet();
    // Two that never go on; one more waits in the kernel, and nobody else does.
    let silent = [Client::plain(node.tls()), Client::plain(node.tls())];
    eventually("both are inside", || node.server.connections() == 3);
    let config = tls::both_versions(&node.certificate());
    let address = node.tls();
    let waiting = std::thread::spawn(move || tls::connect_to(address, &config).greet());
    let mut plain = node.connect();
    plain.greet();
    for _ in 0..100 {
        plain.heartbeat();
        shaken.heartbeat();
    }
    assert!(!waiting.is_finished(), "no handshake beyond the limit");
    // One that fails makes room, and so does one that goes.
    let [mut garbage, gone] = silent;
    garbage.write(b"no TLS at all");
    waiting.join().unwrap();
    drop((garbage, gone));
    let more: Vec<Client> = (0..5).map(|_| node.connect_tls()).collect();
    drop((shaken, plain, more));
    node.settle();
}

fn wrong(client: &mut Client, round: u32) {
    let wrong = login(password(&format!("nobody{round}"), "a wrong password"), "x");
    client.send(wrong);
}

#[test]
fn failed_logins_of_a_connection() {
    let node = Node::with(|config| config.limits.failed_logins_per_connection_max = 3);
    for mut client in node.connect_each_way() {
        client.greet();
        for round in 0..3 {
            wrong(&mut client, round);
            client.wait_for(|frame| matches!(frame.body, Some(Body::Error(_))).then_some(()));
        }
        assert_eq!(client.read_to_close(), Some(CloseReason::LoginFailed));
    }
    node.wait_closed(CloseReason::LoginFailed, 2);
    // The machine is exempt, and may try again.
    node.connect().greet();
    node.settle();
}

#[test]
fn failed_logins_of_an_address() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.failed_logins_per_connection_max = 255;
        config.limits.failed_logins_per_address_max = 10;
        // One in a second; 5 of them until the address is let in again.
        config.limits.failed_logins_forgiven_per_minute = 60;
    });
    let mut inside = node.user("ada");
    let mut blocked = false;
    for round in 0..100 {
        let mut client = node.connect();
        let (_, frame) = client.encode(hello());
        client.write(frame.wire());
        if !matches!(client.next().unwrap().body, Some(Body::Welcome(_))) {
            break;
        }
        wrong(&mut client, round);
        client.wait_for(|frame| matches!(frame.body, Some(Body::Error(_))).then_some(()));
        // The last one that is counted closes its connection; from then on none is let in.
        client.try_write(&[0; 4]).unwrap_or_default();
        if let Some(Body::Close(close)) = client.next().and_then(|frame| frame.body) {
            assert_eq!(close.reason(), CloseReason::LoginFailed);
            blocked = true;
            break;
        }
    }
    assert!(blocked);
    let (reason, delay_ms) = refused(&node);
    assert_eq!(reason, CloseReason::LoginFailed);
    assert!(delay_ms > 0);
    // Who is inside is not touched by it.
    inside.heartbeat();
    // Half of the failures are forgiven in the end, and then there is room for more than one.
    let mut again = None;
    eventually("the address is let in again", || {
        let mut client = node.connect();
        let (_, frame) = client.encode(hello());
        client.try_write(frame.wire()).unwrap_or_default();
        let welcome =
            client.read_frame().is_some_and(|it| matches!(it.body, Some(Body::Welcome(_))));
        again = welcome.then_some(client);
        welcome
    });
    for round in 0..3 {
        let client = again.as_mut().unwrap();
        wrong(client, round);
        client.wait_for(|frame| matches!(frame.body, Some(Body::Error(_))).then_some(()));
    }
    again.as_mut().unwrap().heartbeat();
    drop((inside, again));
    node.settle();
}

#[test]
fn silent_handshakes_make_room_for_others() {
    const SILENT: usize = 8;
    let node = Node::with(|config| {
        config.limits.handshakes_max = SILENT;
        config.timeouts.handshake_timeout_ms = 3_600_000;
        config.timeouts.hurried_handshake_timeout_ms = 100;
    });
    let silent: Vec<_> = (0..SILENT).map(|_| support::client::connect(node.tls())).collect();
    eventually("they are inside", || node.server.connections() == SILENT);
    // Nobody else could come in for an hour.
    let mut clients: Vec<Client> = (0..4).map(|_| node.connect_tls()).collect();
    clients.iter_mut().for_each(Client::greet);
    assert!(node.server.closed(CloseReason::HandshakeTimeout) > 0);
    drop((silent, clients));
    node.settle();
}
