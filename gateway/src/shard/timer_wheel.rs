//! Deadlines of all connections of a shard, in a hashed wheel.
//!
//! A connection has one live entry. Activity does not touch the wheel: it only stores the tick in
//! the slot. When an entry comes due, the shard looks at the slot, closes the connection if its
//! deadline has really passed, and else arms it again for the true deadline. So a heartbeat costs
//! one store, and an idle connection one entry of 12 bytes.

use crate::limits::TICK_MS;

/// Buckets of the wheel; at 64 ms per tick it turns in 131 s, so that the usual deadlines (the
/// longest is two heartbeat intervals, 120 s) come due in their first round.
const BUCKETS: usize = 2048;
const WORDS: usize = BUCKETS / u64::BITS as usize;

/// A tick of the wheel; [`TICK_MS`] milliseconds. 32 bits last for eight years of uptime.
pub(crate) type Tick = u32;

/// The tick in which a moment lies, counted from the shard's start.
pub(crate) fn tick_of(now_ms: u64) -> Tick {
    Tick::try_from(now_ms / TICK_MS).unwrap_or(Tick::MAX)
}

/// Ticks that a duration lasts at least.
pub(crate) fn ticks_in(duration_ms: u64) -> Tick {
    Tick::try_from(duration_ms.div_ceil(TICK_MS)).unwrap_or(Tick::MAX)
}

/// A slot to look at when its tick has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) tick: Tick,
}

/// The wheel.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    buckets: Box<[Vec<Entry>]>,
    /// A bit per bucket that is not empty: to find the next one takes a few instructions.
    occupied: [u64; WORDS],
    /// Everything up to this tick was expired.
    now: Tick,
}

impl TimerWheel {
    pub(crate) fn new() -> TimerWheel {
        TimerWheel { buckets: vec![Vec::new(); BUCKETS].into(), occupied: [0; WORDS], now: 0 }
    }

    /// Arms an entry and returns its tick. One for a tick that has passed comes due in the next.
    pub(crate) fn arm(&mut self, entry: Entry) -> Tick {
        let tick = entry.tick.max(self.now.saturating_add(1));
        let bucket = tick as usize % BUCKETS;
        self.buckets[bucket].push(Entry { tick, ..entry });
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        tick
    }

    /// Moves what is due at `now` to `due`.
    pub(crate) fn expire(&mut self, now: Tick, due: &mut Vec<Entry>) {
        let ticks = now.saturating_sub(self.now).min(BUCKETS as Tick);
        for tick in now.saturating_sub(ticks) + 1..=now {
            let bucket = tick as usize % BUCKETS;
            if self.occupied[bucket / 64] & 1 << (bucket % 64) != 0 {
                self.expire_bucket(bucket, now, due);
            }
        }
        self.now = self.now.max(now);
    }

    fn expire_bucket(&mut self, bucket: usize, now: Tick, due: &mut Vec<Entry>) {
        let mut entries = std::mem::take(&mut self.buckets[bucket]);
        due.extend(entries.extract_if(.., |entry| entry.tick <= now));
        if entries.is_empty() {
            // The memory of the bucket is given back: a burst of connections would else leave
            // its peak in every bucket that it passes through.
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        } else {
            self.buckets[bucket] = entries;
        }
    }

    /// The earliest tick at which something may be due. It may be an entry of a later round.
    pub(crate) fn next(&self) -> Option<Tick> {
        let start = (self.now as usize + 1) % BUCKETS;
        let (word, bit) = (start / 64, start % 64);
        let distance = |word: usize, bits: u64| {
            let bucket = word * 64 + bits.trailing_zeros() as usize;
            Some(self.now + 1 + ((bucket + BUCKETS - start) % BUCKETS) as Tick)
        };
        let first = self.occupied[word] & (u64::MAX << bit);
        if first != 0 {
            return distance(word, first);
        }
        // The start's own word comes last again, for its lower bits.
        for word in (1..=WORDS).map(|step| (word + step) % WORDS) {
            if self.occupied[word] != 0 {
                return distance(word, self.occupied[word]);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(slot: u32, tick: Tick) -> Entry {
        Entry { slot, generation: 1, tick }
    }

    fn expired(wheel: &mut TimerWheel, now: Tick) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        let mut slots: Vec<u32> = due.iter().map(|entry| entry.slot).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn an_entry_is_due_at_its_tick_and_not_before() {
        let mut wheel = TimerWheel::new();
        wheel.arm(entry(1, 10));
        wheel.arm(entry(2, 11));
        assert_eq!(wheel.next(), Some(10));
        assert_eq!(expired(&mut wheel, 9), [0; 0]);
        assert_eq!(expired(&mut wheel, 10), [1]);
        assert_eq!(wheel.next(), Some(11));
        assert_eq!(expired(&mut wheel, 500), [2]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn an_entry_of_the_past_is_due_in_the_next_tick() {
        let mut wheel = TimerWheel::new();
        assert_eq!(expired(&mut wheel, 100), [0; 0]);
        wheel.arm(entry(1, 3));
        assert_eq!(wheel.next(), Some(101));
        assert_eq!(expired(&mut wheel, 101), [1]);
    }

    #[test]
    fn an_entry_of_a_later_round_stays() {
        let mut wheel = TimerWheel::new();
        let far = BUCKETS as Tick + 5;
        wheel.arm(entry(1, far));
        assert_eq!(expired(&mut wheel, 5), [0; 0]);
        assert_eq!(expired(&mut wheel, far - 1), [0; 0]);
        assert_eq!(expired(&mut wheel, far), [1]);
    }

    proptest! {
        #[test]
        fn each_entry_is_due_once_and_on_time(
            ticks in proptest::collection::vec(1..9000u32, 1..60),
            steps in proptest::collection::vec(1..3000u32, 1..40),
        ) {
            let mut wheel = TimerWheel::new();
            for (slot, &tick) in ticks.iter().enumerate() {
                wheel.arm(entry(slot as u32, tick));
            }
            let (mut now, mut seen) = (0, 0);
            for step in steps {
                let before = now;
                now += step;
                let pending = ticks.iter().filter(|&&tick| tick > before).min();
                if let Some(&earliest) = pending {
                    let next = wheel.next();
                    prop_assert!(next.is_some_and(|next| next > before && next <= earliest));
                }
                for slot in expired(&mut wheel, now) {
                    let tick = ticks[slot as usize];
                    prop_assert!(before < tick && tick <= now);
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, ticks.iter().filter(|&&tick| tick <= now).count());
        }
    }
}
