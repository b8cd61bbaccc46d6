//! What Welcome tells holds, and large responses are deflated for those who can read it.

mod support;

use dunlin_protocol::compressed::inflate;
use dunlin_protocol::wire::{FindUsers, Frame, Hello, History, Welcome, frame::Body};
use dunlin_protocol::{LogId, UserId};
use support::messages::{history, login, message, sync};
use support::{Client, Node, token};

const MESSAGES: usize = 60;

fn greeted(client: &mut Client, capabilities: &[&str]) -> Welcome {
    let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
    let hello = Hello { protocol_version: 1, client: "a test".into(), capabilities };
    match client.request(Body::Hello(hello)) {
        Body::Welcome(welcome) => welcome,
        other => panic!("no Welcome: {other:?}"),
    }
}

fn log_in(client: &mut Client, name: &str) -> UserId {
    client.try_log_in(login(token::credential(name), name)).unwrap();
    client.user.unwrap()
}

/// Whether the answer was compressed, and the answer.
fn asked(client: &mut Client, body: Body) -> (bool, Body) {
    let request_id = client.send(body);
    match client.answer(request_id) {
        Body::Compressed(compressed) => {
            let Frame { body, .. } = inflate(request_id, &compressed).unwrap();
            (true, body.unwrap())
        }
        other => (false, other),
    }
}

#[test]
fn large_responses_are_deflated_for_who_can_read_it_and_for_nobody_else() {
    let node = Node::start();
    let (mut ada, mut bob) = (node.connect(), node.connect());
    assert_eq!(greeted(&mut ada, &["x", "deflate"]).capabilities, ["deflate"]);
    assert!(greeted(&mut bob, &["gzip"]).capabilities.is_empty());
    let (ada_id, bob_id) = (log_in(&mut ada, "ada"), log_in(&mut bob, "bob"));
    let log = LogId::direct(ada_id, bob_id);
    for number in 0..MESSAGES {
        let sent = ada.request(message(log, &format!("m{number}"), format!("message {number}")));
        assert!(matches!(sent, Body::Sent(_)), "{sent:?}");
    }
    for request in [sync(), history(log, 1)] {
        let (is_deflated, answer) = asked(&mut ada, request.clone());
        assert!(is_deflated, "{answer:?}");
        let (is_deflated, same) = asked(&mut bob, request);
        assert!(!is_deflated);
        match (answer, same) {
            (Body::HistoryPage(page), Body::HistoryPage(same)) => assert_eq!(page, same),
            (Body::Synced(synced), Body::Synced(same)) => {
                let entries = |synced: dunlin_protocol::wire::Synced| {
                    synced.conversations.into_iter().next().unwrap().entries
                };
                assert_eq!(entries(synced), entries(same));
            }
            other => panic!("{other:?}"),
        }
    }
    // What is small is not worth it.
    let one = History { limit: 1, conversation_id: log.to_wire(), ..History::default() };
    assert!(!asked(&mut ada, Body::History(one)).0);
    let find = FindUsers { usernames: vec!["bob".into()], ..FindUsers::default() };
    assert!(!asked(&mut ada, Body::FindUsers(find)).0);
}

#[test]
fn a_server_that_does_not_want_it_does_not_deflate() {
    let node = Node::with(|config| config.protocol.deflate = false);
    let mut ada = node.connect();
    assert!(greeted(&mut ada, &["deflate"]).capabilities.is_empty());
}

#[test]
fn welcome_tells_what_the_server_was_configured_to() {
    let node = Node::with(|config| {
        config.protocol.heartbeat_interval_ms = 7000;
        config.protocol.requests_outstanding_max = 9;
        config.limits.failed_logins_per_connection_max = 3;
        config.limits.outbox_bytes_soft = 100_000;
        config.timeouts.login_timeout_ms = 12_345;
        config.engine.registration = "closed".into();
        config.devices.sessions_max = 5;
        config.devices.by_kind.insert("phone".into(), 1);
    });
    let welcome = greeted(&mut node.connect(), &[]);
    let (limits, rules) = (welcome.limits.unwrap(), welcome.rules.unwrap());
    assert_eq!((limits.heartbeat_interval_ms, limits.idle_timeout_ms), (7000, 14_000));
    assert_eq!(limits.requests_outstanding_max, 9);
    assert_eq!(limits.failed_logins_max, 3);
    assert_eq!(limits.outbox_bytes_soft, 100_000);
    assert_eq!(limits.login_timeout_ms, 12_345);
    assert_eq!((rules.sessions_max, rules.sessions.len()), (5, 1));
    assert!(!rules.registration_open);
}
