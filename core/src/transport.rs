//! What a transport implements, and what the engine delivers through it.

use std::fmt;

use dunlin_protocol::wire::CloseReason;
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId};

use crate::arrival::Arrival;

/// A connection: a slot of a shard, and how often that slot was used before. A late answer to a
/// connection that is gone meets another generation and is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The I/O thread. The highest number is the engine's own: see `ConnId::of_call`.
    pub shard: u16,
    /// The slot in its slab.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// Where calls at the door are in the place of connections. A transport has far fewer threads.
const DOOR_SHARD: u16 = u16::MAX;

impl ConnId {
    /// What stands for a call at the [door](crate::engine::door) where a connection would: so the
    /// way of an answer is the same for both, and only its end is not.
    pub(crate) fn of_call(call: u64) -> ConnId {
        let (slot, generation) = (call as u32, (call >> 32) as u32);
        ConnId { shard: DOOR_SHARD, slot, generation }
    }

    /// Which call it stands for, if it does.
    pub(crate) fn call(self) -> Option<u64> {
        let ConnId { shard, slot, generation } = self;
        (shard == DOOR_SHARD).then_some(u64::from(generation) << 32 | u64::from(slot))
    }
}

/// For logs: shard, slot and generation.
impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.shard, self.slot, self.generation)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

/// Who speaks on a connection after login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    /// The user.
    pub user: UserId,
    /// This login of the user on this device.
    pub session: SessionId,
}

/// One thing for one connection.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// For whom. If the generation is not the slot's, drop it; but the session of a `LoggedIn` has
    /// been opened, so say that it is [gone](crate::engine::submitter::Submitter::disconnected).
    pub conn: ConnId,
    /// When the message was read that this acknowledges, or pushes.
    pub arrived: Arrival,
    /// What.
    pub delivery: Delivery,
}

/// What the transport does for a connection, in the order of delivery.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Delivery {
    /// The one response to a request. Never dropped: if it can't be queued, the connection closes.
    Response(EncodedFrame),
    /// The response to a successful login: the connection speaks for the session from now on.
    LoggedIn {
        /// Who it is.
        session: Session,
        /// The response to send.
        response: EncodedFrame,
    },
    /// The response to a login with wrong credentials, to be counted against the address. Login
    /// may be tried again.
    LoginRefused(EncodedFrame),
    /// The response to a login that could not be decided now (overload, a store that fails): the
    /// same, but it is not the client's fault and counts against nobody.
    LoginPostponed(EncodedFrame),
    /// The response to a registration that made an account. Nobody is logged in by it, and login may be tried now.
    /// (One that was refused is answered as a login is.)
    Registered(EncodedFrame),
    /// A frame that nobody asked for and that must arrive (a `Behind` that names no conversation):
    /// queued like a response, but it answers no request.
    Notice(EncodedFrame),
    /// A hint that a log has grown. Under pressure, all pushes of a log collapse to one `Behind`
    /// with the highest head.
    Push {
        /// The log that has grown.
        log: LogId,
        /// Up to where.
        head: u64,
        /// The push itself.
        frame: EncodedFrame,
    },
    /// A signal or a receipt: dropped first.
    Signal(EncodedFrame),
    /// Send what is queued, then a `Close` frame with the reason, then close.
    Close {
        /// The reason.
        reason: CloseReason,
        /// How long the client should stay away; 0 leaves it to the client.
        reconnect_delay_ms: u32,
    },
}

impl Outbound {
    /// The memory that it takes while it waits. A frame that several wait for counts for each.
    pub fn memory(&self) -> usize {
        size_of::<Outbound>() + self.delivery.frame().map_or(0, |frame| frame.wire().len())
    }
}

impl Delivery {
    /// The frame to send, of all but `Close`.
    pub fn frame(&self) -> Option<&EncodedFrame> {
        match self {
            Delivery::Response(frame)
            | Delivery::LoggedIn { response: frame, .. }
            | Delivery::LoginRefused(frame)
            | Delivery::LoginPostponed(frame)
            | Delivery::Registered(frame)
            | Delivery::Notice(frame)
            | Delivery::Push { frame, .. }
            | Delivery::Signal(frame) => Some(frame),
            Delivery::Close { .. } => None,
        }
    }

    /// Whether it is the response to a request: of those that are outstanding, one is less.
    pub fn is_response(&self) -> bool {
        match self {
            Delivery::Response(_)
            | Delivery::LoggedIn { .. }
            | Delivery::LoginRefused(_)
            | Delivery::LoginPostponed(_)
            | Delivery::Registered(_) => true,
            Delivery::Notice(_)
            | Delivery::Push { .. }
            | Delivery::Signal(_)
            | Delivery::Close { .. } => false,
        }
    }
}

/// The way out of the engine.
pub trait Transport: Send + Sync + 'static {
    /// Takes what a worker has for the connections of one shard, in order. Called by worker
    /// threads, once per shard and tick. It must not block: pressure is answered per connection,
    /// by collapsing pushes and closing slow consumers.
    fn deliver(&self, shard: u16, batch: Vec<Outbound>);

    /// Whether more waits for some shard than should, since its thread has not come to take it. As long as it is
    /// so, workers take no commands: so what waits is bounded by what is under way. A shard must take what is
    /// delivered whatever workers do, or they would wait for each other.
    fn is_behind(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_from_a_connection() {
        for call in [1, u64::from(u32::MAX) + 7, u64::MAX] {
            assert_eq!(ConnId::of_call(call).call(), Some(call));
        }
        assert_eq!(ConnId { shard: 3, slot: 1, generation: 0 }.call(), None);
    }
}
