//! What can't be understood or may not be said closes the connection, and says why; what is only
//! wrong or unknown gets its error, and the connection lives.

mod support;

use bytes::Bytes;
use dunlin_protocol::EncodedFrame;
use dunlin_protocol::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_LOGIN};
use dunlin_protocol::wire::{
    Behind, Close, CloseReason, Done, ErrorCode, GoAway, Hello, Push, Refresh, Sent, Synced,
    Welcome, frame::Body,
};
use support::messages::{hello, history, login, message, sync, typing};
use support::{Client, Node, WAYS, token};

/// How far a connection got before the bad frame.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Silent,
    Greeted,
    LoggedIn,
}

const PHASES: [Phase; 3] = [Phase::Silent, Phase::Greeted, Phase::LoggedIn];

/// Clients in a phase, one of each kind.
fn clients(node: &Node, phase: Phase) -> [Client; WAYS] {
    let mut clients = node.connect_each_way();
    for (client, name) in clients.iter_mut().zip(["ada", "bob", "cyd", "dan"]) {
        match phase {
            Phase::Silent => {}
            Phase::Greeted => client.greet(),
            Phase::LoggedIn => drop(client.log_in(name)),
        }
    }
    clients
}

/// Says something in a phase, and expects to be closed for a reason.
fn closed_by(node: &Node, phase: Phase, bytes: &[u8], reason: CloseReason) {
    let before = node.server.closed(reason);
    for mut client in clients(node, phase) {
        client.write(bytes);
        assert_eq!(client.read_to_close(), Some(reason), "{phase:?} {bytes:?}");
    }
    node.wait_closed(reason, before + WAYS as u64);
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

#[test]
fn a_length_above_the_limit_of_the_phase() {
    let node = Node::start();
    for phase in PHASES {
        let limit = match phase {
            Phase::Silent | Phase::Greeted => FRAME_BYTES_MAX_BEFORE_LOGIN,
            Phase::LoggedIn => FRAME_BYTES_MAX,
        };
        for length in [limit + 1, u32::MAX] {
            let prefix = length.to_be_bytes();
            closed_by(&node, phase, &prefix, CloseReason::FrameTooLarge);
            // More of it may be under way already: the reason must arrive all the same.
            let with_body = [&prefix[..], &[7; 100_000]].concat();
            closed_by(&node, phase, &with_body, CloseReason::FrameTooLarge);
        }
    }
    node.settle();
}

#[test]
fn a_length_at_the_limit_is_read() {
    let node = Node::start();
    for mut client in clients(&node, Phase::LoggedIn) {
        // A Sync may be so large; an unknown field behind it is skipped, like any other.
        let bytes = FRAME_BYTES_MAX as usize;
        let mut body = vec![0x08, 77, 0xaa, 0x02, 0, 0xfa, 0x3f];
        let rest = u32::try_from(bytes - body.len() - 3).unwrap();
        body.extend([(rest & 127 | 128) as u8, (rest >> 7 & 127 | 128) as u8, (rest >> 14) as u8]);
        body.resize(bytes, 0);
        client.write(&framed(&body));
        assert!(matches!(client.answer(77), Body::Synced(_)));
    }
    node.settle();
}

#[test]
fn bodies_that_are_no_frame() {
    let node = Node::start();
    let bodies: [&[u8]; 8] = [
        &[0xff; 40],                                       // a number that does not end
        &[0x00, 0x01],                                     // field 0
        &[0x0e, 0x01],                                     // wire type 6
        &[0x0b, 0x08],                                     // a group that does not end
        &[0x12, 0x05, 0x01], // a message that is longer than the frame
        &[0x0a, 0x01, 0x00], // request_id as a string
        &[0x08, 0x01, 0x82, 0x02, 0x03, 0x12, 0x01, 0xff], // a client name that is no UTF-8
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for phase in PHASES {
        for body in bodies {
            closed_by(&node, phase, &framed(body), CloseReason::MalformedFrame);
        }
    }
    node.settle();
}

#[test]
fn another_protocol_is_a_length_above_the_limit() {
    let node = Node::start();
    for text in ["GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "*1\r\n$4\r\nPING\r\n"] {
        closed_by(&node, Phase::Silent, text.as_bytes(), CloseReason::FrameTooLarge);
    }
    node.settle();
}

#[test]
fn what_may_not_be_said_now() {
    let node = Node::start();
    let wire = |request_id, body| EncodedFrame::response(request_id, body).into_wire();
    let violation = CloseReason::ProtocolViolation;
    let to = dunlin_protocol::LogId::from_bytes(&[[1, 0].as_slice(), &[1; 14]].concat()).unwrap();

    // Before Hello nothing but Hello, and that with a number.
    for body in [sync(), login(token::credential("ada"), "ada"), message(to, "1", "x"), typing(to)]
    {
        closed_by(&node, Phase::Silent, &wire(1, body), violation);
    }
    closed_by(&node, Phase::Silent, &wire(0, hello()), violation);
    closed_by(&node, Phase::Silent, &framed(&[0x08, 0x01]), violation);
    // Then no second one; only Signal needs no number, and only after a login.
    for phase in [Phase::Greeted, Phase::LoggedIn] {
        closed_by(&node, phase, &wire(9, hello()), violation);
        closed_by(&node, phase, &wire(0, sync()), violation);
        closed_by(&node, phase, &wire(0, message(to, "1", "x")), violation);
    }
    closed_by(&node, Phase::Greeted, &wire(0, typing(to)), violation);
    // What only servers say, in any phase.
    for phase in PHASES {
        for body in [
            Body::Welcome(Welcome::default()),
            Body::Sent(Sent::default()),
            Body::Push(Push::default()),
            Body::Done(Done {}),
            Body::Behind(Behind::default()),
            Body::Synced(Synced::default()),
            Body::GoAway(GoAway::default()),
            Body::Close(Close::default()),
        ] {
            closed_by(&node, phase, &wire(5, body), violation);
        }
    }
    node.settle();
}

#[test]
fn no_version_in_common() {
    let node = Node::start();
    let hello =
        Body::Hello(Hello { protocol_version: 0, client: String::new(), ..Hello::default() });
    let wire = EncodedFrame::response(1, hello).into_wire();
    closed_by(&node, Phase::Silent, &wire, CloseReason::UnsupportedVersion);
    node.settle();
}

#[test]
fn a_wrong_request_gets_its_error_and_the_connection_lives() {
    let node = Node::start();
    for mut client in node.connect_each_way() {
        client.greet();
        // Before login: known requests need one, unknown ones are unknown.
        assert_eq!(client.refused_with(sync()), ErrorCode::NotLoggedIn);
        let refresh = Body::Refresh(Refresh { refresh_token: "x".into() });
        assert_eq!(client.refused_with(refresh), ErrorCode::NotLoggedIn);
        unknown_commands(&mut client);
        let mut nameless = login(token::credential("ada"), "ada");
        if let Body::Login(login) = &mut nameless {
            login.device = None;
        }
        assert_eq!(client.refused_with(nameless), ErrorCode::InvalidArgument);
        client.try_log_in(login(token::credential("ada"), "ada")).unwrap();
        // After it.
        unknown_commands(&mut client);
        let again = login(token::credential("ada"), "ada");
        assert_eq!(client.refused_with(again), ErrorCode::AlreadyLoggedIn);
        let to = client.with(&client);
        for (field, body) in [
            ("content", message(to, "1", vec![0; 64 * 1024 + 1])),
            ("conversation_id", with_conversation(message(to, "1", "x"), b"short")),
            ("conversation_id", with_conversation(message(to, "1", "x"), &[9; 16])),
        ] {
            let error = client.refused(body);
            assert_eq!((error.code(), &*error.field), (ErrorCode::InvalidArgument, field));
        }
        assert!(matches!(client.request(history(to, 0)), Body::HistoryPage(_)));
    }
    node.settle();
}

fn with_conversation(mut body: Body, conversation_id: &'static [u8]) -> Body {
    if let Body::Send(send) = &mut body {
        send.conversation_id = Bytes::from_static(conversation_id);
    }
    body
}

/// No body at all, and one of a later version.
fn unknown_commands(client: &mut Client) {
    for (number, body) in
        [(900, &[0x08, 0x84, 0x07][..]), (901, &[0x08, 0x85, 0x07, 0xc2, 0x3e, 0])]
    {
        client.write(&framed(body));
        match client.answer(number) {
            Body::Error(error) => assert_eq!(error.code(), ErrorCode::UnknownCommand),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_frame_that_is_cut_off() {
    let node = Node::start();
    let whole = EncodedFrame::response(1, hello()).into_wire();
    for length in 0..whole.len() {
        let mut client = node.connect();
        client.write(&whole[..length]);
        client.shut_writing();
        assert_eq!(client.read_to_close(), None, "there is nothing to say to who has gone");
    }
    node.wait_closed(CloseReason::PeerClosed, whole.len() as u64);
    node.settle();
}
