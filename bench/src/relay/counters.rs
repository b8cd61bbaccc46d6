//! What a relay counts, shared by its threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the relay has done so far; updated by its threads while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that are in a pair or a group, or wait for the others of it.
    pub connections: AtomicU64,
    /// Frames that were forwarded: one that is read counts for each connection that it goes to.
    pub frames: AtomicU64,
    /// Bytes that were forwarded, prefixes included.
    pub bytes: AtomicU64,
    /// Calls of read and write: frames per call is how well the load was batched.
    pub reads: AtomicU64,
    /// See `reads`.
    pub writes: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
