//! How many may come: of an address, in all, per second. What is refused is told why, and counts
//! for nothing.

mod support;

use std::io::Read;

use dunlin_gateway::config::Config;
use dunlin_protocol::wire::{
    ChangePassword, CloseReason, ErrorCode, Frame, frame::Body, login::Credential,
};
use support::messages::{hello, login, password, register};
use support::{Client, Node, WAYS, eventually, tls, token};

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
    node.wait_closed(CloseReason::LoginFailed, WAYS as u64);
    // The machine is exempt, and may try again.
    node.connect().greet();
    node.settle();
}

/// Fails until the address is blocked, which closes the connection.
fn block(node: &Node) {
    let mut client = node.connect();
    client.greet();
    for round in 0..100 {
        wrong(&mut client, round);
    }
    assert_eq!(client.read_to_close(), Some(CloseReason::LoginFailed));
}

fn owner_of_a_password(node: &Node) -> Client {
    let mut owner = node.connect();
    owner.greet();
    let registered = owner.request(register("owner", "a password"));
    assert!(matches!(registered, Body::Registered(_)), "{registered:?}");
    owner
}

fn right_password() -> Body {
    login(password("owner", "a password"), "a phone")
}

#[test]
fn who_has_a_token_is_let_in_from_a_blocked_address() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.failed_logins_per_connection_max = 255;
        config.limits.failed_logins_per_address_max = 10;
        // Five minutes until passwords of the address are looked at again.
        config.limits.failed_logins_forgiven_per_minute = 1;
    });
    let mut owner = owner_of_a_password(&node);
    let logged_in = owner.try_log_in(right_password()).unwrap();
    block(&node);
    owner.heartbeat();
    let tokens = logged_in.tokens.unwrap();
    for credential in [
        Credential::ResumeToken(logged_in.resume_token),
        Credential::AccessToken(tokens.access_token),
        Credential::RefreshToken(tokens.refresh_token),
    ] {
        let mut client = node.connect();
        client.greet();
        client.try_log_in(login(credential, "a phone")).expect("it is no guess");
    }
    // The right password is not looked at, nor is an account made; and then an issuer's token is taken.
    let mut delays_ms = Vec::new();
    for mut client in node.connect_each_way() {
        client.greet();
        for body in [right_password(), register("another", "a password")] {
            let error = client.refused(body);
            assert_eq!(error.code(), ErrorCode::RateLimited);
            delays_ms.push(error.retry_after_ms);
        }
        client.try_log_in(login(token::credential("ada"), "a tablet")).expect("it is no guess");
    }
    assert!(delays_ms.iter().all(|delay_ms| (1..=300_000).contains(delay_ms)), "{delays_ms:?}");
    assert!(delays_ms.is_sorted_by(|one, next| one >= next), "it ends when it was said");
    drop(owner);
    node.settle();
}

#[test]
fn nobody_changes_a_password_from_a_blocked_address() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.failed_logins_per_connection_max = 255;
        config.limits.failed_logins_per_address_max = 10;
        config.limits.failed_logins_forgiven_per_minute = 1;
    });
    let mut owner = owner_of_a_password(&node);
    owner.try_log_in(right_password()).unwrap();
    block(&node);
    let change = ChangePassword {
        old_password: "a password".into(),
        new_password: "another password".into(),
    };
    let error = owner.refused(Body::ChangePassword(change));
    assert_eq!(error.code(), ErrorCode::RateLimited);
    owner.heartbeat();
    drop(owner);
    node.settle();
}

#[test]
fn who_looks_for_names_that_are_taken_is_an_address_that_guesses() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.failed_logins_per_connection_max = 3;
        config.limits.failed_logins_per_address_max = 6;
        config.limits.failed_logins_forgiven_per_minute = 1;
    });
    let mut client = owner_of_a_password(&node);
    for _ in 0..5 {
        let taken = client.refused(register("owner", "a password"));
        assert_eq!(taken.code(), ErrorCode::NameTaken);
    }
    assert_eq!(client.refused(register("owner", "a password")).code(), ErrorCode::NameTaken);
    assert_eq!(client.read_to_close(), Some(CloseReason::LoginFailed));
    let mut client = node.connect();
    client.greet();
    let blocked = client.refused(register("another", "a password"));
    assert_eq!(blocked.code(), ErrorCode::RateLimited);
    drop(client);
    node.settle();
}

#[test]
fn an_address_registers_so_often_and_one_name_at_a_time() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.registrations_per_address_max = 3;
        config.limits.registrations_forgiven_per_hour = 1;
    });
    let mut client = node.connect();
    client.greet();
    // Said at once, they are done one after another.
    let names = ["one", "two", "three", "four"];
    let request_ids = names.map(|name| client.send(register(name, "a password")));
    for (number, request_id) in request_ids.into_iter().enumerate() {
        let answer =
            client.wait_for(|frame| (frame.request_id == request_id).then(|| frame.body.clone()));
        match answer {
            Some(Body::Registered(_)) => assert!(number < 3),
            Some(Body::Error(error)) => {
                assert_eq!((number, error.code()), (3, ErrorCode::RateLimited));
                assert!((1..=3_600_000).contains(&error.retry_after_ms), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    client.try_log_in(login(password("two", "a password"), "a phone")).unwrap();
    drop(client);
    node.settle();
}

#[test]
fn a_blocked_address_is_forgiven() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.failed_logins_per_connection_max = 255;
        config.limits.failed_logins_per_address_max = 10;
        // One in a second; 5 of them until passwords of the address are looked at again.
        config.limits.failed_logins_forgiven_per_minute = 60;
    });
    drop(owner_of_a_password(&node));
    block(&node);
    let mut owner = None;
    eventually("passwords are looked at again", || {
        let mut client = node.connect();
        client.greet();
        owner = client.try_log_in(right_password()).is_ok().then_some(client);
        owner.is_some()
    });
    // Half of the failures are forgiven, so there is room for more than one.
    let mut client = node.connect();
    client.greet();
    for round in 0..3 {
        wrong(&mut client, round);
        client.wait_for(|frame| matches!(frame.body, Some(Body::Error(_))).then_some(()));
    }
    client.heartbeat();
    drop((owner, client));
    node.settle();
}

#[test]
fn who_guesses_on_from_a_blocked_address_is_closed() {
    let node = Node::with(|config| {
        strict(config);
        config.limits.failed_logins_per_connection_max = 3;
        config.limits.failed_logins_per_address_max = 3;
        config.limits.failed_logins_forgiven_per_minute = 1;
    });
    block(&node);
    for mut client in node.connect_each_way() {
        client.greet();
        for round in 0..3 {
            wrong(&mut client, round);
            let code = |frame: &Frame| match &frame.body {
                Some(Body::Error(error)) => Some(error.code()),
                _ => None,
            };
            assert_eq!(client.wait_for(code), ErrorCode::RateLimited);
        }
        assert_eq!(client.read_to_close(), Some(CloseReason::LoginFailed));
    }
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
