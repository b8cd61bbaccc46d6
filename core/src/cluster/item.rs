//! The things that one worker tells a worker of another node, and how they are written.

use bytes::{BufMut, BytesMut};
use dunlin_protocol::{EncodedFrame, LogId, UserId};
use smallvec::SmallVec;

use crate::audience::session::{Closed, Ended};
use crate::conversation::pending::Stored;
use crate::refusal::Refusal;
use crate::request::Message;
use crate::transport::ConnId;

pub(super) const KIND_FORWARD: u8 = 1;
pub(super) const KIND_ANSWER: u8 = 2;
pub(super) const KIND_PUSH: u8 = 3;
pub(super) const KIND_SIGNAL: u8 = 4;
pub(super) const KIND_ENDED: u8 = 5;
pub(super) const KIND_RECEIPT: u8 = 6;

/// A thing that one worker tells a worker of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
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
pub(crate) struct Forward {
    pub(crate) log: LogId,
    /// Names these sends, at the worker that forwards them.
    pub(crate) batch: u64,
    pub(crate) sends: Vec<ForwardedSend>,
}

/// A send of a user who was authenticated on the node that forwards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardedSend {
    pub(crate) sender: UserId,
    /// On that node.
    pub(crate) conn: ConnId,
    pub(crate) message: Message,
}

/// The answer to one send of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) log: LogId,
    pub(crate) batch: u64,
    pub(crate) index: u16,
    pub(crate) outcome: Result<Stored, Refusal>,
}

/// Users of one worker of one node.
pub(crate) type Users = SmallVec<[UserId; 2]>;

/// An entry, or a word that there is one, for users of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodePush {
    pub(crate) users: Users,
    pub(crate) log: LogId,
    pub(crate) head: u64,
    /// The connection, on the node that it is for, that knows it by its response.
    pub(crate) except: Option<ConnId>,
    pub(crate) frame: EncodedFrame,
}

/// Something momentary for users of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSignal {
    pub(crate) users: Users,
    pub(crate) frame: EncodedFrame,
    /// See [`SignalPush`](crate::audience::push::SignalPush).
    pub(crate) is_receipt: bool,
}

/// Whether this version knows items of this kind.
pub(super) fn is_known(kind: u8) -> bool {
    (KIND_FORWARD..=KIND_RECEIPT).contains(&kind)
}

impl Item {
    /// Appends the item to an envelope.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let kind = match self {
            Item::Forward(_) => KIND_FORWARD,
            Item::Answer(_) => KIND_ANSWER,
            Item::Push(_) => KIND_PUSH,
            Item::Signal(signal) if signal.is_receipt => KIND_RECEIPT,
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
        for ForwardedSend { sender, conn, message } in &self.sends {
            out.put_u64(sender.get());
            put_conn(*conn, out);
            out.put_slice(&message.client_message_id.0);
            out.put_u8(message.notice as u8);
            put_bytes(message.content_type.as_bytes(), out);
            put_bytes(&message.content, out);
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

pub(super) fn put_bytes(bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(u32::try_from(bytes.len()).expect("an item fits into an envelope"));
    out.put_slice(bytes);
}
