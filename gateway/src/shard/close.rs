//! The end of a connection, always for a reason.
//!
//! A peer that can still read gets a `Close` frame, then the end of the stream; the slot lingers
//! until the peer has closed its side, since a socket that is closed while bytes arrive sends a
//! reset, which would destroy what is still on its way to the peer.

use std::net::Shutdown;

use dunlin_core::transport::ConnId;
use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{Close, CloseReason, frame::Body};

use super::Shard;
use super::connection::{Hearing, Slot, Stage};
use crate::log::names::reason_name;

impl Shard {
    /// Ends a connection in good order: what is queued, a Close frame, the end.
    pub(super) fn close(&mut self, key: usize, reason: CloseReason, reconnect_delay_ms: u32) {
        if !self.begin_closing(key, reason) {
            return;
        }
        let frame = close_frame(reason, reconnect_delay_ms);
        self.with_outbox(key, |outbox| outbox.close_with(frame));
    }

    /// Ends a connection that has too much to read: gives the memory back at once, but lets it
    /// know why, if it still reads.
    pub(super) fn close_slow_consumer(&mut self, key: usize) {
        let reason = CloseReason::SlowConsumer;
        if self.begin_closing(key, reason) {
            self.with_outbox(key, |outbox| outbox.end_with(close_frame(reason, 0)));
        }
    }

    /// False if it has been ended already, or was ended right now because the peer can't read.
    fn begin_closing(&mut self, key: usize, reason: CloseReason) -> bool {
        let now = self.clock.now();
        let conn = self.conn_id(key);
        let slot = &mut self.slots[key];
        if slot.stage != Stage::Open {
            return false;
        }
        if slot.flags.handshaking {
            self.end(key, reason);
            return false;
        }
        self.settle(key);
        let slot = &mut self.slots[key];
        slot.stage = Stage::Closing(reason);
        slot.progress = now;
        slot.protocol.abandon_login();
        let session = slot.protocol.session();
        self.password_ended(key);
        self.drop_unfinished(key);
        self.disconnected(conn, session);
        self.arm(key);
        // From here on input is read only to be thrown away.
        self.queue_read(key);
        true
    }

    /// Ends a connection whose stream is broken: with what the stream itself says of it, but no
    /// frame, since none can be said any more.
    pub(super) fn close_broken(&mut self, key: usize, reason: CloseReason) {
        self.handshake_ended(key, false);
        self.drop_outbox(key);
        if self.begin_closing(key, reason) {
            self.mark_dirty(key);
        }
    }

    /// Whether it ended well or not, it is not under way any more.
    pub(super) fn handshake_ended(&mut self, key: usize, well: bool) {
        if std::mem::take(&mut self.slots[key].flags.handshaking) {
            self.node.admission.handshake_ends();
            self.node.counters.handshake(well);
        }
    }

    fn drop_stream(&mut self, key: usize) {
        if let Some(stream) = self.slots[key].stream.take() {
            self.node.counters.stream_ends(stream.entrance());
            self.tally.output_changed(self.streams.of(stream).output_bytes(), 0);
            self.streams.remove(stream);
        }
    }

    fn drop_outbox(&mut self, key: usize) {
        let outbox = self.slots[key].outbox.take();
        self.tally.outbox_changed(outbox.map_or(0, |outbox| outbox.bytes()), 0);
    }

    fn drop_unfinished(&mut self, key: usize) {
        let unfinished = self.slots[key].unfinished.take();
        self.tally.unfinished_changed(unfinished.map_or(0, |unfinished| unfinished.memory()), 0);
    }

    /// All is written: shut our side and wait for the peer to see it.
    pub(super) fn linger(&mut self, key: usize, reason: CloseReason) {
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        if slot.socket.shutdown(Shutdown::Write).is_err() {
            return self.remove(key, reason);
        }
        slot.stage = Stage::Lingering(reason);
        slot.progress = now;
        // All was said. In a storm of closes this is most of what a connection holds.
        self.drop_stream(key);
        self.arm(key);
        self.queue_read(key);
    }

    /// The peer will say no more. It may read on, so what it has asked is answered first, and this
    /// comes again with each answer. A login has no effect once its connection has ended.
    pub(super) fn peer_said_all(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        slot.flags.hearing = Hearing::SaidAll;
        // What we have let wait was said before the end, and is taken when there is room.
        let has_asked = slot.outstanding > 0 || slot.flags.paused;
        let waits = has_asked && !slot.protocol.is_logging_in();
        let has_more = slot.outbox.as_ref().is_some_and(|outbox| outbox.bytes() > 0);
        let is_known = slot.protocol.greeted();
        match (waits, has_more && is_known) {
            (true, _) => {}
            (false, true) => self.close(key, CloseReason::PeerClosed, 0),
            (false, false) => self.answer_the_end(key),
        }
    }

    /// Nothing is left to say but what the stream owes, if anything.
    fn answer_the_end(&mut self, key: usize) {
        let stream = self.slots[key].stream;
        let owes = stream.is_some_and(|stream| self.streams.of(stream).owes_last_word());
        if !owes {
            self.end(key, CloseReason::PeerClosed);
        } else if self.begin_closing(key, CloseReason::PeerClosed) {
            self.mark_dirty(key);
        }
    }

    /// The peer has closed its side while ours was ending.
    pub(super) fn peer_shut_its_side(&mut self, key: usize) {
        match self.slots[key].stage {
            // It may read on: the reason is still to come, and the end is seen again after it.
            Stage::Closing(_) => {}
            Stage::Lingering(reason) => self.remove(key, reason),
            Stage::Open => self.end(key, CloseReason::PeerClosed),
        }
    }

    /// The peer is gone while our side was ending.
    pub(super) fn peer_is_gone(&mut self, key: usize) {
        match self.slots[key].stage {
            Stage::Closing(reason) | Stage::Lingering(reason) => self.remove(key, reason),
            Stage::Open => self.end(key, CloseReason::PeerReset),
        }
    }

    /// Ends a connection at once: there is nobody to tell.
    pub(super) fn end(&mut self, key: usize, reason: CloseReason) {
        if self.slots[key].stage == Stage::Open {
            self.settle(key);
            let conn = self.conn_id(key);
            let session = self.slots[key].protocol.session();
            self.disconnected(conn, session);
        }
        self.remove(key, reason);
    }

    fn remove(&mut self, key: usize, reason: CloseReason) {
        let conn = self.conn_id(key);
        self.handshake_ended(key, false);
        self.password_ended(key);
        self.drop_outbox(key);
        self.drop_unfinished(key);
        self.drop_stream(key);
        let slot = self.slots.remove(key);
        let is_stranger = slot.protocol.session().is_none();
        let now_ms = self.clock.monotonic_ms();
        self.node.admission.leave(slot.address, is_stranger, now_ms);
        self.node.places.give_back(self.index);
        self.node.counters.close(reason);
        log_close(reason, &slot, conn);
    }
}

/// What an operator should see is logged as info, everyday ends as debug. Whoever can connect can cause
/// twenty thousand closes a second; the log holds each reason to its limit.
fn log_close(reason: CloseReason, slot: &Slot, conn: ConnId) {
    let user = slot.protocol.session().map(|session| session.user.get());
    let (peer, is_notable) = (&slot.address, is_notable(reason));
    let reason = reason_name(reason);
    if is_notable {
        tracing::info!(%conn, %peer, user, reason, "closed");
    } else {
        tracing::debug!(%conn, %peer, user, reason, "closed");
    }
}

fn is_notable(reason: CloseReason) -> bool {
    match reason {
        CloseReason::SlowConsumer
        | CloseReason::FrameTooLarge
        | CloseReason::MalformedFrame
        | CloseReason::ProtocolViolation
        | CloseReason::LoginFailed
        | CloseReason::RateLimited
        | CloseReason::ServerError => true,
        CloseReason::Unspecified
        | CloseReason::PeerClosed
        | CloseReason::PeerReset
        | CloseReason::IdleTimeout
        | CloseReason::FrameTimeout
        | CloseReason::HandshakeTimeout
        | CloseReason::LoginTimeout
        | CloseReason::WriteTimeout
        | CloseReason::TlsError
        | CloseReason::UpgradeRefused
        | CloseReason::UnsupportedVersion
        | CloseReason::Replaced
        | CloseReason::Reconnected
        | CloseReason::LoggedOut
        | CloseReason::AccountDisabled
        | CloseReason::Overloaded
        | CloseReason::ServerDraining => false,
    }
}

pub(super) fn close_frame(reason: CloseReason, reconnect_delay_ms: u32) -> EncodedFrame {
    let close = Close { reason: reason.into(), detail: String::new(), reconnect_delay_ms };
    EncodedFrame::push(Body::Close(close))
}
