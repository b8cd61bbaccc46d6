//! How fast budgets fill, and how much they hold.

use std::ops::Index;

use super::cost::{Cost, Kind};

const SECOND_NS: u64 = 1_000_000_000;

/// How fast a budget fills, and how much it holds. The bucket is kept as the moment at which it will be full again
/// (the "generic cell rate algorithm" of ITU-T I.371): one number, and none while it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In how much time one unit comes back, in nanoseconds; 0 if there is no limit.
    unit_ns: u64,
    /// In how much time all of it does.
    burst_ns: u64,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate { unit_ns: 0, burst_ns: 0 };

    /// `units` come back in `seconds`, and there are at most `burst`. No units, no limit.
    pub fn new(units: u64, seconds: u64, burst: u64) -> Rate {
        if units == 0 {
            return Rate::UNLIMITED;
        }
        let unit_ns = (seconds.saturating_mul(SECOND_NS) / units).max(1);
        Rate { unit_ns, burst_ns: unit_ns.saturating_mul(burst.max(1)) }
    }

    /// That of so many together.
    fn times(self, many: u64) -> Rate {
        let unit_ns = self.unit_ns / many.max(1);
        // What would be nothing is no limit, which is true: a thousand million in a second.
        Rate { unit_ns, burst_ns: self.burst_ns }
    }

    /// Takes a cost out of the bucket that will be full at `full_ns`: when it is full then, or how long it takes
    /// until this can be asked, in nanoseconds. As long as anything is there it may be asked, whatever it costs: a
    /// cost that is larger than the bucket could else never be paid.
    pub(super) fn take(self, full_ns: u64, cost: u32, now_ns: u64) -> Result<u64, u64> {
        let missing_ns = full_ns.saturating_sub(now_ns);
        if missing_ns > self.burst_ns.saturating_sub(self.unit_ns) {
            return Err(missing_ns + self.unit_ns - self.burst_ns);
        }
        Ok(full_ns.max(now_ns).saturating_add(self.time_of(cost)))
    }

    /// In how much time so much comes back, in nanoseconds.
    pub(super) fn time_of(self, amount: u32) -> u64 {
        self.unit_ns.saturating_mul(amount.into())
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(self) -> bool {
        self.unit_ns > 0
    }
}

/// The rate of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates([Rate; Kind::ALL.len()]);

impl Rates {
    /// No limits.
    pub const UNLIMITED: Rates = Rates([Rate::UNLIMITED; Kind::ALL.len()]);

    /// Of each kind.
    pub fn of(rate: impl Fn(Kind) -> Rate) -> Rates {
        Rates(Kind::ALL.map(rate))
    }

    /// Those of so many users together.
    pub fn times(&self, many: u64) -> Rates {
        Rates(self.0.map(|rate| rate.times(many)))
    }

    /// The kinds that cost something here, and are limited.
    pub(super) fn limiting(&self, cost: Cost) -> impl Iterator<Item = (Kind, Rate, u32)> {
        let paid = move |kind| (kind, self[kind], cost[kind]);
        let kinds = Kind::ALL.into_iter().map(paid);
        kinds.filter(|(_, rate, amount)| *amount > 0 && rate.is_limited())
    }
}

impl Index<Kind> for Rates {
    type Output = Rate;

    fn index(&self, kind: Kind) -> &Rate {
        &self.0[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::new(10, 1, 3);
        let mut full_ns = 0;
        for _ in 0..3 {
            full_ns = rate.take(full_ns, 1, 0).unwrap();
        }
        assert_eq!(rate.take(full_ns, 1, 0), Err(100 * MS));
        assert_eq!(rate.take(full_ns, 1, 99 * MS), Err(MS));
        let full_ns = rate.take(full_ns, 1, 100 * MS).unwrap();
        assert_eq!(rate.take(full_ns, 1, 100 * MS), Err(100 * MS));
        // A long time later there is no more than the burst.
        let mut full_ns = full_ns;
        for _ in 0..3 {
            full_ns = rate.take(full_ns, 1, 9000 * MS).unwrap();
        }
        assert!(rate.take(full_ns, 1, 9000 * MS).is_err());
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_a_debt() {
        let rate = Rate::new(1000, 1, 100);
        let full_ns = rate.take(0, 5000, 0).unwrap();
        assert_eq!(rate.take(full_ns, 1, 0), Err(4901 * MS));
        assert!(rate.take(full_ns, 1, 4901 * MS).is_ok());
    }

    #[test]
    fn many_have_as_much_as_many() {
        let rates = Rates::of(|_| Rate::new(10, 1, 3)).times(4);
        let rate = rates[Kind::Messages];
        let mut full_ns = 0;
        let mut taken = 0;
        while let Ok(next) = rate.take(full_ns, 1, 0) {
            (full_ns, taken) = (next, taken + 1);
        }
        assert_eq!(taken, 12);
        assert_eq!(rate.take(full_ns, 1, 0), Err(25 * MS));
    }

    #[test]
    fn no_units_are_no_limit() {
        let rates = Rates::of(|kind| match kind {
            Kind::Messages => Rate::new(0, 1, 5),
            _ => Rate::new(1, 60, 5),
        });
        let kinds = rates.limiting(Cost::points(1)).map(|(kind, ..)| kind).collect::<Vec<_>>();
        assert_eq!(kinds, [Kind::Requests]);
        assert_eq!(rates.limiting(Cost::of_kind(Kind::Messages, 7)).count(), 0);
        assert_eq!(Rates::UNLIMITED.limiting(Cost::points(1)).count(), 0);
    }
}
