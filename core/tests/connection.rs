//! What a connection lets through, what it answers by itself, and what ends it.

use bytes::{Bytes, BytesMut};
use dunlin_core::connection::{Connection, ConnectionContext, Received};
use dunlin_core::request::{CredentialRequest, IdentityRequest, Request};
use dunlin_core::transport::{ConnId, Session};
use dunlin_protocol::frame::FrameError;
use dunlin_protocol::wire::{self, CloseReason, ErrorCode, Frame, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId, frame};
use proptest::prelude::*;
use prost::Message;

const CONN: ConnId = ConnId { shard: 1, slot: 2, generation: 3 };

fn context() -> ConnectionContext {
    ConnectionContext {
        server: "dunlin test".into(),
        heartbeat_interval_ms: 60_000,
        frame_bytes_max: 1024 * 1024,
        small_frame_bytes_max: 16 * 1024,
        requests_outstanding_max: 256,
        ..ConnectionContext::new("")
    }
}

fn session() -> Session {
    Session { user: UserId::new(7).unwrap(), session: SessionId::new(8).unwrap() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Silent,
    Greeted,
    LoggingIn,
    LoggedIn,
}

const PHASES: [Phase; 4] = [Phase::Silent, Phase::Greeted, Phase::LoggingIn, Phase::LoggedIn];

fn connection_in(phase: Phase) -> Connection {
    let mut connection = Connection::new();
    if phase != Phase::Silent {
        assert!(matches!(say(&mut connection, 1, hello(1)), Received::Respond(_)));
    }
    if matches!(phase, Phase::LoggingIn | Phase::LoggedIn) {
        assert!(matches!(say(&mut connection, 2, login()), Received::Submit(_)));
    }
    if phase == Phase::LoggedIn {
        connection.logged_in(session());
    }
    connection
}

fn receive(connection: &mut Connection, body: impl Into<Bytes>) -> Received {
    connection.receive(&context(), CONN, 1_000, body.into())
}

fn say(connection: &mut Connection, request_id: u64, body: Body) -> Received {
    receive(connection, Frame { request_id, body: Some(body) }.encode_to_vec())
}

fn hello(protocol_version: u32) -> Body {
    Body::Hello(wire::Hello { protocol_version, client: "test 1".into(), ..wire::Hello::default() })
}

fn login() -> Body {
    let password =
        wire::PasswordCredential { username: "ada".into(), password: "correct horse".into() };
    let device = wire::Device { device_id: vec![1; 16].into(), kind: 1, name: "phone".into() };
    Body::Login(wire::Login {
        credential: Some(wire::login::Credential::Password(password)),
        device: Some(device),
        ..wire::Login::default()
    })
}

fn register() -> Body {
    Body::Register(wire::Register {
        username: "ada".into(),
        password: "correct horse".into(),
        ..wire::Register::default()
    })
}

fn conversation() -> Bytes {
    LogId::direct(UserId::new(7).unwrap(), UserId::new(9).unwrap()).to_wire()
}

fn signal() -> Body {
    Body::Signal(wire::Signal {
        conversation_id: conversation(),
        kind: "typing".into(),
        ..wire::Signal::default()
    })
}

/// Valid requests that need a session.
fn session_requests() -> Vec<Body> {
    vec![
        Body::Send(wire::Send {
            conversation_id: conversation(),
            client_message_id: vec![5; 16].into(),
            content: "hi".into(),
            ..wire::Send::default()
        }),
        signal(),
        Body::MarkRead(wire::MarkRead { conversation_id: conversation(), seq: 1, private: false }),
        Body::Refresh(wire::Refresh { refresh_token: "x".into() }),
        Body::Logout(wire::Logout::default()),
        Body::Sync(wire::Sync::default()),
        Body::History(wire::History {
            conversation_id: conversation(),
            ..wire::History::default()
        }),
        Body::FindUsers(wire::FindUsers::default()),
        Body::ListSessions(wire::ListSessions {}),
        Body::ChangePassword(wire::ChangePassword {
            old_password: "correct horse".into(),
            new_password: "battery staple".into(),
        }),
    ]
}

fn server_only() -> Vec<Body> {
    vec![
        Body::Sent(wire::Sent::default()),
        Body::Push(wire::Push::default()),
        Body::ReadReceipt(wire::ReadReceipt::default()),
        Body::Done(wire::Done {}),
        Body::Error(wire::Error::default()),
        Body::Behind(wire::Behind::default()),
        Body::Welcome(wire::Welcome::default()),
        Body::Registered(wire::Registered::default()),
        Body::LoggedIn(wire::LoggedIn::default()),
        Body::Tokens(wire::Tokens::default()),
        Body::Synced(wire::Synced::default()),
        Body::HistoryPage(wire::HistoryPage::default()),
        Body::Users(wire::Users::default()),
        Body::Sessions(wire::Sessions::default()),
        Body::GoAway(wire::GoAway::default()),
        Body::Close(wire::Close::default()),
        Body::Compressed(wire::Compressed::default()),
    ]
}

#[track_caller]
fn decoded(response: &EncodedFrame) -> Frame {
    frame::decode(response.body()).unwrap()
}

#[track_caller]
fn assert_error(received: Received, request_id: u64, code: ErrorCode) -> wire::Error {
    let Received::Respond(response) = received else {
        panic!("{received:?} is no response");
    };
    let frame = decoded(&response);
    assert_eq!(frame.request_id, request_id);
    let Some(Body::Error(error)) = frame.body else {
        panic!("{frame:?} is no error");
    };
    assert_eq!(error.code(), code, "{error:?}");
    error
}

#[track_caller]
fn assert_closed(received: &Received, reason: CloseReason) {
    assert!(matches!(received, Received::Close(why) if *why == reason), "{received:?}");
}

#[test]
fn hello_is_answered_with_the_lower_version() {
    for version in [1, 2, u32::MAX] {
        let mut connection = Connection::new();
        let Received::Respond(response) = say(&mut connection, 9, hello(version)) else {
            panic!("no Welcome");
        };
        let Some(Body::Welcome(welcome)) = decoded(&response).body else {
            panic!("no Welcome");
        };
        assert_eq!(welcome.protocol_version, 1);
        assert_eq!(welcome.server, "dunlin test");
        assert_eq!(welcome.server_time_ms, 1_000);
        assert_eq!(welcome.limits.unwrap().frame_bytes_max, 1024 * 1024);
        assert!(welcome.rules.unwrap().registration_open);
        assert!(connection.greeted());
    }
}

#[test]
fn a_hello_that_cant_be_served_is_refused() {
    let mut connection = Connection::new();
    assert_closed(&say(&mut connection, 1, hello(0)), CloseReason::UnsupportedVersion);

    let mut connection = Connection::new();
    let long = Body::Hello(wire::Hello {
        protocol_version: 1,
        client: "x".repeat(65),
        ..wire::Hello::default()
    });
    let error = assert_error(say(&mut connection, 1, long), 1, ErrorCode::InvalidArgument);
    assert_eq!(error.field, "client");
    assert!(!connection.greeted());

    let mut connection = Connection::new();
    assert_closed(&say(&mut connection, 0, hello(1)), CloseReason::ProtocolViolation);
    for phase in [Phase::Greeted, Phase::LoggingIn, Phase::LoggedIn] {
        let mut connection = connection_in(phase);
        assert_closed(&say(&mut connection, 3, hello(1)), CloseReason::ProtocolViolation);
    }
}

#[test]
fn a_heartbeat_is_answered_in_every_phase() {
    for phase in PHASES {
        let Received::Respond(response) = receive(&mut connection_in(phase), Bytes::new()) else {
            panic!("no heartbeat in {phase:?}");
        };
        assert_eq!(response, EncodedFrame::heartbeat());
    }
}

#[test]
fn nothing_but_hello_comes_first() {
    for body in [vec![login(), register()], session_requests(), server_only()].concat() {
        for request_id in [0, 1] {
            let received = say(&mut Connection::new(), request_id, body.clone());
            assert_closed(&received, CloseReason::ProtocolViolation);
        }
    }
}

#[test]
fn requests_wait_for_the_login() {
    for phase in [Phase::Greeted, Phase::LoggingIn] {
        for body in session_requests() {
            let received = say(&mut connection_in(phase), 5, body);
            assert_error(received, 5, ErrorCode::NotLoggedIn);
        }
        let unanswerable = say(&mut connection_in(phase), 0, signal());
        assert_closed(&unanswerable, CloseReason::ProtocolViolation);
    }
}

#[test]
fn a_registration_is_under_way_alone() {
    let mut connection = connection_in(Phase::Greeted);
    let received = say(&mut connection, 5, register());
    let Received::Submit(command) = received else {
        panic!("{received:?}");
    };
    assert_eq!(command.session, None);
    let Request::Credential(CredentialRequest::Register(register_under_way)) = command.request
    else {
        panic!("no registration");
    };
    assert!(connection.is_logging_in() && connection.is_registering());
    assert_eq!(connection.login_tried().and_then(|tried| tried.name()), Some("ada"));
    for body in [register(), login()] {
        assert_error(say(&mut connection, 6, body), 6, ErrorCode::AlreadyLoggedIn);
    }
    assert!(!register_under_way.attempt.is_abandoned());
    connection.login_refused();
    assert!(register_under_way.attempt.is_abandoned() && !connection.is_registering());
    assert!(matches!(say(&mut connection, 7, login()), Received::Submit(_)));
}

#[test]
fn every_request_of_a_session_is_submitted_in_its_name() {
    for (body, request_id) in session_requests().into_iter().zip(5..) {
        let received = say(&mut connection_in(Phase::LoggedIn), request_id, body);
        let Received::Submit(command) = received else {
            panic!("{received:?}");
        };
        assert_eq!(command.conn, CONN);
        assert_eq!(command.session, Some(session()));
        assert_eq!(command.request_id, request_id);
    }
}

#[test]
fn one_login_at_a_time() {
    let mut connection = connection_in(Phase::Greeted);
    assert!(matches!(
        say(&mut connection, 2, login()),
        Received::Submit(command) if matches!(
            command.request,
            Request::Credential(CredentialRequest::Login(_))
        )
    ));
    assert_error(say(&mut connection, 3, login()), 3, ErrorCode::AlreadyLoggedIn);
    connection.login_refused();
    assert!(matches!(say(&mut connection, 4, login()), Received::Submit(_)));
    connection.logged_in(session());
    assert_eq!(connection.session(), Some(session()));
    assert_error(say(&mut connection, 5, login()), 5, ErrorCode::AlreadyLoggedIn);
    assert_error(say(&mut connection, 6, register()), 6, ErrorCode::AlreadyLoggedIn);
    // A refusal that is late changes nothing.
    connection.login_refused();
    assert_eq!(connection.session(), Some(session()));
}

#[test]
fn an_invalid_login_leaves_the_way_open() {
    let mut connection = connection_in(Phase::Greeted);
    let empty = Body::Login(wire::Login::default());
    let error = assert_error(say(&mut connection, 2, empty), 2, ErrorCode::InvalidArgument);
    assert_eq!(error.field, "credential");
    assert!(matches!(say(&mut connection, 3, login()), Received::Submit(_)));
}

#[test]
fn frames_of_the_server_end_the_connection() {
    for phase in PHASES {
        for body in server_only() {
            for request_id in [0, 7] {
                let received = say(&mut connection_in(phase), request_id, body.clone());
                assert_closed(&received, CloseReason::ProtocolViolation);
            }
        }
    }
}

#[test]
fn only_a_signal_may_go_unanswered() {
    for body in [vec![login(), register()], session_requests()].concat() {
        let is_signal = matches!(body, Body::Signal(_));
        match say(&mut connection_in(Phase::LoggedIn), 0, body) {
            Received::Submit(command) if is_signal => assert_eq!(command.request_id, 0),
            received => assert_closed(&received, CloseReason::ProtocolViolation),
        }
    }
    let invalid = Body::Signal(wire::Signal::default());
    let mut connection = connection_in(Phase::LoggedIn);
    assert!(matches!(say(&mut connection, 0, invalid.clone()), Received::Nothing));
    assert_error(say(&mut connection, 1, invalid), 1, ErrorCode::InvalidArgument);
}

/// Field 500 of `Frame`, a message of two bytes: a request from the future.
const UNKNOWN_BODY: [u8; 5] = [0xa2, 0x1f, 2, 0x08, 1];

#[test]
fn an_unknown_request_is_answered_so() {
    for phase in [Phase::Greeted, Phase::LoggingIn, Phase::LoggedIn] {
        let mut body = Frame { request_id: 77, body: None }.encode_to_vec();
        let missing = receive(&mut connection_in(phase), body.clone());
        assert_error(missing, 77, ErrorCode::UnknownCommand);
        body.extend_from_slice(&UNKNOWN_BODY);
        let unknown = receive(&mut connection_in(phase), body);
        assert_error(unknown, 77, ErrorCode::UnknownCommand);
        let unanswerable = receive(&mut connection_in(phase), UNKNOWN_BODY.to_vec());
        assert_closed(&unanswerable, CloseReason::ProtocolViolation);
    }
    let first = receive(&mut Connection::new(), UNKNOWN_BODY.to_vec());
    assert_closed(&first, CloseReason::ProtocolViolation);
}

#[test]
fn unknown_fields_beside_a_request_are_ignored() {
    let mut body = Frame { request_id: 6, body: Some(Body::ListSessions(wire::ListSessions {})) }
        .encode_to_vec();
    body.extend_from_slice(&UNKNOWN_BODY);
    let received = receive(&mut connection_in(Phase::LoggedIn), body);
    assert!(matches!(
        received,
        Received::Submit(command) if command.request == IdentityRequest::ListSessions.into()
    ));
}

#[test]
fn frames_are_small_before_the_login() {
    let (context, mut connection) = (context(), connection_in(Phase::LoggingIn));
    assert_eq!(connection.frame_bytes_max(&context), 64 * 1024);
    connection.logged_in(session());
    assert_eq!(connection.frame_bytes_max(&context), 1024 * 1024);
    let tiny = ConnectionContext { frame_bytes_max: 1024, ..context };
    assert_eq!(Connection::new().frame_bytes_max(&tiny), 1024);
}

/// What is taken of a frame of so many bytes in this field, of which only the first bytes have come.
fn begun(phase: Phase, field: u32, body_bytes: u32) -> Result<Option<Bytes>, FrameError> {
    let mut input = BytesMut::from(&body_bytes.to_be_bytes()[..]);
    input.extend_from_slice(&[0x08, 7]);
    prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut input);
    connection_in(phase).take_frame(&context(), &mut input)
}

#[test]
fn a_large_frame_is_refused_at_its_first_bytes_unless_it_is_one_that_may_be_large() {
    const SEND: u32 = 2;
    const SYNC: u32 = 37;
    const HISTORY: u32 = 38;
    let logged_in = |field, bytes| begun(Phase::LoggedIn, field, bytes);
    for (field, bytes_max) in [(SEND, 80 * 1024), (SYNC, 1024 * 1024), (HISTORY, 16 * 1024)] {
        assert_eq!(logged_in(field, bytes_max), Ok(None), "{field}");
        let bytes = bytes_max + 1;
        assert_eq!(logged_in(field, bytes), Err(FrameError::TooLarge { bytes, bytes_max }));
    }
    // Login by a large token.
    assert_eq!(begun(Phase::Greeted, 34, 64 * 1024), Ok(None));
    assert!(begun(Phase::Greeted, SYNC, 64 * 1024 + 1).is_err());
}

/// The numbers of the two fields are written down in the server: they are those of the .proto file.
#[test]
fn the_requests_that_may_be_large_are_known_by_their_fields() {
    let field = |body| {
        let frame = EncodedFrame::response(7, body);
        frame::body_field(frame.wire()).unwrap()
    };
    assert_eq!(field(Body::Send(wire::Send::default())), 2);
    assert_eq!(field(Body::Sync(wire::Sync::default())), 37);
    assert_eq!(field(Body::History(wire::History::default())), 38);
}

/// Any valid frame of the protocol, to be spoilt.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let bodies = [vec![hello(1), login(), register()], session_requests(), server_only()].concat();
    (0u64..3, proptest::sample::select(bodies))
        .prop_map(|(request_id, body)| Frame { request_id, body: Some(body) }.encode_to_vec())
}

/// What must hold whatever arrives: it never panics, a request with an id is answered or
/// submitted under that id, and no one becomes a session by talking.
fn check(connection: &mut Connection, body: Vec<u8>) -> Result<(), TestCaseError> {
    let session_before = connection.session();
    let request_id = Frame::decode(body.as_slice()).map(|frame| frame.request_id).ok();
    match receive(connection, body) {
        Received::Nothing => prop_assert_eq!(request_id, Some(0)),
        Received::Respond(response) => {
            prop_assert_eq!(Some(decoded(&response).request_id), request_id);
        }
        Received::Submit(command) => {
            prop_assert_eq!(Some(command.request_id), request_id);
            prop_assert_eq!(command.session, session_before);
            let entering = matches!(command.request, Request::Credential(_));
            prop_assert_eq!(entering, session_before.is_none());
        }
        Received::Close(CloseReason::MalformedFrame) => prop_assert_eq!(request_id, None),
        Received::Close(reason) => {
            prop_assert!(matches!(
                reason,
                CloseReason::ProtocolViolation | CloseReason::UnsupportedVersion
            ));
        }
    }
    prop_assert_eq!(connection.session(), session_before);
    Ok(())
}

proptest! {
    #[test]
    fn garbage_is_survived_in_every_phase(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for phase in PHASES {
            check(&mut connection_in(phase), body.clone())?;
        }
    }

    #[test]
    fn spoilt_frames_are_survived(
        mut body in any_frame(),
        at in any::<prop::sample::Index>(),
        flip in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let end = cut.index(body.len() + 1);
        for phase in PHASES {
            check(&mut connection_in(phase), body.clone())?;
            check(&mut connection_in(phase), body[..end].to_vec())?;
        }
        if !body.is_empty() {
            let index = at.index(body.len());
            body[index] ^= flip;
            for phase in PHASES {
                check(&mut connection_in(phase), body.clone())?;
            }
        }
    }

    #[test]
    fn any_conversation_is_survived(bodies in proptest::collection::vec(any_frame(), 0..20)) {
        let mut connection = Connection::new();
        for body in bodies {
            check(&mut connection, body)?;
        }
    }
}

#[test]
fn who_only_fetches_may_look_and_nothing_else() {
    let mut connection = connection_in(Phase::Greeted);
    let Body::Login(login) = login() else { panic!("it is a login") };
    let resume = wire::login::Credential::ResumeToken("token".into());
    let login = wire::Login { credential: Some(resume), fetch_only: true, ..login };
    assert!(matches!(say(&mut connection, 2, Body::Login(login)), Received::Submit(_)));
    connection.logged_in(session());
    assert_eq!(connection.session(), Some(session()));
    assert_eq!(connection.frame_bytes_max(&context()), context().frame_bytes_max);
    for body in session_requests() {
        let looks = matches!(
            body,
            Body::Sync(_) | Body::History(_) | Body::FindUsers(_) | Body::MarkRead(_)
        );
        match say(&mut connection, 3, body.clone()) {
            Received::Submit(command) => assert!(looks && command.session == Some(session())),
            Received::Respond(response) => {
                let frame = frame::decode(response.body()).unwrap();
                let Some(Body::Error(error)) = frame.body else { panic!("{frame:?}") };
                assert!(!looks && error.code() == ErrorCode::FetchOnly, "{body:?}: {error:?}");
            }
            other => panic!("{body:?}: {other:?}"),
        }
    }
    // Nobody waits for an answer to it.
    assert!(matches!(say(&mut connection, 0, signal()), Received::Nothing));
    assert!(matches!(say(&mut connection, 4, register()), Received::Respond(_)));
}
