//! A server for the simulation: it keeps the promise about logs, and breaks whatever else it may.

mod sync;

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use dunlin_protocol::compressed::Deflater;
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, Entry, ErrorCode, Frame, Message, entry};
use dunlin_protocol::{EncodedFrame, LogId, UserId, frame, limits};

pub(crate) type ConnectionId = u64;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
        mixed ^ (mixed >> 27)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

#[derive(Default)]
struct Connection {
    input: BytesMut,
    user: Option<UserId>,
    is_synced: bool,
    output: Vec<Frame>,
    /// Whose pushes were lost.
    behind: BTreeSet<LogId>,
    /// A receipt was lost: only a Sync can tell.
    lacks_receipts: bool,
}

pub(crate) struct Server {
    random: Random,
    is_well: bool,
    epoch: u64,
    logs: BTreeMap<LogId, Vec<Entry>>,
    told: sync::Told,
    read: BTreeMap<(UserId, LogId), u64>,
    /// How much of that the other member may know.
    receipts: BTreeMap<(UserId, LogId), u64>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    bad_tokens: u64,
    /// Those that were put back to an earlier state, until everybody has noticed: what is written there
    /// meanwhile could not be told from what was there before.
    frozen: BTreeSet<LogId>,
    /// Messages that are gone by it.
    gone: BTreeSet<Vec<u8>>,
}

impl Server {
    pub(crate) fn new(random: Random) -> Server {
        Server {
            random,
            is_well: false,
            epoch: 1,
            logs: BTreeMap::new(),
            told: sync::Told::default(),
            read: BTreeMap::new(),
            receipts: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            bad_tokens: 0,
            frozen: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    pub(crate) fn heal(&mut self) {
        self.is_well = true;
    }

    pub(crate) fn change_epoch(&mut self) {
        self.epoch += 1;
    }

    /// Puts a conversation back to an earlier state, in the same epoch. Returns which one.
    pub(crate) fn restore_older(&mut self) -> Option<LogId> {
        let long: Vec<LogId> =
            self.logs.iter().filter(|(_, log)| log.len() > 2).map(|(id, _)| *id).collect();
        let id = *long.get(self.random.below(long.len().max(1) as u64) as usize)?;
        let log = self.logs.get_mut(&id)?;
        let head = 1 + self.random.below(log.len() as u64 - 1);
        self.told.put_back(id, head);
        for entry in log.drain(head as usize..) {
            if let Some(entry::Body::Message(message)) = entry.body {
                self.gone.insert(message.client_message_id.to_vec());
            }
        }
        for ((_, of), seq) in self.read.iter_mut().chain(&mut self.receipts) {
            if *of == id {
                *seq = self.random.below(head + 1).min(*seq);
            }
        }
        self.frozen.insert(id);
        Some(id)
    }

    /// Everybody has noticed.
    pub(crate) fn thaw(&mut self, id: LogId) {
        self.frozen.remove(&id);
    }

    /// Whether this message was stored, and is gone with a state that was put back.
    pub(crate) fn is_gone(&self, message_id: &[u8]) -> bool {
        self.gone.contains(message_id)
    }

    pub(crate) fn log(&self, id: LogId) -> &[Entry] {
        self.logs.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn conversations(&self, user: UserId) -> Vec<(LogId, &[Entry])> {
        let is_member = |id: &LogId| {
            id.direct_members().is_some_and(|(one, other)| one == user || other == user)
        };
        let mine = self.logs.iter().filter(|(id, _)| is_member(id));
        mine.map(|(id, log)| (*id, log.as_slice())).collect()
    }

    /// `read_seq`, `unread` and `peer_read_seq`, as they are.
    pub(crate) fn numbers(&self, user: UserId, id: LogId) -> (u64, u64, u64) {
        let read = |user| self.read.get(&(user, id)).copied().unwrap_or(0);
        let unread = self.others(user, id, u64::MAX) - self.others(user, id, read(user));
        let peer = peer(user, id);
        let receipt = self.receipts.get(&(peer, id)).copied().unwrap_or(0);
        (read(user), unread, if peer == user { 0 } else { receipt })
    }

    /// Messages of others up to `seq`.
    fn others(&self, user: UserId, id: LogId, seq: u64) -> u64 {
        let log = self.log(id).iter().filter(|entry| entry.seq <= seq);
        log.filter(|entry| counts(entry) && entry.sender != user.get()).count() as u64
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        self.next_connection += 1;
        self.connections.insert(self.next_connection, Connection::default());
        self.next_connection
    }

    pub(crate) fn disconnected(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    pub(crate) fn handle_input(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.input.extend_from_slice(bytes);
        while let Some(connection) = self.connections.get_mut(&id)
            && let Some(body) =
                frame::take(&mut connection.input, limits::FRAME_BYTES_MAX).expect("a good frame")
        {
            let frame = frame::decode(body).expect("a good frame");
            match frame.body {
                None => connection.output.push(Frame::default()),
                Some(body) => {
                    let answer = self.carry_out(id, body);
                    self.say(id, frame.request_id, answer);
                }
            }
        }
    }

    /// Pushes and answers overtake each other, but nothing overtakes a Synced.
    fn say(&mut self, id: ConnectionId, request_id: u64, body: Body) {
        let overtakes = !self.is_well && self.random.one_in(4);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let is_light = |body: &Option<Body>| matches!(body, Some(Body::Push(_) | Body::Sent(_)));
        let frame = Frame { request_id, body: Some(body) };
        let last_is_light = connection.output.last().is_some_and(|last| is_light(&last.body));
        let index = connection.output.len();
        if overtakes && last_is_light && is_light(&frame.body) {
            connection.output.insert(index - 1, frame);
        } else {
            connection.output.push(frame);
        }
    }

    pub(crate) fn poll_output(&mut self, id: ConnectionId, output: &mut BytesMut) {
        let tells_behind = self.is_well || self.random.one_in(20);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut deflater = Deflater::new();
        for frame in connection.output.drain(..) {
            let whole = EncodedFrame::new(&frame);
            let smaller = deflater.deflate(frame.request_id, &whole);
            output.extend_from_slice(smaller.as_ref().unwrap_or(&whole).wire());
        }
        if !tells_behind {
            return;
        }
        // No server says so; it is here so that the world comes to rest.
        if std::mem::take(&mut connection.lacks_receipts) {
            let frame = EncodedFrame::push(Body::Behind(wire::Behind::default()));
            output.extend_from_slice(frame.wire());
        }
        for log_id in std::mem::take(&mut connection.behind) {
            let head = self.logs[&log_id].len() as u64;
            // Sometimes it does not say where.
            let behind = match self.random.one_in(3) {
                true => wire::Behind::default(),
                false => wire::Behind { conversation_id: log_id.to_wire(), head },
            };
            let frame = EncodedFrame::push(Body::Behind(behind));
            output.extend_from_slice(frame.wire());
        }
    }

    fn carry_out(&mut self, id: ConnectionId, body: Body) -> Body {
        let user = self.connections[&id].user;
        if !self.is_well
            && self.random.one_in(15)
            && !matches!(body, Body::Hello(_) | Body::ChangePassword(_))
        {
            // Sometimes it is done nevertheless.
            if let (Body::Send(send), Some(user), true) = (&body, user, self.random.one_in(2)) {
                self.send(id, user, send.clone());
            }
            return refusal(ErrorCode::StoreUnavailable, 50);
        }
        match (body, user) {
            (Body::Hello(_), _) => Body::Welcome(wire::Welcome {
                protocol_version: 1,
                capabilities: vec!["deflate".into()],
                limits: Some(wire::Limits {
                    heartbeat_interval_ms: 5000,
                    frame_bytes_max: limits::FRAME_BYTES_MAX,
                    requests_outstanding_max: 4,
                    ..wire::Limits::default()
                }),
                ..wire::Welcome::default()
            }),
            (Body::Login(login), None) => self.log_in(id, login),
            (Body::Sync(sync), Some(user)) => self.sync(id, user, &sync),
            (Body::Send(send), Some(user)) => self.send(id, user, send),
            (Body::History(history), Some(_)) => self.history(&history),
            (Body::MarkRead(mark), Some(user)) => self.mark_read(id, user, &mark),
            (Body::FindUsers(_), Some(_)) => Body::Users(wire::Users::default()),
            (body, user) => panic!("{user:?} may not ask this: {body:?}"),
        }
    }

    fn log_in(&mut self, id: ConnectionId, login: wire::Login) -> Body {
        let name = match login.credential.expect("a login has a credential") {
            Credential::Password(password) => password.username,
            Credential::ResumeToken(token) => String::from_utf8(token.to_vec()).unwrap(),
            Credential::AccessToken(token) | Credential::RefreshToken(token) => token,
            Credential::IssuerToken(_) => panic!("nobody has one"),
        };
        self.bad_tokens += 1;
        if name.contains("token") && self.bad_tokens.is_multiple_of(3) {
            return refusal(ErrorCode::TokenExpired, 0);
        }
        let number: u64 = name.trim_start_matches("token ").parse().unwrap();
        let connection = self.connections.get_mut(&id).expect("it has just said something");
        connection.user = UserId::new(number).ok();
        let token = format!("token {number}");
        Body::LoggedIn(wire::LoggedIn {
            user_id: number,
            session_id: 1,
            tokens: Some(wire::Tokens {
                access_token: token.clone(),
                refresh_token: token.clone(),
                ..wire::Tokens::default()
            }),
            resume_token: token.into(),
            ..wire::LoggedIn::default()
        })
    }

    fn send(&mut self, id: ConnectionId, user: UserId, send: wire::Send) -> Body {
        let log_id = LogId::from_wire(&send.conversation_id).unwrap();
        if self.frozen.contains(&log_id) {
            return refusal(ErrorCode::StoreUnavailable, 50);
        }
        let log = self.logs.entry(log_id).or_default();
        let stored = log.iter().find(|entry| match &entry.body {
            Some(entry::Body::Message(message)) => {
                message.client_message_id == send.client_message_id
            }
            _ => false,
        });
        if let Some(stored) = stored {
            return Body::Sent(wire::Sent { seq: stored.seq, time_ms: 0 });
        }
        let is_first = log.is_empty();
        if !is_first && self.random.one_in(8) {
            let body = Some(entry::Body::Void(wire::Void {}));
            log.push(Entry { seq: log.len() as u64 + 1, body, ..Entry::default() });
            self.told.appended(log_id);
        }
        let own = u64::from(send.notice().counts());
        let counted = log.iter().filter(|entry| counts(entry)).count() as u64 + own;
        let mine = log.iter().filter(|entry| counts(entry) && entry.sender == user.get());
        let sender_counted = mine.count() as u64 + own;
        let notice = send.notice;
        let seq = log.len() as u64 + 1;
        let message = Message {
            client_message_id: send.client_message_id,
            content_type: send.content_type,
            content: send.content,
        };
        let entry = Entry {
            seq,
            sender: user.get(),
            counted,
            sender_counted,
            notice,
            body: Some(entry::Body::Message(message)),
            ..Entry::default()
        };
        log.push(entry.clone());
        self.told.appended(log_id);
        for member in BTreeSet::from([user, peer(user, log_id)]) {
            self.push(member, log_id, &entry, Some(id));
        }
        Body::Sent(wire::Sent { seq, time_ms: 0 })
    }

    fn push(&mut self, user: UserId, log_id: LogId, entry: &Entry, except: Option<ConnectionId>) {
        let to = self.connections.iter().filter(|(id, connection)| {
            connection.user == Some(user) && connection.is_synced && Some(**id) != except
        });
        for id in to.map(|(id, _)| *id).collect::<Vec<_>>() {
            if !self.is_well && self.random.one_in(5) {
                let connection = self.connections.get_mut(&id).expect("it was found just now");
                connection.behind.insert(log_id);
                continue;
            }
            let push = wire::Push { conversation_id: log_id.to_wire(), entry: Some(entry.clone()) };
            self.say(id, 0, Body::Push(push));
        }
    }

    fn history(&self, history: &wire::History) -> Body {
        let log = self.log(LogId::from_wire(&history.conversation_id).unwrap());
        let head = log.len() as u64;
        let from = history.from_seq.max(1);
        let to = if history.to_seq == 0 { head } else { history.to_seq.min(head) };
        let wanted = log.iter().filter(|entry| (from..=to).contains(&entry.seq));
        // Small pages, so that there are many.
        let entries: Vec<Entry> = wanted.take(5).cloned().collect();
        Body::HistoryPage(wire::HistoryPage {
            entries,
            head,
            epoch: self.epoch,
            more: false,
            expired_below: 0,
        })
    }

    fn mark_read(&mut self, id: ConnectionId, user: UserId, mark: &wire::MarkRead) -> Body {
        let log_id = LogId::from_wire(&mark.conversation_id).unwrap();
        let seq = mark.seq.min(self.log(log_id).len() as u64);
        let read = self.read.entry((user, log_id)).or_default();
        let has_moved = seq > *read;
        *read = seq.max(*read);
        self.told.changed(log_id);
        let own = self.cursor(user, log_id);
        if has_moved {
            self.tell_cursor(user, Some(id), &own);
        }
        let receipt = self.receipts.entry((user, log_id)).or_default();
        if !mark.private && seq > *receipt {
            *receipt = seq;
            let peer = peer(user, log_id);
            let other = wire::ReadReceipt { seq, others_counted: 0, ..own.clone() };
            if peer != user {
                self.tell_cursor(peer, None, &other);
            }
        }
        Body::ReadReceipt(own)
    }

    fn cursor(&self, user: UserId, log_id: LogId) -> wire::ReadReceipt {
        let seq = self.read[&(user, log_id)];
        let others_counted = self.others(user, log_id, seq);
        let conversation_id = log_id.to_wire();
        wire::ReadReceipt { conversation_id, user_id: user.get(), seq, others_counted }
    }

    fn tell_cursor(
        &mut self,
        user: UserId,
        except: Option<ConnectionId>,
        cursor: &wire::ReadReceipt,
    ) {
        let to = self.connections.iter().filter(|(id, connection)| {
            connection.user == Some(user) && connection.is_synced && Some(**id) != except
        });
        for id in to.map(|(id, _)| *id).collect::<Vec<_>>() {
            if !self.is_well && self.random.one_in(5) {
                let connection = self.connections.get_mut(&id).expect("it was found just now");
                connection.lacks_receipts = true;
                continue;
            }
            self.say(id, 0, Body::ReadReceipt(cursor.clone()));
        }
    }
}

fn refusal(code: ErrorCode, retry_after_ms: u32) -> Body {
    Body::Error(wire::Error { code: code as i32, retry_after_ms, ..wire::Error::default() })
}

fn counts(entry: &Entry) -> bool {
    matches!(entry.body, Some(entry::Body::Message(_))) && entry.notice().counts()
}

fn peer(user: UserId, id: LogId) -> UserId {
    let (one, other) = id.direct_members().expect("conversations here are direct");
    if one == user { other } else { one }
}
