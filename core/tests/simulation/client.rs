//! A simulated client: simple, honest, and it believes nothing.
//!
//! It does what docs/protocol.md tells a client to do, sends more than is good for it, and writes down
//! what it was promised, for the checks at the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_core::bus::NodeId;
use dunlin_core::request::{AccountRequest, IdentityRequest, Logout, Request};
use dunlin_core::transport::{ConnId, Delivery, Session};
use dunlin_protocol::wire::{self, ErrorCode, frame::Body, update_conversation::Change};
use dunlin_protocol::{ClientMessageId, LogId, SessionId, UserId, frame};

use super::account::{self, Account};
use super::chance::Chance;
use super::log::{ClientLog, Seen};

/// Requests that may wait for their answer.
const OUTSTANDING_MAX: usize = 12;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: UserId,
    pub(crate) link: Option<Link>,
    pub(crate) logs: BTreeMap<LogId, ClientLog>,
    pub(crate) account: Account,
    /// What it was told by the last Synced.
    token: Bytes,
    /// It was told everything; from then on only what has changed.
    is_told_afresh: bool,
    /// Logs of which it heard otherwise since it was told everything, ...
    heard: BTreeSet<LogId>,
    /// ... and those that it has named in the Sync that is under way.
    named: BTreeSet<LogId>,
    pub(crate) messages: Vec<Message>,
    /// Those to send again.
    again: Vec<usize>,
    /// Of connections that are over.
    pub(crate) orders: Vec<Order>,
    /// The highest cursors that were answered.
    pub(crate) read: BTreeMap<LogId, u64>,
    /// Sessions that it has ended.
    pub(crate) ended: Vec<SessionId>,
    friends: Vec<UserId>,
    number: u8,
    /// It hears no Behind.
    pub(crate) is_deaf: bool,
    pub(crate) violations: Vec<String>,
    /// The first that it was told.
    pub(crate) first_synced: Option<wire::Synced>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) slot: usize,
    pub(crate) conn: ConnId,
    pub(crate) session: Session,
    pub(crate) outstanding: BTreeMap<u64, (Asked, u64)>,
    /// Requests to submit.
    pub(crate) out: Vec<(u64, Request)>,
    next_request: u64,
    synced: bool,
    syncing: bool,
    sync_again: bool,
    orders: BTreeMap<LogId, Order>,
}

#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Sync,
    History(LogId),
    /// This message.
    Send(usize),
    /// This message once more, with the same content or with another.
    Replay(usize, bool),
    MarkRead(LogId, u64),
    /// A setting, and the highest version of the account that was known by then.
    Setting(wire::SetSetting, u64),
    Update(LogId, Change),
    Signal,
    /// End this session of the user.
    Logout(SessionId),
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) log: LogId,
    pub(crate) id: ClientMessageId,
    pub(crate) content: Vec<u8>,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Sending,
    /// It was refused for now, or the connection broke.
    Again,
    /// It was refused, and the user has lost interest. It may be stored or not.
    GivenUp,
    Acknowledged {
        seq: u64,
        time_ms: u64,
    },
}

/// First tries of one connection to one conversation, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// Messages, and whether they were acknowledged on this connection.
    pub(crate) sends: Vec<(usize, bool)>,
    /// From this one on the order is not promised: it was answered with an error.
    pub(crate) refused_from: Option<usize>,
}

impl Client {
    pub(crate) fn new(number: u8, user: UserId, friends: Vec<UserId>) -> Client {
        Client {
            user,
            link: None,
            logs: BTreeMap::new(),
            account: Account::default(),
            token: Bytes::new(),
            is_told_afresh: false,
            heard: BTreeSet::new(),
            named: BTreeSet::new(),
            messages: Vec::new(),
            again: Vec::new(),
            orders: Vec::new(),
            read: BTreeMap::new(),
            ended: Vec::new(),
            friends,
            number,
            is_deaf: false,
            violations: Vec::new(),
            first_synced: None,
        }
    }

    pub(crate) fn connected(&mut self, now: u64, slot: usize, node: NodeId, conn: ConnId) {
        let session = SessionId::new(u64::from(conn.slot)).unwrap();
        let session = Session { user: self.user, session };
        self.link = Some(Link {
            node,
            slot,
            conn,
            session,
            outstanding: BTreeMap::new(),
            out: Vec::new(),
            next_request: 1,
            synced: false,
            syncing: false,
            sync_again: false,
            orders: BTreeMap::new(),
        });
        self.sync(now);
        self.try_again(now);
    }

    pub(crate) fn disconnected(&mut self) -> Option<Link> {
        let mut link = self.link.take()?;
        for (asked, _) in link.outstanding.values() {
            if let Asked::Send(index) = asked {
                self.messages[*index].state = State::Again;
                self.again.push(*index);
            }
        }
        self.orders.extend(std::mem::take(&mut link.orders).into_values());
        self.logs.values_mut().for_each(|log| log.fetching = false);
        Some(link)
    }

    /// Does one of the things that clients do.
    pub(crate) fn act(&mut self, now: u64, chance: &mut Chance) {
        self.try_again(now);
        let waiting = self.link.as_ref().map_or(usize::MAX, |link| link.outstanding.len());
        if waiting >= OUTSTANDING_MAX {
            return;
        }
        match chance.below(100) {
            0..64 => {
                let burst = if chance.permille(300) { 4 } else { 1 };
                (0..burst).for_each(|_| self.send_new(now, chance));
            }
            64..67 => self.change_setting(now, chance),
            67..70 => self.update_conversation(now, chance),
            70..76 => self.replay(now, chance),
            76..90 => self.mark_read(now, chance),
            90..95 => self.signal(now, chance),
            _ => {}
        }
    }

    /// What has to be done sooner or later: lost syncs, holes, sends that were refused for now.
    pub(crate) fn try_again(&mut self, now: u64) {
        let Some(link) = &self.link else { return };
        if !link.syncing && (!link.synced || link.sync_again) {
            self.sync(now);
        }
        let lacking = self.logs.iter().filter(|(_, log)| log.lacks() && !log.fetching);
        let lacking: Vec<_> = lacking.map(|(log, _)| *log).collect();
        lacking.into_iter().for_each(|log| self.fetch(now, log));
        for index in std::mem::take(&mut self.again) {
            self.messages[index].state = State::Sending;
            let request = self.messages[index].request(None);
            self.ask(now, Asked::Send(index), request);
        }
    }

    pub(crate) fn acknowledged_messages(&self) -> usize {
        let states = self.messages.iter().map(|message| message.state);
        states.filter(|state| matches!(state, State::Acknowledged { .. })).count()
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(link) = &self.link else { return false };
        link.synced
            && !link.sync_again
            && link.outstanding.is_empty()
            && self.logs.values().all(|log| !log.lacks())
            && self.again.is_empty()
    }

    fn ask(&mut self, now: u64, asked: Asked, request: Request) {
        let Some(link) = &mut self.link else { return };
        let id = link.next_request;
        link.next_request += 1;
        link.outstanding.insert(id, (asked, now));
        link.out.push((id, request));
    }

    pub(crate) fn sync(&mut self, now: u64) {
        self.named.append(&mut self.heard);
        let heard = self.logs.iter().filter(|(log, _)| self.named.contains(*log));
        let positions = heard.map(|(log, has)| wire::LogPosition {
            conversation_id: log.to_wire(),
            seq: has.target,
            peer_read_seq: has.peer_read_seq,
            read_seq: has.read_seq,
            ..wire::LogPosition::default()
        });
        let sync = wire::Sync {
            epoch: 1,
            token: self.token.clone(),
            positions: positions.collect(),
            entries_per_conversation: 5,
            bytes_max: 0,
        };
        let Some(link) = &mut self.link else { return };
        (link.syncing, link.sync_again) = (true, false);
        self.account.asks();
        self.ask(now, Asked::Sync, sync.try_into().unwrap());
    }

    /// Syncs soon, though nothing says that it has to.
    pub(crate) fn wants_to_sync(&mut self) {
        if let Some(link) = &mut self.link {
            link.sync_again = true;
        }
    }

    fn fetch(&mut self, now: u64, log: LogId) {
        let has = self.logs.entry(log).or_default();
        has.fetching = true;
        let history = wire::History {
            conversation_id: log.to_wire(),
            from_seq: has.position + 1,
            to_seq: has.hole_end(),
            limit: 10,
            backwards: false,
            ..Default::default()
        };
        self.ask(now, Asked::History(log), history.try_into().unwrap());
    }

    fn send_new(&mut self, now: u64, chance: &mut Chance) {
        let Some(link) = &mut self.link else { return };
        let Some(friend) = chance.pick(&self.friends) else { return };
        let log = LogId::direct(self.user, *friend);
        let index = self.messages.len();
        let mut id = [self.number; 16];
        id[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let content = format!("{}-{index}-{}", self.number, chance.below(1000)).into_bytes();
        let id = ClientMessageId(id);
        link.orders.entry(log).or_default().sends.push((index, false));
        self.messages.push(Message { log, id, content, state: State::Sending });
        let request = self.messages[index].request(None);
        self.ask(now, Asked::Send(index), request);
    }

    fn replay(&mut self, now: u64, chance: &mut Chance) {
        let acknowledged = self.messages.iter().enumerate().filter_map(|(index, message)| {
            matches!(message.state, State::Acknowledged { .. }).then_some(index)
        });
        let acknowledged: Vec<_> = acknowledged.collect();
        let Some(&index) = chance.pick(&acknowledged) else { return };
        let same = chance.permille(500);
        let other = if same { None } else { Some(b"something else".to_vec()) };
        let request = self.messages[index].request(other);
        self.ask(now, Asked::Replay(index, same), request);
    }

    fn mark_read(&mut self, now: u64, chance: &mut Chance) {
        let logs: Vec<_> = self.logs.iter().filter(|(log, _)| log.owner().is_none()).collect();
        let Some((log, has)) = chance.pick(&logs) else { return };
        if has.position == 0 {
            return;
        }
        let (conversation, seq) = (**log, chance.between(1, has.position));
        let private = chance.below(4) == 0;
        let request = AccountRequest::MarkRead { conversation, seq, private }.into();
        self.ask(now, Asked::MarkRead(conversation, seq), request);
    }

    fn change_setting(&mut self, now: u64, chance: &mut Chance) {
        let change = self.account.change(self.number, chance);
        let known = self.account.told.iter().map(account::Told::version).max();
        let asked = Asked::Setting(change.clone(), known.unwrap_or(0));
        self.ask(now, asked, change.try_into().unwrap());
    }

    fn update_conversation(&mut self, now: u64, chance: &mut Chance) {
        let logs: Vec<_> = self.logs.iter().filter(|(_, has)| has.position > 0).collect();
        let Some((log, has)) = chance.pick(&logs) else { return };
        let (log, position) = (**log, has.position);
        let change = self.account.update(log, position, chance);
        let conversation_id = log.to_wire();
        let update = wire::UpdateConversation { conversation_id, change: Some(change) };
        self.ask(now, Asked::Update(log, change), update.try_into().unwrap());
    }

    fn signal(&mut self, now: u64, chance: &mut Chance) {
        let Some(friend) = chance.pick(&self.friends) else { return };
        let signal = wire::Signal {
            conversation_id: LogId::direct(self.user, *friend).to_wire(),
            kind: "typing".into(),
            ..wire::Signal::default()
        };
        self.ask(now, Asked::Signal, signal.try_into().unwrap());
    }

    /// Ends another session of the user.
    pub(crate) fn log_out(&mut self, now: u64, session: SessionId) {
        let logout = IdentityRequest::Logout(Logout::Other(session)).into();
        self.ask(now, Asked::Logout(session), logout);
    }

    /// Takes what the server delivers.
    pub(crate) fn take(&mut self, now: u64, delivery: &Delivery) {
        let (encoded, is_push) = match delivery {
            Delivery::Response(encoded) => (encoded, false),
            Delivery::Notice(encoded) | Delivery::Signal(encoded) => (encoded, true),
            Delivery::Push { frame, .. } => (frame, true),
            other => return self.violations.push(format!("unexpected {other:?}")),
        };
        let Some(link) = &self.link else { return };
        let frame = frame::decode(encoded.body()).unwrap();
        if is_push && !link.synced {
            self.violations.push(format!("a push before the first Synced: {frame:?}"));
        }
        match frame.body.unwrap() {
            body if !is_push => self.answered(now, frame.request_id, body),
            Body::Push(push) => {
                let log = LogId::from_wire(&push.conversation_id).unwrap();
                self.heard.insert(log);
                self.take_entries(log, push.entry.as_slice());
                self.try_again(now);
            }
            Body::Behind(_) if self.is_deaf => {}
            Body::Behind(behind) if behind.conversation_id.is_empty() => {
                if let Some(link) = &mut self.link {
                    link.sync_again = true;
                }
                self.try_again(now);
            }
            Body::Behind(behind) => {
                let log = LogId::from_wire(&behind.conversation_id).unwrap();
                let has = self.logs.entry(log).or_default();
                has.target = has.target.max(behind.head);
                self.heard.insert(log);
                self.try_again(now);
            }
            Body::Signal(_) => {}
            Body::ReadReceipt(receipt) => self.take_receipt(&receipt),
            Body::Setting(setting) => self.account.take_setting(setting),
            Body::Membership(membership) => {
                let log = LogId::from_wire(&membership.conversation_id).unwrap();
                self.take_membership(log, membership);
                self.try_again(now);
            }
            other => self.violations.push(format!("unexpected push {other:?}")),
        }
    }

    fn answered(&mut self, now: u64, request_id: u64, body: Body) {
        let Some(link) = &mut self.link else { return };
        let Some((asked, _)) = link.outstanding.remove(&request_id) else {
            return self.violations.push(format!("a second answer to {request_id}: {body:?}"));
        };
        match (asked, body) {
            (asked, Body::Error(error)) => self.refused(asked, &error),
            (Asked::Sync, Body::Synced(synced)) => self.take_synced(now, synced),
            (Asked::History(log), Body::HistoryPage(page)) => {
                let has = self.logs.entry(log).or_default();
                has.fetching = false;
                has.target = has.target.max(page.head);
                has.raise_floor(page.expired_below);
                self.heard.insert(log);
                self.take_entries(log, &page.entries);
                self.try_again(now);
            }
            (Asked::Send(index), Body::Sent(sent)) => self.acknowledged(now, index, sent),
            (Asked::Replay(index, true), Body::Sent(sent)) => {
                let first = self.messages[index].state;
                let again = State::Acknowledged { seq: sent.seq, time_ms: sent.time_ms };
                if first != again {
                    self.violations.push(format!("a retry: first {first:?}, then {again:?}"));
                }
            }
            (Asked::MarkRead(log, seq), Body::ReadReceipt(receipt)) => {
                let is_own = receipt.user_id == self.user.get();
                if !is_own || receipt.seq < seq || receipt.conversation_id != log.to_wire() {
                    self.violations.push(format!("read up to {seq}: {receipt:?}"));
                }
                let read = self.read.entry(log).or_default();
                *read = receipt.seq.max(*read);
                self.take_receipt(&receipt);
            }
            (Asked::Setting(asked, known), Body::Setting(setting)) => {
                self.setting_is_set(asked, known, setting);
            }
            (Asked::Update(log, change), Body::Membership(membership)) => {
                if !account::is_met(&change, &membership) {
                    self.violations.push(format!("{log}: {change:?} is answered {membership:?}"));
                }
                self.take_membership(log, membership);
                self.try_again(now);
            }
            (Asked::Signal, Body::Done(_)) => {}
            (Asked::Logout(session), Body::Done(_)) => self.ended.push(session),
            (asked, body) => self.violations.push(format!("{asked:?} is answered {body:?}")),
        }
    }

    fn refused(&mut self, asked: Asked, error: &wire::Error) {
        let code = error.code();
        let is_for_now = matches!(
            code,
            ErrorCode::StoreUnavailable | ErrorCode::Overloaded | ErrorCode::Timeout
        );
        let Some(link) = &mut self.link else { return };
        match asked {
            Asked::Setting(asked, _) if code == ErrorCode::VersionConflict => {
                self.is_another(&asked, error);
            }
            Asked::Replay(_, false) if code == ErrorCode::MessageIdConflict => {}
            Asked::Logout(_) if code == ErrorCode::SessionRevoked => {}
            _ if !is_for_now => self.violations.push(format!("{asked:?} is refused: {error:?}")),
            Asked::Sync => (link.syncing, link.sync_again) = (false, true),
            Asked::History(log) => self.logs.entry(log).or_default().fetching = false,
            Asked::Send(index) => {
                let message = &mut self.messages[index];
                if index.is_multiple_of(4) {
                    message.state = State::GivenUp;
                } else {
                    message.state = State::Again;
                    self.again.push(index);
                }
                if let Some(order) = link.orders.get_mut(&message.log) {
                    order.refused(index);
                }
            }
            Asked::Replay(..)
            | Asked::MarkRead(..)
            | Asked::Setting(..)
            | Asked::Update(..)
            | Asked::Signal
            | Asked::Logout(_) => {}
        }
    }

    /// A setting is what was asked for: set after all that was known by then, or as it was already.
    fn setting_is_set(&mut self, asked: wire::SetSetting, known: u64, setting: wire::Setting) {
        let wire::SetSetting { key, value, if_version } = asked;
        if setting.key != key || setting.value != value {
            self.violations.push(format!("{key} is set to {value:?}, and is {setting:?}"));
        }
        // Values are set once, but the empty one.
        if !value.is_empty() {
            if setting.version <= known {
                self.violations.push(format!("{setting:?} is set after version {known}"));
            }
            self.account.set.push(account::Set { key, if_version, version: setting.version });
        }
        self.account.take_setting(setting);
    }

    /// A setting has not the version that it was to have.
    fn is_another(&mut self, asked: &wire::SetSetting, error: &wire::Error) {
        let there = error.setting.clone().unwrap_or_default();
        if there.key != asked.key || asked.if_version.is_none_or(|it| it == there.version) {
            self.violations.push(format!("{asked:?} is refused: {error:?}"));
        }
        // Version 0 says that there is none, and not since when.
        if there.version > 0 {
            self.account.take_setting(there);
        }
    }

    fn take_membership(&mut self, log: LogId, membership: wire::Membership) {
        self.logs.entry(log).or_default().raise_floor(membership.visible_from);
        if self.account.take_membership(log, membership) {
            // What came meanwhile was not pushed.
            self.heard.remove(&log);
            self.named.remove(&log);
            if let Some(link) = &mut self.link {
                link.sync_again = true;
            }
        }
    }

    fn acknowledged(&mut self, now: u64, index: usize, sent: wire::Sent) {
        let message = &mut self.messages[index];
        message.state = State::Acknowledged { seq: sent.seq, time_ms: sent.time_ms };
        let log = message.log;
        let seen = Seen {
            sender: self.user.get(),
            id: message.id.0.to_vec(),
            content: message.content.clone(),
        };
        if let Some(order) = self.link.as_mut().and_then(|link| link.orders.get_mut(&log)) {
            order.acknowledged(index);
        }
        self.heard.insert(log);
        self.take_seen(log, sent.seq, seen);
        self.try_again(now);
    }

    fn take_synced(&mut self, now: u64, synced: wire::Synced) {
        self.first_synced.get_or_insert_with(|| synced.clone());
        let mut states = synced.conversations;
        states.sort_by(|one, other| one.conversation_id.cmp(&other.conversation_id));
        for state in states {
            let log = LogId::from_wire(&state.conversation_id).unwrap();
            let has = self.logs.entry(log).or_default();
            has.target = has.target.max(state.head);
            has.peer_read_seq = has.peer_read_seq.max(state.peer_read_seq);
            has.read_seq = has.read_seq.max(state.read_seq);
            has.raise_floor(state.expired_below);
            match state.membership {
                Some(membership) => self.take_membership(log, membership),
                None => self.account.take_ordinary(log),
            }
            if state.forget {
                self.violations.push(format!("{log}: the store has less than this client"));
            }
            self.take_entries(log, &state.entries);
        }
        self.account.take_synced(synced.afresh, synced.settings);
        let forgot = !synced.more && self.account.is_told();
        self.token = synced.token;
        if synced.afresh && self.is_told_afresh {
            self.violations.push("it is told everything once more".into());
        }
        self.is_told_afresh |= synced.afresh;
        if !synced.more {
            self.named.clear();
        }
        if let Some(link) = &mut self.link {
            (link.syncing, link.synced) = (false, true);
            link.sync_again |= synced.more || forgot;
        }
        self.try_again(now);
    }

    /// What is said of a cursor is never more than what is stored: the check at the end sees to it.
    fn take_receipt(&mut self, receipt: &wire::ReadReceipt) {
        let log = LogId::from_wire(&receipt.conversation_id).unwrap();
        let has = self.logs.entry(log).or_default();
        if receipt.user_id == self.user.get() {
            has.read_seq = has.read_seq.max(receipt.seq);
        } else {
            has.peer_read_seq = has.peer_read_seq.max(receipt.seq);
        }
        self.heard.insert(log);
    }

    fn take_entries(&mut self, log: LogId, entries: &[wire::Entry]) {
        entries.iter().for_each(|entry| self.take_seen(log, entry.seq, Seen::of(entry)));
    }

    fn take_seen(&mut self, log: LogId, seq: u64, seen: Seen) {
        if let Err(difference) = self.logs.entry(log).or_default().take(seq, seen) {
            self.violations.push(format!("{log}: {difference}"));
        }
    }
}

impl Message {
    fn request(&self, other: Option<Vec<u8>>) -> Request {
        let send = wire::Send {
            conversation_id: self.log.to_wire(),
            client_message_id: self.id.to_wire(),
            content: Bytes::from(other.unwrap_or_else(|| self.content.clone())),
            // The same in every retry.
            notice: i32::from(self.id.0[7] % 3),
            ..wire::Send::default()
        };
        send.try_into().unwrap()
    }
}

impl Order {
    fn place(&self, index: usize) -> Option<usize> {
        self.sends.iter().position(|(of, _)| *of == index)
    }

    fn acknowledged(&mut self, index: usize) {
        if let Some(place) = self.place(index) {
            self.sends[place].1 = true;
        }
    }

    fn refused(&mut self, index: usize) {
        if let Some(place) = self.place(index) {
            let from = self.refused_from.unwrap_or(place);
            self.refused_from = Some(place.min(from));
        }
    }
}
