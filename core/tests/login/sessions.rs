//! Ending sessions: by log-out, by another device, by the operator.

use dunlin_core::admin::AdminRequest;
use dunlin_core::config::{DevicePolicy, EngineConfig};
use dunlin_core::request::{IdentityRequest, Logout};
use dunlin_core::transport::{Delivery, Session};
use dunlin_protocol::wire::{CloseReason, DeviceKind, ErrorCode};
use std::sync::Arc;

use super::node::*;

#[track_caller]
fn assert_worthless(node: &mut Node, ended: &LoggedIn, number: u8) {
    for worthless in [ended.resume(), ended.access(), ended.refresh()] {
        let refused = node.login(conn(90), worthless, device(number)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked);
    }
}

#[test]
fn a_log_out_answers_and_then_closes() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.submit(conn(1), Some(ada.session), IdentityRequest::Logout(Logout::This).into());
    node.run();
    let deliveries = node.take(conn(1));
    assert!(
        matches!(
            deliveries[..],
            [Delivery::Response(_), Delivery::Close { reason: CloseReason::LoggedOut, .. }]
        ),
        "{deliveries:?}"
    );
    assert_worthless(&mut node, &ada, 1);
}

#[test]
fn another_session_can_be_ended() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    assert_eq!(node.sessions(conn(1), ada.session).len(), 2);
    node.logout(conn(1), ada.session, Logout::Other(other.session.session));
    node.assert_closed(conn(2), CloseReason::LoggedOut);
    node.assert_open(conn(1));
    assert_worthless(&mut node, &other, 2);
    let sessions = node.sessions(conn(1), ada.session);
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].device.as_ref().unwrap().name, "device 1");
    // It is gone; to end it again changes nothing.
    let writes = node.writes.len();
    node.logout(conn(1), ada.session, Logout::Other(other.session.session));
    assert_eq!(node.writes.len(), writes);
}

#[test]
fn a_session_is_listed_until_it_expires() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.disconnect(conn(1), ada.session);
    node.now_ms += 1;
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    node.now_ms = NOW_MS + 30 * 24 * 3600 * 1000 - 1;
    assert_eq!(node.sessions(conn(2), other.session).len(), 2);
    node.now_ms += 1;
    let left = node.sessions(conn(2), other.session);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].session_id, other.session.session.get());
}

#[test]
fn a_session_that_is_connected_can_be_listed_and_ended_however_old_it_is() {
    for own in [false, true] {
        let mut node = Node::new();
        let ada = node.registered("ada");
        node.now_ms = NOW_MS + 40 * 24 * 3_600_000;
        // It has expired, and another login makes room.
        let other = node.login(conn(2), password("ada"), device(2)).unwrap();
        node.assert_open(conn(1));
        let sessions = node.sessions(conn(2), other.session);
        let id = ada.session.session;
        let listed = sessions.iter().find(|session| session.session_id == id.get()).unwrap();
        assert_eq!(listed.device.as_ref().unwrap().name, "device 1");
        assert_eq!((listed.connected, listed.opened_ms), (true, NOW_MS));
        if own {
            node.logout(conn(1), ada.session, Logout::This);
        } else {
            node.logout(conn(2), other.session, Logout::Other(id));
        }
        node.assert_closed(conn(1), CloseReason::LoggedOut);
        assert_eq!(node.sessions(conn(2), other.session).len(), 1);
    }
}

#[test]
fn nobody_ends_the_sessions_of_others() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.register("eve").unwrap();
    let eve = node.login(conn(2), password("eve"), device(2)).unwrap();
    node.logout(conn(2), eve.session, Logout::Other(ada.session.session));
    node.assert_open(conn(1));
    node.login(conn(3), ada.resume(), device(1)).unwrap();
}

#[test]
fn all_sessions_can_be_ended() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    node.disconnect(conn(2), other.session);
    node.logout(conn(1), ada.session, Logout::All);
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    assert_worthless(&mut node, &ada, 1);
    assert_worthless(&mut node, &other, 2);
    let again = node.login(conn(1), password("ada"), device(1)).unwrap();
    node.login(conn(2), again.access(), device(1)).unwrap();
}

#[test]
fn a_session_that_was_ended_asks_in_vain() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    node.logout(conn(1), ada.session, Logout::Other(other.session.session));
    // Under way when its connection was closed.
    for request in [
        IdentityRequest::Logout(Logout::All).into(),
        IdentityRequest::ListSessions.into(),
        IdentityRequest::Refresh { refresh_token: other.tokens().refresh_token.clone() }.into(),
    ] {
        assert_eq!(node.error(conn(2), other.session, request), ErrorCode::SessionRevoked);
    }
    node.assert_open(conn(1));
    // Nor does a connection speak for a session of another one.
    let stolen = node.error(conn(3), ada.session, IdentityRequest::Logout(Logout::All).into());
    assert_eq!(stolen, ErrorCode::SessionRevoked);
}

fn one_phone() -> Node {
    let by_kind = vec![(DeviceKind::Phone, 1)];
    let devices = DevicePolicy { by_kind, ..DevicePolicy::default() };
    Node::with(EngineConfig { devices, ..config() }, Arc::default())
}

#[test]
fn a_second_phone_replaces_the_first() {
    let mut node = one_phone();
    let first = node.registered("ada");
    let web = device_of(3, DeviceKind::Web);
    node.login(conn(3), password("ada"), web).unwrap();
    let second = node.login(conn(2), password("ada"), device(2)).unwrap();
    node.assert_closed(conn(1), CloseReason::Replaced);
    node.assert_open(conn(3));
    // The first can't kick the second by itself: its tokens are worthless.
    assert_worthless(&mut node, &first, 1);
    node.assert_open(conn(2));
    assert_eq!(node.sessions(conn(2), second.session).len(), 2);
}

#[test]
fn the_policy_holds_for_devices_that_are_away() {
    let mut node = one_phone();
    let first = node.registered("ada");
    node.disconnect(conn(1), first.session);
    node.login(conn(2), password("ada"), device(2)).unwrap();
    node.assert_open(conn(1));
    assert_worthless(&mut node, &first, 1);
}

#[test]
fn a_device_that_logs_in_anew_replaces_itself() {
    let mut node = one_phone();
    let mut first = node.registered("ada");
    for number in 2..6 {
        let again = node.login(conn(number), password("ada"), device(1)).unwrap();
        assert_eq!(node.sessions(conn(number), again.session).len(), 1);
        node.assert_closed(conn(number - 1), CloseReason::Replaced);
        assert_worthless(&mut node, &first, 1);
        first = again;
    }
}

#[test]
fn one_phone_remains_however_the_logins_race() {
    for seed in 0..200 {
        let mut node = one_phone();
        node.register("ada").unwrap();
        node.shuffle = Some(seed);
        for slot in 1..=6 {
            let (credential, device) = (password("ada"), device(slot as u8));
            node.submit(conn(slot), None, entering(credential, device));
        }
        node.run();
        let mut open = 0;
        let mut last: Option<(u32, Session)> = None;
        for slot in 1..=6 {
            let deliveries = node.take(conn(slot));
            match &deliveries[..] {
                [Delivery::LoggedIn { session, .. }] => {
                    open += 1;
                    last = Some((slot, *session));
                }
                [
                    Delivery::LoggedIn { .. },
                    Delivery::Close { reason: CloseReason::Replaced, .. },
                ] => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(open, 1);
        let (slot, session) = last.unwrap();
        assert_eq!(node.sessions(conn(slot), session).len(), 1);
    }
}

#[test]
fn no_login_slips_past_a_disabling() {
    for seed in 0..300 {
        let mut node = Node::new();
        node.registered("ada");
        node.login(conn(50), issued("bob"), device(1)).unwrap();
        node.shuffle = Some(seed);
        for (slot, credential) in [(1, password("ada")), (2, issued("bob"))] {
            let device = device(slot);
            node.submit(conn(slot.into()), None, entering(credential, device));
        }
        for username in ["ada", "bob"] {
            let username = username.to_owned();
            assert!(node.administer(AdminRequest::DisableUser { username }).is_ok());
        }
        for slot in [1, 2] {
            let deliveries = node.take(conn(slot));
            let out = matches!(
                deliveries.last(),
                Some(
                    Delivery::LoginPostponed(_)
                        | Delivery::Close { reason: CloseReason::AccountDisabled, .. }
                )
            );
            assert!(out, "{deliveries:?}");
        }
    }
}
