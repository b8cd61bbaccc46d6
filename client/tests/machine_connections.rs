//! How the machine connects, logs in, asks and stops, against a server whose every word is scripted.

mod support;

use dunlin_client::machine::{
    Backlog, Credentials, Disconnect, Event, Failure, LogoutScope, Lost, Request, Response, Status,
    Stop, Ticket,
};
use dunlin_protocol::ClientMessageId;
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, CloseReason, Entry, ErrorCode, Notice};
use support::*;

fn credential(frame: &wire::Frame) -> &'static str {
    match &frame.body {
        Some(Body::Login(wire::Login { credential: Some(credential), .. })) => match credential {
            Credential::Password(_) => "password",
            Credential::AccessToken(_) => "access",
            Credential::IssuerToken(_) => "issuer",
            Credential::ResumeToken(_) => "resume",
            Credential::RefreshToken(_) => "refresh",
        },
        Some(Body::Register(_)) => "register",
        other => panic!("no login: {other:?}"),
    }
}

#[test]
fn hello_and_login_go_out_together_and_sync_follows() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(password());
    assert_eq!(script.connect(), "server:1");
    let requests = script.requests();
    assert!(matches!(requests[0].body, Some(Body::Hello(_))));
    assert_eq!(credential(&requests[1]), "password");
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, logged_in());
    let sync = script.request();
    assert_eq!(sync_of(&sync).epoch, 0);
    script.answer(sync.request_id, synced(Vec::new()));
    assert_eq!(script.last_status(), Status::Online);
}

#[test]
fn a_lost_connection_comes_back_by_resume_and_says_again_what_was_not_answered() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    script.send(2);
    let first = script.request();
    assert_eq!(send_of(&first).content, "message 1", "one at a time");
    script.cut();
    script.send(3);
    assert!(script.connecting().is_none());
    let delay_ms = script.pass();
    assert!((250..=750).contains(&delay_ms), "{delay_ms}");
    script.connect();
    let requests = script.requests();
    assert_eq!(credential(&requests[1]), "resume");
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, logged_in());
    let sync = script.request();
    assert_eq!(sync_of(&sync).epoch, EPOCH);
    // It had been stored before the connection broke.
    let own = Entry { sender: ME, sender_counted: 1, ..message(1, ME, "message 1") };
    script.answer(sync.request_id, synced(vec![state(1, vec![own])]));
    script.events();
    for seq in 1..=3 {
        let send = script.request();
        assert_eq!(send_of(&send).content, format!("message {seq}"));
        if seq == 1 {
            assert_eq!(send_of(&send), send_of(&first), "the same id and content");
        }
        script.answer(send.request_id, sent(seq));
    }
    let events = script.events();
    let seqs: Vec<u64> = events.iter().filter_map(entry_seq).collect();
    assert_eq!(seqs, [2, 3], "the first one came by sync already");
    let done = events.iter().filter(|event| matches!(event, Event::Completed { .. })).count();
    assert_eq!(done, 3);
}

#[test]
fn a_refused_login_asks_the_user_and_takes_the_next_answer() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(password());
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, error(ErrorCode::WrongCredentials, 0));
    assert_eq!(script.last_status(), Status::Stopped(Stop::WrongCredentials));
    assert_eq!(script.machine.next_deadline(), None);
    script.machine.log_in(password());
    script.connect();
    script.log_in_and_sync(Vec::new());
    assert_eq!(script.last_status(), Status::Online);
}

#[test]
fn resume_falls_back_to_refresh_on_the_same_connection() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(tokens());
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    assert_eq!(credential(&requests[1]), "resume");
    script.answer(requests[1].request_id, error(ErrorCode::TokenExpired, 0));
    let login = script.request();
    assert_eq!(credential(&login), "refresh");
    script.answer(login.request_id, logged_in());
    let tokens = script.events().into_iter().rev().find_map(|event| match event {
        Event::Tokens(tokens) => Some(tokens),
        _ => None,
    });
    assert_eq!(tokens.unwrap().refresh_token, "refresh 1");
}

#[test]
fn a_name_that_is_taken_may_be_ones_own() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(Credentials { register: Some(String::new()), ..password() });
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    assert_eq!(credential(&requests[1]), "register");
    script.answer(requests[1].request_id, error(ErrorCode::NameTaken, 0));
    let login = script.request();
    assert_eq!(credential(&login), "password");
    script.answer(login.request_id, error(ErrorCode::WrongCredentials, 0));
    assert_eq!(script.last_status(), Status::Stopped(Stop::NameTaken));
}

#[test]
fn reasons_that_need_the_user_do_not_reconnect() {
    let cases = [
        (CloseReason::Replaced, Stop::Replaced),
        (CloseReason::Reconnected, Stop::Replaced),
        (CloseReason::LoggedOut, Stop::LoggedOut),
        (CloseReason::AccountDisabled, Stop::AccountDisabled),
        (CloseReason::LoginFailed, Stop::TooManyFailures { retry_after_ms: 9 }),
        (CloseReason::UnsupportedVersion, Stop::UnsupportedVersion),
    ];
    for (reason, stop) in cases {
        let mut script = Script::live(Backlog::Everything);
        script.say(close(reason, 9));
        assert_eq!(script.last_status(), Status::Stopped(stop));
        script.cut();
        assert_eq!(script.connecting(), None);
        assert_eq!(script.machine.next_deadline(), None, "{reason:?}");
    }
}

#[test]
fn all_other_reasons_reconnect_when_the_server_says() {
    for reason in [CloseReason::Overloaded, CloseReason::ServerDraining, CloseReason::RateLimited] {
        let mut script = Script::live(Backlog::Everything);
        script.say(close(reason, 30_000));
        let status = script.last_status();
        let Status::Waiting { until_ms, lost } = status else { panic!("{status:?}") };
        assert_eq!(lost, Lost::Closed(reason));
        assert!((31_000..=46_000).contains(&until_ms), "{until_ms}");
    }
    // A reason of a later version.
    let mut script = Script::live(Backlog::Everything);
    script.say(Body::Close(wire::Close { reason: 99, ..wire::Close::default() }));
    assert!(matches!(script.last_status(), Status::Waiting { .. }));
}

#[test]
fn go_away_lets_requests_finish_and_goes_where_it_was_told_once() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    let send = script.request();
    let go_away = wire::GoAway { reconnect_delay_ms: 2000, address: "other:2".into() };
    script.say(Body::GoAway(go_away));
    script.send(2);
    assert!(script.requests().is_empty(), "nothing new is begun");
    script.answer(send.request_id, sent(1));
    let delay_ms = script.pass();
    assert!((2000..=3000).contains(&delay_ms), "{delay_ms}");
    assert_eq!(script.connect(), "other:2");
    // A stranger there is no reason to give up the server that we know.
    script.machine.disconnected(script.now_ms, Disconnect::Untrusted("who?".into()));
    script.requests();
    script.pass();
    assert_eq!(script.connect(), "server:1");
    script.log_in_and_sync(Vec::new());
    assert_eq!(send_of(&script.request()).content, "message 2");
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let mut script = Script::live(Backlog::Everything);
    script.events();
    script.pass();
    assert_eq!(script.frames().len(), 1, "a heartbeat");
    script.pass();
    assert!(matches!(script.last_status(), Status::Waiting { lost: Lost::Silent, .. }));
}

#[test]
fn not_now_is_tried_again_when_the_server_says_and_nothing_overtakes() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    script.send(2);
    let send = script.request();
    script.answer(send.request_id, error(ErrorCode::StoreUnavailable, 3000));
    assert!(script.requests().is_empty());
    assert_eq!(script.pass(), 3000);
    let again = script.request();
    assert_eq!(send_of(&again), send_of(&send));
    script.answer(again.request_id, sent(1));
    assert_eq!(send_of(&script.request()).content, "message 2");
}

#[test]
fn a_message_that_is_refused_for_good_fails_once() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    let send = script.request();
    script.answer(send.request_id, error(ErrorCode::MessageIdConflict, 0));
    let completed = script.completed();
    assert_eq!(completed.len(), 1);
    let Err(Failure::Refused(refused)) = &completed[0].1 else { panic!("{completed:?}") };
    assert_eq!(refused.code(), ErrorCode::MessageIdConflict);
}

#[test]
fn what_is_too_large_is_not_sent() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(password());
    script.connect();
    let requests = script.requests();
    let welcome = wire::Welcome {
        protocol_version: 1,
        limits: Some(wire::Limits {
            heartbeat_interval_ms: 60_000,
            frame_bytes_max: 1000,
            requests_outstanding_max: 8,
            ..wire::Limits::default()
        }),
        ..wire::Welcome::default()
    };
    script.answer(requests[0].request_id, Body::Welcome(welcome));
    script.answer(requests[1].request_id, logged_in());
    let sync = script.request();
    script.answer(sync.request_id, synced(Vec::new()));
    for (ticket, bytes) in [(1, 900), (2, 1000), (3, 64 * 1024 + 1)] {
        let request = Request::Send {
            conversation: conversation(),
            message_id: ClientMessageId([ticket as u8; 16]),
            content_type: String::new(),
            content: vec![b'x'; bytes].into(),
            notice: Notice::Loud,
        };
        script.machine.request(script.now_ms, Ticket(ticket), request);
    }
    let send = script.request();
    assert_eq!(send_of(&send).content.len(), 900);
    script.answer(send.request_id, sent(1));
    assert!(script.requests().is_empty());
    let mut completed = script.completed();
    completed.sort_by_key(|(ticket, _)| *ticket);
    assert!(completed[0].1.is_ok());
    for (_, result) in &completed[1..] {
        assert_eq!(*result, Err(Failure::TooLarge));
    }
    assert_eq!(completed.len(), 3);
}

#[test]
fn a_fault_of_the_server_is_not_repeated_for_ever() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    for _ in 0..3 {
        let send = script.request();
        script.answer(send.request_id, error(ErrorCode::Internal, 0));
        assert!(script.completed().is_empty());
        script.pass();
    }
    let send = script.request();
    script.answer(send.request_id, error(ErrorCode::Internal, 0));
    assert_eq!(script.completed().len(), 1);
}

/// Codes of a later version, one of each class.
#[test]
fn a_code_that_is_not_known_is_taken_by_its_class() {
    let unknown =
        |code| Body::Error(wire::Error { code, retry_after_ms: 2000, ..wire::Error::default() });
    for code in [199, 499] {
        let mut script = Script::live(Backlog::Everything);
        script.send(1);
        let send = script.request();
        script.answer(send.request_id, unknown(code));
        assert_eq!(script.completed().len(), 1, "{code} is final");
    }
    for (code, times) in [(399, 10), (599, 3), (1234, 3)] {
        let mut script = Script::live(Backlog::Everything);
        script.send(1);
        for _ in 0..times {
            let send = script.request();
            script.answer(send.request_id, unknown(code));
            assert!(script.completed().is_empty(), "{code} is asked again");
            script.pass();
        }
    }
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    let send = script.request();
    script.answer(send.request_id, unknown(299));
    assert!(matches!(script.last_status(), Status::Waiting { .. }), "to log in again");
}

#[test]
fn no_more_requests_wait_than_the_server_allows() {
    let mut script = Script::live(Backlog::Everything);
    for ticket in 0..20 {
        script.machine.request(script.now_ms, Ticket(ticket), Request::ListSessions);
    }
    let requests = script.requests();
    assert_eq!(requests.len(), 8);
    script.answer(requests[3].request_id, Body::Sessions(wire::Sessions::default()));
    script.request();
}

#[test]
fn a_password_change_is_not_repeated_blindly() {
    let mut script = Script::live(Backlog::Everything);
    let change = Request::ChangePassword { old: "a".into(), new: "b".into() };
    script.machine.request(script.now_ms, Ticket(1), change);
    script.machine.request(script.now_ms, Ticket(2), Request::ListSessions);
    script.requests();
    script.cut();
    assert_eq!(script.completed(), [(1, Err(Failure::Interrupted))]);
    script.pass();
    script.connect();
    script.log_in_and_sync(Vec::new());
    let again = script.request();
    assert!(matches!(again.body, Some(Body::ListSessions(_))));
}

#[test]
fn a_logout_ends_in_the_users_hands_even_if_its_answer_is_lost() {
    let logout = || Request::Logout(LogoutScope::This);
    let mut script = Script::live(Backlog::Everything);
    script.machine.request(script.now_ms, Ticket(1), logout());
    let request = script.request();
    script.answer(request.request_id, Body::Done(wire::Done {}));
    let events = script.events();
    let done = Event::Completed { ticket: Ticket(1), result: Ok(Response::Done) };
    assert!(events.contains(&done));
    assert!(events.contains(&Event::Status(Status::Stopped(Stop::LoggedOut))));

    let mut script = Script::live(Backlog::Everything);
    script.machine.request(script.now_ms, Ticket(1), logout());
    script.cut();
    script.pass();
    script.connect();
    let requests = script.requests();
    script.answer(requests[1].request_id, error(ErrorCode::SessionRevoked, 0));
    assert_eq!(script.completed(), [(1, Ok(Response::Done))]);
}

#[test]
fn a_stopped_machine_keeps_messages_and_answers_everything_else() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    script.say(close(CloseReason::Replaced, 0));
    script.machine.request(script.now_ms, Ticket(2), Request::ListSessions);
    assert_eq!(script.completed(), [(2, Err(Failure::NotLoggedIn))]);
    script.machine.log_in(password());
    script.requests();
    script.connect();
    script.log_in_and_sync(Vec::new());
    assert_eq!(send_of(&script.request()).content, "message 1");
    script.machine.close();
    assert_eq!(script.completed(), [(1, Err(Failure::Closed))]);
}

#[test]
fn an_unproven_server_is_not_tried_again() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(password());
    script.connecting();
    script.machine.disconnected(script.now_ms, Disconnect::Untrusted("who?".into()));
    let expected = Status::Stopped(Stop::Untrusted("who?".into()));
    assert_eq!(script.last_status(), expected);
}

#[test]
fn garbage_ends_the_connection() {
    for garbage in [&[0xff; 8][..], &[0, 0, 0, 2, 0xff, 0xff][..]] {
        let mut script = Script::live(Backlog::Everything);
        script.machine.handle_input(script.now_ms, garbage);
        assert!(matches!(script.last_status(), Status::Waiting { lost: Lost::Nonsense, .. }));
    }
}
