//! Dates that were wrong for a while: what was made meanwhile must not outlive the mistake, and what was made
//! before must not end by it.

use std::sync::Arc;

use dunlin_core::admin::AdminRequest;
use dunlin_core::config::EngineConfig;
use dunlin_core::request::{Logout, Purpose};
use dunlin_core::store::memory::MemoryStore;
use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::wire::login::Credential;

use super::node::*;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const DECADE_MS: u64 = 3_650 * DAY_MS;
const LIFETIME_S: u32 = 30 * 24 * 3600;

/// An issuer's token that was made at this time by a clock that is right.
fn made_at(username: &str, ms: u64) -> Credential {
    issued_at("app", username, ms / 1000)
}

#[test]
fn a_session_that_was_used_while_the_date_was_ahead_ends_as_any_other() {
    for wrong_ms in [DAY_MS, DECADE_MS] {
        let mut node = Node::new();
        let ada = node.registered("ada");
        node.set_date(wrong_ms);
        let used = node.login_for(Purpose::NewTokens, conn(2), ada.resume(), device(1)).unwrap();
        node.register("bob").unwrap();
        let bob = node.login(conn(3), password("bob"), device(1)).unwrap();
        node.set_date(0);
        for (slot, ahead) in [(10, &used), (11, &bob)] {
            let access = node.login(conn(slot), ahead.access(), device(1)).postponed();
            assert_eq!(access, ErrorCode::TokenExpired, "it would be good for ages");
            let back = node.login(conn(slot), ahead.refresh(), device(1)).unwrap();
            assert!(back.reply.session_expires_in_s <= LIFETIME_S, "{back:?}");
        }
        // When the date has stood for a while, it is believed; and then the session ends by it.
        node.now_ms += HOUR_MS;
        for (slot, ahead) in [(20, &used), (21, &bob)] {
            let back = node.login(conn(slot), ahead.refresh(), device(1)).unwrap();
            node.disconnect(conn(slot), back.session);
        }
        // An end that moves by less than a day may stay where it is.
        node.now_ms += u64::from(LIFETIME_S) * 1000 + DAY_MS;
        for (slot, ahead) in [(30, &used), (31, &bob)] {
            let over = node.login(conn(slot), ahead.refresh(), device(1)).postponed();
            assert_eq!(over, ErrorCode::TokenExpired, "ahead by {wrong_ms}");
        }
    }
}

#[test]
fn a_session_that_was_left_alone_since_the_date_was_ahead_ends_with_the_others() {
    let mut node = Node::new();
    let phone = node.registered("ada");
    node.set_date(DECADE_MS);
    let web = node.login(conn(2), password("ada"), device(2)).unwrap();
    node.disconnect(conn(2), web.session);
    node.set_date(0);
    node.now_ms += HOUR_MS;
    node.login(conn(3), phone.refresh(), device(1)).unwrap();
    node.now_ms += u64::from(LIFETIME_S) * 1000;
    let over = node.login(conn(4), web.refresh(), device(2)).postponed();
    assert_eq!(over, ErrorCode::TokenExpired);
}

#[test]
fn a_date_that_is_behind_ends_no_session() {
    for behind_ms in [HOUR_MS, DAY_MS, DECADE_MS] {
        let mut node = Node::new();
        node.ahead_ms = DECADE_MS;
        let ada = node.registered("ada");
        let bob = node.registered("bob");
        node.set_date(DECADE_MS - behind_ms);
        // However long it is so: it is known that it was later before.
        node.now_ms += 5 * HOUR_MS;
        let next = node.login(conn(2), ada.refresh(), device(1)).unwrap();
        // A resume token is taken if it was made within its life from now.
        let resumed = node.login(conn(3), ada.resume(), device(1));
        assert_eq!(matches!(resumed, LoginResult::In(_)), behind_ms <= DAY_MS, "{resumed:?}");
        node.set_date(DECADE_MS);
        node.now_ms += 2 * HOUR_MS;
        node.login(conn(4), next.refresh(), device(1)).unwrap();
        node.login(conn(5), bob.refresh(), device(1)).unwrap();
    }
}

/// The same, of a server that was started by it.
#[test]
fn a_date_that_is_behind_at_the_start_ends_no_session() {
    let mut node = Node::new();
    node.ahead_ms = DECADE_MS;
    let ada = node.registered("ada");
    let known_ms = node.now_ms + node.ahead_ms;
    let store = Arc::clone(&node.store);
    let mut node = Node::with(EngineConfig { known_ms, ..config() }, store);
    node.now_ms += 5 * HOUR_MS;
    let next = node.login(conn(2), ada.refresh(), device(1)).unwrap();
    node.now_ms += 5 * HOUR_MS;
    node.login(conn(3), next.refresh(), device(1)).unwrap();
    node.set_date(DECADE_MS);
    node.now_ms += 2 * HOUR_MS;
    node.login(conn(4), next.refresh(), device(1)).unwrap();
}

/// What makes all tokens of a user worthless.
type Revoking = fn(&mut Node, &LoggedIn);

const WAYS: [Revoking; 2] = [
    |node, ada| node.logout(conn(1), ada.session, Logout::All),
    |node, _| {
        node.administer(AdminRequest::DisableUser { username: "ada".into() }).unwrap();
        node.administer(AdminRequest::EnableUser { username: "ada".into() }).unwrap();
    },
];

fn assert_revoked(node: &mut Node, ada: &LoggedIn, before: &Credential, right_ms: u64) {
    for (slot, waited_ms) in (10..).zip([0, 65_000, DAY_MS / 2, DAY_MS]) {
        node.now_ms += waited_ms;
        let refused = node.login(conn(slot), before.clone(), device(1)).postponed();
        assert_eq!(refused, ErrorCode::NewTokenNeeded, "after {waited_ms}");
        let resumed = node.login(conn(slot), ada.resume(), device(1)).postponed();
        let is_over = matches!(resumed, ErrorCode::SessionRevoked | ErrorCode::TokenExpired);
        assert!(is_over, "{resumed:?}");
        let fresh = made_at("ada", node.now_ms + right_ms);
        let back = node.login(conn(slot), fresh, device(1)).unwrap();
        node.login(conn(slot + 100), back.resume(), device(1)).unwrap();
    }
}

#[test]
fn what_was_revoked_while_the_date_was_behind_stays_so() {
    for (revoke, behind_ms) in
        WAYS.into_iter().flat_map(|way| [DAY_MS, DECADE_MS].map(|ms| (way, ms)))
    {
        let mut node = Node::new();
        node.ahead_ms = DECADE_MS;
        let before = made_at("ada", node.now_ms + DECADE_MS);
        let ada = node.login(conn(1), before.clone(), device(1)).unwrap();
        node.now_ms += 300_000;
        node.set_date(DECADE_MS - behind_ms);
        revoke(&mut node, &ada);
        node.set_date(DECADE_MS);
        assert_revoked(&mut node, &ada, &before, DECADE_MS);
    }
}

#[test]
fn what_was_revoked_by_a_server_that_was_started_behind_stays_so() {
    for revoke in WAYS {
        let store = Arc::new(MemoryStore::default());
        let mut node = Node::with(config(), Arc::clone(&store));
        node.ahead_ms = DECADE_MS;
        let before = made_at("ada", node.now_ms + DECADE_MS);
        node.login(conn(1), before.clone(), device(1)).unwrap();
        node.now_ms += 300_000;
        let known_ms = node.now_ms + DECADE_MS;
        let (now_ms, config) = (node.now_ms, EngineConfig { known_ms, ..config() });
        let mut node = Node::with(config, store);
        (node.now_ms, node.ahead_ms) = (now_ms, DECADE_MS - DAY_MS);
        let behind = made_at("ada", node.now_ms + node.ahead_ms);
        let ada = node.login(conn(1), behind, device(1)).unwrap();
        revoke(&mut node, &ada);
        node.set_date(DECADE_MS);
        assert_revoked(&mut node, &ada, &before, DECADE_MS);
    }
}

#[test]
fn what_was_revoked_while_the_date_was_ahead_keeps_nobody_out() {
    for (revoke, wrong_ms) in
        WAYS.into_iter().flat_map(|way| [DAY_MS, DECADE_MS].map(|ms| (way, ms)))
    {
        let mut node = Node::new();
        let before = made_at("ada", node.now_ms);
        let ada = node.login(conn(1), before.clone(), device(1)).unwrap();
        node.now_ms += 300_000;
        node.set_date(wrong_ms);
        revoke(&mut node, &ada);
        node.set_date(0);
        assert_revoked(&mut node, &ada, &before, 0);
    }
}

/// A session of an issuer login is ended by name: that is forgotten when its tokens have expired.
#[test]
fn one_that_was_ended_while_the_date_was_behind_does_not_come_back() {
    let mut node = Node::new();
    node.ahead_ms = DECADE_MS;
    let ada = node.login(conn(1), made_at("ada", node.now_ms + DECADE_MS), device(1)).unwrap();
    node.set_date(DECADE_MS - DAY_MS);
    node.logout(conn(1), ada.session, Logout::This);
    node.set_date(DECADE_MS);
    for hour in 0..23 {
        let fresh = made_at("ada", node.now_ms + DECADE_MS);
        node.login(conn(100 + hour), fresh, device(2)).unwrap();
        let refused = node.login(conn(200 + hour), ada.resume(), device(1)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked, "after {hour} hours");
        node.now_ms += HOUR_MS;
    }
}
