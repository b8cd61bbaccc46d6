//! A WebSocket by a library that others use, beside clients on bare sockets; and what an entrance for browsers has
//! that others have not: requests of HTTP that are something else, origins, and ends by code.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use dunlin_protocol::websocket::Opcode;
use dunlin_protocol::wire::{CloseReason, Frame, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId, frame};
use rustls::{ClientConnection, StreamOwned};
use support::messages::{hello, login, message, sync};
use support::web::{UPGRADE, Web};
use support::{Node, Stream, client, eventually, tls, token, web};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// What a WebSocket is over.
trait Transport: Read + Write {}
impl Transport for TcpStream {}
impl Transport for StreamOwned<ClientConnection, TcpStream> {}

/// A client that somebody else wrote.
struct Foreigner<T> {
    socket: WebSocket<T>,
    last_request: u64,
    user: Option<UserId>,
}

impl<T: Transport> Foreigner<T> {
    fn over(stream: T) -> Foreigner<T> {
        let mut request = "ws://localhost/chat".into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "dunlin.v1".parse().unwrap());
        let (socket, response) =
            tungstenite::client(request, stream).map_err(|error| error.to_string()).unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "dunlin.v1");
        Foreigner { socket, last_request: 0, user: None }
    }

    fn frame(&mut self) -> Frame {
        loop {
            match self.socket.read().unwrap() {
                Message::Binary(body) => {
                    return frame::decode(Bytes::copy_from_slice(&body)).unwrap();
                }
                Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn request(&mut self, body: Body) -> Body {
        self.last_request += 1;
        let request = EncodedFrame::response(self.last_request, body);
        self.socket.send(Message::Binary(request.body().to_vec().into())).unwrap();
        loop {
            let frame = self.frame();
            if frame.request_id == self.last_request {
                return frame.body.unwrap();
            }
        }
    }

    fn log_in(&mut self, name: &str) {
        assert!(matches!(self.request(hello()), Body::Welcome(_)));
        let Body::LoggedIn(logged_in) = self.request(login(token::credential(name), name)) else {
            panic!("no login")
        };
        self.user = UserId::new(logged_in.user_id).ok();
        assert!(matches!(self.request(sync()), Body::Synced(_)));
    }
}

fn talks<T: Transport>(node: &Node, mut foreigner: Foreigner<T>, name: &str) {
    foreigner.log_in(name);
    let mut friend = node.user(&format!("friend of {name}"));
    let log = LogId::direct(foreigner.user.unwrap(), friend.user.unwrap());
    for (number, bytes) in [0, 1, 200, 60_000].into_iter().enumerate() {
        let sent = foreigner.request(message(log, &format!("{number}"), vec![b'x'; bytes]));
        assert!(matches!(sent, Body::Sent(_)), "{sent:?}");
        let push = friend.wait_for(|frame| match &frame.body {
            Some(Body::Push(push)) => push.entry.clone(),
            _ => None,
        });
        assert_eq!(push.seq, number as u64 * 2 + 1);
        friend.request(message(log, &format!("answer {number}"), vec![b'y'; bytes]));
        let Some(Body::Push(push)) = foreigner.frame().body else { panic!("no push") };
        assert_eq!(push.entry.unwrap().seq, number as u64 * 2 + 2);
    }
    // The heartbeat is an empty message; a ping is answered as well, and neither is the other.
    foreigner.socket.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    foreigner.socket.send(Message::Binary(Vec::new().into())).unwrap();
    assert_eq!(foreigner.frame(), Frame::default());
    foreigner.socket.close(None).unwrap();
    let ended = loop {
        match foreigner.socket.read() {
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, tungstenite::Error::ConnectionClosed), "{ended:?}");
}

#[test]
fn a_client_of_another_library_talks_to_one_on_a_bare_socket() {
    let node = Node::start();
    talks(&node, Foreigner::over(client::connect(node.web())), "ada");
    let mut config = rustls::ClientConfig::clone(&tls::both_versions(&node.certificate()));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = tls::connection(&std::sync::Arc::new(config));
    let stream = StreamOwned::new(tls, client::connect(node.web_tls()));
    talks(&node, Foreigner::over(stream), "bob");
    node.settle();
}

fn asked(address: std::net::SocketAddr, request: &str) -> String {
    let mut web = Web::unopened(Stream::Plain(client::connect(address)));
    web.say_raw(request.as_bytes());
    let response = web.response();
    if !response.starts_with("HTTP/1.1 101 ") {
        assert_eq!(web.hear(), None, "the connection ends with it");
    }
    response
}

#[test]
fn another_request_is_told_what_this_is() {
    let node = Node::start();
    let others = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    ];
    for other in others {
        let response = asked(node.web(), other);
        assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{response}");
        assert!(response.contains("\r\nUpgrade: websocket\r\n"), "{response}");
        assert!(response.ends_with("subprotocol dunlin.v1\n"), "{response}");
    }
    let nameless = UPGRADE.replace("Sec-WebSocket-Protocol: dunlin.v1\r\n", "");
    assert!(asked(node.web(), &nameless).starts_with("HTTP/1.1 400 "));
    assert!(asked(node.web(), "\x16\x03\x01\x02").starts_with("HTTP/1.1 400 "));
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(10_000));
    assert!(asked(node.web(), &endless).starts_with("HTTP/1.1 431 "));
    node.wait_closed(CloseReason::UpgradeRefused, 5);
    node.settle();
}

#[test]
fn pages_of_other_origins_are_kept_out_by_a_list_that_may_be_reloaded() {
    let list = |config: &mut dunlin_gateway::config::Config, origin: &str| {
        config.web.origins = vec![origin.into()];
    };
    let mut node = Node::with(|config| list(config, "https://chat.example"));
    let from = |origin: &str| UPGRADE.replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
    let status = |node: &Node, origin| asked(node.web(), &from(origin))[9..12].to_owned();
    assert_eq!(status(&node, "https://chat.example"), "101");
    assert_eq!(status(&node, "https://evil.example"), "403");
    assert_eq!(&asked(node.web(), UPGRADE)[9..12], "101", "what is no browser");
    node.reload(|config| list(config, "https://new.example"));
    eventually("the new list holds", || status(&node, "https://chat.example") == "403");
    assert_eq!(status(&node, "https://new.example"), "101");
    node.settle();
}

#[test]
fn tls_is_for_http_where_browsers_come_in() {
    let node = Node::start();
    let mut config = rustls::ClientConfig::clone(&tls::both_versions(&node.certificate()));
    config.alpn_protocols = vec![b"dunlin".to_vec()];
    let wrong = std::sync::Arc::new(config);
    assert!(tls::over(&wrong, client::connect(node.web_tls())).is_err());
    assert!(tls::over(&wrong, client::connect(node.tls())).is_ok());
    assert!(tls::over(&web::config(&node.certificate()), client::connect(node.tls())).is_err());
    node.wait_quiet();
}

/// Whoever says nothing more is closed by the deadline of what was begun, and told by what is spoken by then.
#[test]
fn deadlines_hold_for_requests_and_for_pieces() {
    let node = Node::with(|config| {
        config.timeouts.handshake_timeout_ms = 100;
        config.timeouts.login_timeout_ms = 600_000;
        config.timeouts.frame_timeout_ms = 10_000;
    });
    let begun = asked(node.web(), "GET / HTTP/1.1\r\nHost: x\r\n");
    assert!(begun.starts_with("HTTP/1.1 408 "), "{begun}");
    node.wait_closed(CloseReason::HandshakeTimeout, 1);
    // An upgrade is no Hello. (It may take some tries to have it in time.)
    let upgraded = || {
        let mut web = Web::unopened(Stream::Plain(client::connect(node.web())));
        web.say_raw(UPGRADE.as_bytes());
        web.response().starts_with("HTTP/1.1 101 ").then_some(web)
    };
    let mut web = std::iter::repeat_with(upgraded).flatten().next().unwrap();
    assert_eq!(web.code(), Some(4000 + CloseReason::HandshakeTimeout as u16));
    drop(web);
    node.settle();
}

#[test]
fn a_message_in_pieces_has_the_deadline_of_a_frame_and_counts_as_unfinished() {
    let node = Node::with(|config| {
        config.timeouts.frame_timeout_ms = config.timeouts.frame_timeout_ms.min(1000);
    });
    let mut web = Web::plain(node.web());
    web.say(true, Opcode::Binary, &EncodedFrame::response(1, hello()).body());
    assert!(matches!(web.hear(), Some((Opcode::Binary, _))), "a Welcome");
    web.say(false, Opcode::Binary, &[0; 20_000]);
    eventually("it is counted", || node.server.unfinished_bytes() >= 20_000);
    web.say(true, Opcode::Ping, b"I am here");
    assert_eq!(web.code(), Some(4000 + CloseReason::FrameTimeout as u16));
    node.wait_closed(CloseReason::FrameTimeout, 1);
    drop(web);
    node.settle();
}

#[test]
fn whoever_is_in_hears_that_the_server_goes() {
    let node = Node::start();
    let mut foreigner = Foreigner::over(client::connect(node.web()));
    foreigner.log_in("ada");
    let mut server = node.server;
    server.stop();
    let Some(Body::Close(close)) = foreigner.frame().body else { panic!("no Close") };
    assert_eq!(close.reason(), CloseReason::ServerDraining);
    match foreigner.socket.read().unwrap() {
        Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    server.finish().unwrap();
}
