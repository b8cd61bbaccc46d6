//! Who was never connected yet: all of a thread are at first, and each is once.

#[derive(Debug)]
pub(crate) struct Newcomers {
    slots: usize,
    per_second: f64,
    next: usize,
}

/// Connections that are made at once, so that even the slowest thread begins at once.
const AT_ONCE: usize = 2;

impl Newcomers {
    /// Those of a thread with so many slots, of all connections of a run, which are made at this rate.
    pub(crate) fn new(slots: usize, all: u32, per_second: u32) -> Newcomers {
        let share = slots as f64 / f64::from(all.max(1));
        Newcomers { slots, per_second: f64::from(per_second) * share, next: 0 }
    }

    /// The next one, if its time has come; the rate counts from 0.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<usize> {
        let allowed = AT_ONCE + (now_ns as f64 * self.per_second / 1e9) as usize;
        let slot = self.next;
        (slot < self.slots.min(allowed)).then(|| {
            self.next += 1;
            slot
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(newcomers: &mut Newcomers, now_ns: u64) -> Vec<usize> {
        std::iter::from_fn(|| newcomers.due(now_ns)).collect()
    }

    #[test]
    fn each_thread_has_its_share_of_the_rate() {
        // A tenth of all: 10 per second.
        let mut newcomers = Newcomers::new(25, 250, 100);
        assert_eq!(due(&mut newcomers, 0), [0, 1]);
        assert_eq!(due(&mut newcomers, 99_999_999), [0; 0]);
        assert_eq!(due(&mut newcomers, 1_000_000_000), (2..12).collect::<Vec<_>>());
        assert_eq!(due(&mut newcomers, u64::MAX), (12..25).collect::<Vec<_>>());
        assert_eq!(due(&mut newcomers, u64::MAX), [0; 0]);
    }

    #[test]
    fn who_must_wait_for_others_is_next_all_the_same() {
        let mut newcomers = Newcomers::new(3, 3, 1);
        assert_eq!(newcomers.due(u64::MAX), Some(0));
        assert_eq!(due(&mut newcomers, u64::MAX), [1, 2]);
    }
}
