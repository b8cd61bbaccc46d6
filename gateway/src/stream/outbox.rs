//! What waits to be written to one connection, within limits.
//!
//! A connection that keeps up has no outbox between ticks. One that does not gets, beyond the
//! soft limit, one `Behind` per log instead of the pushes, and no signals; the responses that it
//! asked for still come, but the shard reads no further requests from it meanwhile. Beyond the
//! hard limit it is closed.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use dunlin_protocol::wire::{Behind, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, LogKind};

use crate::limits::BEHIND_LOGS_MAX;

/// Limits in force, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutboxLimits {
    pub(crate) soft: usize,
    pub(crate) hard: usize,
}

/// The peer is too far behind even for responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlowConsumer;

#[derive(Debug)]
enum Kind {
    /// A response or a notice: never dropped.
    Kept,
    Push {
        log: LogId,
        head: u64,
    },
    /// A `Behind` that names no log.
    BehindAny,
    Signal,
}

#[derive(Debug)]
struct Queued {
    bytes: Bytes,
    kind: Kind,
}

/// Memory that a queued frame takes beside its bytes. It counts, since a frame may be as small as
/// four bytes: who sends heartbeats and reads no answers would else hold many times the limit.
const FRAME_OVERHEAD_BYTES: usize = size_of::<Queued>();

/// Which logs the peer will be told to be behind in.
#[derive(Debug)]
enum Missed {
    Logs(Vec<(LogId, u64)>),
    /// Too many to name.
    Any,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
    /// Bytes of the frames in the queue that are not yet written.
    bytes: usize,
    /// The front of the queue was written in part. It must be finished whatever happens.
    begun: bool,
    /// What the peer had not acknowledged of what was written, when that was last looked at.
    unacknowledged: u32,
    /// Present from the moment the soft limit was passed until the queue has drained.
    missed: Option<Box<Missed>>,
}

impl Outbox {
    /// Bytes that wait, with the memory that it takes to let them wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.queue.len() * FRAME_OVERHEAD_BYTES
    }

    /// The same, if the frame waited too.
    fn bytes_with(&self, frame: &EncodedFrame) -> usize {
        self.bytes() + frame.wire().len() + FRAME_OVERHEAD_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The frames that wait, each with its prefix; of the first one what was not written yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Bytes> {
        self.queue.iter().map(|queued| &queued.bytes)
    }

    /// Whether the first of them was written in part.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// How many they are.
    pub(crate) fn frames(&self) -> usize {
        self.queue.len()
    }

    /// Queues a frame that must arrive.
    pub(crate) fn keep(
        &mut self,
        frame: EncodedFrame,
        limits: OutboxLimits,
    ) -> Result<(), SlowConsumer> {
        if self.bytes_with(&frame) > limits.hard && !self.queue.is_empty() {
            self.collapse();
            if self.bytes_with(&frame) > limits.hard {
                return Err(SlowConsumer);
            }
        }
        self.queue(frame, Kind::Kept);
        Ok(())
    }

    /// Queues a push, or notes that it was missed.
    pub(crate) fn push(
        &mut self,
        log: LogId,
        head: u64,
        frame: EncodedFrame,
        limits: OutboxLimits,
    ) {
        if self.missed.is_none() && self.bytes_with(&frame) > limits.soft {
            self.collapse();
        }
        match &mut self.missed {
            Some(missed) => missed.note(log, head),
            None => self.queue(frame, Kind::Push { log, head }),
        }
        self.tell_if_drained();
    }

    /// Whether the peer has taken something since the last look, if so many bytes that were written are
    /// not acknowledged. If they differ because more was written, the socket had room for it, which says
    /// the same.
    pub(crate) fn has_moved(&mut self, unacknowledged: u32) -> bool {
        std::mem::replace(&mut self.unacknowledged, unacknowledged) != unacknowledged
    }

    /// Makes of pushes what can be made of them; returns what is left.
    pub(crate) fn shrink(&mut self) -> usize {
        self.collapse();
        self.tell_if_drained();
        self.bytes()
    }

    /// Queues a signal, or drops it.
    pub(crate) fn signal(&mut self, frame: EncodedFrame, limits: OutboxLimits) {
        if self.missed.is_none() && self.bytes_with(&frame) <= limits.soft {
            self.queue(frame, Kind::Signal);
        }
    }

    /// Drops everything but a frame that was begun, and queues a last one.
    pub(crate) fn end_with(&mut self, frame: EncodedFrame) {
        self.missed = None;
        self.queue.truncate(usize::from(self.begun));
        self.bytes = self.queue.iter().map(|queued| queued.bytes.len()).sum();
        self.queue(frame, Kind::Kept);
    }

    /// Queues a last frame behind what waits.
    pub(crate) fn close_with(&mut self, frame: EncodedFrame) {
        self.missed = None;
        self.queue(frame, Kind::Kept);
    }

    /// Whether pushes are being collapsed.
    #[cfg(test)]
    pub(crate) fn collapsed(&self) -> bool {
        self.missed.is_some()
    }

    /// Fills `slices` from the front; returns how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.queue);
        pairs.map(|(slice, queued)| *slice = IoSlice::new(&queued.bytes)).count()
    }

    /// Appends bytes from the front to `plain`, `bytes_max` at most, and takes them as written:
    /// for TLS, which keeps the rest of a record by itself.
    pub(crate) fn take_into(&mut self, plain: &mut Vec<u8>, bytes_max: usize) {
        let wanted = bytes_max.min(self.bytes);
        let mut missing = wanted;
        for queued in &self.queue {
            if missing == 0 {
                break;
            }
            let part = &queued.bytes[..queued.bytes.len().min(missing)];
            plain.extend_from_slice(part);
            missing -= part.len();
        }
        self.written(wanted);
    }

    /// Removes what was written. When nothing is left, tells the peer what it has missed.
    pub(crate) fn written(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(front) = self.queue.front_mut() {
            if count < front.bytes.len() {
                self.begun |= count > 0;
                front.bytes.advance(count);
                return;
            }
            count -= front.bytes.len();
            self.begun = false;
            self.queue.pop_front();
        }
        self.tell_if_drained();
    }

    fn queue(&mut self, frame: EncodedFrame, kind: Kind) {
        self.bytes += frame.wire().len();
        self.queue.push_back(Queued { bytes: frame.into_wire(), kind });
    }

    /// Turns the queued pushes into notes, and drops the signals.
    fn collapse(&mut self) {
        let missed = self.missed.get_or_insert_with(|| Box::new(Missed::Logs(Vec::new())));
        let mut first_begun = self.begun;
        let mut dropped = 0;
        self.queue.retain(|queued| {
            if std::mem::take(&mut first_begun) {
                return true;
            }
            match queued.kind {
                Kind::Kept => return true,
                Kind::Push { log, head } => missed.note(log, head),
                Kind::BehindAny => **missed = Missed::Any,
                Kind::Signal => {}
            }
            dropped += queued.bytes.len();
            false
        });
        self.bytes -= dropped;
        self.queue.shrink_to(4);
    }

    /// Once nothing else waits, says what was missed. That can be missed in its turn: it collapses
    /// like a push.
    fn tell_if_drained(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        match self.missed.take().map(|missed| *missed) {
            Some(Missed::Any) => {
                self.queue(EncodedFrame::push(Body::Behind(Behind::default())), Kind::BehindAny);
            }
            Some(Missed::Logs(logs)) => {
                for (log, head) in logs {
                    let behind = Behind { conversation_id: log.to_wire(), head };
                    let kind = Kind::Push { log, head };
                    self.queue(EncodedFrame::push(Body::Behind(behind)), kind);
                }
            }
            None => {}
        }
    }
}

impl Missed {
    fn note(&mut self, log: LogId, head: u64) {
        let Missed::Logs(logs) = self else { return };
        if log.kind() == LogKind::Account {
            // Nobody fetches an account by itself: a sync tells what has changed of it.
            *self = Missed::Any;
            return;
        }
        if let Some((_, highest)) = logs.iter_mut().find(|(of, _)| *of == log) {
            *highest = head.max(*highest);
        } else if logs.len() < BEHIND_LOGS_MAX {
            logs.push((log, head));
        } else {
            *self = Missed::Any;
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;
    use dunlin_protocol::frame;
    use dunlin_protocol::wire::{Done, Frame, Push, Signal};
    use proptest::prelude::*;

    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { soft: 200, hard: 400 };

    fn user(number: u64) -> UserId {
        UserId::new(number).unwrap()
    }

    fn log(number: u64) -> LogId {
        LogId::direct(user(1), user(number + 1))
    }

    fn push_frame(number: u64) -> EncodedFrame {
        let conversation_id = log(number).to_wire();
        EncodedFrame::push(Body::Push(Push { conversation_id, entry: None }))
    }

    fn response(request_id: u64) -> EncodedFrame {
        EncodedFrame::response(request_id, Body::Done(Done {}))
    }

    /// Writes everything, `step` bytes at a time, and decodes what a peer would read.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<Frame> {
        let mut wire = bytes::BytesMut::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = outbox.slices(&mut slices);
            let mut flat: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
            flat.truncate(step);
            wire.extend_from_slice(&flat);
            outbox.written(flat.len());
        }
        assert_eq!(outbox.bytes(), 0);
        let mut frames = Vec::new();
        while let Some(body) = frame::take(&mut wire, 1 << 20).unwrap() {
            frames.push(frame::decode(body).unwrap());
        }
        assert!(wire.is_empty(), "a frame was cut off");
        frames
    }

    fn behind(number: u64, head: u64) -> Frame {
        let conversation_id = log(number).to_wire();
        Frame { request_id: 0, body: Some(Body::Behind(Behind { conversation_id, head })) }
    }

    #[test]
    fn frames_leave_in_order_and_whole_whatever_the_writes() {
        for step in 1..40 {
            let mut outbox = Outbox::default();
            for request_id in 1..=5 {
                outbox.keep(response(request_id), LIMITS).unwrap();
            }
            let ids: Vec<u64> = drain(&mut outbox, step).iter().map(|f| f.request_id).collect();
            assert_eq!(ids, [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn who_misses_something_of_the_account_may_have_missed_anything() {
        let mut outbox = Outbox::default();
        outbox.keep(response(1), LIMITS).unwrap();
        for version in 1..=100 {
            outbox.push(log(1), version, push_frame(1), LIMITS);
            outbox.push(LogId::account(user(1)), version, response(0), LIMITS);
        }
        let frames = drain(&mut outbox, 1000);
        let any = Frame { request_id: 0, body: Some(Body::Behind(Behind::default())) };
        assert_eq!(frames.last(), Some(&any));
    }

    #[test]
    fn beyond_the_soft_limit_pushes_become_one_behind_per_log() {
        let mut outbox = Outbox::default();
        outbox.keep(response(1), LIMITS).unwrap();
        for head in 1..=100 {
            outbox.push(log(head % 2 + 1), head, push_frame(1), LIMITS);
            assert!(outbox.bytes() <= LIMITS.soft);
        }
        assert!(outbox.collapsed());
        let frames = drain(&mut outbox, 1000);
        assert_eq!(frames[0].request_id, 1);
        assert_eq!(frames.len(), 3);
        assert!(frames.contains(&behind(1, 100)) && frames.contains(&behind(2, 99)));
        assert!(!outbox.collapsed());
    }

    #[test]
    fn a_push_that_was_begun_is_finished() {
        let mut outbox = Outbox::default();
        outbox.push(log(1), 1, push_frame(1), LIMITS);
        outbox.written(3);
        for head in 2..=50 {
            outbox.push(log(1), head, push_frame(1), LIMITS);
        }
        // The three bytes that were written before belong in front of the rest.
        let mut rest = bytes::BytesMut::from(&push_frame(1).wire()[..3]);
        let mut plain = Vec::new();
        while !outbox.is_empty() {
            outbox.take_into(&mut plain, 7);
        }
        rest.extend_from_slice(&plain);
        assert_eq!(frame::take(&mut rest, 1000).unwrap(), Some(push_frame(1).body()));
        let second = frame::take(&mut rest, 1000).unwrap().unwrap();
        assert_eq!(frame::decode(second).unwrap(), behind(1, 50));
        assert!(rest.is_empty());
    }

    #[test]
    fn many_logs_become_one_behind_without_a_name() {
        let mut outbox = Outbox::default();
        outbox.keep(response(1), LIMITS).unwrap();
        for number in 1..=1000 {
            outbox.push(log(number), 1, push_frame(number), LIMITS);
        }
        let frames = drain(&mut outbox, 1000);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].body, Some(Body::Behind(Behind::default())));
    }

    #[test]
    fn responses_pass_the_soft_limit_but_not_the_hard_one() {
        let mut outbox = Outbox::default();
        let mut queued = 0;
        while outbox.keep(response(1), LIMITS).is_ok() {
            queued += 1;
        }
        assert!(outbox.bytes() > LIMITS.soft && outbox.bytes() <= LIMITS.hard);
        assert_eq!(drain(&mut outbox, 64).len(), queued);
    }

    #[test]
    fn a_response_larger_than_the_limit_may_wait_alone() {
        let mut outbox = Outbox::default();
        let payload = Bytes::from(vec![0; 1000]);
        let body = Body::Signal(Signal { payload, ..Signal::default() });
        assert_eq!(outbox.keep(EncodedFrame::push(body), LIMITS), Ok(()));
        assert_eq!(outbox.keep(response(1), LIMITS), Err(SlowConsumer));
    }

    #[test]
    fn signals_are_dropped_first() {
        let mut outbox = Outbox::default();
        let signal = EncodedFrame::push(Body::Signal(Signal::default()));
        for _ in 0..1000 {
            outbox.signal(signal.clone(), LIMITS);
        }
        assert!(outbox.bytes() <= LIMITS.soft);
        outbox.push(log(1), 1, push_frame(1), LIMITS);
        assert_eq!(drain(&mut outbox, 1000), [behind(1, 1)]);
    }

    #[test]
    fn small_frames_count_with_the_memory_that_they_take() {
        let mut outbox = Outbox::default();
        let limits = OutboxLimits { soft: 64 * 1024, hard: 256 * 1024 };
        while outbox.keep(EncodedFrame::heartbeat(), limits).is_ok() {}
        let memory = outbox.queue.capacity() * size_of::<Queued>();
        // The queue grows by doubling.
        assert!(memory <= 2 * limits.hard, "{memory} bytes for {}", outbox.queue.len());
    }

    proptest! {
        /// Whatever is queued and however it is written, what must arrive arrives in order, and
        /// of each log the peer learns its last head by a push or by a behind.
        #[test]
        fn nothing_is_lost_silently(
            steps in proptest::collection::vec((0..4u8, 1..4u64, 1..60usize), 1..200),
        ) {
            let mut outbox = Outbox::default();
            let limits = OutboxLimits { soft: 100, hard: usize::MAX };
            let (mut wire, mut kept, mut heads) = (bytes::BytesMut::new(), Vec::new(), [0; 4]);
            let mut write = |outbox: &mut Outbox, count| {
                let mut plain = Vec::new();
                outbox.take_into(&mut plain, count);
                wire.extend_from_slice(&plain);
            };
            for (number, (action, of, count)) in (1..).zip(steps) {
                match action {
                    0 => {
                        outbox.keep(response(number), limits).unwrap();
                        kept.push(number);
                    }
                    1 | 2 => {
                        heads[of as usize] = number;
                        let body = Behind { conversation_id: log(of).to_wire(), head: number };
                        let frame = EncodedFrame::push(Body::Behind(body));
                        outbox.push(log(of), number, frame, limits);
                    }
                    _ => write(&mut outbox, count),
                }
            }
            while !outbox.is_empty() {
                write(&mut outbox, 1000);
            }
            let (mut seen, mut seen_heads) = (Vec::new(), [0; 4]);
            while let Some(body) = frame::take(&mut wire, 1 << 20).unwrap() {
                let frame = frame::decode(body).unwrap();
                match frame.body {
                    Some(Body::Behind(behind)) => {
                        let of = (1..4).find(|&of| log(of).to_wire() == behind.conversation_id);
                        let head = &mut seen_heads[of.unwrap() as usize];
                        prop_assert!(behind.head > *head);
                        *head = behind.head;
                    }
                    _ => seen.push(frame.request_id),
                }
            }
            prop_assert!(wire.is_empty());
            prop_assert_eq!(seen, kept);
            prop_assert_eq!(seen_heads, heads);
        }
    }
}
