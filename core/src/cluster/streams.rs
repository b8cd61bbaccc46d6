//! Numbered envelopes: what a worker has ready for others, and what it has heard from them.
//!
//! From each worker of a node to each worker of another one there is a stream of envelopes, numbered
//! from 1. The bus may lose, double and reorder them. The receiver takes each number once and in
//! ascending order: what comes late is dropped like what was lost, and a number that was passed over
//! is a gap. A beacon tells the last number, so that the loss of the last envelope is a gap too.
//!
//! A stream begins when the node that sends sees the other one. What it has told anybody before that
//! moment, this one did not hear: a stream that is not *whole* begins with a gap.

use bytes::{Bytes, BytesMut};

use super::envelope::{self, HEADER_BYTES, Header};
use super::item::Item;
use crate::bus::NodeId;
use crate::limits::ENVELOPE_BYTES_MAX;
use crate::placement::Origin;

/// The stream to one worker of another node.
#[derive(Debug)]
pub(super) struct Outgoing {
    stream: u32,
    /// Envelopes so far.
    number: u64,
    whole: bool,
    /// The next envelope; empty if there is nothing to tell.
    next: BytesMut,
}

impl Outgoing {
    pub(super) fn new(stream: u32, whole: bool) -> Outgoing {
        Outgoing { stream, number: 0, whole, next: BytesMut::new() }
    }

    /// Whether something waits to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        !self.next.is_empty()
    }

    /// Adds an item. Gives back the envelope before it, if both are too large for one.
    pub(super) fn add(&mut self, item: &Item, from: Origin, to: NodeId) -> Option<Bytes> {
        if self.next.is_empty() {
            self.next.resize(HEADER_BYTES, 0);
        }
        let before = self.next.len();
        item.put(&mut self.next);
        if self.next.len() <= ENVELOPE_BYTES_MAX || before == HEADER_BYTES {
            return None;
        }
        let last = self.next.split_off(before);
        let full = self.take(from, to);
        self.next.resize(HEADER_BYTES, 0);
        self.next.extend_from_slice(&last);
        full
    }

    /// The next envelope, if there is something in it.
    pub(super) fn take(&mut self, from: Origin, to: NodeId) -> Option<Bytes> {
        if self.next.is_empty() {
            return None;
        }
        self.number += 1;
        let header = self.header(from, to, false);
        Some(envelope::seal(&header, std::mem::take(&mut self.next)))
    }

    pub(super) fn beacon(&self, from: Origin, to: NodeId) -> Bytes {
        envelope::seal(&self.header(from, to, true), BytesMut::zeroed(HEADER_BYTES))
    }

    fn header(&self, from: Origin, to: NodeId, beacon: bool) -> Header {
        let Outgoing { stream, number, whole, .. } = *self;
        Header { to, from, stream, number, beacon, whole }
    }
}

/// What was heard of a stream from another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incoming {
    stream: u32,
    /// The number that continues it.
    next: u64,
    /// The worker's tick at which it was heard last.
    pub(super) heard: u64,
}

/// What an envelope is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// It is not old: its items are to be taken.
    pub(super) is_new: bool,
    /// Something before it got lost, or will come too late.
    pub(super) is_gap: bool,
}

const OLD: Arrival = Arrival { is_new: false, is_gap: false };

impl Incoming {
    /// Takes the first envelope of a stream that was not heard before.
    pub(super) fn begin(header: &Header, tick: u64) -> (Incoming, Arrival) {
        let mut incoming = Incoming { stream: header.stream, next: 1, heard: tick };
        let arrival = incoming.advance(header);
        (incoming, Arrival { is_gap: arrival.is_gap || !header.whole, ..arrival })
    }

    /// Takes another envelope of the same origin.
    pub(super) fn take(&mut self, header: &Header, tick: u64) -> Arrival {
        self.heard = tick;
        if header.stream < self.stream {
            return OLD;
        }
        if header.stream > self.stream {
            let (begun, arrival) = Incoming::begin(header, tick);
            *self = begun;
            return arrival;
        }
        self.advance(header)
    }

    fn advance(&mut self, header: &Header) -> Arrival {
        // A beacon promises that the next one has the number after it.
        let after = header.number.saturating_add(1);
        let continues = if header.beacon { after } else { header.number };
        if continues < self.next {
            return OLD;
        }
        let is_gap = continues > self.next;
        self.next = after;
        Arrival { is_new: true, is_gap }
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::open;
    use super::super::item::{NodeSignal, Users};
    use super::*;
    use dunlin_protocol::EncodedFrame;

    const FROM: Origin = Origin { node: NodeId(1), worker: 0 };
    const TO: NodeId = NodeId(2);

    fn header(number: u64, beacon: bool) -> Header {
        Header { to: TO, from: FROM, stream: 1, number, beacon, whole: true }
    }

    fn taken(numbers: &[(u64, bool)]) -> Vec<(bool, bool)> {
        let (first, rest) = numbers.split_first().unwrap();
        let (mut incoming, arrival) = Incoming::begin(&header(first.0, first.1), 0);
        let mut all = vec![arrival];
        all.extend(rest.iter().map(|&(n, beacon)| incoming.take(&header(n, beacon), 0)));
        all.into_iter().map(|arrival| (arrival.is_new, arrival.is_gap)).collect()
    }

    #[test]
    fn each_number_is_taken_once_and_in_order() {
        let (new, gap, old) = ((true, false), (true, true), (false, false));
        assert_eq!(taken(&[(1, false), (2, false), (2, false), (1, false)]), [new, new, old, old]);
        assert_eq!(taken(&[(1, false), (3, false), (2, false), (4, false)]), [new, gap, old, new]);
        assert_eq!(taken(&[(2, false), (1, false)]), [gap, old]);
    }

    #[test]
    fn a_beacon_tells_of_the_last_one() {
        let (new, gap, old) = ((true, false), (true, true), (false, false));
        assert_eq!(taken(&[(0, true), (0, true), (1, false)]), [new, new, new]);
        assert_eq!(taken(&[(1, false), (2, true), (2, true), (2, false)]), [new, gap, new, old]);
        // A beacon that was overtaken by the envelope after it.
        assert_eq!(taken(&[(1, false), (2, false), (1, true)]), [new, new, old]);
    }

    #[test]
    fn a_stream_that_begins_in_the_middle_is_a_gap() {
        let in_the_middle = Header { whole: false, ..header(1, false) };
        let (mut incoming, arrival) = Incoming::begin(&in_the_middle, 0);
        assert!(arrival.is_gap && arrival.is_new);
        assert!(!incoming.take(&Header { number: 2, ..in_the_middle }, 0).is_gap);
        let second = Header { stream: 2, ..in_the_middle };
        assert!(incoming.take(&second, 0).is_gap);
        assert!(!incoming.take(&Header { number: 3, ..in_the_middle }, 0).is_new);
    }

    #[test]
    fn an_envelope_is_closed_before_it_grows_too_large() {
        let frame = EncodedFrame::from_wire({
            let mut bytes = vec![0; 200_004];
            bytes[..4].copy_from_slice(&200_000_u32.to_be_bytes());
            bytes.into()
        });
        let item = Item::Signal(NodeSignal {
            users: Users::new(),
            frame: frame.unwrap(),
            is_receipt: false,
        });
        let mut outgoing = Outgoing::new(1, true);
        assert!(!outgoing.is_waiting());
        let mut closed: Vec<_> = (0..5).filter_map(|_| outgoing.add(&item, FROM, TO)).collect();
        closed.extend(outgoing.take(FROM, TO));
        assert_eq!(outgoing.take(FROM, TO), None);
        let mut numbers = Vec::new();
        let mut items = 0;
        for envelope in closed {
            assert!(envelope.len() <= ENVELOPE_BYTES_MAX);
            let (header, inside) = open(envelope).unwrap();
            numbers.push(header.number);
            items += inside.map(Result::unwrap).count();
        }
        assert_eq!((numbers, items), (vec![1, 2, 3], 5));
        let (header, _) = open(outgoing.beacon(FROM, TO)).unwrap();
        assert!(header.beacon && header.number == 3);
    }
}
