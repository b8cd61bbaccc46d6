//! A slot: everything that a shard knows of one connection.

use dunlin_core::connection::Connection;
use dunlin_protocol::wire::CloseReason;
use mio::net::TcpStream;

use super::control::Settings;
use super::timer_wheel::Tick;
use super::unfinished::Unfinished;
use crate::admission::Address;
use crate::limits::{CROWDED_BYTES_PER_REQUEST, CROWDED_REQUEST_BYTES, LINGER_MS};
use crate::shard::timer_wheel::ticks_in;
use crate::stream::StreamKey;
use crate::stream::outbox::Outbox;

/// See the module. What is not always needed is in a box that is absent while the connection is
/// idle; deadlines are computed from ticks when the wheel asks.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) socket: TcpStream,
    /// Which use of the slot this is.
    pub(crate) generation: u32,
    pub(crate) protocol: Connection,
    pub(crate) stage: Stage,
    pub(crate) address: Address,
    /// What has not arrived whole, frames that may not be taken yet, and large requests without an answer.
    pub(crate) unfinished: Option<Box<Unfinished>>,
    pub(crate) outbox: Option<Box<Outbox>>,
    /// `None` once everything was said.
    pub(crate) stream: Option<StreamKey>,
    /// When it was accepted, and after the Hello, when that came.
    pub(crate) opened: Tick,
    /// When bytes came last. A frame that trickles in has a deadline of its own.
    pub(crate) active: Tick,
    /// When bytes were last written or seen to be taken, or began to wait.
    pub(crate) progress: Tick,
    /// The tick of the live entry in the wheel; 0 if there is none.
    pub(crate) armed: Tick,
    /// Requests that wait for their response.
    pub(crate) outstanding: u16,
    pub(crate) failed_logins: u8,
    pub(crate) flags: Flags,
}

/// How much a connection may ask for before it has to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntakeLimits {
    /// Requests that are not answered.
    pub(crate) requests: u32,
    /// Bytes of the large ones of them.
    pub(crate) request_bytes: usize,
    /// Bytes that it has not read.
    pub(crate) outbox_bytes: usize,
}

/// Small facts about a connection.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// The kernel may have bytes for us: the last read did not empty the socket.
    pub(crate) readable: bool,
    /// Whether the peer will send more.
    pub(crate) hearing: Hearing,
    /// Frames are left in `unfinished` on purpose, see [`Slot::must_wait`] and `Shard::holds_message`.
    pub(crate) paused: bool,
    /// In one of the shard's read queues, or held there.
    pub(crate) read_queued: bool,
    /// In the shard's flush list.
    pub(crate) dirty: bool,
    /// The socket takes no more; a WRITABLE event will come.
    pub(crate) write_blocked: bool,
    /// The poll watches for WRITABLE.
    pub(crate) write_armed: bool,
    /// Counted as a TLS handshake that is under way.
    pub(crate) handshaking: bool,
    /// A password of it is being looked at, which counts for its address.
    pub(crate) shows_password: bool,
}

/// Whether there is more to come from the peer. It goes one way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hearing {
    /// For all that is known.
    #[default]
    More,
    /// The kernel says that it will send no more: read on until the end shows.
    HungUp,
    /// The end was seen, or TLS has said it: nothing is left to be read.
    SaidAll,
}

impl Flags {
    /// The kernel says that nothing more will come, or it was seen.
    pub(crate) fn hung_up(&self) -> bool {
        self.hearing >= Hearing::HungUp
    }

    pub(crate) fn said_all(&self) -> bool {
        self.hearing == Hearing::SaidAll
    }
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In use.
    Open,
    /// The Close frame is queued; nothing more is taken from the peer.
    Closing(CloseReason),
    /// Everything is written and our side is shut; the peer may read it and close its own.
    Lingering(CloseReason),
}

// The budget is 512 B of user memory for an idle plaintext connection in all of the server; 100
// are the core's, 24 the timer's. (In debug builds mio adds to a socket.)
const _: () = assert!(size_of::<Slot>() <= if cfg!(debug_assertions) { 120 } else { 104 });

impl Slot {
    /// Whether its user is coming or going, and not in the middle of a conversation.
    pub(crate) fn in_transit(&self) -> bool {
        self.stage != Stage::Open || self.flags.hung_up() || self.protocol.session().is_none()
    }

    /// Whether reading on has to wait: for answers, among them that to a login, before which nobody knows
    /// who asks; or for the peer to take what it asked for.
    pub(crate) fn must_wait(&self, limits: &IntakeLimits) -> bool {
        u32::from(self.outstanding) >= limits.requests
            || self.protocol.is_logging_in()
            || self.outbox.as_ref().is_some_and(|outbox| outbox.bytes() > limits.outbox_bytes)
            || self
                .unfinished
                .as_ref()
                .is_some_and(|unfinished| unfinished.request_bytes() >= limits.request_bytes)
    }

    /// Whether it has asked so much that others send first, where messages wait for the disk.
    pub(crate) fn has_asked_much(&self) -> bool {
        let large = self.unfinished.as_ref().map_or(0, |unfinished| unfinished.request_bytes());
        let bytes = large + usize::from(self.outstanding) * CROWDED_BYTES_PER_REQUEST;
        bytes >= CROWDED_REQUEST_BYTES
    }

    /// When the connection has waited too long for something, and for what.
    pub(crate) fn deadline(&self, settings: &Settings) -> (Tick, CloseReason) {
        let deadlines = &settings.deadlines;
        let write_deadline = self.progress.saturating_add(deadlines.write);
        let (deadline, reason) = match self.stage {
            Stage::Closing(reason) => return (write_deadline, reason),
            Stage::Lingering(reason) => {
                return (self.progress.saturating_add(ticks_in(LINGER_MS)), reason);
            }
            Stage::Open if !self.protocol.greeted() => {
                (self.opened.saturating_add(deadlines.handshake), CloseReason::HandshakeTimeout)
            }
            Stage::Open if self.protocol.session().is_none() => {
                (self.opened.saturating_add(deadlines.login), CloseReason::LoginTimeout)
            }
            Stage::Open => (self.active.saturating_add(deadlines.idle), CloseReason::IdleTimeout),
        };
        let frame = self.begun().map(|begun| begun.saturating_add(deadlines.frame));
        let (deadline, reason) = match frame {
            Some(frame) if frame < deadline => (frame, CloseReason::FrameTimeout),
            Some(_) | None => (deadline, reason),
        };
        if self.flags.write_blocked && write_deadline < deadline {
            return (write_deadline, CloseReason::WriteTimeout);
        }
        (deadline, reason)
    }

    /// Since when the peer owes the rest of something; not while it is we who let it wait.
    fn begun(&self) -> Option<Tick> {
        let unfinished = self.unfinished.as_ref().filter(|_| !self.flags.paused)?;
        unfinished.is_begun().then_some(unfinished.begun)
    }

    /// Gives the memory back if nothing is missing.
    pub(super) fn drop_unfinished_if_done(&mut self) {
        if self.unfinished.as_ref().is_some_and(|unfinished| unfinished.is_done()) {
            self.unfinished = None;
        }
    }

    /// The memory of what has not arrived whole.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.memory())
    }
}
