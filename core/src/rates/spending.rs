//! What a connection has spent and not paid yet, in a few bytes of its state.

use super::cost::{Cost, Kind};

/// So much is added up before it is paid: the sixteenth of what a user has at once by default, or less. More would
/// let a user with many connections be ahead of its budget by more.
const MESSAGES_LUMP: u32 = 16;
const POINTS_LUMP: u32 = 16;
const SIGNALS_LUMP: u32 = 16;
/// Of bytes, in units that fit into a byte.
const BYTES_UNIT: u32 = 256;
const BYTES_LUMP: u32 = 32 * 1024;

const _: () = assert!(BYTES_LUMP / BYTES_UNIT <= u8::MAX as u32);

/// See the module. Bytes, so that it fits into any gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spending {
    messages: u8,
    byte_units: u8,
    points: u8,
    signals: u8,
    /// How many requests were refused, less those that could be paid since, in the lowest [`COUNT_BITS`]. Above them,
    /// a bit for each kind of which nobody knows whether there is any: it was refused, or not looked at yet.
    doubts: [u8; 2],
}

const COUNT_BITS: u32 = 10;
const COUNT_MAX: u16 = (1 << COUNT_BITS) - 1;

/// Connections are paid for by themselves, when they come.
const KINDS: [Kind; 6] =
    [Kind::Messages, Kind::Bytes, Kind::Requests, Kind::Signals, Kind::Names, Kind::StoredBytes];

const _: () = assert!(KINDS.len() as u32 + COUNT_BITS == u16::BITS);

/// The bits of all kinds that something costs.
fn bits_of(cost: Cost) -> u16 {
    let bits = KINDS.iter().enumerate().map(|(index, kind)| u16::from(cost[*kind] > 0) << index);
    bits.sum::<u16>() << COUNT_BITS
}

impl Spending {
    /// Adds a cost. What there is to be paid, if it is a lump, or if the budget was overdrawn when it was last looked
    /// at: then nothing is added up.
    #[inline]
    pub(crate) fn add(&mut self, cost: Cost) -> Option<Cost> {
        let sum = self.pending() + cost;
        let is_small = sum[Kind::Messages] < MESSAGES_LUMP
            && sum[Kind::Bytes] < BYTES_LUMP
            && sum[Kind::Requests] < POINTS_LUMP
            && sum[Kind::Signals] < SIGNALS_LUMP
            && sum[Kind::Names] == 0;
        if !is_small || self.doubts(sum) {
            self.take();
            return Some(sum);
        }
        // All of it is below its lump, which fits.
        self.messages = sum[Kind::Messages] as u8;
        self.byte_units = sum[Kind::Bytes].div_ceil(BYTES_UNIT) as u8;
        self.points = sum[Kind::Requests] as u8;
        self.signals = sum[Kind::Signals] as u8;
        None
    }

    /// What there is to be paid, when it ends.
    pub(crate) fn take(&mut self) -> Cost {
        let pending = self.pending();
        *self = Spending { doubts: self.doubts, ..Spending::default() };
        pending
    }

    /// A request was refused for want of this: how many were, less those that were paid.
    pub(crate) fn refuse(&mut self, kind: Kind) -> u16 {
        let refused = (self.refused() + 1).min(COUNT_MAX);
        let doubts = self.bits() & !COUNT_MAX | bits_of(Cost::of_kind(kind, 1));
        self.doubts = (doubts | refused).to_le_bytes();
        refused
    }

    /// This was paid.
    pub(crate) fn paid(&mut self, cost: Cost) {
        let doubts = self.bits() & !COUNT_MAX & !bits_of(cost);
        self.doubts = (doubts | self.refused().saturating_sub(1)).to_le_bytes();
    }

    /// Somebody else pays from now on: what was refused counts no more, and nobody knows what there is.
    pub(crate) fn begin(&mut self) {
        self.doubts = (!COUNT_MAX).to_le_bytes();
    }

    fn bits(self) -> u16 {
        u16::from_le_bytes(self.doubts)
    }

    fn refused(self) -> u16 {
        self.bits() & COUNT_MAX
    }

    /// Whether something of this costs what there may be none of.
    fn doubts(self, cost: Cost) -> bool {
        let doubts = self.bits() & !COUNT_MAX;
        doubts != 0 && doubts & bits_of(cost) != 0
    }

    fn pending(self) -> Cost {
        let mut cost = Cost::default();
        cost[Kind::Messages] = self.messages.into();
        cost[Kind::Bytes] = u32::from(self.byte_units) * BYTES_UNIT;
        cost[Kind::StoredBytes] = cost[Kind::Bytes];
        cost[Kind::Requests] = self.points.into();
        cost[Kind::Signals] = self.signals.into();
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Cost {
        Cost::of_kind(Kind::Messages, 1)
            + Cost::of_kind(Kind::Bytes, bytes)
            + Cost::of_kind(Kind::StoredBytes, bytes)
    }

    #[test]
    fn small_things_are_paid_in_lumps() {
        let mut spending = Spending::default();
        for _ in 1..MESSAGES_LUMP {
            assert_eq!(spending.add(message(256)), None);
        }
        let lump = spending.add(message(256)).unwrap();
        assert_eq!((lump[Kind::Messages], lump[Kind::Bytes]), (16, 16 * 256));
        assert_eq!(lump[Kind::StoredBytes], lump[Kind::Bytes]);
        assert!(spending.take().is_zero());
    }

    #[test]
    fn large_things_are_paid_at_once() {
        let mut spending = Spending::default();
        for cost in [
            message(BYTES_LUMP as usize),
            Cost::points(POINTS_LUMP as usize),
            Cost::of_kind(Kind::Names, 1),
            message(usize::MAX),
        ] {
            assert_eq!(spending.add(cost), Some(cost));
        }
    }

    #[test]
    fn what_is_left_is_known_in_the_end() {
        let mut spending = Spending::default();
        assert_eq!(spending.add(Cost::signal() + Cost::points(3)), None);
        assert_eq!(spending.add(message(300)), None);
        let left = spending.take();
        assert_eq!([left[Kind::Signals], left[Kind::Requests], left[Kind::Messages]], [1, 3, 1]);
        assert_eq!(left[Kind::Bytes], 512, "in units of 256");
    }

    #[test]
    fn of_what_was_refused_each_is_paid_by_itself_until_there_is_some() {
        let mut spending = Spending::default();
        let refused = [Kind::Signals, Kind::Signals].map(|kind| spending.refuse(kind));
        assert_eq!(refused, [1, 2]);
        assert_eq!(spending.add(Cost::signal()), Some(Cost::signal()));
        // Of something else there may be enough, which says nothing of this.
        assert_eq!(spending.add(Cost::points(3)), None);
        spending.paid(Cost::points(3));
        assert_eq!(spending.add(Cost::signal()), Some(Cost::signal() + Cost::points(3)));
        spending.paid(Cost::signal());
        assert_eq!(spending.add(Cost::signal()), None);
        assert_eq!(spending.refuse(Kind::Messages), 1, "two were paid");
    }

    #[test]
    fn of_whoever_comes_each_kind_is_looked_at_once() {
        let mut spending = Spending::default();
        assert_eq!(spending.refuse(Kind::Requests), 1);
        spending.begin();
        for cost in [Cost::signal(), Cost::points(1), message(256)] {
            assert_eq!(spending.add(cost), Some(cost));
            spending.paid(cost);
        }
        for cost in [Cost::signal(), Cost::points(1), message(256)] {
            assert_eq!(spending.add(cost), None);
        }
        spending.begin();
        assert_eq!(spending.refuse(Kind::Requests), 1, "the first of its own");
    }

    #[test]
    fn there_is_a_most_that_is_counted() {
        let mut spending = Spending::default();
        let refused = (0..3000).map(|_| spending.refuse(Kind::Names)).max();
        assert_eq!(refused, Some(COUNT_MAX));
        assert!(spending.doubts(Cost::of_kind(Kind::Names, 1)) && !spending.doubts(message(1)));
    }

    #[test]
    fn it_fits_into_a_gap() {
        assert_eq!((size_of::<Spending>(), align_of::<Spending>()), (6, 1));
    }
}
