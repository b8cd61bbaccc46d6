//! How often a machine stops its programs: a thread on each processor looks at the clock and does
//! nothing else, and whenever two looks are far apart, it was not running.
//!
//! All processors are busy meanwhile, as they are in a benchmark: a virtual machine's host may have
//! fewer of them to give than it promises, and that shows only then.

use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity};
use serde::Serialize;

use crate::process::pin_thread;

/// What takes less is an interrupt. One look at the clock and the next are 50 ns apart.
const LEAST: Duration = Duration::from_micros(100);

/// What was seen at one processor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stalls {
    /// Part of the time in which the thread did not run.
    pub share: f64,
    /// The longest stretch of it.
    pub longest_ms: f64,
}

/// Watches all processors that this process may use, all at once; returns the worst of them.
/// `None` if no thread could be put on one.
pub(super) fn watch(time: Duration) -> Option<Stalls> {
    let allowed = sched_getaffinity(None).ok()?;
    let processors = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor));
    let watches: Vec<_> = processors
        .map(|processor| thread::Builder::new().spawn(move || watch_one(processor, time)))
        .collect();
    let seen = watches.into_iter().filter_map(|watch| watch.ok()?.join().ok()?);
    seen.max_by(|one, other| one.share.total_cmp(&other.share))
}

fn watch_one(processor: usize, time: Duration) -> Option<Stalls> {
    pin_thread(&[processor]).ok()?;
    let start = Instant::now();
    let looks = std::iter::repeat_with(|| start.elapsed());
    Some(stalls_between(looks.take_while(|&at| at < time)))
}

fn stalls_between(looks: impl Iterator<Item = Duration>) -> Stalls {
    let (mut last, mut stalled, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for at in looks {
        let gap = at - last;
        if gap >= LEAST {
            stalled += gap;
            longest = longest.max(gap);
        }
        last = at;
    }
    let share = if last.is_zero() { 0.0 } else { stalled.div_duration_f64(last) };
    Stalls { share, longest_ms: longest.as_secs_f64() * 1e3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_looks_counts_if_it_is_long() {
        let looks = [1, 2, 99, 199, 1000, 2000].map(Duration::from_micros);
        let stalls = stalls_between(looks.into_iter());
        assert_eq!(stalls, Stalls { share: 1901.0 / 2000.0, longest_ms: 1.0 });
        let none = stalls_between(std::iter::empty());
        assert_eq!(none, Stalls { share: 0.0, longest_ms: 0.0 });
    }

    #[test]
    fn this_machine_can_be_watched() {
        let stalls = watch(Duration::from_millis(20)).unwrap();
        assert!((0.0..=1.0).contains(&stalls.share), "{stalls:?}");
    }
}
