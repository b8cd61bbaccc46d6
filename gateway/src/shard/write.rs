//! Bytes out: what is queued, at the end of the tick, in as few calls as possible.

use std::io::{self, ErrorKind, IoSlice, Write};

use dunlin_protocol::wire::CloseReason;
use mio::{Interest, Token};

use super::Shard;
use super::connection::{Slot, Stage};
use crate::limits::{SLICES_PER_WRITE, WRITE_BYTES_PER_TICK};
use crate::stream::buffers::Buffers;
use crate::stream::outbox::Outbox;
use crate::stream::{LastWord, Stream};

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more now.
    Blocked,
    /// The budget of this tick is spent.
    Budget,
}

impl Shard {
    /// Writes to all connections that have something queued.
    pub(super) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let key = key as usize;
            if let Some(slot) = self.slots.get_mut(key) {
                slot.flags.dirty = false;
                self.flush(key);
            }
        }
        // What became dirty meanwhile is for the next tick, which comes at once.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, key: usize) {
        if std::mem::take(&mut self.slots[key].flags.write_blocked) {
            self.mark_dirty(key);
        }
    }

    pub(super) fn flush(&mut self, key: usize) {
        if self.slots[key].flags.write_blocked || self.goes_with_a_login(key) {
            return;
        }
        let before = self.slots[key].outbox_bytes();
        self.tally.writing(before);
        let flushed = self.write_out(key);
        let slot = &mut self.slots[key];
        self.tally.outbox_changed(before, slot.outbox_bytes());
        match flushed {
            Ok(Flushed::All) => self.flushed(key),
            Ok(Flushed::Blocked) => self.write_blocked(key),
            Ok(Flushed::Budget) => self.mark_dirty(key),
            Err(_) => {
                let reason = match slot.stage {
                    Stage::Open => CloseReason::PeerReset,
                    Stage::Closing(reason) | Stage::Lingering(reason) => reason,
                };
                self.end(key, reason);
            }
        }
    }

    /// Whether what is queued may wait for the answer to a login, which has it written: who sent the Login
    /// behind the Hello does not wait for Welcome, and gets both in one piece.
    fn goes_with_a_login(&mut self, key: usize) -> bool {
        let slot = &self.slots[key];
        let is_pending = slot.protocol.is_logging_in();
        is_pending && slot.stream.is_none_or(|stream| !self.streams.of(stream).has_output())
    }

    fn write_out(&mut self, key: usize) -> io::Result<Flushed> {
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        let Some(key_of) = slot.stream else { return Ok(Flushed::All) };
        let stream = self.streams.of(key_of);
        let outbox = slot.outbox.as_deref_mut();
        let before = stream.output_bytes();
        let ended = write_out(&mut slot.socket, stream, outbox, &mut self.buffers);
        self.tally.output_changed(before, self.streams.of(key_of).output_bytes());
        let (written, flushed) = ended?;
        if written > 0 {
            slot.progress = now;
            self.tally.written(written);
        }
        Ok(flushed)
    }

    /// Nothing is left that can be written: give the memory back, go on reading if that had to wait.
    fn flushed(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        let unsayable = slot.outbox.take().map_or(0, |outbox| outbox.bytes());
        if unsayable > 0 {
            // Frames for somebody who has not come in yet: a stream says none before.
            self.tally.outbox_changed(unsayable, 0);
        }
        let slot = &mut self.slots[key];
        if slot.flags.write_armed {
            self.want_writable(key, false);
        }
        match self.slots[key].stage {
            Stage::Open => self.resume(key),
            Stage::Closing(reason) => self.say_goodbye(key, reason),
            Stage::Lingering(_) => {}
        }
    }

    fn write_blocked(&mut self, key: usize) {
        let now = self.clock.now();
        let slot = &mut self.slots[key];
        slot.flags.write_blocked = true;
        slot.progress = now;
        if !slot.flags.write_armed {
            self.want_writable(key, true);
        }
        self.arm(key);
        self.resume(key);
    }

    /// Reads on, if that had to wait and need not any more.
    fn resume(&mut self, key: usize) {
        let slot = &self.slots[key];
        if slot.flags.paused && !slot.must_wait(&self.intake_limits()) {
            self.queue_read(key);
        }
    }

    /// Everything is written but what the stream has to say of its end.
    fn say_goodbye(&mut self, key: usize, reason: CloseReason) {
        let last_word = self.slots[key].stream.map_or(LastWord::Said, |stream| {
            let mut stream = self.streams.of(stream);
            let before = stream.output_bytes();
            let last_word = stream.close(reason);
            self.tally.output_changed(before, stream.output_bytes());
            last_word
        });
        match last_word {
            LastWord::Queued => self.mark_dirty(key),
            LastWord::Said => self.linger(key, reason),
        }
    }

    fn want_writable(&mut self, key: usize, wanted: bool) {
        let slot = &mut self.slots[key];
        slot.flags.write_armed = wanted;
        let interest =
            if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if let Err(error) = self.poll.registry().reregister(&mut slot.socket, Token(key), interest)
        {
            tracing::error!(%error, "epoll refuses a socket");
            self.end(key, CloseReason::ServerError);
        }
    }
}

impl Slot {
    pub(super) fn outbox_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.bytes())
    }
}

/// Writes until nothing is left, the socket takes no more, or the budget of a tick is spent. With
/// how many bytes were written.
fn write_out(
    socket: &mut impl Write,
    mut stream: Stream<'_>,
    mut outbox: Option<&mut Outbox>,
    buffers: &mut Buffers,
) -> io::Result<(usize, Flushed)> {
    let mut written = 0;
    while written < WRITE_BYTES_PER_TICK {
        match write_once(socket, &mut stream, outbox.as_deref_mut(), buffers) {
            Ok(0) => return Ok((written, Flushed::All)),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok((written, Flushed::Blocked));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((written, Flushed::Budget))
}

/// Writes what the stream has for one call. 0 if there is nothing.
fn write_once(
    socket: &mut impl Write,
    stream: &mut Stream<'_>,
    mut outbox: Option<&mut Outbox>,
    buffers: &mut Buffers,
) -> io::Result<usize> {
    let waits = outbox.as_deref().is_some_and(|outbox| !outbox.is_empty());
    if !waits && !stream.has_output() {
        // The usual end: the slices need not be made for it.
        return Ok(0);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let count = stream.output(outbox.as_deref_mut(), buffers, &mut slices)?;
    let written = match &slices[..count] {
        [] => return Ok(0),
        [slice] => socket.write(slice),
        slices => socket.write_vectored(slices),
    };
    stream.written(*written.as_ref().unwrap_or(&0), outbox, buffers);
    match written? {
        0 => Err(ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use dunlin_protocol::EncodedFrame;
    use dunlin_protocol::wire::{Signal, frame::Body};

    use super::*;
    use crate::stream::outbox::OutboxLimits;
    use crate::stream::peer::{Peer, Seen, Side, Speech};

    const AT_ONCE: usize = 64 * 1024;

    /// A socket that does what it is told, call by call, and in the end what it was told last.
    struct Socket {
        calls: VecDeque<Result<usize, ErrorKind>>,
        taken: Vec<u8>,
    }

    impl Write for Socket {
        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.write(&slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let call = if self.calls.len() > 1 {
                self.calls.pop_front().unwrap()
            } else {
                *self.calls.front().unwrap()
            };
            let count = call?.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A connection with so many frames of 16 KiB to write.
    struct Writing {
        side: Side,
        peer: Peer,
        outbox: Outbox,
        wire: Vec<u8>,
    }

    impl Writing {
        fn new(speech: Speech, frames: usize) -> Writing {
            let (side, peer) = Side::opened(speech);
            let (mut outbox, mut wire) = (Outbox::default(), Vec::new());
            for number in 0..frames {
                let payload = vec![number as u8; 16 * 1024].into();
                let frame =
                    EncodedFrame::push(Body::Signal(Signal { payload, ..Signal::default() }));
                wire.extend_from_slice(frame.wire());
                let limits = OutboxLimits { soft: usize::MAX, hard: usize::MAX };
                outbox.keep(frame, limits).unwrap();
            }
            Writing { side, peer, outbox, wire }
        }

        fn tick(&mut self, socket: &mut Socket) -> io::Result<(usize, Flushed)> {
            let Side { streams, key, buffers } = &mut self.side;
            write_out(socket, streams.of(*key), Some(&mut self.outbox), buffers)
        }

        fn assert_heard(mut self, socket: &Socket) {
            let mut plain = Vec::new();
            assert_eq!(self.peer.hear(&socket.taken, &mut plain), Seen::Open);
            assert!(plain == self.wire, "something else was written");
        }
    }

    fn socket(calls: impl IntoIterator<Item = Result<usize, ErrorKind>>) -> Socket {
        Socket { calls: calls.into_iter().collect(), taken: Vec::new() }
    }

    #[test]
    fn one_connection_gets_a_budget_and_then_the_others_have_their_turn() {
        for speech in Speech::ALL {
            let mut writing = Writing::new(speech, 200);
            let mut socket = socket([Ok(AT_ONCE)]);
            let mut ticks = 0;
            loop {
                let (written, flushed) = writing.tick(&mut socket).unwrap();
                assert!(written < WRITE_BYTES_PER_TICK + AT_ONCE, "{speech:?}: {written}");
                ticks += 1;
                if flushed == Flushed::All {
                    break;
                }
                assert_eq!(flushed, Flushed::Budget);
                assert!(written >= WRITE_BYTES_PER_TICK);
            }
            assert_eq!(ticks, 4, "{speech:?}");
            writing.assert_heard(&socket);
        }
    }

    #[test]
    fn a_full_socket_is_waited_for_and_an_interrupted_call_is_made_again() {
        use ErrorKind::{Interrupted, WouldBlock};
        for speech in Speech::ALL {
            let mut writing = Writing::new(speech, 3);
            let calls = [Err(Interrupted), Ok(1000), Err(Interrupted), Ok(7), Err(WouldBlock)];
            let mut socket = socket(calls);
            assert_eq!(writing.tick(&mut socket).unwrap(), (1007, Flushed::Blocked));
            assert_eq!(writing.tick(&mut socket).unwrap(), (0, Flushed::Blocked));
            socket.calls = [Ok(AT_ONCE)].into();
            assert_eq!(writing.tick(&mut socket).unwrap().1, Flushed::All);
            writing.assert_heard(&socket);
        }
    }

    #[test]
    fn a_socket_that_is_gone_is_an_error() {
        for speech in Speech::ALL {
            for call in [Err(ErrorKind::ConnectionReset), Ok(0)] {
                let mut writing = Writing::new(speech, 3);
                assert!(writing.tick(&mut socket([Ok(100), call])).is_err());
            }
        }
    }
}
