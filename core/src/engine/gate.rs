//! What is under way in the whole engine: it may stop when nothing is.
//!
//! `core/tests/hand_overs` compiles this file with other atomics and tries every interleaving. So
//! the atomics come from the parent module.

use super::atomic::{AtomicUsize, Ordering};

/// Nothing more is taken from submitters.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// See the module.
///
/// Counts batches of commands and letters in queues, tickets, and sends that wait for another node.
/// (Calls at the door need no count of their own: one that waits has one of these under way.) What is made by handling something is added before that something is taken off, so 0 means that
/// nothing can follow.
///
/// Whether it is closed is a bit of the same word. So the two questions "is it closed?" and "is
/// anything under way?" are answered in the one order of all changes to it; with a word for each, a
/// thing could get in while whoever closes sees nothing.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    /// Lets one thing in, unless it is closed. Both orders of this and `close` are safe: either
    /// the thing is refused here, or whoever closes sees it.
    pub(crate) fn enter(&self) -> bool {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        if before & CLOSED != 0 {
            self.leave(1);
            return false;
        }
        true
    }

    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn leave(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::AcqRel);
    }

    pub(crate) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) & !CLOSED == 0
    }
}
