//! Bytes in: from the socket to frames to commands.

use std::io::{ErrorKind, Read};

use bytes::{Bytes, BytesMut};
use dunlin_core::connection::Received;
use dunlin_core::engine::submitter::MessageRoom;
use dunlin_core::limits::OVERLOADED_RETRY_MS;
use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{self, CloseReason, ErrorCode, frame::Body};

use super::Shard;
use super::connection::{IntakeLimits, Stage};
use super::read_queues::Lane;
use super::timer_wheel::Tick;
use crate::limits::{LARGE_REQUEST_BYTES, OVERLOADED_DELAY_MS, READS_PER_TICK, SHARED_PART_MIN};
use crate::stream::{End, Input, StreamError, Terms};

/// What to do with a connection after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There may be more to read.
    GoOn,
    /// Nothing to do until an event, a response or a flush queues it again.
    Wait,
}

impl Shard {
    /// Reads from the connections that are queued now. Who has more than the budget allows is queued
    /// again, behind the others.
    pub(super) fn read_ready(&mut self) {
        self.login_ended = false;
        for lane in Lane::ALL {
            for _ in 0..self.read_queues.turn(lane) {
                if self.handover.is_blocked() {
                    return;
                }
                let next = self.read_queues.next(lane);
                next.into_iter().for_each(|key| self.read_queued(key));
            }
        }
    }

    fn read_queued(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.flags.read_queued = false;
            self.read_from(key);
        }
    }

    fn read_from(&mut self, key: usize) {
        for _ in 0..READS_PER_TICK {
            if self.read_step(key) == Next::Wait {
                return;
            }
        }
        self.queue_read(key);
    }

    fn read_step(&mut self, key: usize) -> Next {
        let slot = &mut self.slots[key];
        if slot.stage != Stage::Open {
            return self.read_nothing(key);
        }
        if slot.flags.hung_up() && slot.protocol.is_logging_in() {
            // What may wait behind the login hides the end.
            self.peer_said_all(key);
            return Next::Wait;
        }
        if std::mem::take(&mut slot.flags.paused) {
            // So far it was we who let it wait.
            let now = self.clock.now();
            slot.unfinished.iter_mut().for_each(|unfinished| unfinished.begun = now);
            let next = self.take_frames(key, BytesMut::new(), false);
            let slot = self.slots.get(key);
            if slot.is_some_and(|slot| slot.flags.said_all() && slot.stage == Stage::Open) {
                self.peer_said_all(key);
                return Next::Wait;
            }
            if next == Next::Wait {
                return Next::Wait;
            }
        }
        let slot = &mut self.slots[key];
        if !slot.flags.readable {
            return Next::Wait;
        }
        self.read_stream(key)
    }

    fn read_stream(&mut self, key: usize) -> Next {
        let slot = &mut self.slots[key];
        if !slot.address.is_told() {
            return self.read_proxy_header(key);
        }
        let Some(stream) = slot.stream else { return Next::Wait };
        let mut stream = self.streams.of(stream);
        let room = stream.room(&mut self.buffers);
        let offered = room.len();
        let count = match slot.socket.read(room) {
            Ok(0) => {
                self.peer_said_all(key);
                return Next::Wait;
            }
            Ok(count) => count,
            Err(error) => return self.read_failed(key, error.kind()),
        };
        slot.active = self.clock.now();
        self.tally.read(count);
        // A short read has emptied the socket, so the next bytes cause an event; unless the end is
        // already there, for which no event would come.
        slot.flags.readable = count == offered || slot.flags.hung_up();
        let before = stream.output_bytes();
        let terms = Terms {
            frame_bytes_max: slot.protocol.frame_bytes_max(&self.settings.context),
            origins: &self.settings.origins,
        };
        let input = stream.receive(count, &mut self.buffers, &terms);
        let (is_handshaking, has_output) = (stream.is_handshaking(), stream.has_output());
        self.tally.output_changed(before, stream.output_bytes());
        if !is_handshaking {
            self.handshake_ended(key, true);
        }
        if has_output {
            self.mark_dirty(key);
        }
        self.take_input(key, input)
    }

    fn take_input(&mut self, key: usize, input: Input) -> Next {
        let Input { bytes, shares_scratch, asides, end } = input;
        let is_broken = matches!(end, Some(End::Broken(_)));
        let mut next = Next::Wait;
        if !is_broken || !bytes.is_empty() {
            next = self.take_frames(key, bytes, shares_scratch);
            if self.look_behind_a_login(key) {
                return Next::Wait;
            }
        }
        for _ in 0..asides {
            if !self.is_open_at(key) {
                break;
            }
            self.pay_aside(key, 0);
        }
        let is_open = self.is_open_at(key);
        match end {
            Some(End::Said) if is_open => self.peer_said_all(key),
            Some(End::Broken(error)) if is_open => self.close_for(key, &error),
            Some(End::Said | End::Broken(_)) | None => return next,
        }
        Next::Wait
    }

    fn is_open_at(&self, key: usize) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.stage == Stage::Open)
    }

    /// Closes a connection whose stream is broken, as far as it can be told.
    fn close_for(&mut self, key: usize, error: &StreamError) {
        tracing::debug!(conn = %self.conn_id(key), %error, "a broken stream");
        if error.leaves_words() {
            self.close(key, error.close_reason(), 0);
        } else {
            self.close_broken(key, error.close_reason());
        }
    }

    /// A login has ended: what waits behind it is taken before the answer is written.
    pub(super) fn go_on_behind_a_login(&mut self, key: usize) {
        if self.slots.get(key).is_some_and(|slot| slot.flags.paused) {
            self.queue_read(key);
            self.login_ended = true;
        }
    }

    /// The end may be there already, without having caused an event. Who has gone must not take the
    /// place of a login that came later and was read sooner, so the end is looked for before the
    /// workers get the login. Where more was said behind it, which is not read past, it is looked for in the
    /// socket. Whether it was there.
    fn look_behind_a_login(&mut self, key: usize) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        if !slot.protocol.is_logging_in() {
            return false;
        }
        slot.flags.readable = true;
        if !slot.flags.paused {
            return false;
        }
        match slot.socket.peek(&mut [0]) {
            Ok(0) => self.peer_said_all(key),
            Err(error) if is_an_end(error.kind()) => self.end(key, CloseReason::PeerReset),
            Ok(_) | Err(_) => return false,
        }
        true
    }

    pub(super) fn read_failed(&mut self, key: usize, error: ErrorKind) -> Next {
        match error {
            ErrorKind::WouldBlock => self.slots[key].flags.readable = false,
            ErrorKind::Interrupted => return Next::GoOn,
            _ => self.end(key, CloseReason::PeerReset),
        }
        Next::Wait
    }

    /// Reads what a peer says after the end, only to see when it closes its side.
    fn read_nothing(&mut self, key: usize) -> Next {
        let slot = &mut self.slots[key];
        match slot.socket.read(self.buffers.waste()) {
            Ok(0) => self.peer_shut_its_side(key),
            Ok(_) => return Next::GoOn,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => slot.flags.readable = false,
                ErrorKind::Interrupted => return Next::GoOn,
                _ => self.peer_is_gone(key),
            },
        }
        Next::Wait
    }

    /// Takes the frames from what a connection has sent, and keeps the rest for later.
    fn take_frames(&mut self, key: usize, fresh: BytesMut, shares_scratch: bool) -> Next {
        let taken = self.begin_taking(key, fresh, shares_scratch);
        let Taking { mut input, mut own_memory, mut begun, .. } = taken;
        let next = loop {
            let slot = &self.slots[key];
            if input.is_empty() && slot.protocol.is_logging_in() {
                // Nothing waits behind the login yet, so its end would be seen.
                break Next::GoOn;
            }
            if self.handover.is_blocked() || slot.must_wait(&taken.limits) {
                self.slots[key].flags.paused = true;
                break Next::Wait;
            }
            if self.holds_message(key, &input) {
                break Next::Wait;
            }
            let slot = &self.slots[key];
            match slot.protocol.take_frame(&self.settings.context, &mut input) {
                Ok(Some(body)) => {
                    own_memory = false;
                    begun = self.clock.now();
                    let body = self.detached(body, taken.shared_bytes);
                    self.receive(key, body);
                    if self.slots.get(key).is_none_or(|slot| slot.stage != Stage::Open) {
                        return Next::Wait;
                    }
                }
                Ok(None) => break Next::GoOn,
                Err(error) => {
                    tracing::debug!(conn = %self.conn_id(key), %error, "bad frame");
                    self.close(key, CloseReason::FrameTooLarge, 0);
                    return Next::Wait;
                }
            }
        };
        if self.handover.is_blocked() {
            self.queue_read(key);
        }
        // A copy of the rest lets go of the memory that it shares; a frame that grows over many reads has
        // memory of its own already, which is not copied again and again.
        let rest = if own_memory { input } else { BytesMut::from(&input[..]) };
        self.keep_rest(key, rest, begun, taken.before, next)
    }

    /// Whether the next frame is a message that has to wait, while others are stored: then nothing is read from
    /// this connection, and from no other one for its sake.
    fn holds_message(&mut self, key: usize, input: &[u8]) -> bool {
        let slot = &mut self.slots[key];
        let holds = match self.handover.message_room() {
            MessageRoom::Free => return false,
            MessageRoom::Crowded => slot.has_asked_much() && slot.protocol.may_be_message(input),
            MessageRoom::Full => slot.protocol.may_be_message(input),
        };
        slot.flags.paused |= holds;
        // In a crowd an answer of its own lets it go on.
        if holds && self.handover.message_room() == MessageRoom::Full {
            self.read_queues.hold(key, slot);
        }
        holds
    }

    /// Puts together what was held and what has come.
    fn begin_taking(&mut self, key: usize, fresh: BytesMut, shares_scratch: bool) -> Taking {
        let limits = self.intake_limits();
        let slot = &mut self.slots[key];
        let (mut input, mut own_memory, mut begun) = (fresh, false, self.clock.now());
        let before = slot.unfinished_bytes();
        if let Some(unfinished) = &mut slot.unfinished {
            if unfinished.is_begun() {
                begun = unfinished.begun;
            }
            if let Some(held) = unfinished.take_with(&input) {
                (input, own_memory) = (held, true);
            }
            self.tally.unfinished_changed(before, unfinished.memory());
        }
        let shared_bytes = (own_memory || !shares_scratch).then_some(input.len());
        Taking { input, own_memory, begun, before, shared_bytes, limits }
    }

    /// The body of a frame, in memory of its own if it would keep too much of what it shares.
    fn detached(&self, body: Bytes, shared_bytes: Option<usize>) -> Bytes {
        let keeps_too_much = match shared_bytes {
            None => self.buffers.scratch_is_held(),
            Some(shared) => body.len() < shared / SHARED_PART_MIN,
        };
        if keeps_too_much { Bytes::copy_from_slice(&body) } else { body }
    }

    /// Keeps what has not arrived whole, if the node has room for what has been added.
    fn keep_rest(
        &mut self,
        key: usize,
        rest: BytesMut,
        begun: Tick,
        before: usize,
        next: Next,
    ) -> Next {
        let slot = &mut self.slots[key];
        let stream_bytes = slot.stream.map_or(0, |stream| self.streams.of(stream).input_bytes());
        let now = slot.unfinished_bytes();
        if rest.is_empty() && stream_bytes == 0 {
            if let Some(unfinished) = &mut slot.unfinished {
                unfinished.keep(rest, 0, begun);
                slot.drop_unfinished_if_done();
                self.tally.unfinished_changed(now, slot.unfinished_bytes());
            }
            return next;
        }
        slot.unfinished.get_or_insert_default().keep(rest, stream_bytes, begun);
        let memory = slot.unfinished_bytes();
        self.tally.unfinished_changed(now, memory);
        self.arm(key);
        if memory > before && memory > self.unfinished_share() {
            self.close(key, CloseReason::Overloaded, OVERLOADED_DELAY_MS);
            return Next::Wait;
        }
        next
    }

    /// How much a connection may ask for before it has to wait.
    pub(super) fn intake_limits(&self) -> IntakeLimits {
        IntakeLimits {
            requests: self.settings.context.requests_outstanding_max,
            request_bytes: self.settings.limits.request_bytes_max,
            outbox_bytes: self.outbox_limits.soft,
        }
    }

    fn receive(&mut self, key: usize, body: Bytes) {
        let conn = self.conn_id(key);
        let now = self.clock.now();
        let bytes = body.len();
        let slot = &mut self.slots[key];
        self.tally.frame();
        let was_greeted = slot.protocol.greeted();
        match slot.protocol.receive(&self.settings.context, conn, self.clock.unix_ms(), body) {
            Received::Nothing => self.pay_aside(key, bytes),
            Received::Respond(frame) => {
                if slot.protocol.greeted() && !was_greeted {
                    // The deadline for a login runs from here.
                    slot.opened = now;
                    self.arm(key);
                }
                self.keep(key, frame);
                self.pay_aside(key, bytes);
            }
            Received::Submit(command)
                if self.handover.message_room() == MessageRoom::Full
                    && command.request.is_message() =>
            {
                // No encoder writes it so that it could not be held.
                slot.outstanding += 1;
                self.respond(key, EncodedFrame::response(command.request_id, no_room()));
            }
            Received::Submit(mut command) => {
                command.arrived = self.clock.arrival();
                if command.request_id != 0 {
                    slot.outstanding += 1;
                    if bytes >= LARGE_REQUEST_BYTES {
                        self.keep_in_mind(key, command.request_id, bytes);
                    }
                }
                let needs_password = command.request.needs_password();
                if !self.is_overdrawn(key, &command)
                    && (!needs_password || self.password_may_be_shown(key, &mut command))
                {
                    self.handover.command(command);
                }
            }
            Received::Close(reason) => self.close(key, reason, 0),
        }
    }

    /// A large request counts by its bytes until it is answered.
    fn keep_in_mind(&mut self, key: usize, request_id: u64, bytes: usize) {
        let slot = &mut self.slots[key];
        let before = slot.unfinished_bytes();
        slot.unfinished.get_or_insert_default().begin_request(request_id, bytes);
        self.tally.unfinished_changed(before, slot.unfinished_bytes());
    }

    /// A request was answered.
    pub(super) fn request_ended(&mut self, key: usize, response: &EncodedFrame) {
        let slot = &mut self.slots[key];
        slot.outstanding = slot.outstanding.saturating_sub(1);
        let Some(unfinished) = &mut slot.unfinished else { return };
        let before = unfinished.memory();
        unfinished.end_request(response);
        slot.drop_unfinished_if_done();
        self.tally.unfinished_changed(before, slot.unfinished_bytes());
    }
}

fn is_an_end(error: ErrorKind) -> bool {
    !matches!(error, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn no_room() -> Body {
    Body::Error(wire::Error {
        code: ErrorCode::Overloaded.into(),
        message: "too many messages wait for the disk".into(),
        retry_after_ms: OVERLOADED_RETRY_MS,
        ..wire::Error::default()
    })
}

/// What [`Shard::take_frames`] works on.
struct Taking {
    input: BytesMut,
    /// `input` is memory of this connection alone.
    own_memory: bool,
    /// When the first byte of the first frame came.
    begun: Tick,
    /// The memory of what was held.
    before: usize,
    /// How much memory its frames share; `None` if it is the scratch buffer.
    shared_bytes: Option<usize>,
    limits: IntakeLimits,
}
