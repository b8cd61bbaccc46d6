//! Users of an app with its own accounts, who log in by its tokens.

use std::sync::Arc;

use dunlin_core::admin::AdminRequest;
use dunlin_core::config::{EngineConfig, Registration};
use dunlin_core::request::Logout;
use dunlin_protocol::wire::{CloseReason, DeviceKind, ErrorCode};

use super::node::*;

#[test]
fn the_first_login_makes_the_account_and_later_ones_write_nothing() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("Ada@example.org"), device(1)).unwrap();
    assert_eq!(ada.reply.username, "Ada@example.org");
    assert_eq!(ada.reply.tokens, None);
    assert_eq!(node.writes.len(), 3, "the account, the look of the name, and the claim of it");
    let again = node.login(conn(2), issued("Ada@example.org"), device(2)).unwrap();
    assert_eq!(again.session.user, ada.session.user);
    assert_ne!(again.session.session, ada.session.session);
    let requests = node.store_requests;
    node.login(conn(3), again.resume(), device(2)).unwrap();
    assert_eq!(node.store_requests - requests, 1, "only the identity is read");
    assert_eq!(node.writes.len(), 3);
    // Issuers' names are exact.
    let other = node.login(conn(4), issued("ada@example.org"), device(1)).unwrap();
    assert_ne!(other.session.user, ada.session.user);
}

#[test]
fn first_logins_at_once_make_one_user() {
    for seed in 0..200 {
        let mut node = Node::new();
        node.shuffle = Some(seed);
        for slot in 0..4 {
            let (credential, device) = (issued("ada"), device(slot));
            node.submit(conn(slot.into()), None, entering(credential, device));
        }
        node.run();
        let users: Vec<_> =
            (0..4).map(|slot| node.take_login(conn(slot)).unwrap().session.user).collect();
        assert!(users.iter().all(|user| *user == users[0]), "{users:?}");
    }
}

#[test]
fn names_of_others_are_never_merged() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    let refused = node.login(conn(1), issued("ada"), device(1)).postponed();
    assert_eq!(refused, ErrorCode::NameTaken);
    node.login(conn(1), issued("bob"), device(1)).unwrap();
    let other = issued_at("other", "bob", NOW_MS / 1000);
    assert_eq!(node.login(conn(2), other, device(1)).postponed(), ErrorCode::NameTaken);
    assert_eq!(node.register("bob"), Err(ErrorCode::NameTaken));
}

#[test]
fn forged_and_expired_tokens_are_refused() {
    let mut node = Node::new();
    let unknown = issued_at("nobody", "ada", NOW_MS / 1000);
    assert_eq!(node.login(conn(1), unknown, device(1)).refused(), ErrorCode::TokenInvalid);
    let future = issued_at("app", "ada", NOW_MS / 1000 + 3_600);
    assert_eq!(node.login(conn(1), future, device(1)).postponed(), ErrorCode::NewTokenNeeded);
    let old = issued_at("app", "ada", NOW_MS / 1000 - 31 * 86_400);
    assert_eq!(node.login(conn(1), old, device(1)).postponed(), ErrorCode::TokenExpired);
    assert_eq!(node.store_requests, 0);
}

#[test]
fn nobody_stays_for_ever_without_the_issuers_word() {
    let mut node = Node::new();
    let mut ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    for hour in 1..24 {
        node.now_ms = NOW_MS + hour * 3_600_000;
        ada = node.login(conn(hour as u32 + 1), ada.resume(), device(1)).unwrap();
        assert_eq!(u64::from(ada.reply.resume_expires_in_s), (24 - hour) * 3_600);
    }
    node.now_ms = NOW_MS + 24 * 3_600_000;
    let refused = node.login(conn(50), ada.resume(), device(1)).postponed();
    assert_eq!(refused, ErrorCode::TokenExpired);
    node.login(conn(50), issued("ada"), device(1)).unwrap();
}

#[test]
fn a_log_out_outlives_the_connection() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    let other = node.login(conn(2), issued("ada"), device(2)).unwrap();
    node.logout(conn(1), ada.session, Logout::This);
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    node.assert_open(conn(2));
    let refused = node.login(conn(3), ada.resume(), device(1)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked);
    // Also on a server that was restarted.
    let mut node = Node::with(config(), node.store);
    let refused = node.login(conn(3), ada.resume(), device(1)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked);
    node.login(conn(3), other.resume(), device(2)).unwrap();
    // The issuer's word opens a new session.
    node.login(conn(4), issued("ada"), device(1)).unwrap();
}

#[test]
fn logging_out_everywhere_ends_older_tokens_of_the_issuer_too() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    let other = node.login(conn(2), issued("ada"), device(2)).unwrap();
    node.now_ms += 65_000;
    node.logout(conn(1), ada.session, Logout::All);
    node.assert_closed(conn(1), CloseReason::LoggedOut);
    node.assert_closed(conn(2), CloseReason::LoggedOut);
    for (worthless, number) in [(ada.resume(), 1), (other.resume(), 2)] {
        let refused = node.login(conn(3), worthless, device(number)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked);
    }
    let refused = node.login(conn(3), issued("ada"), device(1)).postponed();
    assert_eq!(refused, ErrorCode::NewTokenNeeded, "the issuer has newer ones");
    let newer = issued_at("app", "ada", NOW_MS / 1000 + 65);
    node.login(conn(3), newer, device(1)).unwrap();
}

#[test]
fn a_token_of_an_issuer_is_taken_for_as_young_as_it_can_be() {
    for (waited_ms, may_be_younger) in [(998, true), (999, false)] {
        let mut node = Node::new();
        let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
        node.now_ms += waited_ms;
        node.logout(conn(1), ada.session, Logout::All);
        node.now_ms += 61_000;
        // It counts in seconds: it was made up to 999 ms later than it says.
        let again = node.login(conn(2), issued("ada"), device(1));
        assert_eq!(matches!(again, LoginResult::In(_)), may_be_younger, "{again:?}");
    }
}

/// What makes all tokens of a user worthless.
type Revoking = fn(&mut Node, &LoggedIn);

fn by_logging_out(node: &mut Node, ada: &LoggedIn) {
    node.logout(conn(1), ada.session, Logout::All);
}

fn by_disabling(node: &mut Node, _: &LoggedIn) {
    node.administer(AdminRequest::DisableUser { username: "ada".into() }).unwrap();
    node.administer(AdminRequest::EnableUser { username: "ada".into() }).unwrap();
}

#[test]
fn an_issuer_whose_clock_is_behind_sends_nobody_away() {
    let ways: [Revoking; 2] = [by_logging_out, by_disabling];
    for (revoke, behind_s) in ways.into_iter().flat_map(|way| [5, 59].map(|s| (way, s))) {
        let mut node = Node::new();
        let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
        node.now_ms += 3_600_000;
        revoke(&mut node, &ada);
        // Made now, by a clock that is behind: at once, and as long as it is so.
        for (slot, waited_s) in (2..).zip([0, 1, 5, 30, 60, 90]) {
            node.now_ms += waited_s * 1000;
            let fresh = issued_at("app", "ada", node.now_ms / 1000 - behind_s);
            node.login(conn(slot), fresh, device(1)).unwrap();
        }
    }
}

#[test]
fn what_an_issuer_signed_before_never_comes_back() {
    let ways: [Revoking; 2] = [by_logging_out, by_disabling];
    for revoke in ways {
        let mut node = Node::new();
        let before = issued("ada");
        let ada = node.login(conn(1), before.clone(), device(1)).unwrap();
        node.now_ms += 30_000;
        revoke(&mut node, &ada);
        // It could have been made just now, by a clock that is half a minute behind; but not for long.
        node.login(conn(2), before.clone(), device(1)).unwrap();
        node.now_ms += 31_000;
        for _ in 0..3 {
            node.now_ms += 3_600_000;
            let refused = node.login(conn(3), before.clone(), device(1)).postponed();
            assert_eq!(refused, ErrorCode::NewTokenNeeded);
        }
    }
}

#[test]
fn a_date_that_was_wrong_when_all_was_revoked_shuts_nobody_out() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    node.ahead_ms = 7 * 86_400_000;
    node.logout(conn(1), ada.session, Logout::All);
    node.ahead_ms = 0;
    node.now_ms += 1_000;
    let fresh = issued_at("app", "ada", node.now_ms / 1000);
    let again = node.login(conn(2), fresh, device(1)).unwrap();
    node.login(conn(3), again.resume(), device(1)).unwrap();
    node.now_ms += 120_000;
    assert_eq!(
        node.login(conn(4), issued("ada"), device(1)).postponed(),
        ErrorCode::NewTokenNeeded
    );
}

#[test]
fn another_device_takes_the_place_of_the_oldest() {
    let mut node = Node::new();
    let oldest = node.login(conn(1), issued("ada"), device(1)).unwrap();
    let writes = node.writes.len();
    for number in 2..=4 {
        node.login(conn(number), issued("ada"), device(number as u8)).unwrap();
    }
    node.login(conn(5), issued("ada"), device_of(5, DeviceKind::Desktop)).unwrap();
    node.assert_open(conn(1));
    assert_eq!(node.writes.len(), writes);
    node.login(conn(6), issued("ada"), device(6)).unwrap();
    node.assert_closed(conn(1), CloseReason::Replaced);
    assert_eq!(node.writes.len(), writes + 1, "the end of a session is remembered");
    let refused = node.login(conn(7), oldest.resume(), device(1)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked);
    (2..=6).for_each(|number| node.assert_open(conn(number)));
}

#[test]
fn the_same_device_takes_its_own_place_without_a_write() {
    let mut node = Node::new();
    node.login(conn(1), issued("ada"), device(1)).unwrap();
    let writes = node.writes.len();
    for number in 2..20 {
        let ada = node.login(conn(number), issued("ada"), device(1)).unwrap();
        node.assert_closed(conn(number - 1), CloseReason::Replaced);
        assert_eq!(node.sessions(conn(number), ada.session).len(), 1);
    }
    assert_eq!(node.writes.len(), writes);
}

#[test]
fn endless_replacements_are_bounded() {
    let mut node = Node::new();
    let first = node.login(conn(0), issued("ada"), device(0)).unwrap();
    let mut last = first.clone();
    for number in 1..100 {
        node.now_ms += 1_000;
        let word = issued_at("app", "ada", node.now_ms / 1000);
        last = node.login(conn(number), word, device(number as u8)).unwrap();
        let sessions = node.sessions(conn(number), last.session).len();
        assert!((1..=4).contains(&sessions), "{sessions}");
    }
    let refused = node.login(conn(200), first.resume(), device(0)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked);
    node.login(conn(200), last.resume(), device(99)).unwrap();
}

#[test]
fn what_is_known_of_issued_sessions_is_listed() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device_of(1, DeviceKind::Web)).unwrap();
    let sessions = node.sessions(conn(1), ada.session);
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].session_id, ada.session.session.get());
    assert!(sessions[0].connected);
    assert_eq!(sessions[0].opened_ms, NOW_MS);
    assert_eq!(sessions[0].device.as_ref().unwrap().kind(), DeviceKind::Web);
    node.disconnect(conn(1), ada.session);
    let again = node.login(conn(2), issued("ada"), device(2)).unwrap();
    assert_eq!(node.sessions(conn(2), again.session).len(), 1);
}

#[test]
fn a_disabled_user_is_out_whatever_the_issuer_says() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    node.administer(AdminRequest::DisableUser { username: "ada".into() }).unwrap();
    node.assert_closed(conn(1), CloseReason::AccountDisabled);
    for credential in [issued("ada"), ada.resume()] {
        let refused = node.login(conn(2), credential, device(1)).postponed();
        assert_eq!(refused, ErrorCode::AccountDisabled);
    }
    node.now_ms += 1_000;
    node.administer(AdminRequest::EnableUser { username: "ada".into() }).unwrap();
    let refused = node.login(conn(2), ada.resume(), device(1)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked, "what was ended stays ended");
    let newer = issued_at("app", "ada", NOW_MS / 1000 + 1);
    node.login(conn(2), newer, device(1)).unwrap();
}

#[test]
fn tokens_that_could_never_be_revoked_are_refused() {
    let mut node = Node::new();
    let now_s = NOW_MS / 1000;
    for claims in [
        serde_json::json!({"iss": "app", "sub": "ada", "exp": now_s + 60}),
        serde_json::json!({"iss": "app", "sub": "ada", "iat": now_s, "exp": 1e308}),
        serde_json::json!({"iss": "app", "sub": "ada", "iat": now_s, "exp": now_s + 31 * 86_400}),
    ] {
        let refused = node.login(conn(1), signed(&claims), device(1)).refused();
        assert_eq!(refused, ErrorCode::TokenInvalid, "{claims}");
    }
    assert_eq!(node.store_requests, 0);
}

/// A node where the names of an issuer's users are kept for them.
fn reserving() -> Node {
    let mut config = config();
    config.issuers[0].reserved_prefix = "emp-".into();
    Node::with(config, Arc::default())
}

#[test]
fn nobody_gets_a_name_before_the_issuers_user_comes() {
    let mut node = reserving();
    assert_eq!(node.register("emp-ada"), Err(ErrorCode::NameTaken));
    let other = issued_at("other", "emp-ada", NOW_MS / 1000);
    assert_eq!(node.login(conn(1), other, device(1)).postponed(), ErrorCode::NameTaken);
    let add = AdminRequest::AddUser {
        username: "emp-ada".into(),
        password: PASSWORD.into(),
        display_name: String::new(),
    };
    assert!(node.administer(add).is_err());
    assert_eq!(node.writes.len(), 0);
    node.login(conn(1), issued("emp-ada"), device(1)).unwrap();
    // Others are as free as before, for everybody.
    node.register("emp").unwrap();
    node.login(conn(2), issued("bob"), device(1)).unwrap();
}

#[test]
fn where_there_are_issuers_nobody_registers_unless_it_is_said() {
    let says = |registration| EngineConfig { registration, ..config() };
    let register = |config| Node::with(config, Arc::default()).register("ada");
    assert_eq!(register(says(None)), Err(ErrorCode::RegistrationClosed));
    assert!(register(says(Some(Registration::Open))).is_ok());
    let nobody = EngineConfig { issuers: Vec::new(), ..says(None) };
    assert!(register(nobody).is_ok());
}
