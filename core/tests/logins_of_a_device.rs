//! A client that loses its connection in the middle of a login makes another one and logs in there.
//! Its newest login is the one that counts, whatever becomes of the others on their way through the
//! workers.

mod engine_support;

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::auth::names;
use dunlin_core::config::{EngineConfig, PasswordConfig};
use dunlin_core::connection::{Connection, ConnectionContext, Received};
use dunlin_core::engine::Engine;
use dunlin_core::engine::submitter::Submitter;
use dunlin_core::request::IdentityRequest;
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Store, StoreDone, StoreRequest};
use dunlin_core::transport::{ConnId, Delivery, Session};
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, CloseReason, Error, ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};
use engine_support::hosts::Hosts;
use engine_support::{Client, Inbox, Server, body_of};
use parking_lot::Mutex;

/// Workers, and how many of them are hosted.
const ENGINES: [(usize, usize); 4] = [(1, 0), (1, 1), (3, 0), (3, 3)];

/// A store that takes its time over one log.
struct SlowStore {
    store: MemoryStore,
    slow: LogId,
    /// Requests that wait, while some shall.
    held: Mutex<Option<Vec<(StoreRequest, StoreDone)>>>,
}

impl Store for SlowStore {
    fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        let log = match &request {
            StoreRequest::Register(registers) => registers.first().map(|(log, _)| *log),
            StoreRequest::Write(writes) => writes.first().map(|write| write.log),
            _ => None,
        };
        if log == Some(self.slow)
            && let Some(held) = &mut *self.held.lock()
        {
            held.push((request, done));
            return;
        }
        self.store.submit(request, done);
    }
}

impl SlowStore {
    fn hold(&self) {
        *self.held.lock() = Some(Vec::new());
    }

    fn release(&self) {
        let held = self.held.lock().take().expect("it was held");
        held.into_iter().for_each(|(request, done)| self.store.submit(request, done));
    }
}

/// An engine with one user, whose name the store finds slowly when it is told to.
struct Stage {
    server: Server<SlowStore>,
    context: ConnectionContext,
    hosts: Hosts,
}

/// A connection as a transport has it.
struct Peer {
    conn: ConnId,
    protocol: Connection,
    submitter: Submitter,
}

impl Stage {
    fn new((workers, hosts): (usize, usize)) -> Stage {
        let (store, slow) = (MemoryStore::new(1), names::log_of("ada"));
        let store = Arc::new(SlowStore { store, slow, held: Mutex::default() });
        let inbox = Arc::new(Inbox::default());
        let passwords = PasswordConfig { memory_kib: 8, iterations: 1, ..Default::default() };
        let builder = Engine::builder(Arc::clone(&store) as _, Arc::clone(&inbox) as _)
            .config(EngineConfig { workers, passwords, ..EngineConfig::default() });
        let (engine, hosts) = Hosts::start(builder, hosts);
        let server = Server::of(engine, store, inbox);
        let mut stage = Stage { server, context: ConnectionContext::new("test"), hosts };
        let register = wire::Register {
            username: "ada".into(),
            password: "correct horse".into(),
            display_name: "Ada".into(),
            ..wire::Register::default()
        };
        let mut peer = stage.peer();
        peer.submit(&stage, Body::Register(register));
        let registered = stage.server.inbox.take(peer.conn, body_of).1;
        assert!(matches!(registered, Body::Registered(_)), "{registered:?}");
        stage
    }

    /// A connection on which Hello was said.
    fn peer(&mut self) -> Peer {
        let (conn, submitter) = (self.server.next_conn(), self.server.engine.submitter());
        let mut peer = Peer { conn, protocol: Connection::new(), submitter };
        let hello = Body::Hello(wire::Hello {
            protocol_version: 1,
            client: "test".into(),
            ..wire::Hello::default()
        });
        assert!(matches!(peer.receive(self, hello), Received::Respond(_)));
        peer
    }

    /// A login that is under way.
    fn login(&mut self, credential: Credential) -> Peer {
        let mut peer = self.peer();
        peer.submit(self, login(credential));
        peer
    }

    /// A login that has succeeded.
    fn logged_in(&mut self, credential: Credential) -> (Client, wire::LoggedIn) {
        let peer = self.login(credential);
        let (session, body) = self.server.inbox.take(peer.conn, |delivery| match delivery {
            Delivery::LoggedIn { session, .. } => Some((*session, body_of(delivery)?.1)),
            _ => None,
        });
        let Body::LoggedIn(logged_in) = body else { panic!("{body:?}") };
        (self.server.client_on(peer.conn, session), logged_in)
    }

    /// What a login that did not succeed is told.
    fn refusal(&self, conn: ConnId) -> ErrorCode {
        self.server.inbox.take(conn, |delivery| match (delivery, body_of(delivery)) {
            (Delivery::LoginPostponed(_), Some((_, Body::Error(Error { code, .. })))) => {
                ErrorCode::try_from(code).ok()
            }
            (Delivery::LoggedIn { .. } | Delivery::LoginRefused(_), _) => panic!("{delivery:?}"),
            _ => None,
        })
    }

    /// That this client is the only one there is, with a session that goes on.
    fn assert_stays(&mut self, client: &mut Client, logged_in: &wire::LoggedIn) {
        client.sync(wire::Sync::default());
        let sessions = client.ask(IdentityRequest::ListSessions.into());
        let Body::Sessions(wire::Sessions { sessions }) = sessions else { panic!("{sessions:?}") };
        let Session { session, .. } = client.session;
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert!(sessions[0].connected && sessions[0].session_id == session.get(), "{sessions:?}");
        let told = self.server.inbox.drain(client.conn);
        assert!(told.is_empty(), "{told:?}");
        // The next one closes the connection of this one, and no other.
        let (_next, _) = self.logged_in(Credential::ResumeToken(logged_in.resume_token.clone()));
        assert_eq!(client.closed(), CloseReason::Reconnected);
    }

    fn end(mut self) {
        while self.hosts.end_one() {}
        self.server.engine.stop();
    }
}

impl Peer {
    fn receive(&mut self, stage: &Stage, body: Body) -> Received {
        let frame = EncodedFrame::response(1, body);
        self.protocol.receive(&stage.context, self.conn, 0, frame.body())
    }

    fn submit(&mut self, stage: &Stage, body: Body) {
        match self.receive(stage, body) {
            Received::Submit(command) => self.submitter.command(command),
            other => panic!("{other:?}"),
        }
        assert!(self.submitter.flush());
    }

    /// The connection is gone.
    fn leave(self) -> ConnId {
        self.conn
    }
}

fn login(credential: Credential) -> Body {
    let device = wire::Device {
        device_id: Bytes::from_static(&[7; 16]),
        kind: wire::DeviceKind::Phone.into(),
        name: "a phone".into(),
    };
    Body::Login(wire::Login {
        credential: Some(credential),
        device: Some(device),
        ..wire::Login::default()
    })
}

fn password() -> Credential {
    let (username, password) = ("ada".into(), "correct horse".into());
    Credential::Password(wire::PasswordCredential { username, password })
}

#[test]
fn an_abandoned_login_does_not_replace_a_newer_one() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine);
        let (client, first) = stage.logged_in(password());
        client.disconnect();
        stage.server.store.hold();
        let abandoned = stage.login(password()).leave();
        let (mut newer, logged_in) = stage.logged_in(Credential::ResumeToken(first.resume_token));
        stage.server.store.release();
        assert_eq!(stage.refusal(abandoned), ErrorCode::NotLoggedIn);
        stage.assert_stays(&mut newer, &logged_in);
        stage.end();
    }
}

#[test]
fn an_abandoned_login_opens_no_session() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine);
        stage.server.store.hold();
        let abandoned = stage.login(password()).leave();
        stage.server.store.release();
        assert_eq!(stage.refusal(abandoned), ErrorCode::NotLoggedIn);
        let (mut client, logged_in) = stage.logged_in(password());
        stage.assert_stays(&mut client, &logged_in);
        stage.end();
    }
}

#[test]
fn a_login_that_was_overtaken_by_a_newer_one_is_closed() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine);
        let (client, first) = stage.logged_in(password());
        client.disconnect();
        stage.server.store.hold();
        // Its connection seems to be there still, as one does whose network has gone away.
        let older = stage.login(password());
        let (mut newer, logged_in) = stage.logged_in(Credential::ResumeToken(first.resume_token));
        stage.server.store.release();
        assert_eq!(stage.refusal(older.conn), ErrorCode::Overtaken);
        let client = stage.server.client_on(older.conn, newer.session);
        assert_eq!(client.closed(), CloseReason::Reconnected);
        stage.assert_stays(&mut newer, &logged_in);
        stage.end();
    }
}
