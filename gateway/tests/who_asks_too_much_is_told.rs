//! Budgets of rates: what is too much is refused with a time, who goes on is closed, and nobody else notices.
//!
//! The budgets here come back so slowly that no test depends on how fast it runs.

mod support;

use dunlin_gateway::config::Rates;
use dunlin_protocol::wire::{CloseReason, DeviceKind, Error, ErrorCode, FindUsers, frame::Body};
use support::messages::{hello, history, login_on, message};
use support::node::rates_of_tests;
use support::{Client, Node, eventually, token};

/// A hundred messages of the least size in a day: one in 864 s.
fn hundred_messages() -> Rates {
    Rates { message_bytes_per_day: 100 * 256, ..rates_of_tests() }
}

/// A lump is paid if there is anything, and a connection may be ahead of its budget by a lump less one.
const AHEAD: usize = 2 * 15;

fn names(count: usize) -> Body {
    let usernames = (0..count).map(|number| format!("nobody-{number}")).collect();
    Body::FindUsers(FindUsers { usernames, ..FindUsers::default() })
}

fn refusal(body: Body) -> Error {
    let Body::Error(error) = body else { panic!("{body:?}") };
    assert_eq!(error.code(), ErrorCode::RateLimited, "{error:?}");
    assert!(error.retry_after_ms > 0, "{error:?}");
    error
}

/// One more message, of the least size that counts.
fn text(client: &mut Client, to: &Client) -> Body {
    let (log, id) = (client.with(to), client.next_id());
    client.request(message(log, &id, "x"))
}

/// Sends until it is refused; how many were stored, and the refusal.
fn send_until_refused(client: &mut Client, to: &Client) -> (usize, Error) {
    for stored in 0..1000 {
        match text(client, to) {
            Body::Sent(_) => {}
            body => return (stored, refusal(body)),
        }
    }
    panic!("there is no end of it")
}

#[test]
fn names_are_looked_up_within_a_budget_of_the_user() {
    let node =
        Node::with(|config| config.rates = Rates { names_per_hour: 100, ..rates_of_tests() });
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    assert!(matches!(ada.request(names(100)), Body::Users(_)));
    let error = refusal(ada.request(names(1)));
    assert!(error.retry_after_ms > 10_000, "{error:?}");
    let mut second = node.connect();
    second.greet();
    let device = login_on(token::credential("ada"), "another one", DeviceKind::Desktop);
    second.try_log_in(device).unwrap();
    refusal(second.request(names(1)));
    assert!(matches!(bob.request(names(100)), Body::Users(_)), "each has one");
    // By id nobody is found who is not known.
    let by_id = FindUsers { user_ids: vec![bob.user.unwrap().get()], ..FindUsers::default() };
    assert!(matches!(ada.request(Body::FindUsers(by_id)), Body::Users(_)));
    drop((ada, second, bob));
    node.settle();
}

#[test]
fn messages_end_where_their_budget_does_and_nobody_else_notices() {
    let node = Node::with(|config| config.rates = hundred_messages());
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let (stored, error) = send_until_refused(&mut ada, &bob);
    assert!((100..=100 + AHEAD).contains(&stored), "{stored}");
    let next = refusal(text(&mut ada, &bob));
    assert!(next.retry_after_ms > error.retry_after_ms, "each has a time of its own");
    // It reads on, and so does everybody else; who is written to is not held to the budget of who writes.
    assert!(matches!(ada.request(history(ada.with(&bob), 0)), Body::HistoryPage(_)));
    assert!(matches!(text(&mut bob, &ada), Body::Sent(_)));
    drop((ada, bob));
    node.settle();
}

#[test]
fn who_comes_again_and_again_pays_as_well() {
    let node = Node::with(|config| config.rates = hundred_messages());
    let bob = node.user("bob");
    let mut stored = 0;
    // Ten of them are less than is looked at while a connection lasts.
    for _ in 0..20 {
        let mut ada = node.user("ada");
        for _ in 0..10 {
            let answer = text(&mut ada, &bob);
            stored += usize::from(matches!(answer, Body::Sent(_)));
        }
    }
    assert!((100..=100 + AHEAD).contains(&stored), "{stored}");
    drop(bob);
    node.settle();
}

#[test]
fn who_goes_on_is_closed() {
    let node = Node::with(|config| config.rates = hundred_messages());
    let (mut ada, bob) = (node.user("ada"), node.user("bob"));
    send_until_refused(&mut ada, &bob);
    for _ in 0..600 {
        let (log, id) = (ada.with(&bob), ada.next_id());
        let (_, frame) = ada.encode(message(log, &id, "x"));
        if ada.try_write(frame.wire()).is_err() {
            break;
        }
    }
    let (reason, delay_ms) = wait_for_close(&mut ada);
    assert_eq!(reason, CloseReason::RateLimited);
    assert!(delay_ms >= 1000, "{delay_ms}");
    drop((ada, bob));
    node.wait_closed(CloseReason::RateLimited, 1);
    node.settle();
}

fn wait_for_close(client: &mut Client) -> (CloseReason, u32) {
    client.wait_for(|frame| match &frame.body {
        Some(Body::Close(close)) => Some((close.reason(), close.reconnect_delay_ms)),
        _ => None,
    })
}

#[test]
fn heartbeats_without_end_are_too_much() {
    let node = Node::with(|config| {
        config.rates = Rates { signals_per_s: 1, signals_burst: 20, ..rates_of_tests() };
    });
    let mut ada = node.user("ada");
    for _ in 0..100 {
        if ada.try_write(&[0; 4 * 100]).is_err() {
            break;
        }
    }
    assert_eq!(wait_for_close(&mut ada).0, CloseReason::RateLimited);
    drop(ada);
    node.settle();
}

#[test]
fn a_stranger_may_not_ask_for_ever() {
    let node = Node::with(|config| config.rates = rates_of_tests());
    let mut client = node.connect();
    client.greet();
    for _ in 0..3000 {
        // Nobody is logged in, which is what the answer says.
        let (_, frame) = client.encode(names(1));
        if client.try_write(frame.wire()).is_err() {
            break;
        }
    }
    assert_eq!(wait_for_close(&mut client).0, CloseReason::RateLimited);
    drop(client);
    node.settle();
}

#[test]
fn an_address_has_a_budget_of_many_users() {
    let node = Node::with(|config| {
        config.limits.loopback_exempt = false;
        config.rates = Rates { users_per_address: 2, ..hundred_messages() };
    });
    let bob = node.user("bob");
    let mut users = ["ada", "eve", "mia", "zoe"].map(|name| node.user(name));
    let stored = users.each_mut().map(|user| send_until_refused(user, &bob).0);
    let all: usize = stored.iter().sum();
    assert!((200..=200 + 4 * AHEAD).contains(&all), "{stored:?}");
    drop((users, bob));
    node.settle();
}

#[test]
fn too_many_come_from_an_address() {
    let node = Node::with(|config| {
        config.limits.loopback_exempt = false;
        config.rates = Rates { connects_per_s: 1, connects_burst: 5, ..rates_of_tests() };
    });
    let mut turned_away = 0;
    for _ in 0..200 {
        let mut client = node.connect();
        client.send(hello());
        let is_let_in = client.wait_for(|frame| match &frame.body {
            Some(Body::Welcome(_)) => Some(true),
            Some(Body::Close(close)) => {
                assert_eq!(close.reason(), CloseReason::Overloaded);
                Some(false)
            }
            _ => None,
        });
        turned_away += u32::from(!is_let_in);
    }
    assert!(turned_away > 0);
    node.settle();
}

#[test]
fn a_reload_changes_them() {
    let mut node = Node::with(|config| config.rates = hundred_messages());
    let (mut ada, bob) = (node.user("ada"), node.user("bob"));
    send_until_refused(&mut ada, &bob);
    node.reload(|config| config.rates = Rates { message_bytes_per_day: 0, ..rates_of_tests() });
    // Each shard hears of it in its own time.
    eventually("the limit is gone", || {
        let mut ada = node.user("ada");
        matches!(text(&mut ada, &bob), Body::Sent(_))
    });
    drop((ada, bob));
    node.settle();
}
