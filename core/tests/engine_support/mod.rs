//! An engine over the store in memory, and clients that speak to it in wire messages.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod hosts;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::arrival::Arrival;
use dunlin_core::config::{EngineConfig, PasswordConfig};
use dunlin_core::engine::submitter::Submitter;
use dunlin_core::engine::{Engine, EngineBuilder};
use dunlin_core::request::{AccountRequest, Command, MembershipChange, Request};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{RegisterKey, Set, Store, StoreReply, StoreRequest, Write};
use dunlin_core::transport::{ConnId, Delivery, Outbound, Session, Transport};
use dunlin_protocol::wire::{self, CloseReason, DeviceKind, ErrorCode, Notice, entry, frame::Body};
use dunlin_protocol::{LogId, SessionId, UserId, frame};
use parking_lot::{Condvar, Mutex};

/// How long a test waits for what must happen. It never waits so long unless it fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// Keeps what is delivered, until a test takes it.
#[derive(Default)]
pub(crate) struct Inbox {
    delivered: Mutex<Vec<Outbound>>,
    more: Condvar,
    /// A shard has more than it can take.
    pub(crate) behind: AtomicBool,
}

impl Transport for Inbox {
    fn deliver(&self, _shard: u16, batch: Vec<Outbound>) {
        self.delivered.lock().extend(batch);
        self.more.notify_all();
    }

    fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }
}

impl Inbox {
    /// Takes the first delivery to a connection that `wanted` accepts, leaving the others.
    pub(crate) fn take<T>(&self, conn: ConnId, wanted: impl Fn(&Delivery) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut delivered = self.delivered.lock();
        loop {
            let mine = |out: &Outbound| (out.conn == conn).then(|| wanted(&out.delivery))?;
            let found = delivered.iter().enumerate().find_map(|(i, out)| Some((i, mine(out)?)));
            if let Some((index, found)) = found {
                delivered.remove(index);
                return found;
            }
            let timed_out = self.more.wait_until(&mut delivered, deadline).timed_out();
            assert!(!timed_out, "nothing of the kind for {conn:?} among {delivered:?}");
        }
    }

    /// All frames for a connection that were delivered so far.
    pub(crate) fn drain(&self, conn: ConnId) -> Vec<Body> {
        let mut delivered = self.delivered.lock();
        let (mine, others) = delivered.drain(..).partition(|out: &Outbound| out.conn == conn);
        *delivered = others;
        mine.iter().filter_map(|out| body_of(&out.delivery)).map(|(_, body)| body).collect()
    }
}

/// The frame of a delivery.
pub(crate) fn body_of(delivery: &Delivery) -> Option<(u64, Body)> {
    let frame = frame::decode(delivery.frame()?.body()).expect("the engine sends frames");
    Some((frame.request_id, frame.body.expect("with a body")))
}

/// An engine and what it needs.
pub(crate) struct Server<S = MemoryStore> {
    pub engine: Engine,
    pub store: Arc<S>,
    pub inbox: Arc<Inbox>,
    connections: u32,
}

impl Server {
    pub(crate) fn start(workers: usize) -> Server {
        Server::over(MemoryStore::new(1), workers)
    }
}

impl<S: Store> Server<S> {
    pub(crate) fn of(engine: Engine, store: Arc<S>, inbox: Arc<Inbox>) -> Server<S> {
        Server { engine, store, inbox, connections: 0 }
    }

    pub(crate) fn over(store: S, workers: usize) -> Server<S> {
        Server::with(workers, Arc::new(store), |builder| builder)
    }

    /// The same over a store that there is already, with more to say about the engine.
    pub(crate) fn with(
        workers: usize,
        store: Arc<S>,
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Server<S> {
        let inbox = Arc::new(Inbox::default());
        // As cheap as a hash can be.
        let passwords = PasswordConfig { memory_kib: 8, iterations: 1, ..Default::default() };
        let config = EngineConfig { workers, passwords, ..EngineConfig::default() };
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let builder = Engine::builder(shared, Arc::clone(&inbox) as _).config(config);
        let engine = build(builder).start().expect("the engine starts");
        Server::of(engine, store, inbox)
    }

    /// Makes an account with this id.
    pub(crate) fn account(&self, id: u64) -> UserId {
        let user = UserId::new(id).unwrap();
        create_account(&*self.store, user);
        user
    }

    /// A client of a user, that has not synced.
    pub(crate) fn client(&mut self, user: UserId) -> Client {
        let conn = self.next_conn();
        let session = SessionId::new(u64::from(self.connections)).unwrap();
        let session = Session { user, session };
        self.engine.open_session(conn, session, DeviceKind::Phone);
        self.client_on(conn, session)
    }

    /// A client on a connection that speaks for the session already.
    pub(crate) fn client_on(&self, conn: ConnId, session: Session) -> Client {
        let (submitter, inbox) = (self.engine.submitter(), Arc::clone(&self.inbox));
        Client { conn, session, submitter, inbox, last_request: 0 }
    }

    /// A connection that there was not before.
    pub(crate) fn next_conn(&mut self) -> ConnId {
        self.connections += 1;
        ConnId { shard: 0, slot: self.connections, generation: 1 }
    }

    /// A client of a user, with an account, that is live.
    pub(crate) fn live(&mut self, user: UserId) -> Client {
        let mut client = self.client(user);
        client.sync(wire::Sync::default());
        client
    }
}

/// Sets the register that says that there is such a user, who is called by the number.
pub(crate) fn create_account(store: &dyn Store, user: UserId) {
    let name = format!("user{user}");
    // Fields 1 and 2 of `dunlin.store.v1.Account`: user name and display name.
    let mut account = Vec::new();
    for tag in [0x0a, 0x12] {
        account.extend([tag, u8::try_from(name.len()).unwrap()]);
        account.extend(name.as_bytes());
    }
    let set = Set::always(RegisterKey::letter(b'a'), account.into());
    let write = Write::registers(LogId::account(user), [set]);
    let (done, stored) = mpsc::channel();
    let done = move |reply| done.send(reply).unwrap();
    store.submit(StoreRequest::Write(vec![write]), Box::new(done));
    assert!(matches!(stored.recv().unwrap(), Ok(StoreReply::Written(_))));
}

/// A connection with a session.
pub(crate) struct Client {
    pub conn: ConnId,
    pub session: Session,
    pub submitter: Submitter,
    inbox: Arc<Inbox>,
    last_request: u64,
}

impl Client {
    /// Submits a request and returns its id.
    pub(crate) fn submit(&mut self, request: Request) -> u64 {
        self.last_request += 1;
        let (conn, session, request_id) = (self.conn, Some(self.session), self.last_request);
        self.submitter.command(Command {
            conn,
            session,
            request_id,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        });
        assert!(self.submitter.flush());
        request_id
    }

    /// Waits for the response to a request.
    pub(crate) fn response(&self, request_id: u64) -> Body {
        self.inbox.take(self.conn, |delivery| match delivery {
            Delivery::Response(_) => {
                body_of(delivery).filter(|(id, _)| *id == request_id).map(|(_, body)| body)
            }
            _ => None,
        })
    }

    pub(crate) fn ask(&mut self, request: Request) -> Body {
        let request_id = self.submit(request);
        self.response(request_id)
    }

    pub(crate) fn refused(&mut self, request: Request) -> ErrorCode {
        match self.ask(request) {
            Body::Error(error) => error.code(),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn with(&self, other: UserId) -> LogId {
        LogId::direct(self.session.user, other)
    }

    pub(crate) fn send(&mut self, to: UserId, id: u8, text: &str) -> wire::Sent {
        self.send_with(Notice::Loud, to, id, text)
    }

    pub(crate) fn send_with(
        &mut self,
        notice: Notice,
        to: UserId,
        id: u8,
        text: &str,
    ) -> wire::Sent {
        match self.ask(send_with(notice, self.with(to), id, text)) {
            Body::Sent(sent) => sent,
            other => panic!("not sent: {other:?}"),
        }
    }

    pub(crate) fn sync(&mut self, sync: wire::Sync) -> wire::Synced {
        match self.ask(sync.try_into().unwrap()) {
            Body::Synced(synced) => synced,
            other => panic!("not synced: {other:?}"),
        }
    }

    /// Moves the cursor. Returns where it is then, and how many of others count up to there.
    pub(crate) fn mark_read(&mut self, conversation: LogId, seq: u64) -> (u64, u64) {
        self.mark_read_with(conversation, seq, false)
    }

    pub(crate) fn mark_read_with(
        &mut self,
        conversation: LogId,
        seq: u64,
        private: bool,
    ) -> (u64, u64) {
        match self.ask(AccountRequest::MarkRead { conversation, seq, private }.into()) {
            Body::ReadReceipt(cursor) => {
                assert_eq!(cursor.conversation_id, conversation.to_wire());
                assert_eq!(cursor.user_id, self.session.user.get());
                (cursor.seq, cursor.others_counted)
            }
            other => panic!("not read: {other:?}"),
        }
    }

    /// Changes what a conversation is to the user. Returns what it is then.
    pub(crate) fn update(
        &mut self,
        conversation: LogId,
        change: MembershipChange,
    ) -> wire::Membership {
        match self.ask(AccountRequest::UpdateConversation { conversation, change }.into()) {
            Body::Membership(membership) => membership,
            other => panic!("not changed: {other:?}"),
        }
    }

    pub(crate) fn history(&mut self, log: LogId) -> wire::HistoryPage {
        match self.ask(history(log)) {
            Body::HistoryPage(page) => page,
            other => panic!("no page: {other:?}"),
        }
    }

    /// Waits for the next push of a log.
    pub(crate) fn pushed(&self, log: LogId) -> wire::Entry {
        self.inbox.take(self.conn, |delivery| match (delivery, body_of(delivery)) {
            (Delivery::Push { log: of, .. }, Some((0, Body::Push(push)))) if *of == log => {
                push.entry
            }
            _ => None,
        })
    }

    /// Waits for the next word of a log that comes without its entry: how far it has come.
    pub(crate) fn told_behind_in(&self, log: LogId) -> u64 {
        self.inbox.take(self.conn, |delivery| match (delivery, body_of(delivery)) {
            (Delivery::Push { log: of, .. }, Some((0, Body::Behind(behind)))) if *of == log => {
                Some(behind.head)
            }
            _ => None,
        })
    }

    /// Waits for a word about the account: a setting, or what a conversation is to it.
    pub(crate) fn told(&self) -> Body {
        self.inbox.take(self.conn, |delivery| match delivery {
            Delivery::Push { log, .. } if *log == LogId::account(self.session.user) => {
                body_of(delivery).map(|(_, body)| body)
            }
            _ => None,
        })
    }

    /// Waits for something momentary.
    pub(crate) fn signalled(&self) -> Body {
        self.inbox.take(self.conn, |delivery| match delivery {
            Delivery::Signal(_) => body_of(delivery).map(|(_, body)| body),
            _ => None,
        })
    }

    /// Waits for the reason why the connection is closed.
    pub(crate) fn closed(&self) -> CloseReason {
        self.inbox.take(self.conn, |delivery| match delivery {
            Delivery::Close { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    /// Waits for a word that any log may be behind.
    pub(crate) fn told_behind(&self) {
        self.inbox.take(self.conn, |delivery| match delivery {
            Delivery::Notice(_) => {
                body_of(delivery).filter(|(_, body)| *body == Body::Behind(Default::default()))
            }
            _ => None,
        });
    }

    pub(crate) fn disconnect(mut self) {
        self.submitter.disconnected(self.conn, Some(self.session));
        assert!(self.submitter.flush());
    }
}

pub(crate) fn send(conversation: LogId, id: u8, text: &str) -> Request {
    send_with(Notice::Loud, conversation, id, text)
}

pub(crate) fn send_with(notice: Notice, conversation: LogId, id: u8, text: &str) -> Request {
    let send = wire::Send {
        conversation_id: conversation.to_wire(),
        client_message_id: Bytes::from(vec![id; 16]),
        content: Bytes::copy_from_slice(text.as_bytes()),
        notice: notice.into(),
        ..wire::Send::default()
    };
    send.try_into().unwrap()
}

pub(crate) fn history(log: LogId) -> Request {
    wire::History { conversation_id: log.to_wire(), ..wire::History::default() }.try_into().unwrap()
}

pub(crate) fn text_of(entry: &wire::Entry) -> &str {
    match &entry.body {
        Some(entry::Body::Message(message)) => std::str::from_utf8(&message.content).unwrap(),
        other => panic!("no message: {other:?}"),
    }
}
