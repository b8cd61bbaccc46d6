//! What nodes say to each other, as bytes.
//!
//! ```text
//! envelope   checksum u32 | version u8 | flags u8 | to u64 | from u64 | worker u16
//!            | stream u32 | number u64 | items
//! item       kind u8 | length u32 | that many bytes
//! ```
//!
//! Numbers are big-endian; the checksum is the CRC-32C of everything behind it. Items of a kind that
//! this version doesn't know are skipped, so nodes of two versions can talk while they are exchanged
//! one by one. What comes from the bus is foreign: nothing here panics on it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dunlin_protocol::limits::{CONTENT_BYTES_MAX, FRAME_BYTES_MAX, TYPE_BYTES_MAX};
use dunlin_protocol::wire::{CloseReason, ErrorCode};
use dunlin_protocol::{ClientMessageId, EncodedFrame, LogId, SessionId, UserId};
use smallvec::SmallVec;

use super::super::effect::Refusal;
use super::super::operation::Closed;
use crate::bus::NodeId;
use crate::request::Send;
use crate::transport::ConnId;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// In front of the items.
pub(super) const HEADER_BYTES: usize = CHECKSUM_BYTES + 1 + 1 + 8 + 8 + 2 + 4 + 8;

const FLAG_BEACON: u8 = 1;
const FLAG_WHOLE: u8 = 2;

const KIND_FORWARD: u8 = 1;
const KIND_ANSWER: u8 = 2;
const KIND_PUSH: u8 = 3;
const KIND_SIGNAL: u8 = 4;
const KIND_ENDED: u8 = 5;

/// What is the matter with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvelopeError {
    /// It ends within the header.
    #[error("an envelope of {bytes} bytes")]
    Short { bytes: usize },
    /// Its bytes were changed on the way.
    #[error("the checksum is {computed:#x} and not {stored:#x}")]
    Checksum { stored: u32, computed: u32 },
    /// It is of a version that this node does not speak.
    #[error("an envelope of version {version}")]
    Version { version: u8 },
    /// An item of this kind is not what it should be.
    #[error("an item of kind {kind} is malformed")]
    Item { kind: u8 },
}

/// One worker of one node: the end of a stream of envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Origin {
    pub(in super::super) node: NodeId,
    pub(in super::super) worker: u16,
}

/// What stands in front of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// For which node: a node that was restarted is another one.
    pub(super) to: NodeId,
    pub(super) from: Origin,
    /// Streams of one origin are numbered: a higher number replaces a lower one.
    pub(super) stream: u32,
    /// Of this envelope within the stream, from 1; of the last one before it, if it is a beacon.
    pub(super) number: u64,
    /// It carries nothing, and tells only how many there were before it.
    pub(super) beacon: bool,
    /// Nothing was told to anybody before the stream began.
    pub(super) whole: bool,
}

/// A thing that one worker tells a worker of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Append these, and answer.
    Forward(Forward),
    /// What became of one of those.
    Answer(Answer),
    /// Push this to the sessions of users.
    Push(NodePush),
    /// Deliver this to the live sessions of users.
    Signal(NodeSignal),
    /// Sessions of a user have ended.
    Ended(Ended),
}

/// Sends to one conversation, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) log: LogId,
    /// Names these sends, at the worker that forwards them.
    pub(super) batch: u64,
    pub(super) sends: Vec<ForwardedSend>,
}

/// A send of a user who was authenticated on the node that forwards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForwardedSend {
    pub(super) sender: UserId,
    /// On that node.
    pub(super) conn: ConnId,
    pub(super) send: Send,
}

/// The answer to one send of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) log: LogId,
    pub(super) batch: u64,
    pub(super) index: u16,
    pub(super) outcome: Result<Stored, Refusal>,
}

/// Where and when a send was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) time_ms: u64,
}

/// Users of one worker of one node.
pub(super) type Users = SmallVec<[UserId; 2]>;

/// An entry, or a word that there is one, for users of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePush {
    pub(super) users: Users,
    pub(super) log: LogId,
    pub(super) head: u64,
    /// The connection, on the node that it is for, that knows it by its response.
    pub(super) except: Option<ConnId>,
    pub(super) frame: EncodedFrame,
}

/// Something momentary for users of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeSignal {
    pub(super) users: Users,
    pub(super) frame: EncodedFrame,
}

/// Sessions of a user that were ended, or replaced, on another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Ended {
    pub(in super::super) user: UserId,
    pub(in super::super) closed: Closed,
    pub(in super::super) reason: CloseReason,
    /// When, by the clock of the node that did it: what was opened later is not meant.
    pub(in super::super) at_ms: u64,
}

/// Writes the header into the first [`HEADER_BYTES`] of a finished envelope.
pub(super) fn seal(header: &Header, mut envelope: BytesMut) -> Bytes {
    let flags = (u8::from(header.beacon) * FLAG_BEACON) | (u8::from(header.whole) * FLAG_WHOLE);
    let mut out = &mut envelope[CHECKSUM_BYTES..HEADER_BYTES];
    out.put_u8(VERSION);
    out.put_u8(flags);
    out.put_u64(header.to.0);
    out.put_u64(header.from.node.0);
    out.put_u16(header.from.worker);
    out.put_u32(header.stream);
    out.put_u64(header.number);
    let checksum = crc32c::crc32c(&envelope[CHECKSUM_BYTES..]);
    envelope[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
    envelope.freeze()
}

/// Opens an envelope: who speaks, and what follows.
pub(super) fn open(mut envelope: Bytes) -> Result<(Header, Items), EnvelopeError> {
    let bytes = envelope.len();
    if bytes < HEADER_BYTES {
        return Err(EnvelopeError::Short { bytes });
    }
    let stored = envelope.get_u32();
    let computed = crc32c::crc32c(&envelope);
    if stored != computed {
        return Err(EnvelopeError::Checksum { stored, computed });
    }
    let version = envelope.get_u8();
    if version != VERSION {
        return Err(EnvelopeError::Version { version });
    }
    let flags = envelope.get_u8();
    let to = NodeId(envelope.get_u64());
    let from = Origin { node: NodeId(envelope.get_u64()), worker: envelope.get_u16() };
    let (stream, number) = (envelope.get_u32(), envelope.get_u64());
    let (beacon, whole) = (flags & FLAG_BEACON != 0, flags & FLAG_WHOLE != 0);
    Ok((Header { to, from, stream, number, beacon, whole }, Items(envelope)))
}

/// The items of an envelope that this version knows.
#[derive(Debug)]
pub(super) struct Items(Bytes);

impl Iterator for Items {
    type Item = Result<Item, EnvelopeError>;

    fn next(&mut self) -> Option<Result<Item, EnvelopeError>> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let kind = self.0.get_u8();
            let mut reader = Reader(self.0.clone());
            let Some(inside) = reader.bytes(usize::MAX) else {
                // What follows can't be found any more.
                self.0.clear();
                return Some(Err(EnvelopeError::Item { kind }));
            };
            self.0 = reader.0;
            if (KIND_FORWARD..=KIND_ENDED).contains(&kind) {
                let item = Reader(inside).item(kind);
                return Some(item.ok_or(EnvelopeError::Item { kind }));
            }
        }
    }
}

impl Item {
    /// Appends the item to an envelope.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let kind = match self {
            Item::Forward(_) => KIND_FORWARD,
            Item::Answer(_) => KIND_ANSWER,
            Item::Push(_) => KIND_PUSH,
            Item::Signal(_) => KIND_SIGNAL,
            Item::Ended(_) => KIND_ENDED,
        };
        out.put_u8(kind);
        let start = out.len();
        out.put_u32(0);
        match self {
            Item::Forward(forward) => forward.put(out),
            Item::Answer(answer) => answer.put(out),
            Item::Push(push) => push.put(out),
            Item::Signal(signal) => {
                put_users(&signal.users, out);
                put_bytes(signal.frame.wire(), out);
            }
            Item::Ended(ended) => ended.put(out),
        }
        let length = u32::try_from(out.len() - start - 4).expect("an item fits into an envelope");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl Forward {
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self.log.as_bytes());
        out.put_u64(self.batch);
        out.put_u16(u16::try_from(self.sends.len()).expect("a batch is limited"));
        for ForwardedSend { sender, conn, send } in &self.sends {
            out.put_u64(sender.get());
            put_conn(*conn, out);
            out.put_slice(&send.client_message_id.0);
            put_bytes(send.content_type.as_bytes(), out);
            put_bytes(&send.content, out);
        }
    }
}

impl Answer {
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self.log.as_bytes());
        out.put_u64(self.batch);
        out.put_u16(self.index);
        match self.outcome {
            Ok(Stored { seq, time_ms }) => {
                out.put_u8(0);
                out.put_u64(seq);
                out.put_u64(time_ms);
            }
            Err(refusal) => {
                out.put_u8(1);
                out.put_i32(refusal.code.into());
                out.put_u32(refusal.retry_after_ms);
            }
        }
    }
}

impl NodePush {
    fn put(&self, out: &mut BytesMut) {
        put_users(&self.users, out);
        out.put_slice(self.log.as_bytes());
        out.put_u64(self.head);
        match self.except {
            Some(conn) => {
                out.put_u8(1);
                put_conn(conn, out);
            }
            None => out.put_u8(0),
        }
        put_bytes(self.frame.wire(), out);
    }
}

impl Ended {
    fn put(&self, out: &mut BytesMut) {
        out.put_u64(self.user.get());
        out.put_i32(self.reason.into());
        out.put_u64(self.at_ms);
        let (kind, sessions) = match &self.closed {
            Closed::All => (0, &[][..]),
            Closed::AllBut(kept) => (1, std::slice::from_ref(kept)),
            Closed::Sessions(sessions) => (2, &sessions[..]),
        };
        out.put_u8(kind);
        out.put_u32(u32::try_from(sessions.len()).expect("a user has few sessions"));
        sessions.iter().for_each(|session| out.put_u64(session.get()));
    }
}

fn put_users(users: &[UserId], out: &mut BytesMut) {
    out.put_u32(u32::try_from(users.len()).expect("an item fits into an envelope"));
    users.iter().for_each(|user| out.put_u64(user.get()));
}

fn put_conn(conn: ConnId, out: &mut BytesMut) {
    out.put_u16(conn.shard);
    out.put_u32(conn.slot);
    out.put_u32(conn.generation);
}

fn put_bytes(bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(u32::try_from(bytes.len()).expect("an item fits into an envelope"));
    out.put_slice(bytes);
}

/// Takes an item apart; `None` where it is malformed.
///
/// What is kept for long is copied out of it: a frame in somebody's outbox must not keep a whole
/// envelope in memory.
struct Reader(Bytes);

impl Reader {
    fn item(mut self, kind: u8) -> Option<Item> {
        let item = match kind {
            KIND_FORWARD => Item::Forward(self.forward()?),
            KIND_ANSWER => Item::Answer(self.answer()?),
            KIND_PUSH => Item::Push(self.push()?),
            KIND_SIGNAL => Item::Signal(NodeSignal { users: self.users()?, frame: self.frame()? }),
            KIND_ENDED => Item::Ended(self.ended()?),
            _ => return None,
        };
        Some(item)
    }

    fn forward(&mut self) -> Option<Forward> {
        let (log, batch, count) = (self.log()?, self.u64()?, self.u16()?);
        let sends = (0..count).map(|_| {
            let (sender, conn) = (self.user()?, self.conn()?);
            let client_message_id = ClientMessageId(self.array()?);
            let content_type = String::from_utf8(self.bytes(TYPE_BYTES_MAX)?.to_vec()).ok()?;
            let content = Bytes::copy_from_slice(&self.bytes(CONTENT_BYTES_MAX)?);
            let send = Send { conversation: log, client_message_id, content_type, content };
            Some(ForwardedSend { sender, conn, send })
        });
        let sends = sends.collect::<Option<_>>()?;
        Some(Forward { log, batch, sends })
    }

    fn answer(&mut self) -> Option<Answer> {
        let (log, batch, index) = (self.log()?, self.u64()?, self.u16()?);
        let outcome = match self.u8()? {
            0 => Ok(Stored { seq: self.u64()?, time_ms: self.u64()? }),
            1 => {
                let code = ErrorCode::try_from(self.i32()?).unwrap_or(ErrorCode::Internal);
                let retry_after_ms = self.u32()?;
                let message = "refused by the home of the conversation";
                Err(Refusal { code, message, retry_after_ms })
            }
            _ => return None,
        };
        Some(Answer { log, batch, index, outcome })
    }

    fn push(&mut self) -> Option<NodePush> {
        let (users, log, head) = (self.users()?, self.log()?, self.u64()?);
        let except = match self.u8()? {
            0 => None,
            1 => Some(self.conn()?),
            _ => return None,
        };
        Some(NodePush { users, log, head, except, frame: self.frame()? })
    }

    fn ended(&mut self) -> Option<Ended> {
        let user = self.user()?;
        let reason = CloseReason::try_from(self.i32()?).unwrap_or(CloseReason::LoggedOut);
        let (at_ms, kind, count) = (self.u64()?, self.u8()?, self.u32()?);
        let sessions = (0..count).map(|_| SessionId::new(self.u64()?).ok());
        let sessions = sessions.collect::<Option<Vec<_>>>()?;
        let closed = match (kind, &sessions[..]) {
            (0, []) => Closed::All,
            (1, [kept]) => Closed::AllBut(*kept),
            (2, _) => Closed::Sessions(sessions),
            _ => return None,
        };
        Some(Ended { user, closed, reason, at_ms })
    }

    fn users(&mut self) -> Option<Users> {
        let count = self.u32()?;
        (0..count).map(|_| self.user()).collect()
    }

    fn user(&mut self) -> Option<UserId> {
        UserId::new(self.u64()?).ok()
    }

    fn log(&mut self) -> Option<LogId> {
        LogId::from_bytes(&self.array::<16>()?).ok()
    }

    fn conn(&mut self) -> Option<ConnId> {
        Some(ConnId { shard: self.u16()?, slot: self.u32()?, generation: self.u32()? })
    }

    fn frame(&mut self) -> Option<EncodedFrame> {
        let bytes = self.bytes(FRAME_BYTES_MAX as usize + 4)?;
        EncodedFrame::from_wire(Bytes::copy_from_slice(&bytes)).ok()
    }

    fn bytes(&mut self, bytes_max: usize) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= bytes_max && length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.0.first_chunk::<N>()?;
        self.0.advance(N);
        Some(array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::{self, frame::Body};
    use proptest::prelude::*;

    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn items() -> Vec<Item> {
        let log = LogId::direct(user(1), user(2));
        let conn = ConnId { shard: 1, slot: 2, generation: 3 };
        let send = |content: &'static str| Send {
            conversation: log,
            client_message_id: ClientMessageId([7; 16]),
            content_type: "text/plain".into(),
            content: Bytes::from_static(content.as_bytes()),
        };
        let sent = |content| ForwardedSend { sender: user(1), conn, send: send(content) };
        let frame = EncodedFrame::push(Body::Done(wire::Done {}));
        let message = "refused by the home of the conversation";
        let refusal = Refusal::retry(ErrorCode::Overloaded, message, 500);
        let stored = Ok(Stored { seq: 5, time_ms: 6 });
        let users: Users = [user(1), user(2), user(3)].into_iter().collect();
        let session = SessionId::new(9).unwrap();
        let ended = |closed| {
            Item::Ended(Ended { user: user(1), closed, reason: CloseReason::Replaced, at_ms: 8 })
        };
        let push =
            |except| NodePush { users: users.clone(), log, head: 7, except, frame: frame.clone() };
        vec![
            Item::Forward(Forward { log, batch: 1, sends: vec![sent("one"), sent("")] }),
            Item::Answer(Answer { log, batch: 1, index: 1, outcome: stored }),
            Item::Answer(Answer { log, batch: 1, index: 0, outcome: Err(refusal) }),
            Item::Push(push(Some(conn))),
            Item::Push(push(None)),
            Item::Signal(NodeSignal { users: users.clone(), frame: frame.clone() }),
            ended(Closed::All),
            ended(Closed::AllBut(session)),
            ended(Closed::Sessions(vec![session, session])),
        ]
    }

    fn header() -> Header {
        let from = Origin { node: NodeId(2), worker: 3 };
        Header { to: NodeId(1), from, stream: 4, number: 5, beacon: false, whole: true }
    }

    fn sealed(items: &[Item]) -> Bytes {
        let mut envelope = BytesMut::zeroed(HEADER_BYTES);
        items.iter().for_each(|item| item.put(&mut envelope));
        seal(&header(), envelope)
    }

    fn resealed(mut envelope: Vec<u8>) -> Bytes {
        let checksum = crc32c::crc32c(&envelope[CHECKSUM_BYTES..]);
        envelope[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
        envelope.into()
    }

    #[test]
    fn what_is_sealed_is_opened() {
        let (opened, found) = open(sealed(&items())).unwrap();
        assert_eq!(opened, header());
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), items());
        let beacon = Header { beacon: true, whole: false, ..header() };
        let (opened, mut found) = open(seal(&beacon, BytesMut::zeroed(HEADER_BYTES))).unwrap();
        assert_eq!(opened, beacon);
        assert!(found.next().is_none());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let envelope = sealed(&items());
        for bit in 0..envelope.len() * 8 {
            let mut changed = envelope.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(changed.into()), Err(EnvelopeError::Checksum { .. })));
        }
        (0..envelope.len()).for_each(|cut| assert!(open(envelope.slice(..cut)).is_err()));
    }

    #[test]
    fn what_a_later_version_says_is_skipped() {
        let mut later = BytesMut::zeroed(HEADER_BYTES);
        later.put_u8(99);
        put_bytes(b"something new", &mut later);
        items()[0].put(&mut later);
        let (_, found) = open(seal(&header(), later)).unwrap();
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), items()[..1]);
        let mut version = sealed(&[]).to_vec();
        version[CHECKSUM_BYTES] = 2;
        let error = open(resealed(version)).unwrap_err();
        assert_eq!(error, EnvelopeError::Version { version: 2 });
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            flips in proptest::collection::vec((HEADER_BYTES..400usize, any::<u8>()), 0..8),
            cut in 0usize..400,
        ) {
            let mut envelope = sealed(&items()).to_vec();
            for (at, value) in flips {
                if let Some(byte) = envelope.get_mut(at) {
                    *byte = value;
                }
            }
            envelope.truncate(cut.max(HEADER_BYTES));
            let (_, found) = open(resealed(envelope)).unwrap();
            // It ends, whatever is in it.
            prop_assert!(found.count() < 400);
        }
    }
}
