//! Waking a thread that works in the background. `core/tests/hand_overs` tries every interleaving.

use std::time::Duration;

use super::locks::{Condvar, Mutex};

/// A flag to wait for. Set twice, it wakes once.
#[derive(Debug, Default)]
pub(super) struct Wake {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    pub(super) fn wake(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until it is set, or for this long, and takes it back.
    pub(super) fn wait(&self, timeout: Option<Duration>) {
        let mut set = self.set.lock();
        while !*set {
            match timeout {
                None => self.changed.wait(&mut set),
                Some(timeout) if self.changed.wait_for(&mut set, timeout).timed_out() => break,
                Some(_) => {}
            }
        }
        *set = false;
    }
}
