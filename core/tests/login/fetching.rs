//! A second connection of a session that only looks, as the extension of an app does that shows a
//! notification.

use dunlin_core::request::{Logout, Purpose, Request};
use dunlin_core::transport::Delivery;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, CloseReason, frame::Body};

use super::node::*;

/// Whoever looks for the session of a login.
fn fetch(node: &mut Node, slot: u32, credential: Credential) -> LoggedIn {
    node.login_for(Purpose::Fetch, conn(slot), credential, device(1)).unwrap()
}

fn parsed<T: TryInto<Request>>(request: T) -> Request
where
    T::Error: std::fmt::Debug,
{
    request.try_into().unwrap()
}

#[test]
fn it_replaces_nobody_and_nobody_replaces_it() {
    let ways: [fn(&mut Node) -> LoggedIn; 2] = [
        |node| node.registered("ada"),
        |node| node.login(conn(1), issued("bob"), device(1)).unwrap(),
    ];
    for way in ways {
        let mut node = Node::new();
        let app = way(&mut node);
        let writes = node.writes.len();
        let extension = fetch(&mut node, 2, app.resume());
        assert_eq!(extension.session, app.session);
        assert_eq!(extension.reply.tokens, None);
        node.assert_open(conn(1));
        // The app comes back on another connection: its own goes, the extension's stays.
        node.login(conn(3), app.resume(), device(1)).unwrap();
        node.assert_closed(conn(1), CloseReason::Reconnected);
        node.assert_open(conn(2));
        // One that looks is enough.
        fetch(&mut node, 4, app.resume());
        node.assert_closed(conn(2), CloseReason::Reconnected);
        node.assert_open(conn(3));
        assert_eq!((node.writes.len(), node.open_sessions()), (writes, 2));
        assert_eq!(node.sessions(conn(3), app.session).len(), 1);
        // It ends without ending anything.
        node.disconnect(conn(4), app.session);
        node.assert_open(conn(3));
        assert_eq!(node.open_sessions(), 1);
        // With the session it ends.
        fetch(&mut node, 5, app.resume());
        node.logout(conn(3), app.session, Logout::This);
        node.assert_closed(conn(5), CloseReason::LoggedOut);
        assert_eq!(node.open_sessions(), 0);
    }
}

#[test]
fn it_is_no_device_that_makes_others_go() {
    let mut node = Node::new();
    let logins: Vec<_> = (1..=4)
        .map(|slot| node.login(conn(slot), issued("ada"), device(slot as u8)).unwrap())
        .collect();
    for (slot, login) in (11..).zip(&logins) {
        let (credential, device) = (login.resume(), device((slot - 10) as u8));
        node.login_for(Purpose::Fetch, conn(slot), credential, device).unwrap();
    }
    (1..=4).for_each(|slot| node.assert_open(conn(slot)));
}

#[test]
fn it_needs_a_token_that_ends_nothing() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    for credential in [password("ada"), issued("bob"), ada.refresh()] {
        let login = wire::Login {
            credential: Some(credential),
            device: Some(wire::Device { device_id: vec![1; 16].into(), ..Default::default() }),
            fetch_only: true,
            ..Default::default()
        };
        let invalid = Request::try_from(login).unwrap_err();
        assert_eq!(invalid.field, "fetch_only");
    }
    let both = wire::Login {
        credential: Some(ada.resume()),
        device: Some(wire::Device { device_id: vec![1; 16].into(), ..Default::default() }),
        fetch_only: true,
        want_tokens: true,
    };
    assert_eq!(Request::try_from(both).unwrap_err().field, "want_tokens");
}

#[test]
fn it_may_sync_and_is_pushed_nothing() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.register("bob").unwrap();
    let bob = node.login(conn(7), password("bob"), device(2)).unwrap();
    fetch(&mut node, 2, ada.resume());
    for slot in [1, 2] {
        let synced = node.request(conn(slot), Some(ada.session), parsed(wire::Sync::default()));
        assert!(matches!(synced, Body::Synced(_)), "{synced:?}");
    }
    let log = LogId::direct(ada.session.user, bob.session.user);
    let send = wire::Send {
        conversation_id: log.to_wire(),
        client_message_id: vec![1; 16].into(),
        content: "hello".into(),
        ..Default::default()
    };
    let sent = node.request(conn(7), Some(bob.session), parsed(send));
    assert!(matches!(sent, Body::Sent(_)), "{sent:?}");
    let pushed = node.take(conn(1));
    assert!(matches!(pushed[..], [Delivery::Push { .. }]), "{pushed:?}");
    node.assert_open(conn(2));
    let again = node.request(conn(2), Some(ada.session), parsed(wire::Sync::default()));
    assert!(matches!(again, Body::Synced(synced) if synced.conversations.len() == 1));
}
