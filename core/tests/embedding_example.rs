//! The example that embeds the engine behind a WebSocket works: two people talk through it over
//! real sockets, a slow reader is told that it is behind, and a stop loses nothing.
#![forbid(unsafe_code)]

#[path = "../examples/websocket/outbox.rs"]
mod outbox;
#[path = "../examples/websocket/server.rs"]
mod server;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_protocol::wire::{
    self, CloseReason, ErrorCode, Frame, entry, frame::Body, login::Credential,
};
use dunlin_protocol::{LogId, UserId, frame};
use prost::Message as _;
use server::ChatServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tungstenite::{Message, WebSocket};

/// A server on a thread of its own.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(folder: &Path) -> Running {
        let config = EmbeddedConfig { segment_bytes: 1024 * 1024, ..EmbeddedConfig::default() };
        let store = EmbeddedStore::open(folder, config).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let server = ChatServer::start(Arc::new(store)).unwrap();
                server.serve(listener, async { stopped.await.unwrap() }).await.unwrap();
            });
        });
        Running { address: told.recv().unwrap(), stop, thread }
    }

    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

struct Client {
    socket: WebSocket<TcpStream>,
    last_request: u64,
    /// What came while something else was waited for.
    pushed: Vec<Body>,
}

impl Client {
    fn connect(server: &Running) -> Client {
        let stream = TcpStream::connect(server.address).unwrap();
        // A deadline: what does not come by then never comes.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let url = format!("ws://{}/chat", server.address);
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        let mut client = Client { socket, last_request: 0, pushed: Vec::new() };
        let hello =
            wire::Hello { protocol_version: 1, client: "test".into(), ..wire::Hello::default() };
        assert!(matches!(client.ask(Body::Hello(hello)), Body::Welcome(_)));
        client
    }

    /// Connects, logs in and syncs. The account may be new.
    fn enter(server: &Running, username: &str) -> (Client, UserId) {
        let mut client = Client::connect(server);
        let (username, password) = (username.to_owned(), "correct horse".to_owned());
        let display_name = String::new();
        let register = wire::Register {
            username: username.clone(),
            password: password.clone(),
            display_name,
            ..wire::Register::default()
        };
        match client.ask(Body::Register(register)) {
            Body::Registered(_) => {}
            Body::Error(error) => assert_eq!(error.code(), ErrorCode::NameTaken),
            other => panic!("{other:?}"),
        }
        let device = wire::Device { device_id: vec![1; 16].into(), kind: 3, name: String::new() };
        let credential = Credential::Password(wire::PasswordCredential { username, password });
        let login = wire::Login {
            credential: Some(credential),
            device: Some(device),
            ..wire::Login::default()
        };
        let Body::LoggedIn(logged_in) = client.ask(Body::Login(login)) else { panic!() };
        assert!(matches!(client.ask(Body::Sync(wire::Sync::default())), Body::Synced(_)));
        (client, UserId::new(logged_in.user_id).unwrap())
    }

    fn write(&mut self, body: impl Into<Bytes>) {
        self.socket.send(Message::Binary(body.into())).unwrap();
    }

    fn tell(&mut self, body: Body) -> u64 {
        self.last_request += 1;
        let frame = Frame { request_id: self.last_request, body: Some(body) };
        self.write(frame.encode_to_vec());
        self.last_request
    }

    fn read(&mut self) -> Bytes {
        match self.socket.read().unwrap() {
            Message::Binary(body) => body,
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat is an empty message and is answered by one; a push may come before the answer.
    fn beat(&mut self) {
        self.write(Bytes::new());
        loop {
            let body = self.read();
            if body.is_empty() {
                return;
            }
            let frame = frame::decode(body).unwrap();
            assert_eq!(frame.request_id, 0, "an answer to nothing");
            self.pushed.push(frame.body.unwrap());
        }
    }

    fn ask(&mut self, body: Body) -> Body {
        let request_id = self.tell(body);
        loop {
            let frame = frame::decode(self.read()).unwrap();
            match frame.body.expect("no heartbeats here") {
                body if frame.request_id == request_id => return body,
                body if frame.request_id == 0 => self.pushed.push(body),
                other => panic!("an answer to nothing: {other:?}"),
            }
        }
    }

    fn pushed(&mut self) -> Body {
        if self.pushed.is_empty() {
            let frame = frame::decode(self.read()).unwrap();
            assert_eq!(frame.request_id, 0);
            return frame.body.unwrap();
        }
        self.pushed.remove(0)
    }

    /// The next push or hint of this log: how far it has got, and whether it was a mere hint.
    fn heard_of(&mut self, log: LogId) -> (u64, bool) {
        loop {
            match self.pushed() {
                Body::Push(push) if push.conversation_id == log.to_wire() => {
                    return (push.entry.unwrap().seq, false);
                }
                Body::Behind(behind) if behind.conversation_id == log.to_wire() => {
                    return (behind.head, true);
                }
                Body::Push(_) | Body::Behind(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn send(&mut self, log: LogId, id: u32, content: Bytes) -> u64 {
        let mut client_message_id = vec![0; 12];
        client_message_id.extend(id.to_be_bytes());
        let send = wire::Send {
            conversation_id: log.to_wire(),
            client_message_id: client_message_id.into(),
            content,
            ..wire::Send::default()
        };
        match self.ask(Body::Send(send)) {
            Body::Sent(sent) => sent.seq,
            other => panic!("{other:?}"),
        }
    }

    fn history(&mut self, log: LogId) -> Vec<Bytes> {
        let history = wire::History { conversation_id: log.to_wire(), ..wire::History::default() };
        let Body::HistoryPage(page) = self.ask(Body::History(history)) else { panic!() };
        let content = |entry: wire::Entry| match entry.body {
            Some(entry::Body::Message(message)) => message.content,
            other => panic!("{other:?}"),
        };
        page.entries.into_iter().map(content).collect()
    }

    fn close_reason(&mut self) -> CloseReason {
        loop {
            if let Body::Close(close) = self.pushed() {
                return close.reason();
            }
        }
    }
}

#[test]
fn two_people_talk_and_a_stop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path());
    let (mut ada, ada_id) = Client::enter(&server, "ada");
    let (mut bob, bob_id) = Client::enter(&server, "bob");
    let log = LogId::direct(ada_id, bob_id);
    assert_eq!(ada.send(log, 1, "Hello, Bob!".into()), 1);
    assert_eq!(bob.heard_of(log), (1, false));
    assert_eq!(bob.send(log, 1, "Hello, Ada!".into()), 2);
    assert_eq!(ada.heard_of(log), (2, false));
    assert_eq!(ada.send(log, 1, "Hello, Bob!".into()), 1, "a retry gets the first answer");

    ada.beat();

    server.stop();
    assert_eq!(ada.close_reason(), CloseReason::ServerDraining);
    assert_eq!(bob.close_reason(), CloseReason::ServerDraining);

    let server = Running::start(folder.path());
    let (mut ada, _) = Client::enter(&server, "ada");
    assert_eq!(ada.history(log), ["Hello, Bob!", "Hello, Ada!"]);
    server.stop();
}

#[test]
fn a_slow_reader_is_told_that_it_is_behind() {
    // More than the kernel and the outbox hold for a reader that does not read.
    const MESSAGES: u32 = 400;
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path());
    let (mut ada, ada_id) = Client::enter(&server, "ada");
    let (mut bob, bob_id) = Client::enter(&server, "bob");
    let log = LogId::direct(ada_id, bob_id);
    let content = Bytes::from(vec![7; 60_000]);
    for id in 1..=MESSAGES {
        assert_eq!(ada.send(log, id, content.clone()), u64::from(id));
    }
    let mut hints = 0;
    loop {
        let (head, is_hint) = bob.heard_of(log);
        hints += u32::from(is_hint);
        if head == u64::from(MESSAGES) {
            break;
        }
    }
    assert!(hints > 0, "all pushes found room");
    server.stop();
}

#[test]
fn what_is_no_frame_ends_the_connection_and_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path());
    let (mut ada, ada_id) = Client::enter(&server, "ada");
    let mut garbage = Client::connect(&server);
    garbage.write(vec![0xff; 40]);
    assert_eq!(garbage.close_reason(), CloseReason::MalformedFrame);
    let mut large = Client::connect(&server);
    large.write(vec![0; 70_000]);
    assert_eq!(large.close_reason(), CloseReason::FrameTooLarge);
    let mut text = Client::connect(&server);
    text.socket.send(Message::Text("hello".into())).unwrap();
    assert_eq!(text.close_reason(), CloseReason::ProtocolViolation);
    assert_eq!(ada.send(LogId::direct(ada_id, ada_id), 1, "still here".into()), 1);
    server.stop();
}
