//! What the program around the engine can do to accounts.

use std::sync::Arc;

use dunlin_core::admin::{AdminError, AdminReply, AdminRequest, UserDetails, UserRecord};
use dunlin_core::config::{EngineConfig, Registration};
use dunlin_core::request::AccountRequest;
use dunlin_protocol::wire::{CloseReason, ErrorCode, frame::Body};
use dunlin_protocol::{LogId, SessionId};

use super::node::*;

fn add(username: &str) -> AdminRequest {
    let (username, password) = (username.into(), PASSWORD.into());
    AdminRequest::AddUser { username, password, display_name: String::new() }
}

fn refusal(result: Result<AdminReply, AdminError>) -> ErrorCode {
    match result {
        Err(AdminError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn accounts_are_added_where_nobody_may_register() {
    let closed = EngineConfig { registration: Some(Registration::Closed), ..config() };
    let mut node = Node::with(closed, Arc::default());
    let Ok(AdminReply::UserAdded { user }) = node.administer(add("ada")) else {
        panic!("the name is free");
    };
    let ada = node.login(conn(1), password("ada"), device(1)).unwrap();
    assert_eq!(ada.session.user, user);
    assert_eq!(refusal(node.administer(add("ada"))), ErrorCode::NameTaken);
    let Err(AdminError::Invalid(invalid)) = node.administer(add("No Name")) else {
        panic!("the name has spaces");
    };
    assert_eq!(invalid.field, "username");
}

fn list(node: &mut Node, after: Option<LogId>, limit: usize) -> (Vec<UserRecord>, Option<LogId>) {
    match node.administer(AdminRequest::ListUsers { after, limit }) {
        Ok(AdminReply::Users { users, damaged, next }) => {
            assert_eq!(damaged, []);
            (users, next)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_accounts_are_listed_page_by_page() {
    let mut node = Node::new();
    assert_eq!(list(&mut node, None, 10), (Vec::new(), None));
    for number in 0..25 {
        node.register(&format!("user{number}")).unwrap();
    }
    let app = node.login(conn(1), issued("Issued"), device(1)).unwrap();
    node.login(conn(2), password("user3"), device(2)).unwrap();
    node.administer(AdminRequest::DisableUser { username: "user7".into() }).unwrap();
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (users, next) = list(&mut node, after, 10);
        assert!(users.len() <= 10);
        all.extend(users);
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((all.len(), pages), (26, 3));
    let find = |name: &str| all.iter().find(|record| record.username == name).unwrap();
    let issued = find("Issued");
    assert_eq!((issued.user, issued.issuer.as_str()), (app.session.user, "app"));
    assert_eq!((find("user3").sessions, find("user3").disabled), (1, false));
    assert!(find("user7").disabled);
    // A limit of nothing and a limit of everything are brought into bounds.
    assert_eq!(list(&mut node, None, 0).0.len(), 1);
    assert_eq!(list(&mut node, None, usize::MAX).0.len(), 26);
}

#[test]
fn a_page_takes_three_rounds_to_the_store_however_long_it_is() {
    let mut node = Node::new();
    for number in 0..40 {
        node.register(&format!("user{number}")).unwrap();
    }
    for limit in [1, 10, 100] {
        assert_eq!(node.rounds_of(AdminRequest::ListUsers { after: None, limit }), 3);
    }
}

#[test]
fn a_disabled_account_is_out_until_it_is_enabled() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let disable = AdminRequest::DisableUser { username: "ada".into() };
    assert_eq!(node.administer(disable.clone()), Ok(AdminReply::Done));
    node.assert_closed(conn(1), CloseReason::AccountDisabled);
    let writes = node.writes.len();
    assert_eq!(node.administer(disable), Ok(AdminReply::Done));
    assert_eq!(node.writes.len(), writes);
    for credential in [password("ada"), ada.resume(), ada.access(), ada.refresh()] {
        let refused = node.login(conn(2), credential, device(1)).postponed();
        assert_eq!(refused, ErrorCode::AccountDisabled);
    }
    let wrong = node.login(conn(2), password_of("ada", "wrong horse"), device(1)).refused();
    assert_eq!(wrong, ErrorCode::WrongCredentials, "who can't prove it learns nothing");
    let enable = AdminRequest::EnableUser { username: "ada".into() };
    assert_eq!(node.administer(enable.clone()), Ok(AdminReply::Done));
    assert_eq!(node.administer(enable), Ok(AdminReply::Done));
    node.login(conn(2), password("ada"), device(1)).unwrap();
    assert_eq!(node.login(conn(3), ada.resume(), device(1)).postponed(), ErrorCode::SessionRevoked);
}

fn show(node: &mut Node, username: &str) -> UserDetails {
    match node.administer(AdminRequest::ShowUser { username: username.into() }) {
        Ok(AdminReply::User(details)) => *details,
        other => panic!("{other:?}"),
    }
}

fn kick(session: Option<SessionId>) -> AdminRequest {
    AdminRequest::KickUser { username: "ada".into(), session }
}

#[test]
fn who_is_kicked_is_out_and_may_come_back() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    let writes = node.writes.len();
    let shown = show(&mut node, "ada");
    assert_eq!((shown.user, shown.display_name.as_str()), (ada.session.user, "ADA"));
    assert_eq!((shown.issuer.as_str(), shown.disabled), ("", false));
    assert!(shown.sessions.iter().all(|it| it.connected && it.expires_ms > Some(it.opened_ms)));
    let ids: Vec<_> = shown.sessions.iter().map(|it| it.session).collect();
    assert_eq!(ids, [ada.session.session, other.session.session]);
    assert_eq!(node.writes.len(), writes, "who looks changes nothing");

    assert_eq!(node.administer(kick(Some(ids[0]))), Ok(AdminReply::Done));
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    node.assert_open(conn(2));
    assert_eq!(node.login(conn(3), ada.resume(), device(1)).postponed(), ErrorCode::SessionRevoked);
    assert_eq!(refusal(node.administer(kick(Some(ids[0])))), ErrorCode::SessionRevoked);
    assert_eq!(node.administer(kick(None)), Ok(AdminReply::Done));
    node.assert_closed(conn(2), CloseReason::LoggedOut);
    for credential in [other.resume(), other.access(), other.refresh()] {
        let refused = node.login(conn(3), credential, device(2)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked);
    }
    node.login(conn(4), password("ada"), device(1)).unwrap();
    assert_eq!(show(&mut node, "ada").sessions.len(), 1);
}

#[test]
fn a_session_that_only_an_issuer_knows_is_kicked_as_well() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    let shown = show(&mut node, "ada");
    assert_eq!(shown.issuer, "app");
    let [session] = &shown.sessions[..] else { panic!("{shown:?}") };
    assert_eq!((session.session, session.expires_ms), (ada.session.session, None));
    assert_eq!(node.administer(kick(Some(session.session))), Ok(AdminReply::Done));
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    assert_eq!(node.login(conn(2), ada.resume(), device(1)).postponed(), ErrorCode::SessionRevoked);
    assert_eq!(show(&mut node, "ada").sessions, []);
}

#[test]
fn a_password_is_reset() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let reset = |password: &str| AdminRequest::ResetPassword {
        username: "ada".into(),
        password: password.into(),
    };
    assert!(matches!(node.administer(reset("short")), Err(AdminError::Invalid(_))));
    node.assert_open(conn(1));
    assert_eq!(node.administer(reset("battery staple")), Ok(AdminReply::Done));
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    assert_eq!(node.login(conn(2), ada.resume(), device(1)).postponed(), ErrorCode::SessionRevoked);
    let refused = node.login(conn(2), password("ada"), device(1)).refused();
    assert_eq!(refused, ErrorCode::WrongCredentials);
    node.login(conn(2), password_of("ada", "battery staple"), device(1)).unwrap();
}

#[test]
fn unknown_names_and_issuers_users_are_named_so() {
    let mut node = Node::new();
    node.login(conn(1), issued("ada"), device(1)).unwrap();
    let username = || "nobody".to_owned();
    for request in [
        AdminRequest::DisableUser { username: username() },
        AdminRequest::EnableUser { username: username() },
        AdminRequest::ResetPassword { username: username(), password: PASSWORD.into() },
        AdminRequest::ShowUser { username: username() },
        AdminRequest::KickUser { username: username(), session: None },
    ] {
        assert_eq!(refusal(node.administer(request)), ErrorCode::NoSuchUser);
    }
    let reset = AdminRequest::ResetPassword { username: "ada".into(), password: PASSWORD.into() };
    assert_eq!(refusal(node.administer(reset)), ErrorCode::IssuerAccount);
    node.passwords_busy = true;
    assert_eq!(refusal(node.administer(add("bob"))), ErrorCode::Overloaded);
}

#[test]
fn passwords_are_not_shown() {
    let shown = format!("{:?}", add("ada"));
    assert!(!shown.contains(PASSWORD), "{shown}");
}

#[test]
fn a_user_gets_another_display_name() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let set = |display_name: &str| AdminRequest::SetDisplayName {
        username: "ada".into(),
        display_name: display_name.into(),
    };
    let called = |node: &mut Node| {
        let user_ids = vec![ada.session.user];
        let find = AccountRequest::FindUsers { usernames: Vec::new(), user_ids };
        match node.request(conn(1), Some(ada.session), find.into()) {
            Body::Users(users) => users.users[0].display_name.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(called(&mut node), "ADA");
    node.administer(set(" Zoe\u{308}  L. ")).unwrap();
    assert_eq!(called(&mut node), "Zoë L.");
    assert!(node.administer(set("a\u{202e}b")).is_err());
    assert!(node.administer(set(&"x".repeat(65))).is_err());
    node.administer(set("")).unwrap();
    assert_eq!(called(&mut node), "ada");
    let nobody = AdminRequest::SetDisplayName { username: "eve".into(), display_name: "E".into() };
    assert!(node.administer(nobody).is_err());
}
