//! Logins that race with each other, and with the ends of their connections.

use dunlin_core::attempt::{Attempt, Waiting};
use dunlin_core::placement::worker_of_user;
use dunlin_core::request::{CredentialRequest, Device, Login, Purpose, Request, Source};
use dunlin_core::transport::{Delivery, Session};
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{CloseReason, ErrorCode};

use super::node::*;

/// The logins of one device that race, in the order in which they were handed over.
const RACERS: u32 = 5;

/// A login for which somebody waits.
fn waiting_for(credential: Credential, device: Device, number: u64) -> (Waiting, Request) {
    let (waiting, attempt) = Attempt::begin();
    let attempt = attempt.numbered(number);
    let login =
        Login { credential, device, attempt, purpose: Purpose::Live, source: Source::default() };
    (waiting, CredentialRequest::Login(login).into())
}

/// A kind of login.
type Way = fn(&mut Node) -> Credential;

fn by_password(node: &mut Node) -> Credential {
    node.register("ada").unwrap();
    password("ada")
}

fn by_issuer(_: &mut Node) -> Credential {
    issued("bob")
}

/// All of one session, which is not connected.
fn by_resume_token(node: &mut Node) -> Credential {
    let ada = node.registered("ada");
    node.disconnect(conn(1), ada.session);
    ada.resume()
}

fn by_refresh_token(node: &mut Node) -> Credential {
    let ada = node.registered("ada");
    node.disconnect(conn(1), ada.session);
    ada.refresh()
}

#[test]
fn the_newest_login_of_a_device_stays_however_they_race() {
    let ways: [Way; 3] = [by_password, by_issuer, by_resume_token];
    let mut overtaken = 0;
    for (way, seed) in ways.into_iter().flat_map(|way| (0..200).map(move |seed| (way, seed))) {
        let mut node = Node::new();
        let credential = way(&mut node);
        node.shuffle = Some(seed);
        let waiting: Vec<Waiting> = (1..=RACERS)
            .map(|slot| {
                let (waiting, login) = waiting_for(credential.clone(), device(1), slot.into());
                node.submit(conn(slot), None, login);
                waiting
            })
            .collect();
        node.run();
        for slot in 1..RACERS {
            let deliveries = node.take(conn(slot));
            match &deliveries[..] {
                [
                    first,
                    Delivery::Close {
                        reason: CloseReason::Replaced | CloseReason::Reconnected,
                        ..
                    },
                ] => {
                    overtaken += u32::from(matches!(first, Delivery::LoginPostponed(_)));
                }
                other => panic!("seed {seed}, login {slot}: {other:?}"),
            }
        }
        let newest = node.take_login(conn(RACERS)).unwrap();
        let sessions = node.sessions(conn(RACERS), newest.session);
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert_eq!(node.open_sessions(), 1);
        drop(waiting);
    }
    assert!(overtaken > 100, "{overtaken} were not in order");
}

/// The session that was opened for a login, if it was.
fn session_of(deliveries: &[Delivery]) -> Option<Session> {
    match deliveries {
        [Delivery::LoggedIn { session, .. }] => Some(*session),
        [Delivery::LoginPostponed(_)] => None,
        other => panic!("a login has one answer: {other:?}"),
    }
}

#[test]
fn a_login_may_be_abandoned_at_any_step() {
    let ways: [Way; 4] = [by_password, by_issuer, by_resume_token, by_refresh_token];
    for way in ways {
        let mut step = 0;
        loop {
            let mut node = Node::new();
            let credential = way(&mut node);
            let (waiting, login) = waiting_for(credential.clone(), device(1), 1);
            node.submit(conn(2), None, login);
            (0..step).for_each(|_| assert!(node.step()));
            let is_in = node.open_sessions() == 1;
            drop(waiting);
            node.run();
            let opened = session_of(&node.take(conn(2)));
            assert_eq!(opened.is_some(), is_in, "after {step} steps");
            assert_eq!(node.open_sessions(), u64::from(is_in));
            if let Some(session) = opened {
                // The transport was told of it after the end of the connection.
                node.disconnect(conn(2), session);
            }
            // Whoever tries again gets in with the same, and is alone.
            let again = node.login(conn(3), credential, device(1)).unwrap();
            assert_eq!(node.sessions(conn(3), again.session).len(), 1);
            node.assert_open(conn(3));
            if is_in {
                break;
            }
            step += 1;
        }
        assert!(step >= 3, "{step} steps are too few to be all");
    }
}

#[test]
fn an_abandoned_login_is_not_even_begun() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    let (waiting, login) = waiting_for(password("ada"), device(1), 1);
    drop(waiting);
    let requests = node.store_requests;
    node.submit(conn(1), None, login);
    node.run();
    assert_eq!(session_of(&node.take(conn(1))), None);
    assert_eq!(node.store_requests, requests);
}

#[test]
fn an_abandoned_guess_costs_no_hash_and_no_try() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    for number in 0..50 {
        let guess = password_of("ada", &format!("wrong horse {number}"));
        let (waiting, login) = waiting_for(guess, device(1), number);
        node.submit_to(0, conn(1), None, login);
        // It is on its way to the worker of the name, or waits for the store there.
        assert!(node.step());
        drop(waiting);
        node.run();
        assert_eq!(node.take_login(conn(1)).postponed(), ErrorCode::NotLoggedIn);
    }
    node.login(conn(2), password("ada"), device(1)).unwrap();
}

#[test]
fn abandoned_logins_are_not_in_the_way_of_others() {
    const CROWD: u32 = 60;
    let mut node = Node::new();
    let ada = node.registered("ada");
    let worker = usize::from(worker_of_user(ada.session.user, WORKERS));
    let mut waiting = Vec::new();
    for slot in 0..CROWD {
        let (wants, login) = waiting_for(ada.resume(), device(1), u64::from(slot) + 1);
        waiting.push(wants);
        node.submit_to(worker, conn(10 + slot), None, login);
    }
    node.submit_to(worker, conn(2), None, entering(ada.resume(), device(1)));
    // The queue is full: those who came last are sent away.
    (0..CROWD).for_each(|_| assert!(node.step()));
    assert_eq!(node.take_login(conn(9 + CROWD)).postponed(), ErrorCode::Overloaded);
    waiting.clear();
    node.run();
    assert_eq!(node.take_login(conn(2)).unwrap().session, ada.session);
    assert_eq!(node.open_sessions(), 1);
    node.assert_closed(conn(1), CloseReason::Reconnected);
}
