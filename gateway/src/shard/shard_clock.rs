//! The time of a shard: read at the beginning of a tick, all of which happens at that moment. Where
//! ticks have little to do, each reading is a part of what a message costs.

use std::time::{Duration, Instant};

use dunlin_core::clock::{Clock, SystemClock};

use super::timer_wheel::{Tick, tick_of};

/// See the module.
#[derive(Debug)]
pub(super) struct ShardClock {
    started: Instant,
    /// When this tick began.
    began: Instant,
    now_ms: u64,
    unix_ms: u64,
}

impl ShardClock {
    pub(super) fn new() -> ShardClock {
        let now = Instant::now();
        ShardClock { started: now, began: now, now_ms: 0, unix_ms: 0 }
    }

    pub(super) fn begin_tick(&mut self) {
        self.began = Instant::now();
        self.now_ms = milliseconds(self.began.saturating_duration_since(self.started));
        self.unix_ms = SystemClock.unix_ms();
    }

    /// Milliseconds since the shard's start, of this tick.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The same for the timer wheel.
    pub(super) fn now(&self) -> Tick {
        tick_of(self.now_ms)
    }

    /// Unix time of this tick.
    pub(super) fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    /// A moment in milliseconds since the shard's start.
    pub(super) fn milliseconds_at(&self, moment: Instant) -> u64 {
        milliseconds(moment.saturating_duration_since(self.started))
    }

    /// How long this tick has taken so far, in microseconds.
    pub(super) fn tick_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Time passes that nobody has waited for.
    #[cfg(any(test, fuzzing))]
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.started -= Duration::from_millis(milliseconds);
    }
}

/// Longer than half a billion years is for ever.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
