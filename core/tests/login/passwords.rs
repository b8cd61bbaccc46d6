//! Registering, and logging in with a password.

use std::sync::Arc;

use dunlin_core::attempt::Attempt;
use dunlin_core::config::{DevicePolicy, EngineConfig, PasswordConfig, Registration};
use dunlin_core::request::{CredentialRequest, IdentityRequest, Logout, Register, Request};
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};

use super::node::*;

#[test]
fn who_registers_can_log_in() {
    let mut node = Node::new();
    let user = node.register("ada").unwrap();
    let ada = node.login(conn(1), password("ada"), device(1)).unwrap();
    assert_eq!(ada.session.user, user);
    assert_eq!(ada.reply.username, "ada");
    assert_eq!(ada.tokens().access_expires_in_s, 15 * 60);
    assert_eq!(ada.reply.resume_expires_in_s, 24 * 3600);
    // Capitals and spaces of a typed name don't matter.
    let typed = node.login(conn(2), password(" ADA "), device(2)).unwrap();
    assert_eq!(typed.session.user, user);
    assert_ne!(typed.session.session, ada.session.session);
    node.assert_open(conn(1));
}

#[test]
fn a_name_has_one_spelling_and_a_password_too() {
    let mut node = Node::new();
    let register = |password: &str| wire::Register {
        username: "Mu\u{308}ller".into(),
        password: password.into(),
        display_name: " Zoe\u{308}  M. ".into(),
        ..wire::Register::default()
    };
    let request = Request::try_from(register("caf\u{e9} au lait")).unwrap();
    node.submit(conn(1), None, request);
    node.run();
    let spellings = [("müller", "cafe\u{301} au lait"), ("MÜLLER", "caf\u{e9} au\u{a0}lait")];
    for (number, (name, typed)) in (2..).zip(spellings) {
        let login = node.login(conn(number), password_of(name, typed), device(number as u8));
        assert_eq!(login.unwrap().reply.username, "müller");
    }
    let again = Request::try_from(register("another word")).unwrap();
    let request_id = node.submit(conn(9), None, again);
    node.run();
    let answer = node.response(conn(9), request_id);
    assert!(matches!(&answer, Body::Error(error) if error.code() == ErrorCode::NameTaken));
    for odd in ["pass\0word", "pass\u{378}word"] {
        assert_eq!(Request::try_from(register(odd)).unwrap_err().field, "password");
    }
}

#[test]
fn names_that_look_alike_are_one_name() {
    let mut node = Node::new();
    node.register("paypal").unwrap();
    assert_eq!(node.register("paypa1"), Err(ErrorCode::NameTaken));
    assert_eq!(node.register("pаураl"), Err(ErrorCode::NameTaken));
    node.register("paypal2").unwrap();
    // An issuer knows its users apart, and who registers is not taken for one of them.
    node.login(conn(1), issued("burner"), device(1)).unwrap();
    node.login(conn(2), issued("bumer"), device(2)).unwrap();
    assert_eq!(node.register("bumer"), Err(ErrorCode::NameTaken));
}

#[test]
fn a_name_is_registered_once() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    assert_eq!(node.register("ada"), Err(ErrorCode::NameTaken));
    assert!(node.register("ada.l").is_ok());
}

#[test]
fn of_two_registrations_at_once_one_wins() {
    for seed in 0..200 {
        let mut node = Node::new();
        node.shuffle = Some(seed);
        let register = |password: &str| {
            let (username, display_name) = ("ada".to_owned(), String::new());
            CredentialRequest::Register(Register {
                username,
                password: password.into(),
                display_name,
                invitation: String::new(),
                attempt: Attempt::default(),
            })
            .into()
        };
        let first = node.submit(conn(1), None, register("password of one"));
        let second = node.submit(conn(2), None, register("password of two"));
        node.run();
        let answers = [node.response(conn(1), first), node.response(conn(2), second)];
        let (winner, loser) = match answers {
            [Body::Registered(_), Body::Error(error)] => {
                (["password of one", "password of two"], error)
            }
            [Body::Error(error), Body::Registered(_)] => {
                (["password of two", "password of one"], error)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(loser.code(), ErrorCode::NameTaken);
        node.login(conn(3), password_of("ada", winner[0]), device(1)).unwrap();
        let refused = node.login(conn(4), password_of("ada", winner[1]), device(1)).refused();
        assert_eq!(refused, ErrorCode::WrongCredentials);
    }
}

#[test]
fn a_wrong_password_and_an_unknown_name_look_the_same() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    let wrong = node.login(conn(1), password_of("ada", "wrong horse"), device(1));
    let unknown = node.login(conn(1), password("bob"), device(1));
    let (LoginResult::Refused(wrong), LoginResult::Refused(unknown)) = (wrong, unknown) else {
        panic!("both are refused");
    };
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.code(), ErrorCode::WrongCredentials);
}

#[test]
fn guessing_is_throttled_and_then_allowed_again() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    for name in ["ada", "nobody"] {
        for _ in 0..10 {
            let refused =
                node.login(conn(1), password_of(name, "wrong horse"), device(1)).refused();
            assert_eq!(refused, ErrorCode::WrongCredentials);
        }
        let LoginResult::Refused(error) = node.login(conn(1), password(name), device(1)) else {
            panic!("the right password is not tried either");
        };
        assert_eq!(error.code(), ErrorCode::RateLimited);
        assert_eq!(error.retry_after_ms, 150_000);
    }
    node.now_ms += 150_000;
    node.login(conn(1), password("ada"), device(1)).unwrap();
}

#[test]
fn a_name_is_closed_as_long_whatever_becomes_of_the_date() {
    const WEEK_MS: u64 = 7 * 86_400_000;
    for (ahead_before_ms, ahead_after_ms) in [(WEEK_MS, 0), (0, WEEK_MS)] {
        let mut node = Node::new();
        node.register("ada").unwrap();
        node.ahead_ms = ahead_before_ms;
        for _ in 0..10 {
            node.login(conn(1), password_of("ada", "wrong horse"), device(1)).refused();
        }
        node.ahead_ms = ahead_after_ms;
        node.now_ms += 149_999;
        let LoginResult::Refused(error) = node.login(conn(1), password("ada"), device(1)) else {
            panic!("the name is closed");
        };
        assert_eq!((error.code(), error.retry_after_ms), (ErrorCode::RateLimited, 1));
        node.now_ms += 1;
        node.login(conn(1), password("ada"), device(1)).unwrap();
    }
}

#[test]
fn many_guesses_at_once_are_throttled_as_well() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    for number in 0..50 {
        let guess = password_of("ada", &format!("wrong horse {number}"));
        node.submit(conn(number), None, entering(guess, device(1)));
    }
    node.run();
    let mut tried = 0;
    for number in 0..50 {
        tried +=
            usize::from(node.take_login(conn(number)).refused() == ErrorCode::WrongCredentials);
    }
    assert_eq!(tried, 10);
}

#[test]
fn many_right_passwords_at_once_are_all_right() {
    for seed in 0..20 {
        let sessions = DevicePolicy { sessions_per_kind: 50, by_kind: vec![], sessions_max: 50 };
        let many = EngineConfig { devices: sessions, ..config() };
        let mut node = Node::with(many, Arc::default());
        node.shuffle = Some(seed);
        node.register("ada").unwrap();
        for number in 0..50 {
            let login = entering(password("ada"), device(number));
            node.submit(conn(u32::from(number)), None, login);
        }
        node.run();
        for number in 0..50 {
            match node.take_login(conn(number)) {
                LoginResult::In(_) => {}
                // Of one user no more than so many things wait to be done.
                LoginResult::Postponed(error) => assert_eq!(error.code(), ErrorCode::Overloaded),
                LoginResult::Refused(error) => panic!("{error:?}"),
            }
        }
    }
}

#[test]
fn who_guesses_elsewhere_shuts_nobody_out() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    let guess = |node: &mut Node, source| {
        node.login_from(source, conn(1), password_of("ada", "wrong horse"), device(9)).refused()
    };
    while guess(&mut node, 7) == ErrorCode::WrongCredentials {}
    node.login_from(8, conn(2), password("ada"), device(1)).unwrap();
    assert_eq!(guess(&mut node, 7), ErrorCode::RateLimited);
    // With many addresses strangers are shut out, but no device that the owner has used.
    let mut sources = 100..;
    while guess(&mut node, sources.next().unwrap()) == ErrorCode::WrongCredentials {}
    assert!(sources.start < 300, "{sources:?}");
    let refused = node.login_from(8, conn(3), password("ada"), device(2)).refused();
    assert_eq!(refused, ErrorCode::RateLimited);
    let ada = node.login_from(7, conn(4), password("ada"), device(1)).unwrap();
    node.done(conn(4), ada.session, IdentityRequest::Logout(Logout::All).into());
    let ada = node.login_from(7, conn(5), password("ada"), device(1)).unwrap();
    // A new password makes strangers of all devices but the one that set it.
    let (old, new) = (PASSWORD.into(), "battery staple".into());
    node.done(conn(5), ada.session, IdentityRequest::ChangePassword { old, new }.into());
    node.login_from(9, conn(6), password_of("ada", "battery staple"), device(1)).unwrap();
}

#[test]
fn a_device_that_was_shown_out_is_a_stranger() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    node.login(conn(1), password("ada"), device(1)).unwrap();
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    let (old, new) = (PASSWORD.into(), "battery staple".into());
    node.done(conn(2), other.session, IdentityRequest::ChangePassword { old, new }.into());
    for source in 0..100 {
        let wrong = password_of("ada", "wrong horse");
        node.login_from(source, conn(3), wrong, device(3)).refused();
    }
    let right = || password_of("ada", "battery staple");
    let refused = node.login_from(1000, conn(4), right(), device(1)).refused();
    assert_eq!(refused, ErrorCode::RateLimited);
    node.login_from(1000, conn(4), right(), device(2)).unwrap();
}

#[test]
fn a_taken_name_costs_what_a_password_does() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    node.passwords_busy = true;
    for name in ["ada", "bob"] {
        assert_eq!(node.register(name), Err(ErrorCode::Overloaded), "without a hash");
    }
    node.passwords_busy = false;
    let register = Register {
        username: "ada".into(),
        password: PASSWORD.into(),
        display_name: String::new(),
        invitation: String::new(),
        attempt: Attempt::default(),
    };
    node.submit(conn(1), None, CredentialRequest::Register(register).into());
    node.run();
    assert_eq!(node.take_login(conn(1)).refused(), ErrorCode::NameTaken);
}

#[test]
fn a_password_is_changed_once_at_a_time() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let change = |old: &str| {
        IdentityRequest::ChangePassword { old: old.into(), new: "battery staple".into() }.into()
    };
    let both = [(); 2].map(|()| node.submit(conn(1), Some(ada.session), change(PASSWORD)));
    node.run();
    let [one, two] = both.map(|request_id| node.response(conn(1), request_id));
    assert!(matches!(one, Body::Done(_)), "{one:?}");
    assert!(matches!(&two, Body::Error(error) if error.code() == ErrorCode::RateLimited));
    assert_eq!(node.error(conn(1), ada.session, change("wrong")), ErrorCode::WrongCredentials);
}

#[test]
fn overload_is_no_failure_of_the_user() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    node.passwords_busy = true;
    for _ in 0..30 {
        let postponed = node.login(conn(1), password("ada"), device(1)).postponed();
        assert_eq!(postponed, ErrorCode::Overloaded);
    }
    assert_eq!(node.register("bob"), Err(ErrorCode::Overloaded));
    node.passwords_busy = false;
    node.login(conn(1), password("ada"), device(1)).unwrap();
}

#[test]
fn a_hash_of_old_parameters_is_renewed() {
    let mut node = Node::new();
    node.register("ada").unwrap();
    let passwords = PasswordConfig { memory_kib: 16, iterations: 1, ..PasswordConfig::default() };
    let stronger = EngineConfig { passwords, ..config() };
    let mut node = Node::with(stronger, node.store);
    node.login(conn(1), password("ada"), device(1)).unwrap();
    node.login(conn(2), password("ada"), device(2)).unwrap();
    let refused = node.login(conn(3), password_of("ada", "wrong horse"), device(3)).refused();
    assert_eq!(refused, ErrorCode::WrongCredentials);
}

#[test]
fn registration_can_be_switched_off() {
    let closed = EngineConfig { registration: Some(Registration::Closed), ..config() };
    let mut node = Node::with(closed, Arc::default());
    assert_eq!(node.register("ada"), Err(ErrorCode::RegistrationClosed));
}

#[test]
fn a_new_password_needs_the_old_one_and_ends_other_sessions() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let other = node.login(conn(2), password("ada"), device(2)).unwrap();
    let change = |old: &str| {
        IdentityRequest::ChangePassword { old: old.into(), new: "battery staple".into() }.into()
    };
    let refused = node.error(conn(1), ada.session, change("wrong horse"));
    assert_eq!(refused, ErrorCode::WrongCredentials);
    node.assert_open(conn(2));
    node.done(conn(1), ada.session, change(PASSWORD));
    node.assert_open(conn(1));
    node.assert_closed(conn(2), dunlin_protocol::wire::CloseReason::LoggedOut);
    for worthless in [other.resume(), other.access(), other.refresh()] {
        let refused = node.login(conn(3), worthless, device(2)).postponed();
        assert_eq!(refused, ErrorCode::SessionRevoked);
    }
    let refused = node.login(conn(3), password("ada"), device(2)).refused();
    assert_eq!(refused, ErrorCode::WrongCredentials);
    node.login(conn(3), password_of("ada", "battery staple"), device(2)).unwrap();
    // Its own tokens stay good.
    node.login(conn(4), ada.resume(), device(1)).unwrap();
}

#[test]
fn the_old_password_can_be_guessed_ten_times() {
    let mut node = Node::new();
    let ada = node.registered("ada");
    let change = |old: &str| {
        IdentityRequest::ChangePassword { old: old.into(), new: "battery staple".into() }.into()
    };
    for _ in 0..10 {
        let refused = node.error(conn(1), ada.session, change("wrong horse"));
        assert_eq!(refused, ErrorCode::WrongCredentials);
    }
    let refused = node.error(conn(1), ada.session, change(PASSWORD));
    assert_eq!(refused, ErrorCode::RateLimited);
}

#[test]
fn an_issuers_user_has_no_password_to_change() {
    let mut node = Node::new();
    let ada = node.login(conn(1), issued("ada"), device(1)).unwrap();
    let change =
        IdentityRequest::ChangePassword { old: String::new(), new: "battery staple".into() }.into();
    let refused = node.error(conn(1), ada.session, change);
    assert_eq!(refused, ErrorCode::IssuerAccount);
    let refused = node.login(conn(2), password("ada"), device(2)).refused();
    assert_eq!(refused, ErrorCode::WrongCredentials);
}
