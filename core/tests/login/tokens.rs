//! Coming back with the tokens of this server.

use std::sync::Arc;
use std::time::Duration;

use dunlin_core::auth::token::{Claims, TokenKeys, TokenKind};
use dunlin_core::config::{EngineConfig, TokenConfig};
use dunlin_core::request::{Device, Logout, Purpose};
use dunlin_core::store::Write;
use dunlin_core::store::contract::ask;
use dunlin_core::store::memory::MemoryStore;
use dunlin_protocol::DeviceId;
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{CloseReason, DeviceKind, ErrorCode};

use super::node::*;

#[test]
fn a_session_continues_by_access_and_resume_token() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let writes = node.writes.len();
    for (slot, credential) in [(2, ada.access()), (3, ada.resume())] {
        let again = node.login(conn(slot), credential, device(1)).unwrap();
        assert_eq!(again.session, ada.session);
        assert_eq!(again.reply.username, "ada");
        assert_eq!(again.reply.tokens, None, "those that it has stay good");
        // The older connection of the session goes.
        node.assert_closed(conn(slot - 1), CloseReason::Reconnected);
    }
    assert_eq!(node.writes.len(), writes, "coming back writes nothing");
    assert_eq!(node.sessions(conn(3), ada.session).len(), 1);
}

#[test]
fn a_resume_token_is_renewed_at_each_login() {
    let mut node = Node::new();
    let mut ada = node.registered("ada");
    for slot in 2..12 {
        node.now_ms += 23 * 3_600_000;
        ada = node.login(conn(slot), ada.resume(), device(1)).unwrap();
        assert_eq!(ada.reply.resume_expires_in_s, 24 * 3600);
    }
}

#[test]
fn tokens_expire() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let mut login = |after_s: u64, credential: Credential| {
        node.now_ms = NOW_MS + after_s * 1000;
        node.login(conn(2), credential, device(1))
    };
    assert_eq!(login(15 * 60, ada.access()).postponed(), ErrorCode::TokenExpired);
    assert_eq!(login(24 * 3600, ada.resume()).postponed(), ErrorCode::TokenExpired);
    assert_eq!(login(30 * 24 * 3600, ada.refresh()).postponed(), ErrorCode::TokenExpired);
}

#[test]
fn an_access_token_does_not_outlive_its_session() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    // Signed by a node with a longer life of tokens: the session still ends when it does.
    let expires_ms = NOW_MS + 100 * 24 * 3_600_000;
    let token = forged(&SIGNING_KEY, &ada, TokenKind::Access, expires_ms);
    node.now_ms += 30 * 24 * 3_600_000;
    let refused = node.login(conn(2), Credential::AccessToken(token), device(1)).postponed();
    assert_eq!(refused, ErrorCode::TokenExpired);
}

fn forged(key: &[u8; 32], of: &LoggedIn, kind: TokenKind, expires_ms: u64) -> String {
    let claims = Claims {
        user: of.session.user,
        username: "ada".into(),
        session: of.session.session,
        device: DeviceId([1; 16]),
        device_kind: DeviceKind::Phone,
        recorded: true,
        generation: 0,
        issued_ms: NOW_MS,
        expires_ms,
    };
    TokenKeys::new(key, &[]).sign_text(kind, &claims)
}

#[test]
fn tokens_of_others_are_refused() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let expires_ms = NOW_MS + 1_000;
    let foreign = forged(&[8; 32], &ada, TokenKind::Access, expires_ms);
    let wrong_kind = forged(&SIGNING_KEY, &ada, TokenKind::Refresh, expires_ms);
    let mut changed = ada.reply.resume_token.to_vec();
    changed[20] ^= 1;
    for credential in [
        Credential::AccessToken(foreign),
        Credential::AccessToken(wrong_kind),
        Credential::AccessToken(String::new()),
        Credential::AccessToken("no token at all".into()),
        Credential::RefreshToken(ada.tokens().access_token.clone()),
        Credential::ResumeToken(changed.into()),
        Credential::ResumeToken(bytes::Bytes::new()),
        Credential::IssuerToken(ada.tokens().access_token.clone()),
    ] {
        let refused = node.login(conn(2), credential.clone(), device(1)).refused();
        assert_eq!(refused, ErrorCode::TokenInvalid, "{credential:?}");
    }
    node.assert_open(conn(1));
}

#[test]
fn a_token_is_good_on_its_device_only() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    for stolen in [ada.access(), ada.refresh(), ada.resume()] {
        let refused = node.login(conn(2), stolen, device(2)).refused();
        assert_eq!(refused, ErrorCode::TokenInvalid);
    }
    // Nothing of the owner's is spent by the tries.
    node.login(conn(2), ada.refresh(), device(1)).unwrap();
}

#[test]
fn a_refresh_token_logs_in_once() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let again = node.login(conn(2), ada.refresh(), device(1)).unwrap();
    assert_eq!(again.session, ada.session);
    node.assert_closed(conn(1), CloseReason::Reconnected);
    let third = node.login(conn(3), again.refresh(), device(1)).unwrap();
    node.take(conn(2));
    node.now_ms += 60_000;
    // Used again, it ends the session for both of its users.
    let refused = node.login(conn(4), ada.refresh(), device(1)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked);
    node.assert_closed(conn(3), CloseReason::LoggedOut);
    for worthless in [third.refresh(), third.access(), third.resume(), ada.resume()] {
        let refused = node.login(conn(5), worthless, device(1)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked);
    }
    node.login(conn(5), password("ada"), device(1)).unwrap();
}

#[test]
fn tokens_are_refreshed_without_a_new_login() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.now_ms += 29 * 24 * 3_600_000;
    let first = &ada.tokens().refresh_token;
    let tokens = node.refresh(conn(1), ada.session, first).unwrap();
    node.now_ms += 29 * 24 * 3_600_000;
    let tokens = node.refresh(conn(1), ada.session, &tokens.refresh_token).unwrap();
    node.login(conn(2), Credential::AccessToken(tokens.access_token), device(1)).unwrap();
    node.assert_closed(conn(1), CloseReason::Reconnected);
    let spent = node.refresh(conn(2), ada.session, &tokens.refresh_token);
    assert!(spent.is_ok(), "the newest is good");
    let retried = node.refresh(conn(2), ada.session, &tokens.refresh_token);
    let newest = retried.expect("its answer may have been lost").refresh_token;
    assert!(node.refresh(conn(2), ada.session, &newest).is_ok());
    let reused = node.refresh(conn(2), ada.session, &tokens.refresh_token);
    assert_eq!(reused, Err(ErrorCode::SessionRevoked), "its answer has arrived");
    node.assert_closed(conn(2), CloseReason::LoggedOut);
}

#[test]
fn the_refresh_token_of_another_session_is_refused() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    node.register("bob").unwrap();
    let bob = node.login(conn(3), password("bob"), device(3)).unwrap();
    for stolen in [&other.tokens().refresh_token, &bob.tokens().refresh_token] {
        let refused = node.refresh(conn(1), ada.session, stolen);
        assert_eq!(refused, Err(ErrorCode::TokenInvalid));
    }
    assert!(node.refresh(conn(2), other.session, &other.tokens().refresh_token).is_ok());
}

#[test]
fn a_restarted_server_knows_its_tokens() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let mut node = Node::with(config(), node.store);
    node.login(conn(1), ada.resume(), device(1)).unwrap();
    node.login(conn(2), ada.refresh(), device(1)).unwrap();
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut node = Node::new();
    node.stray_answer();
    node.registered("ada");
}

const DAY_MS: u64 = 24 * 3_600_000;

#[test]
fn use_of_a_session_renews_it_and_a_day_of_it_is_written_once() {
    let mut node = Node::new();
    let mut ada = node.registered("ada");
    node.writes.clear();
    // For a hundred days, five times a day.
    for step in 1..=500 {
        node.now_ms += DAY_MS / 5;
        let again = node.login(conn(step + 1), ada.resume(), device(1)).unwrap();
        assert_eq!(again.session, ada.session);
        ada.reply.resume_token = again.reply.resume_token;
    }
    assert_eq!(node.writes.len(), 100, "one a day");
    // The refresh token of the first day is good as long as the session is.
    node.now_ms += 28 * DAY_MS;
    let again = node.login(conn(601), ada.refresh(), device(1)).unwrap();
    node.now_ms += 30 * DAY_MS - 1;
    let again = node.login(conn(602), again.refresh(), device(1)).unwrap();
    node.now_ms += 30 * DAY_MS;
    let over = node.login(conn(603), again.refresh(), device(1)).postponed();
    assert_eq!(over, ErrorCode::TokenExpired);
}

#[test]
fn a_lost_answer_never_dooms_a_session() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    // The answer is lost, again and again, and a long time passes.
    for _ in 0..3 {
        node.refresh(conn(1), ada.session, &ada.tokens().refresh_token).unwrap();
        node.now_ms += 65_000;
    }
    let resumed = node.login(conn(2), ada.resume(), device(1)).unwrap();
    node.take(conn(1));
    node.now_ms += 3_600_000;
    let tokens = node.refresh(conn(2), resumed.session, &ada.tokens().refresh_token).unwrap();
    // As a login, likewise.
    let lost = node.login(conn(3), ada.refresh(), device(1)).unwrap();
    let found = node.login(conn(4), ada.refresh(), device(1)).unwrap();
    // Which of several answers has arrived, the server learns by the use of what came with it: here the first.
    node.take(conn(4));
    let first = Credential::RefreshToken(tokens.refresh_token);
    let known = node.login(conn(5), first, device(1)).unwrap();
    node.take(conn(5));
    // What came with the others is in nobody's hands but a thief's.
    assert_ne!(lost.tokens().refresh_token, found.tokens().refresh_token);
    let stolen = node.login(conn(6), found.refresh(), device(1));
    assert_eq!(stolen.postponed(), ErrorCode::SessionRevoked);
    node.assert_closed(conn(5), CloseReason::LoggedOut);
    let over = node.login(conn(7), known.refresh(), device(1)).postponed();
    assert_eq!(over, ErrorCode::SessionRevoked);
}

/// A Login that comes late, on a connection that was given up, is answered to nobody.
#[test]
fn an_answer_that_nobody_reads_does_no_harm_to_the_one_that_was_read() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let read = node.login(conn(2), ada.refresh(), device(1)).unwrap();
    let _unread = node.login(conn(4), ada.refresh(), device(1)).unwrap();
    let resumed = node.login(conn(3), read.resume(), device(1)).unwrap();
    let refreshed = node.refresh(conn(3), resumed.session, &read.tokens().refresh_token);
    assert!(refreshed.is_ok());
}

#[test]
fn once_the_newest_has_arrived_the_one_before_it_is_spent() {
    // By its use, or by that of a token that came with it.
    let shows: [fn(&LoggedIn) -> Credential; 3] =
        [LoggedIn::refresh, LoggedIn::access, LoggedIn::resume];
    for show in shows {
        let mut node = Node::new();
        let ada = node.registered("ada");
        let newer = node.login(conn(2), ada.refresh(), device(1)).unwrap();
        node.login(conn(3), show(&newer), device(1)).unwrap();
        let spent = node.login(conn(4), ada.refresh(), device(1)).postponed();
        assert_eq!(spent, ErrorCode::SessionRevoked);
        // Both of its owners are out.
        let refused = node.login(conn(5), newer.access(), device(1)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked);
    }
}

#[test]
fn a_token_of_before_proves_nothing_of_the_newest() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.refresh(conn(1), ada.session, &ada.tokens().refresh_token).unwrap();
    node.login(conn(2), ada.access(), device(1)).unwrap();
    node.login(conn(3), ada.resume(), device(1)).unwrap();
    node.login(conn(4), ada.refresh(), device(1)).unwrap();
}

/// The store as it was when these were written.
fn restored(writes: &[Write]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    for write in writes {
        ask::write(&*store, vec![write.clone()]);
    }
    store
}

#[test]
fn a_restored_backup_keeps_the_sessions_that_it_has() {
    for refreshes in 1..5 {
        let mut node = Node::new();
        let ada = node.registered("ada");
        let backup = node.writes.clone();
        let mut newest = ada.clone();
        for slot in 0..refreshes {
            node.now_ms += DAY_MS;
            newest = node.login(conn(2 + slot), newest.refresh(), device(1)).unwrap();
        }
        for credential in [newest.refresh(), newest.resume(), newest.access(), ada.refresh()] {
            let now_ms = node.now_ms;
            let mut node = Node::with(config(), restored(&backup));
            node.now_ms = now_ms;
            let back = node.login(conn(1), credential.clone(), device(1)).unwrap();
            assert_eq!(back.session, ada.session);
            // It goes on as before.
            let token = match credential {
                Credential::RefreshToken(_) => back.refresh(),
                _ => newest.refresh(),
            };
            let next = node.login(conn(2), token.clone(), device(1)).unwrap();
            node.login(conn(3), next.refresh(), device(1)).unwrap();
            let spent = node.login(conn(4), token, device(1)).postponed();
            assert_eq!(spent, ErrorCode::SessionRevoked);
        }
    }
}

#[test]
fn a_device_gets_a_new_name_by_coming_back_with_it() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let named = |name: &str| Device { name: name.into(), ..device(1) };
    let listed = |node: &mut Node, slot: u32| {
        node.sessions(conn(slot), ada.session)[0].device.as_ref().unwrap().name.clone()
    };
    node.login(conn(2), ada.resume(), named("Ada's phone")).unwrap();
    assert_eq!(listed(&mut node, 2), "Ada's phone");
    let writes = node.writes.len();
    node.login(conn(3), ada.access(), named("Ada's phone")).unwrap();
    node.login(conn(4), ada.resume(), named("")).unwrap();
    assert_eq!((listed(&mut node, 4).as_str(), node.writes.len()), ("Ada's phone", writes));
    node.login(conn(5), ada.refresh(), named("a new phone")).unwrap();
    assert_eq!(listed(&mut node, 5), "a new phone");
}

#[test]
fn a_login_tells_when_its_session_ends() {
    let mut node = Node::new();
    let mut ada = node.registered("ada");
    let month_s = 30 * 24 * 3_600;
    assert_eq!(ada.reply.session_expires_in_s, month_s);
    assert_eq!(ada.tokens().refresh_expires_in_s, month_s);
    for (slot, hours) in (2..).zip([1, 20, 20, 20, 1]) {
        node.now_ms += hours * 3_600_000;
        ada = node.login(conn(slot), ada.resume(), device(1)).unwrap();
        // What is gained by less than a day is not written.
        assert!((month_s - 24 * 3_600..=month_s).contains(&ada.reply.session_expires_in_s));
    }
    node.disconnect(conn(6), ada.session);
    let ends_ms = node.now_ms + u64::from(ada.reply.session_expires_in_s) * 1000;
    let tokens = node.login_for(Purpose::NewTokens, conn(7), ada.resume(), device(1)).unwrap();
    node.now_ms = ends_ms - 1;
    node.login(conn(8), tokens.refresh(), device(1)).unwrap();
    // Of an issuer's user only the issuer moves it.
    let bob = node.login(conn(10), issued_at("app", "bob", node.now_ms / 1000), device(1)).unwrap();
    assert_eq!(bob.reply.session_expires_in_s, 24 * 3_600);
    node.now_ms += 3_600_000;
    let bob = node.login(conn(11), bob.resume(), device(1)).unwrap();
    assert_eq!(bob.reply.session_expires_in_s, 23 * 3_600);
    assert_eq!(bob.reply.resume_expires_in_s, 23 * 3_600);
}

#[test]
fn no_token_is_said_to_outlive_its_session() {
    let tokens = TokenConfig { refresh: Duration::from_secs(600), ..TokenConfig::default() };
    let mut node = Node::with(EngineConfig { tokens, ..config() }, Arc::default());
    let ada = node.registered("ada");
    assert_eq!((ada.reply.resume_expires_in_s, ada.tokens().access_expires_in_s), (600, 600));
    node.now_ms += 59_000;
    let again = node.login(conn(2), ada.resume(), device(1)).unwrap();
    assert_eq!(again.reply.resume_expires_in_s, 541, "not yet renewed");
    node.now_ms += 1_000;
    let again = node.login(conn(3), ada.resume(), device(1)).unwrap();
    assert_eq!(again.reply.resume_expires_in_s, 600);
}

#[test]
fn who_comes_back_can_ask_for_new_tokens_and_nothing_is_written() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    // Somebody had refreshed, and the answer was lost.
    node.refresh(conn(1), ada.session, &ada.tokens().refresh_token).unwrap();
    let writes = node.writes.len();
    let mut newest = ada.clone();
    for (slot, credential) in (2..).zip([ada.resume(), ada.access(), ada.resume()]) {
        newest = node.login_for(Purpose::NewTokens, conn(slot), credential, device(1)).unwrap();
        assert_eq!(newest.session, ada.session);
    }
    assert_eq!(node.writes.len(), writes);
    // Whether or not that answer arrived, its owner gets in.
    for credential in [ada.refresh(), newest.refresh()] {
        let mut node = Node::with(config(), restored(&node.writes));
        let back = node.login(conn(1), credential, device(1)).unwrap();
        node.login(conn(2), back.refresh(), device(1)).unwrap();
    }
    // The resume token that came with them shows that they arrived.
    node.login(conn(10), newest.resume(), device(1)).unwrap();
    let spent = node.login(conn(11), ada.refresh(), device(1)).postponed();
    assert_eq!(spent, ErrorCode::SessionRevoked);
    // An issuer's user has none.
    let bob = node.login(conn(20), issued("bob"), device(1)).unwrap();
    let again = node.login_for(Purpose::NewTokens, conn(21), bob.resume(), device(1)).unwrap();
    assert_eq!(again.reply.tokens, None);
}

#[test]
fn who_comes_back_with_a_token_of_a_retired_key_gets_new_ones() {
    const NEW_KEY: [u8; 32] = [9; 32];
    let shows: [fn(&LoggedIn) -> Credential; 2] = [LoggedIn::resume, LoggedIn::access];
    for show in shows {
        let mut node = Node::new();
        let ada = node.registered("ada");
        let store = Arc::clone(&node.store);
        let mut rotated = Node::with_new_key(&NEW_KEY, store);
        // Who only fetches has no place for them.
        let fetching = rotated.login_for(Purpose::Fetch, conn(1), show(&ada), device(1)).unwrap();
        assert_eq!(fetching.reply.tokens, None);
        let back = rotated.login(conn(2), show(&ada), device(1)).unwrap();
        let later = rotated.login(conn(3), back.access(), device(1)).unwrap();
        assert_eq!(later.reply.tokens, None, "once is enough");
        // The old key is deleted.
        let mut without = Node::with_key(&NEW_KEY, Arc::clone(&rotated.store));
        let refused = without.login(conn(1), ada.refresh(), device(1)).refused();
        assert_eq!(refused, ErrorCode::TokenInvalid);
        let next = without.login(conn(2), back.refresh(), device(1)).unwrap();
        assert_eq!(next.session, ada.session);
    }
}

#[test]
fn who_comes_back_gets_in_though_nothing_can_be_stored() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Unknown] {
        let mut node = Node::new();
        let ada = node.registered("ada");
        node.now_ms += DAY_MS - 1;
        let mut back = node.login(conn(2), ada.resume(), device(1)).unwrap();
        let writes = node.writes.len();
        node.now_ms += 1;
        // The identity is read, and that the session was used can't be written.
        node.fail_at(1, fault);
        back = node.login(conn(3), back.resume(), device(1)).unwrap();
        assert!(node.heal());
        assert_eq!(node.writes.len(), writes + 1);
        node.login(conn(4), back.resume(), device(1)).unwrap();
        let is_stored = fault != Fault::Refused;
        assert_eq!(node.writes.len(), writes + 2 - usize::from(is_stored), "{fault:?}");
    }
}

#[test]
fn a_date_that_is_wrong_for_a_while_ends_no_session_and_brings_none_back() {
    const YEAR_MS: u64 = 365 * DAY_MS;
    let mut node = Node::new();
    let ada = node.registered("ada");
    node.disconnect(conn(1), ada.session);
    let bob = node.login(conn(2), issued("bob"), device(2)).unwrap();
    node.logout(conn(2), bob.session, Logout::This);
    // Of another worker's users, perhaps: all of them have seen the right date.
    (0..WORKERS as u32).for_each(|slot| drop(node.login(conn(80 + slot), bob.resume(), device(9))));
    node.ahead_ms = YEAR_MS;
    for minute in 0..59 {
        node.now_ms += 60_000;
        // Whoever logs in makes room of what has expired.
        let at_ms = (node.now_ms + node.ahead_ms) / 1000;
        node.login(conn(100 + minute), password("ada"), device(3)).unwrap();
        let again = node.login(conn(200 + minute), issued_at("app", "bob", at_ms), device(3));
        assert!(matches!(again, LoginResult::In(_)), "{again:?}");
    }
    node.ahead_ms = 0;
    node.login(conn(4), ada.resume(), device(1)).unwrap();
    node.login(conn(5), ada.refresh(), device(1)).unwrap();
    let refused = node.login(conn(6), bob.resume(), device(2)).postponed();
    assert_eq!(refused, ErrorCode::SessionRevoked);
    // If it stays, it was right.
    node.ahead_ms = YEAR_MS;
    node.login(conn(7), ada.resume(), device(1)).unwrap();
    node.now_ms += 3_600_000;
    let over = node.login(conn(8), ada.resume(), device(1)).postponed();
    assert_eq!(over, ErrorCode::TokenExpired);
}
