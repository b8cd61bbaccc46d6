//! Bytes in: from the socket to frames to commands.

use std::io::{ErrorKind, Read};

use bytes::{Bytes, BytesMut};
use dunlin_core::connection::Received;
use dunlin_protocol::frame;
use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::connection::Stage;
use super::read_queues::Lane;
use crate::limits::READS_PER_TICK;
use crate::stream::Input;

/// What to do with a connection after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more to read.
    GoOn,
    /// Nothing to do until an event, a response or a flush queues it again.
    Wait,
}

impl Shard {
    /// Reads from the connections that are queued now. Who has more than the budget allows is queued
    /// again, behind the others.
    pub(super) fn read_ready(&mut self) {
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
        if std::mem::take(&mut slot.flags.paused)
            && self.take_frames(key, BytesMut::new()) == Next::Wait
        {
            return Next::Wait;
        }
        let slot = &mut self.slots[key];
        if !slot.flags.readable {
            return Next::Wait;
        }
        self.read_stream(key)
    }

    fn read_stream(&mut self, key: usize) -> Next {
        let slot = &mut self.slots[key];
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
        self.tally.read(count);
        // A short read has emptied the socket, so the next bytes cause an event; unless the end is
        // already there, for which no event would come.
        slot.flags.readable = count == offered || slot.flags.hung_up;
        let received = stream.receive(count, &mut self.buffers);
        let (is_handshaking, has_output) = (stream.is_handshaking(), stream.has_output());
        if !is_handshaking {
            self.handshake_ended(key);
        }
        if has_output {
            self.mark_dirty(key);
        }
        match received {
            Ok(input) => self.take_input(key, input),
            Err(error) => {
                tracing::debug!(conn = %self.conn_id(key), %error, "a broken stream");
                self.close_broken(key, error.close_reason());
                Next::Wait
            }
        }
    }

    fn take_input(&mut self, key: usize, input: Input) -> Next {
        let next = self.take_frames(key, input.bytes);
        self.look_behind_a_login(key);
        if input.ended && self.slots.get(key).is_some_and(|slot| slot.stage == Stage::Open) {
            self.peer_said_all(key);
            return Next::Wait;
        }
        next
    }

    /// The end may be there already, without having caused an event. Who has gone must not take the
    /// place of a login that came later and was read sooner, so the end is looked for before the
    /// workers get the login.
    fn look_behind_a_login(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(key)
            && slot.protocol.is_logging_in()
        {
            slot.flags.readable = true;
        }
    }

    fn read_failed(&mut self, key: usize, error: ErrorKind) -> Next {
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
    fn take_frames(&mut self, key: usize, fresh: BytesMut) -> Next {
        let slot = &mut self.slots[key];
        let mut own_memory = false;
        let mut input = fresh;
        if let Some(mut held) = slot.input.take() {
            held.extend_from_slice(&input);
            input = *held;
            own_memory = true;
        }
        let outstanding_max = self.settings.context.requests_outstanding_max;
        let next = loop {
            let slot = &mut self.slots[key];
            if self.handover.is_blocked()
                || slot.must_wait(outstanding_max, self.outbox_limits.soft)
            {
                slot.flags.paused = true;
                break Next::Wait;
            }
            match frame::take(&mut input, slot.protocol.frame_bytes_max(&self.settings.context)) {
                Ok(Some(body)) => {
                    own_memory = false;
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
        if !input.is_empty() {
            // A copy of the rest lets go of the scratch buffer; a frame that grows over many
            // reads already has memory of its own, which is not copied again and again.
            let rest = if own_memory { input } else { BytesMut::from(&input[..]) };
            self.slots[key].input = Some(Box::new(rest));
        }
        next
    }

    fn receive(&mut self, key: usize, body: Bytes) {
        let conn = self.conn_id(key);
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        slot.active = now;
        self.tally.frame();
        match slot.protocol.receive(&self.settings.context, conn, self.clock.unix_ms(), body) {
            Received::Nothing => {}
            Received::Respond(frame) => {
                if slot.protocol.greeted() && !std::mem::replace(&mut slot.flags.greeted, true) {
                    slot.opened = now;
                    self.arm(key);
                }
                self.keep(key, frame);
            }
            Received::Submit(command) => {
                if command.request_id != 0 {
                    slot.outstanding += 1;
                }
                self.handover.command(command);
            }
            Received::Close(reason) => self.close(key, reason, 0),
        }
    }
}
