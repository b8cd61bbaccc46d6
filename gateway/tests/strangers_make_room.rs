//! Whoever can connect can hold a place for as long as a login may take, but never keeps out who logs in:
//! the oldest of those who say nothing goes.

mod support;

use dunlin_protocol::wire::{CloseReason, frame::Body};
use support::messages::message;
use support::{Client, Node, eventually};

const PLACES: usize = 40;

fn node() -> Node {
    Node::with(|config| {
        config.limits.connections_max = PLACES;
        config.listen.shards = 1;
        config.engine.workers = 1;
        config.timeouts.login_timeout_ms = 600_000;
        config.timeouts.handshake_timeout_ms = 600_000;
    })
}

/// As many as there are places, and more, who say Hello and nothing else.
fn silent_crowd(node: &Node, count: usize) -> Vec<Client> {
    let greeted = |_| {
        let mut client = node.connect();
        client.send(support::messages::hello());
        client
    };
    (0..count).map(greeted).collect()
}

#[test]
fn who_says_nothing_goes_for_who_logs_in() {
    let node = node();
    let crowd = silent_crowd(&node, 2 * PLACES);
    eventually("all of them came", || {
        node.server.connections() as u64 + node.server.closed(CloseReason::Overloaded)
            == 2 * PLACES as u64
    });
    assert!(node.server.connections() < PLACES, "strangers have a share of the places");
    // As many as there are places may log in now, one after the other, while more of the others come.
    let mut users = Vec::new();
    let mut later = Vec::new();
    for number in 0..PLACES - 2 {
        users.push(node.user(&format!("user{number}")));
        later.extend(silent_crowd(&node, 1));
    }
    for user in &mut users {
        let log = user.with(user);
        assert!(matches!(user.request(message(log, "still here", "x")), Body::Sent(_)));
    }
    drop((crowd, later, users));
    node.settle();
}

#[test]
fn a_node_that_is_full_of_users_is_full() {
    let node = node();
    let users: Vec<_> = (0..PLACES).map(|number| node.user(&format!("user{number}"))).collect();
    let mut late = node.connect();
    assert_eq!(late.read_to_close(), Some(CloseReason::Overloaded));
    assert_eq!(node.server.connections(), PLACES);
    drop((users, late));
    node.settle();
}

#[test]
fn who_is_sent_away_is_told_so() {
    let node = node();
    let mut crowd = silent_crowd(&node, PLACES + 20);
    let mut oldest = crowd.remove(0);
    assert_eq!(oldest.read_to_close(), Some(CloseReason::Overloaded));
    drop((crowd, oldest));
    node.settle();
}
