//! The messages of one writer in one conversation that have not reached all of its readers.

use std::collections::VecDeque;

/// Messages under way, by their counters.
#[derive(Debug, Clone)]
pub(crate) struct Flights {
    readers: u32,
    /// Counter of the first one in `left`.
    first: u32,
    /// Readers whom each message has still to reach. Those at 0 wait for the ones before them.
    left: VecDeque<u32>,
    /// How many are not at 0.
    open: u32,
}

impl Flights {
    pub(crate) fn new(readers: u32) -> Flights {
        Flights { readers, first: 1, left: VecDeque::new(), open: 0 }
    }

    /// The next message starts.
    pub(crate) fn start(&mut self) {
        self.left.push_back(self.readers);
        self.open += 1;
    }

    /// These messages have reached one more reader, each for the first time; returns how many have
    /// reached all by that.
    pub(crate) fn arrive(&mut self, counters: std::ops::RangeInclusive<u32>) -> u32 {
        let open_before = self.open;
        for counter in counters {
            let at = counter.checked_sub(self.first).map(|at| at as usize);
            let left = at.and_then(|at| self.left.get_mut(at)).filter(|left| **left > 0);
            if let Some(left) = left {
                *left -= 1;
                self.open -= u32::from(*left == 0);
            }
        }
        self.forget_arrived();
        open_before - self.open
    }

    /// The server refused this message, so that nobody waits for it any more; returns how many are
    /// no longer under way by that.
    pub(crate) fn abandon(&mut self, counter: u32) -> u32 {
        let open_before = self.open;
        let at = counter.checked_sub(self.first).map(|at| at as usize);
        if let Some(left) = at.and_then(|at| self.left.get_mut(at)) {
            self.open -= u32::from(*left > 0);
            *left = 0;
        }
        self.forget_arrived();
        open_before - self.open
    }

    /// Nobody waits any more for anything that is under way; returns how many that are.
    pub(crate) fn abandon_all(&mut self) -> u32 {
        self.first += self.left.len() as u32;
        self.left.clear();
        std::mem::take(&mut self.open)
    }

    fn forget_arrived(&mut self) {
        while self.left.front() == Some(&0) {
            self.left.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_under_way_until_the_last_reader_has_it() {
        let mut flights = Flights::new(2);
        (0..3).for_each(|_| flights.start());
        assert_eq!(flights.arrive(1..=1), 0);
        assert_eq!(flights.arrive(2..=3), 0);
        assert_eq!(flights.arrive(2..=2), 1);
        assert_eq!((flights.open, flights.left.len()), (2, 3));
        assert_eq!(flights.arrive(1..=1), 1);
        assert_eq!((flights.open, flights.left.len()), (1, 1));
        assert_eq!(flights.arrive(3..=3), 1);
        flights.start();
        assert_eq!((flights.arrive(4..=4), flights.open), (0, 1));
    }

    #[test]
    fn nobody_waits_for_what_was_refused() {
        let mut flights = Flights::new(2);
        (0..2).for_each(|_| flights.start());
        assert_eq!((flights.abandon(2), flights.abandon(2), flights.open), (1, 0, 1));
        assert_eq!(flights.arrive(1..=2), 0);
        assert_eq!(flights.arrive(1..=2), 1);
        assert_eq!((flights.open, flights.left.len()), (0, 0));
    }

    #[test]
    fn what_is_abandoned_may_still_arrive_and_what_follows_is_counted() {
        let mut flights = Flights::new(2);
        (0..3).for_each(|_| flights.start());
        assert_eq!((flights.arrive(1..=2), flights.abandon_all(), flights.open), (0, 3, 0));
        flights.start();
        assert_eq!((flights.arrive(1..=4), flights.arrive(2..=4)), (0, 1));
    }

    #[test]
    fn what_nobody_sent_or_what_comes_again_changes_nothing() {
        let mut flights = Flights::new(1);
        flights.start();
        assert_eq!(flights.arrive(0..=5), 1);
        assert_eq!(flights.arrive(1..=1), 0);
        assert_eq!(flights.open, 0);
    }
}
