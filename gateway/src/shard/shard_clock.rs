//! The time of a shard: read at the beginning of a tick, all of which happens at that moment. Where
//! ticks have little to do, each reading is a part of what a message costs.

use std::time::{Duration, Instant};

use dunlin_core::arrival::Arrival;
use dunlin_core::clock::{Clock, SystemClock};

use super::timer_wheel::{Tick, tick_of};

/// See the module.
#[derive(Debug)]
pub(super) struct ShardClock {
    started: Instant,
    /// When this tick began.
    began: Instant,
    /// What all shards of a node count arrivals from.
    node_started: Instant,
    /// When this tick began, from then on.
    arrival: Arrival,
    now_ms: u64,
    unix_ms: u64,
    /// Time that has passed without anybody waiting for it: none, but in tests.
    skipped_ms: u64,
}

impl ShardClock {
    pub(super) fn new(node_started: Instant) -> ShardClock {
        let (now, arrival) = (Instant::now(), Arrival::UNKNOWN);
        let (started, began) = (now, now);
        ShardClock { started, began, node_started, arrival, now_ms: 0, unix_ms: 0, skipped_ms: 0 }
    }

    pub(super) fn begin_tick(&mut self) {
        self.began = Instant::now();
        self.now_ms = milliseconds(self.began.saturating_duration_since(self.started));
        self.unix_ms = SystemClock.unix_ms();
        self.arrival = Arrival::at_us(self.node_us(self.began));
    }

    /// What is read in this tick has arrived then.
    pub(super) fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// A moment in microseconds since the node's start.
    fn node_us(&self, moment: Instant) -> u64 {
        microseconds(moment.saturating_duration_since(self.node_started))
    }

    /// Milliseconds since the shard's start, of this tick.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Of this tick, by the clock that all threads of the process share and nobody sets: for what shards share.
    pub(super) fn monotonic_ms(&self) -> u64 {
        SystemClock.monotonic_ms(self.began) + self.skipped_ms
    }

    /// The same as [`now_ms`](Self::now_ms) for the timer wheel.
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

    /// How long this tick has taken so far, and which moment that is by the clock of arrivals, in
    /// microseconds.
    pub(super) fn tick_us(&self) -> (u64, u64) {
        let now = Instant::now();
        (microseconds(now.saturating_duration_since(self.began)), self.node_us(now))
    }

    /// Time passes that nobody has waited for.
    #[cfg(any(test, fuzzing))]
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.started -= Duration::from_millis(milliseconds);
        self.skipped_ms += milliseconds;
    }
}

/// Longer than half a million years is for ever.
fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Longer than half a billion years is for ever.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
