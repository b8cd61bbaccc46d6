//! The conversations to tell of, as many as may fit: the most recently used.

use super::token::Place;
use crate::store::Head;

/// A conversation to tell of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) place: Place,
    pub(super) head: Head,
    /// The client does not know that it is a member.
    pub(super) is_new: bool,
    /// The client has to forget what it has.
    pub(super) forget: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Newest {
    kept: Vec<Candidate>,
    max: usize,
    left_out: bool,
}

impl Newest {
    pub(super) fn new(max: usize) -> Newest {
        Newest { kept: Vec::new(), max: max.max(1), left_out: false }
    }

    pub(super) fn push(&mut self, candidate: Candidate) {
        self.kept.push(candidate);
        if self.kept.len() >= 2 * self.max {
            self.leave_out();
        }
    }

    /// Leaves out what comes behind those that may fit.
    fn leave_out(&mut self) {
        if self.kept.len() > self.max {
            self.kept.select_nth_unstable_by_key(self.max, |candidate| candidate.place);
            self.kept.truncate(self.max);
            self.left_out = true;
        }
    }

    /// In their order, and whether there are others behind them.
    pub(super) fn into_sorted(mut self) -> (Vec<Candidate>, bool) {
        self.leave_out();
        self.kept.sort_unstable_by_key(|candidate| candidate.place);
        (self.kept, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::{LogId, UserId};

    use super::*;

    #[test]
    fn the_most_recently_used_are_kept() {
        for count in [0, 1, 9, 10, 11, 20, 500] {
            let mut newest = Newest::new(10);
            for number in 0..count {
                let other = UserId::new(number + 2).unwrap();
                let log = LogId::direct(UserId::new(1).unwrap(), other);
                // In no order.
                let place = Place { time_ms: number * 7919 % 997, log };
                let head = Head::default();
                newest.push(Candidate { place, head, is_new: false, forget: false });
                assert!(newest.kept.len() < 20);
            }
            let mut times: Vec<_> = (0..count).map(|number| number * 7919 % 997).collect();
            times.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
            times.truncate(10);
            let (kept, left_out) = newest.into_sorted();
            let kept: Vec<_> = kept.iter().map(|candidate| candidate.place.time_ms).collect();
            assert_eq!((kept, left_out), (times, count > 10));
        }
    }
}
