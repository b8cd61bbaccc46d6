//! What the coordinator of an idle run and its threads tell each other.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::report::Handover;

/// Counts of all threads so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    active: u32,
    failed: u32,
    arrived: u64,
    heartbeats: u64,
}

/// What the coordinator and the threads tell each other.
#[derive(Debug, Default)]
pub(crate) struct Board {
    started: AtomicBool,
    gathered: AtomicBool,
    stopped: AtomicBool,
    active: AtomicU32,
    failed: AtomicU32,
    arrived: AtomicU64,
    heartbeats: AtomicU64,
    /// What the threads saw second by second.
    pub(crate) seconds: Handover,
}

impl Board {
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn is_gathered(&self) -> bool {
        self.gathered.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Nobody else is waited for: from now on they are held.
    pub(crate) fn hold(&self) {
        self.gathered.store(true, Ordering::Release);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Connections that are logged in and synced.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections that ended for good, or will never be.
    pub(crate) fn failed(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Connections that ever were logged in and synced.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Heartbeats of all of them.
    pub(crate) fn heartbeats(&self) -> u64 {
        self.heartbeats.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> Count {
        Count {
            active: self.active(),
            failed: self.failed(),
            arrived: self.arrived(),
            heartbeats: self.heartbeats(),
        }
    }

    /// Adds what another process did since it last said so; `active` may also fall.
    pub(crate) fn add(&self, before: Count, now: Count) {
        self.active.fetch_add(now.active.wrapping_sub(before.active), Ordering::Relaxed);
        self.failed.fetch_add(now.failed.wrapping_sub(before.failed), Ordering::Relaxed);
        self.arrived.fetch_add(now.arrived.wrapping_sub(before.arrived), Ordering::Relaxed);
        let heartbeats = now.heartbeats.wrapping_sub(before.heartbeats);
        self.heartbeats.fetch_add(heartbeats, Ordering::Relaxed);
    }

    /// One more is logged in and synced.
    pub(crate) fn arrive(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was has ended.
    pub(crate) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// One has ended for good, or will never be.
    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// So many heartbeats more were sent.
    pub(crate) fn beat(&self, heartbeats: u64) {
        self.heartbeats.fetch_add(heartbeats, Ordering::Relaxed);
    }

    /// Connections that are, or will never be.
    pub(crate) fn settled(&self) -> u32 {
        self.active() + self.failed()
    }
}
