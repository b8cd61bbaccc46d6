//! Who is to be connected when: newcomers at their rate, and those who come back at their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::crowd::Newcomers;

/// The wait after a failed connection, doubled with each failure up to the maximum.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// Of one thread.
#[derive(Debug)]
pub(crate) struct Comings {
    newcomers: Newcomers,
    /// Who is to be connected again, by the time when they are.
    away: BinaryHeap<Reverse<(u64, usize)>>,
    /// Connections that are being made, or logged in on.
    pub(crate) arriving: usize,
}

impl Comings {
    pub(crate) fn new(newcomers: Newcomers) -> Comings {
        Comings { newcomers, away: BinaryHeap::new(), arriving: 0 }
    }

    /// The next one whose time has come, if so many may be on their way; counts as one of them.
    pub(crate) fn next(&mut self, now_ns: u64, arriving_max: usize) -> Option<usize> {
        if self.arriving >= arriving_max {
            return None;
        }
        let slot = self.newcomers.due(now_ns).or_else(|| {
            let &Reverse((at_ns, slot)) = self.away.peek()?;
            (at_ns <= now_ns).then(|| {
                self.away.pop();
                slot
            })
        })?;
        self.arriving += 1;
        Some(slot)
    }

    /// When the next one who was away may be connected again.
    pub(crate) fn next_return_ns(&self, arriving_max: usize) -> u64 {
        let next = self.away.peek().filter(|_| self.arriving < arriving_max);
        next.map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns)
    }

    /// This one will be connected at that time, or as soon after it as may be.
    pub(crate) fn come_back(&mut self, slot: usize, at_ns: u64) {
        self.away.push(Reverse((at_ns, slot)));
    }

    /// Nobody waits any longer before being connected again.
    pub(crate) fn come_back_now(&mut self, now_ns: u64) {
        let away = std::mem::take(&mut self.away).into_iter();
        self.away = away.map(|Reverse((at_ns, slot))| Reverse((at_ns.min(now_ns), slot))).collect();
    }
}

/// How long to wait after so many failures in a row, or as the server said.
pub(crate) fn back_off(slot: usize, failures: u32, told: Duration) -> Duration {
    let wait = RECONNECT_MIN * 2u32.saturating_pow(failures.clamp(1, 10) - 1);
    // Spread by up to a half, so that not everybody comes back at one moment.
    let spread = 256 + (slot as u32).wrapping_mul(0x9e37_79b9) % 256;
    wait.min(RECONNECT_MAX).max(told) * spread / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_go_before_those_who_come_back_and_all_wait_for_room() {
        let mut comings = Comings::new(Newcomers::new(2, 2, 1000));
        comings.come_back(7, 50);
        assert_eq!((comings.next(10, 2), comings.next(10, 2)), (Some(0), Some(1)));
        assert_eq!((comings.next(100, 2), comings.next_return_ns(2)), (None, u64::MAX));
        comings.arriving -= 1;
        assert_eq!((comings.next_return_ns(2), comings.next(49, 2)), (50, None));
        comings.come_back_now(20);
        assert_eq!((comings.next(20, 2), comings.arriving), (Some(7), 2));
    }

    #[test]
    fn whoever_fails_again_waits_longer_but_not_for_ever() {
        let wait = |failures| back_off(0, failures, Duration::ZERO);
        assert!(wait(1) < wait(2) && wait(2) < wait(4) && wait(9) == wait(1000));
        assert!(wait(1000) <= RECONNECT_MAX);
        let told = Duration::from_secs(9);
        assert!((1..100).all(|slot| (told / 2..=told).contains(&back_off(slot, 1, told))));
    }
}
