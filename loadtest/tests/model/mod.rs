//! A small server that speaks as much of the protocol as the harness needs, and that can be told
//! to break its promise. It keeps everything in one lock and one thread per connection.

pub(crate) mod verdict;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use dunlin_loadtest::target::{Service, Target};
use dunlin_loadtest::token::Issuer;
use dunlin_protocol::wire::{
    ConversationState, Done, Entry, Error, ErrorCode, Frame, History, HistoryPage, Limits,
    LoggedIn, MarkRead, Message, Push, ReadReceipt, Send, Sent, Signal, Sync, Synced, Welcome,
    entry, frame::Body, login::Credential,
};
use dunlin_protocol::{LogId, UserId, frame};

/// What the server does wrong, once or now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    Nothing,
    /// Within the promise: the connection ends between storing and answering.
    CloseUnanswered,
    /// Within the promise: some messages and newest pages are answered "not now".
    Postpone,
    /// Within the promise: a push is missing, later ones come.
    SkipPush,
    /// The same, and the page that heals it is overtaken by what is stored after it was read.
    OvertakePage,
    LoseStored,
    LoseNewest,
    DoubleStored,
    SwapStored,
    AlterStored,
    InventStored,
    /// The last message of each conversation is not pushed.
    SkipLastPush,
    DoublePush,
    AlterPush,
    SwapPush,
    /// An acknowledgement names a sequence that is another message's.
    WrongSequence,
    DoubleSignal,
    /// A newest page has an entry with other bytes, or lacks one.
    AlterPage,
    SkipInPage,
    /// A mark is not answered.
    IgnoreMark,
    /// A receipt names what was not marked.
    InventReceipt,
    /// Read cursors are forgotten when the connection ends, as with `CloseUnanswered`.
    ForgetMark,
    /// One user is let in once, and never again.
    ShutOut,
    /// All connections end, and nobody is let in again.
    Vanish,
}

/// The message of a conversation that a fault befalls.
const VICTIM: u64 = 10;

/// Who looks at the server before the crowd comes, as often as there are processes.
const PROBE: u64 = 1;

#[derive(Default)]
struct State {
    users: HashMap<String, u64>,
    logs: HashMap<LogId, Vec<Entry>>,
    /// The connections of each user, the newest last: what goes wrong with a push goes wrong there.
    sessions: HashMap<u64, Vec<TcpStream>>,
    /// A push that comes after the next one, and for whom it is.
    held_push: Option<(u64, Body)>,
    /// Pages that are sent when the next message is stored in their log.
    held_pages: Vec<(LogId, TcpStream, u64, Body)>,
    postponed_seq: u64,
    shut_out: Option<u64>,
    /// By user and request id.
    postponed_pages: HashSet<(u64, u64)>,
    signals: u64,
    /// How far each user has read each log.
    marks: HashMap<(u64, LogId), u64>,
    /// The server is gone.
    vanished: bool,
    /// Users who came back with the token of their last login.
    resumed: u64,
}

pub(crate) struct Model {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Clone)]
struct Server {
    sabotage: Sabotage,
    state: Arc<Mutex<State>>,
}

impl Model {
    pub(crate) fn start(sabotage: Sabotage) -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let server = Server { sabotage, state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (server.clone(), stream.unwrap());
                thread::spawn(move || server.serve(stream));
            }
        });
        Model { address, state }
    }

    /// The way there. The process of this server is the one that tests it.
    pub(crate) fn target(&self) -> Target {
        let service = Service::Dunlin(Issuer::new("loadtest", &[7; 32]));
        Target {
            address: self.address,
            tls: None,
            web: false,
            service,
            pid: Some(std::process::id()),
        }
    }

    /// Logins so far by a token of an earlier one.
    pub(crate) fn resumed(&self) -> u64 {
        self.state.lock().unwrap().resumed
    }
}

fn put(stream: &TcpStream, request_id: u64, body: Body) {
    let mut bytes = Vec::new();
    frame::encode_into(&Frame { request_id, body: Some(body) }, &mut bytes);
    // The harness may have closed the connection already.
    let _gone = (&*stream).write_all(&bytes);
}

impl Server {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let (mut input, mut buffer) = (BytesMut::new(), [0; 16 * 1024]);
        let mut user = None;
        while let Ok(filled @ 1..) = stream.read(&mut buffer) {
            input.extend_from_slice(&buffer[..filled]);
            while let Some(body) = frame::take(&mut input, 1 << 20).unwrap() {
                if body.is_empty() {
                    // The harness may have closed the connection already.
                    let _gone = stream.write_all(&[0; 4]);
                    continue;
                }
                let Frame { request_id, body: Some(body) } = frame::decode(body).unwrap() else {
                    continue;
                };
                if !self.handle(&mut user, request_id, body, &stream) {
                    stream.shutdown(Shutdown::Both).unwrap();
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn handle(&self, user: &mut Option<u64>, id: u64, body: Body, stream: &TcpStream) -> bool {
        if self.lock().vanished {
            return false;
        }
        match body {
            Body::Hello(_) => put(
                stream,
                id,
                Body::Welcome(Welcome {
                    protocol_version: 1,
                    limits: Some(Limits {
                        heartbeat_interval_ms: 60_000,
                        frame_bytes_max: 1 << 20,
                        requests_outstanding_max: 256,
                        ..Limits::default()
                    }),
                    ..Welcome::default()
                }),
            ),
            Body::Login(login) => {
                let mut state = self.lock();
                let known = state.users.len() as u64;
                let (user_id, resume_token) = match login.credential {
                    Some(Credential::IssuerToken(token)) => {
                        let user_id = *state.users.entry(name(&token)).or_insert(known + 1);
                        (user_id, user_id.to_be_bytes().to_vec().into())
                    }
                    // As with any issuer's user, that brings no new token.
                    Some(Credential::ResumeToken(token)) => {
                        state.resumed += 1;
                        (u64::from_be_bytes(token[..].try_into().unwrap()), Bytes::new())
                    }
                    other => panic!("the model knows no {other:?}"),
                };
                // The first who comes back: any other may be one who never has to.
                let was_here = user_id <= known && user_id != PROBE;
                if self.sabotage == Sabotage::ShutOut
                    && was_here
                    && *state.shut_out.get_or_insert(user_id) == user_id
                {
                    return false;
                }
                *user = Some(user_id);
                let logged_in = LoggedIn { user_id, resume_token, ..LoggedIn::default() };
                put(stream, id, Body::LoggedIn(logged_in));
            }
            Body::Sync(sync) => self.sync(user.unwrap(), id, &sync, stream),
            Body::Send(send) => return self.store(user.unwrap(), id, send, stream),
            Body::Signal(signal) => self.signal(user.unwrap(), id, signal, stream),
            Body::MarkRead(mark) => self.mark_read(user.unwrap(), id, &mark, stream),
            Body::History(history) if history.backwards => {
                self.newest(user.unwrap(), id, &history, stream);
            }
            Body::History(history) => {
                let mut state = self.lock();
                let log = LogId::from_wire(&history.conversation_id).unwrap();
                let entries = self.damage(state.logs.get(&log).cloned().unwrap_or_default());
                let head = entries.last().map_or(0, |entry| entry.seq);
                // Small pages, so that there are many.
                let page =
                    entries.into_iter().filter(|entry| entry.seq >= history.from_seq).take(17);
                let page = HistoryPage {
                    entries: page.collect(),
                    head,
                    epoch: 7,
                    more: false,
                    expired_below: 0,
                };
                let page = Body::HistoryPage(page);
                // Enough messages are to come, at any speed.
                if self.sabotage == Sabotage::OvertakePage && head < 90 {
                    state.held_pages.push((log, stream.try_clone().unwrap(), id, page));
                } else {
                    put(stream, id, page);
                }
            }
            other => panic!("the model does not know {other:?}"),
        }
        true
    }

    fn sync(&self, user: u64, id: u64, sync: &Sync, stream: &TcpStream) {
        let mut state = self.lock();
        let sessions = state.sessions.entry(user).or_default();
        // A session that syncs again is there already.
        let address = stream.peer_addr().unwrap();
        if sessions.iter().all(|session| session.peer_addr().ok() != Some(address)) {
            sessions.push(stream.try_clone().unwrap());
        }
        let read = |user, log| match self.sabotage {
            Sabotage::ForgetMark => 0,
            _ => state.marks.get(&(user, log)).copied().unwrap_or(0),
        };
        let user_id = UserId::new(user).unwrap();
        let is_member = |log: &LogId| {
            log.direct_members().is_some_and(|(one, other)| one == user_id || other == user_id)
        };
        // All of it each time: a server may tell more than it has to.
        let conversations = state.logs.iter().filter(|(log, _)| is_member(log));
        let conversations = conversations.map(|(log, entries)| {
            let position = sync.positions.iter().find(|at| at.conversation_id == log.to_wire());
            let known = position.map_or(0, |position| position.seq as usize);
            let newest = entries.len().saturating_sub(5).max(known);
            ConversationState {
                conversation_id: log.to_wire(),
                head: entries.len() as u64,
                read_seq: read(user, *log),
                peer_read_seq: read(partner(*log, user), *log),
                entries: entries.get(newest..).unwrap_or_default().to_vec(),
                ..ConversationState::default()
            }
        });
        let conversations = conversations.collect();
        let token = "token".into();
        let synced = Synced { epoch: 7, token, conversations, ..Synced::default() };
        put(stream, id, Body::Synced(synced));
    }

    /// A page backwards from the end.
    fn newest(&self, user: u64, id: u64, history: &History, stream: &TcpStream) {
        let mut state = self.lock();
        if self.sabotage == Sabotage::Postpone
            && id.is_multiple_of(3)
            && state.postponed_pages.insert((user, id))
        {
            let code = ErrorCode::Overloaded.into();
            return put(stream, id, Body::Error(Error { code, ..Error::default() }));
        }
        let log = LogId::from_wire(&history.conversation_id).unwrap();
        let entries = self.damage(state.logs.get(&log).cloned().unwrap_or_default());
        let head = entries.len() as u64;
        // Shorter than the harness asks for.
        let mut page: Vec<_> = entries.into_iter().rev().take(7).collect();
        let more = page.last().is_some_and(|last| last.seq > 1);
        match self.sabotage {
            Sabotage::AlterPage if head >= VICTIM => alter(&mut page[0]),
            Sabotage::SkipInPage if head >= VICTIM => drop(page.remove(3)),
            _ => {}
        }
        put(
            stream,
            id,
            Body::HistoryPage(HistoryPage {
                entries: page,
                head,
                epoch: 7,
                more,
                expired_below: 0,
            }),
        );
    }

    fn mark_read(&self, user: u64, id: u64, mark: &MarkRead, stream: &TcpStream) {
        let mut state = self.lock();
        let log = LogId::from_wire(&mark.conversation_id).unwrap();
        let head = state.logs[&log].len() as u64;
        let read = state.marks.entry((user, log)).or_default();
        *read = mark.seq.min(head).max(*read);
        let mut seq = *read;
        if self.sabotage == Sabotage::IgnoreMark && seq >= VICTIM {
            return;
        }
        if self.sabotage == Sabotage::InventReceipt && seq >= VICTIM {
            seq = head + 1;
        }
        let own = ReadReceipt { seq: *read, ..receipt(log, user) };
        put(stream, id, Body::ReadReceipt(own));
        let receipt = ReadReceipt { seq, ..receipt(log, user) };
        for session in state.sessions.get(&partner(log, user)).into_iter().flatten() {
            put(session, 0, Body::ReadReceipt(receipt.clone()));
        }
    }

    fn store(&self, user: u64, id: u64, send: Send, stream: &TcpStream) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        let log = LogId::from_wire(&send.conversation_id).unwrap();
        let entries = state.logs.entry(log).or_default();
        let stored =
            entries.iter().find(|entry| message(entry).client_message_id == send.client_message_id);
        if let Some(entry) = stored {
            put(stream, id, Body::Sent(Sent { seq: entry.seq, time_ms: 1 }));
            return true;
        }
        let mut seq = entries.len() as u64 + 1;
        if self.sabotage == Sabotage::Postpone
            && seq.is_multiple_of(VICTIM)
            && state.postponed_seq != seq
        {
            state.postponed_seq = seq; // Only once for each sequence.
            let error =
                Error { code: ErrorCode::Overloaded.into(), retry_after_ms: 1, ..Error::default() };
            put(stream, id, Body::Error(error));
            return true;
        }
        let message = Message {
            client_message_id: send.client_message_id,
            content_type: send.content_type,
            content: send.content,
        };
        let entry = Entry {
            seq,
            time_ms: 1,
            sender: user,
            body: Some(entry::Body::Message(message)),
            ..Entry::default()
        };
        entries.push(entry.clone());
        if self.sabotage == Sabotage::Vanish && seq == VICTIM {
            state.vanished = true;
            for session in state.sessions.values().flatten() {
                // It may have ended by itself.
                let _gone = session.shutdown(Shutdown::Both);
            }
            return true;
        }
        let closes = matches!(self.sabotage, Sabotage::CloseUnanswered | Sabotage::ForgetMark);
        if closes && seq.is_multiple_of(VICTIM) {
            self.push(state, user, log, entry);
            return false;
        }
        if self.sabotage == Sabotage::WrongSequence && seq == VICTIM {
            seq -= 1;
        }
        put(stream, id, Body::Sent(Sent { seq, time_ms: 1 }));
        self.push(state, user, log, entry);
        for (_, stream, id, page) in state.held_pages.extract_if(.., |(of, ..)| *of == log) {
            put(&stream, id, page);
        }
        true
    }

    fn push(&self, state: &mut State, sender: u64, log: LogId, mut entry: Entry) {
        let receiver = partner(log, sender);
        let Some((newest, others)) = state.sessions.get(&receiver).and_then(|all| all.split_last())
        else {
            return;
        };
        let push = |entry| Body::Push(Push { conversation_id: log.to_wire(), entry: Some(entry) });
        others.iter().for_each(|session| put(session, 0, push(entry.clone())));
        let seq = entry.seq;
        let is_victim = seq == VICTIM;
        match self.sabotage {
            Sabotage::SkipPush | Sabotage::OvertakePage if is_victim => return,
            Sabotage::SkipLastPush if seq == 100 => return,
            Sabotage::AlterPush if is_victim => alter(&mut entry),
            Sabotage::SwapPush if is_victim => {
                state.held_push = Some((receiver, push(entry)));
                return;
            }
            _ => {}
        }
        put(newest, 0, push(entry.clone()));
        if self.sabotage == Sabotage::DoublePush && is_victim {
            put(newest, 0, push(entry));
        }
        if let Some((_, held)) = state.held_push.take_if(|(held_for, _)| *held_for == receiver) {
            put(newest, 0, held);
        }
    }

    fn signal(&self, user: u64, id: u64, mut signal: Signal, stream: &TcpStream) {
        let mut state = self.lock();
        state.signals += 1;
        signal.sender = user;
        let log = LogId::from_wire(&signal.conversation_id).unwrap();
        if id != 0 {
            put(stream, id, Body::Done(Done {}));
        }
        let sessions = state.sessions.get(&partner(log, user)).into_iter().flatten();
        for session in sessions.clone() {
            put(session, 0, Body::Signal(signal.clone()));
        }
        if self.sabotage == Sabotage::DoubleSignal
            && state.signals == VICTIM
            && let Some(newest) = sessions.last()
        {
            put(newest, 0, Body::Signal(signal));
        }
    }

    /// The log as a liar tells it.
    fn damage(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let victim = VICTIM as usize - 1;
        if entries.len() < VICTIM as usize + 4 {
            return entries;
        }
        match self.sabotage {
            Sabotage::LoseStored => drop(entries.remove(victim)),
            Sabotage::LoseNewest => drop(entries.pop()),
            Sabotage::DoubleStored => entries.push(entries[victim].clone()),
            Sabotage::SwapStored => {
                let sender = entries[victim].sender;
                let later = (victim + 1..entries.len()).find(|&at| entries[at].sender == sender);
                if let Some(later) = later {
                    entries.swap(victim, later);
                }
            }
            Sabotage::AlterStored => alter(&mut entries[victim]),
            Sabotage::InventStored => {
                let mut invented = entries[victim].clone();
                let Some(entry::Body::Message(message)) = &mut invented.body else { panic!() };
                message.content = Bytes::from_static(b"nobody wrote this");
                message.client_message_id = Bytes::from_static(&[9; 16]);
                entries.push(invented);
            }
            _ => return entries,
        }
        for (seq, entry) in (1..).zip(&mut entries) {
            entry.seq = seq;
        }
        entries
    }
}

/// Whom a token of the issuer names.
fn name(token: &str) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["sub"].as_str().unwrap().to_owned()
}

fn message(entry: &Entry) -> &Message {
    let Some(entry::Body::Message(message)) = &entry.body else { panic!() };
    message
}

fn alter(entry: &mut Entry) {
    let Some(entry::Body::Message(message)) = &mut entry.body else { panic!() };
    let mut content = message.content.to_vec();
    *content.last_mut().unwrap() ^= 1;
    message.content = content.into();
}

fn partner(log: LogId, user: u64) -> u64 {
    let (one, other) = log.direct_members().unwrap();
    if UserId::new(user) == Ok(one) { other.get() } else { one.get() }
}

fn receipt(log: LogId, user_id: u64) -> ReadReceipt {
    ReadReceipt { conversation_id: log.to_wire(), user_id, ..ReadReceipt::default() }
}
