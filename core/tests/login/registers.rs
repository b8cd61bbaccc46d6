//! What is written: no more registers than what has changed, also where a user has many sessions.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::admin::{AdminError, AdminReply, AdminRequest};
use dunlin_core::auth::names;
use dunlin_core::config::{DevicePolicy, EngineConfig};
use dunlin_core::request::{IdentityRequest, Logout};
use dunlin_core::store::contract::ask;
use dunlin_core::store::{RegisterKey, RegisterRange, Registers, Rule, Set, Write};
use dunlin_protocol::wire::{CloseReason, ErrorCode};
use dunlin_protocol::{LogId, UserId};

use super::node::*;

/// A node whose users may have so many sessions.
fn roomy(sessions: usize) -> Node {
    let devices = DevicePolicy {
        sessions_per_kind: sessions,
        sessions_max: sessions,
        ..DevicePolicy::default()
    };
    Node::with(EngineConfig { devices, ..config() }, Arc::default())
}

/// A user with so many sessions, of which the first and the last are returned.
fn with_sessions(node: &mut Node, sessions: u8) -> (LoggedIn, LoggedIn) {
    let first = node.registered("ada");
    let mut last = first.clone();
    for number in 2..=sessions {
        last = node.login(conn(number.into()), password("ada"), device(number)).unwrap();
    }
    node.writes.clear();
    (first, last)
}

fn identity_of(node: &Node, user: UserId) -> Registers {
    let range = RegisterRange {
        log: LogId::identity(user),
        prefix: Default::default(),
        after: None,
        registers_max: 10_000,
        bytes_max: usize::MAX,
    };
    ask::registers(&*node.store, range)
}

/// The letters of the registers that were set, and of those that were removed, in the only write.
fn only_write(node: &mut Node) -> (Vec<u8>, Vec<u8>) {
    let writes = std::mem::take(&mut node.writes);
    let [Write { entry: None, sets, .. }] = &writes[..] else { panic!("{writes:?}") };
    let letters = |removed: bool| {
        let some = sets.iter().filter(|set| set.value.is_none() == removed);
        some.map(|set| set.key.as_bytes()[0]).collect()
    };
    (letters(false), letters(true))
}

#[test]
fn a_login_of_a_user_with_fifty_sessions_writes_one_register() {
    let mut node = roomy(60);
    let (first, _) = with_sessions(&mut node, 50);
    let new = node.login(conn(51), password("ada"), device(51)).unwrap();
    // That the device is no stranger from now on is said once.
    assert_eq!(only_write(&mut node), (vec![b'u', b's'], vec![]));
    // The same device again: its session is replaced.
    node.login(conn(52), password("ada"), device(51)).unwrap();
    assert_eq!(only_write(&mut node), (vec![b's'], vec![b's']));
    node.assert_closed(conn(51), dunlin_protocol::wire::CloseReason::Replaced);
    assert_eq!(
        node.login(conn(53), new.resume(), device(51)).postponed(),
        ErrorCode::SessionRevoked
    );
    node.refresh(conn(1), first.session, &first.tokens().refresh_token).unwrap();
    assert_eq!(only_write(&mut node), (vec![b's'], vec![]));
    node.logout(conn(1), first.session, Logout::This);
    assert_eq!(only_write(&mut node), (vec![], vec![b's']));
    // 50 sessions and the password.
    assert_eq!(identity_of(&node, first.session.user).registers.len(), 51);
}

#[test]
fn what_expired_goes_with_the_next_login() {
    let mut node = Node::new();
    let (first, _) = with_sessions(&mut node, 3);
    // Nobody is connected any more.
    let mut node = Node::one_of_several(config(), node.store, 1);
    node.now_ms += 31 * 24 * 3600 * 1000;
    node.login(conn(9), password("ada"), device(9)).unwrap();
    assert_eq!(only_write(&mut node), (vec![b'u', b's'], vec![b's'; 3]));
    assert_eq!(identity_of(&node, first.session.user).registers.len(), 2);
}

#[test]
fn more_sessions_than_one_write_takes_are_ended_together() {
    let mut node = roomy(200);
    let (first, last) = with_sessions(&mut node, 150);
    node.logout(conn(1), first.session, Logout::All);
    let sets: Vec<_> = node.writes.iter().map(|write| write.sets.len()).collect();
    assert_eq!(sets, [64, 64, 23], "the credentials and 150 sessions");
    // Each holds only if nobody has written since the one before it.
    let versions: Vec<_> = node.writes.iter().map(|write| write.fence.version.unwrap()).collect();
    assert!(versions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{versions:?}");
    assert_eq!(identity_of(&node, first.session.user).registers.len(), 1);
    assert_eq!(
        node.login(conn(201), last.access(), device(150)).postponed(),
        ErrorCode::SessionRevoked
    );
}

#[test]
fn a_failure_between_two_writes_lets_nobody_in() {
    for (step, fault) in [(1, Fault::Unknown), (2, Fault::Refused), (3, Fault::AnswerLost)] {
        let mut node = roomy(200);
        let (first, last) = with_sessions(&mut node, 150);
        node.fail_at(step, fault);
        let logout = IdentityRequest::Logout(Logout::All);
        assert_eq!(node.error(conn(1), first.session, logout.into()), ErrorCode::StoreUnavailable);
        assert!(node.heal());
        // The tokens of all are worthless as of the first write.
        for worthless in [last.access(), last.resume(), last.refresh()] {
            let refused = node.login(conn(201), worthless, device(150)).postponed();
            assert_eq!(refused, ErrorCode::SessionRevoked);
        }
        node.logout(conn(1), first.session, Logout::All);
        assert_eq!(identity_of(&node, first.session.user).registers.len(), 1, "{step} {fault:?}");
        node.login(conn(202), password("ada"), device(1)).unwrap();
    }
}

#[test]
fn a_policy_that_shrinks_ends_what_is_too_much() {
    let mut node = roomy(200);
    let (first, last) = with_sessions(&mut node, 150);
    let devices = DevicePolicy { sessions_per_kind: 3, ..DevicePolicy::default() };
    let store = Arc::clone(&node.store);
    let mut node = Node::one_of_several(EngineConfig { devices, ..config() }, store, 1);
    let newest = node.login(conn(1), password("ada"), device(200)).unwrap();
    // Of the phones, the two newest stayed.
    assert_eq!(node.sessions(conn(1), newest.session).len(), 3);
    node.login(conn(2), last.access(), device(150)).unwrap();
    assert_eq!(
        node.login(conn(3), first.access(), device(1)).postponed(),
        ErrorCode::SessionRevoked
    );
}

#[test]
fn a_name_is_claimed_once_whoever_asks() {
    let mut node = Node::new();
    let user = node.register("ada").unwrap();
    let claim = node.writes.last().unwrap().clone();
    assert_eq!(claim.log, names::log_of("ada"));
    assert!(matches!(&claim.sets[..], [Set { rule: Rule::IfAbsent, .. }]), "{claim:?}");
    // Both read that the name is free before either claims it.
    let register = |node: &mut Node| {
        let register = dunlin_core::request::Register {
            username: "bob".into(),
            password: PASSWORD.into(),
            display_name: "Bob".into(),
            invitation: String::new(),
            attempt: Default::default(),
        };
        node.submit(
            conn(7),
            None,
            dunlin_core::request::CredentialRequest::Register(register).into(),
        )
    };
    let (one, two) = (register(&mut node), register(&mut node));
    node.run();
    use dunlin_protocol::wire::frame::Body;
    let answers = [node.response(conn(7), one), node.response(conn(7), two)];
    let registered = |body: &&Body| matches!(body, Body::Registered(_));
    assert_eq!(answers.iter().filter(registered).count(), 1, "{answers:?}");
    let refused = answers.iter().find(|body| !registered(body)).unwrap();
    let Body::Error(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code(), ErrorCode::NameTaken);
    let bob = node.login(conn(8), password("bob"), device(1)).unwrap();
    assert_ne!(bob.session.user, user);
}

#[test]
fn an_id_that_somebody_has_is_not_given_again() {
    // The same numbers in each run: this is the first id.
    let taken = Node::new().register("ada").unwrap();
    let mut node = Node::new();
    let somebody = Set::always(RegisterKey::letter(b'u'), Bytes::new());
    ask::write(&*node.store, vec![Write::registers(LogId::identity(taken), [somebody])]);
    assert_ne!(node.register("ada").unwrap(), taken);
    node.login(conn(1), password("ada"), device(1)).unwrap();
}

#[test]
fn accounts_are_listed_beside_what_is_damaged() {
    let mut node = Node::new();
    let users: Vec<_> = ["ada", "bob", "cy"].map(|name| node.register(name).unwrap()).into();
    let garbage = |log: LogId, letter: u8| {
        let set = Set::always(RegisterKey::letter(letter), Bytes::from_static(b"\xff"));
        Write::registers(log, [set])
    };
    let (name, identity) = (names::log_of("ada"), LogId::identity(users[1]));
    ask::write(&*node.store, vec![garbage(name, b'n'), garbage(identity, b'u')]);
    let list = AdminRequest::ListUsers { after: None, limit: 10 };
    let Ok(AdminReply::Users { users, damaged, next: None }) = node.administer(list) else {
        panic!("it can be listed");
    };
    assert_eq!(damaged, [name]);
    let mut listed: Vec<_> =
        users.iter().map(|record| (record.username.as_str(), record.damaged)).collect();
    listed.sort_unstable();
    assert_eq!(listed, [("bob", true), ("cy", false)]);
    // Who is damaged is told so, and nobody else is hurt.
    assert_eq!(node.login(conn(1), password("bob"), device(1)).postponed(), ErrorCode::DataCorrupt);
    assert_eq!(node.login(conn(1), password("ada"), device(1)).postponed(), ErrorCode::DataCorrupt);
    node.login(conn(1), password("cy"), device(1)).unwrap();
}

#[test]
fn whoever_has_a_damaged_identity_gets_a_new_one_with_a_new_password() {
    let mut node = Node::new();
    let bob = node.register("bob").unwrap();
    let before = node.login(conn(1), password("bob"), device(1)).unwrap();
    let garbage = Set::always(RegisterKey::letter(b'u'), Bytes::from_static(b"\xff"));
    ask::write(&*node.store, vec![Write::registers(LogId::identity(bob), [garbage])]);
    let named = |request: fn(String) -> AdminRequest| request("bob".into());
    for request in [
        named(|username| AdminRequest::DisableUser { username }),
        named(|username| AdminRequest::EnableUser { username }),
    ] {
        let Err(AdminError::Refused { code, .. }) = node.administer(request) else { panic!() };
        assert_eq!(code, ErrorCode::DataCorrupt);
    }
    let (username, password_now) = ("bob".into(), "another password".to_owned());
    let reset = AdminRequest::ResetPassword { username, password: password_now.clone() };
    node.administer(reset).unwrap();
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    assert_eq!(
        node.login(conn(2), before.resume(), device(1)).postponed(),
        ErrorCode::SessionRevoked
    );
    assert_eq!(
        node.login(conn(2), password("bob"), device(1)).refused(),
        ErrorCode::WrongCredentials
    );
    let credentials = password_of("bob", &password_now);
    assert_eq!(node.login(conn(2), credentials, device(1)).unwrap().session.user, bob);
    node.administer(named(|username| AdminRequest::DisableUser { username })).unwrap();
}
