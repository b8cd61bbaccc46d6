//! A histogram that one thread fills while others look at it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{BUCKETS, Histogram, bucket_of};

/// Counts values by their size, for others to see at once.
///
/// One thread records: it reads and writes its numbers without a bus lock, which costs as much as
/// plain ones. (If two did, some counts would get lost, and nothing worse.) A snapshot is made number
/// by number, so it may be in the middle of a value.
#[derive(Debug)]
pub struct SharedHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for SharedHistogram {
    fn default() -> SharedHistogram {
        SharedHistogram {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl SharedHistogram {
    /// Counts a value; for the one thread that records.
    pub fn record(&self, value: u64) {
        add(&self.buckets[bucket_of(value)], 1);
        add(&self.sum, value);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// What was recorded so far.
    pub fn snapshot(&self) -> Histogram {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let buckets = std::array::from_fn(|bucket| read(&self.buckets[bucket]));
        Histogram::of_parts(buckets, read(&self.sum), read(&self.max))
    }
}

/// Nothing else depends on these numbers, so their order in memory does not matter.
fn add(number: &AtomicU64, more: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_records_another_sees() {
        let (shared, mut plain) = (SharedHistogram::default(), Histogram::default());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1000).for_each(|value| shared.record(value * 3)));
        });
        (0..1000).for_each(|value| plain.record(value * 3));
        assert_eq!(shared.snapshot(), plain);
    }
}
