//! The time of a shard: read once at the beginning of a tick, all of which happens at that moment.

use std::time::Instant;

use dunlin_core::clock::{Clock, SystemClock};

use super::timer_wheel::{Tick, tick_of};

/// See the module.
#[derive(Debug)]
pub(super) struct ShardClock {
    started: Instant,
    now_ms: u64,
    unix_ms: u64,
}

impl ShardClock {
    pub(super) fn new() -> ShardClock {
        ShardClock { started: Instant::now(), now_ms: 0, unix_ms: 0 }
    }

    pub(super) fn begin_tick(&mut self) {
        self.now_ms = self.elapsed_ms();
        self.unix_ms = SystemClock.now_ms();
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

    /// Milliseconds since the shard's start, right now.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Time passes that nobody has waited for.
    #[cfg(any(test, fuzzing))]
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.started -= std::time::Duration::from_millis(milliseconds);
    }
}
