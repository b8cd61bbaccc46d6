//! Whether a shard sleeps, or is about to: who puts something into its queue then wakes it.
//!
//! ```text
//!   shard                         sender
//!   S1  flag = true               P1  put into the queue
//!       fence(SeqCst)                 fence(SeqCst)
//!   S2  look into the queue       P2  look at the flag
//! ```
//! The two fences are in one total order. If the shard's is first, P2 sees S1 and the sender
//! wakes the shard. If the sender's is first, S2 sees P1 and the shard does not sleep. Without
//! them both could look before the other's write arrives: the item would wait for the next one.
//! Relaxed loads and stores are enough around the fences, since the queue itself orders the
//! contents of its items.
//!
//! `gateway/tests/wake_ups` compiles this file with other atomics and tries every interleaving, and
//! shows that a weaker fence loses a wake-up. So the atomics come from the parent module.

use super::atomic::{AtomicBool, Ordering, fence};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SleepFlag(AtomicBool);

impl SleepFlag {
    /// Before a sleep. False if the queue is not empty after all: then don't sleep.
    pub(crate) fn may_sleep(&self, queue_is_empty: impl FnOnce() -> bool) -> bool {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if queue_is_empty() {
            return true;
        }
        self.awake();
        false
    }

    /// After a sleep: no more wake-ups, please. A sender that still sees the flag causes one
    /// spurious wake-up.
    pub(crate) fn awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Puts something into the queue, and wakes the shard if it sleeps: one sender does so per
    /// sleep. The load keeps the cache line shared while the shard is busy. `put` says whether
    /// there is anybody to wake.
    pub(crate) fn hand_over(&self, put: impl FnOnce() -> bool, wake: impl FnOnce()) {
        if !put() {
            return;
        }
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed) {
            wake();
        }
    }
}
