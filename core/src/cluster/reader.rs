//! Reading items that came from the bus.

use bytes::{Buf, Bytes};
use dunlin_protocol::limits::{CONTENT_BYTES_MAX, FRAME_BYTES_MAX, TYPE_BYTES_MAX};
use dunlin_protocol::wire::{CloseReason, ErrorCode, Notice};
use dunlin_protocol::{ClientMessageId, EncodedFrame, LogId, SessionId, UserId};

use super::item::{
    Answer, Forward, ForwardedSend, Item, KIND_ANSWER, KIND_ENDED, KIND_FORWARD, KIND_PUSH,
    KIND_RECEIPT, KIND_SIGNAL, NodePush, NodeSignal, Users,
};
use crate::audience::session::{Closed, Ended};
use crate::conversation::pending::Stored;
use crate::refusal::Refusal;
use crate::request::Message;
use crate::transport::ConnId;

/// Takes an item apart; `None` where it is malformed.
///
/// What is kept for long is copied out of it: a frame in somebody's outbox must not keep a whole
/// envelope in memory.
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    pub(super) fn item(mut self, kind: u8) -> Option<Item> {
        let item = match kind {
            KIND_FORWARD => Item::Forward(self.forward()?),
            KIND_ANSWER => Item::Answer(self.answer()?),
            KIND_PUSH => Item::Push(self.push()?),
            KIND_SIGNAL => Item::Signal(self.signal(false)?),
            KIND_RECEIPT => Item::Signal(self.signal(true)?),
            KIND_ENDED => Item::Ended(self.ended()?),
            _ => return None,
        };
        Some(item)
    }

    fn signal(&mut self, is_receipt: bool) -> Option<NodeSignal> {
        Some(NodeSignal { users: self.users()?, frame: self.frame()?, is_receipt })
    }

    fn forward(&mut self) -> Option<Forward> {
        let (log, batch, count) = (self.log()?, self.u64()?, self.u16()?);
        let sends = (0..count).map(|_| {
            let (sender, conn) = (self.user()?, self.conn()?);
            let client_message_id = ClientMessageId(self.array()?);
            let notice = Notice::try_from(i32::from(self.u8()?)).ok()?;
            let content_type = String::from_utf8(self.bytes(TYPE_BYTES_MAX)?.to_vec()).ok()?;
            let content = Bytes::copy_from_slice(&self.bytes(CONTENT_BYTES_MAX)?);
            let message = Message { client_message_id, content_type, content, notice };
            Some(ForwardedSend { sender, conn, message })
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

    pub(super) fn bytes(&mut self, bytes_max: usize) -> Option<Bytes> {
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
