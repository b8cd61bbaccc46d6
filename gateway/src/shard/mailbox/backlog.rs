//! How much waits for the shards, so that workers wait for one that does not come to take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use crate::limits::MAIL_BYTES_MAX;

/// What waits for one shard.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    behind: Arc<Behind>,
}

/// How many shards of a node have more mail than they should.
#[derive(Debug, Default)]
pub(crate) struct Behind(AtomicIsize);

impl Behind {
    /// Whether there is one.
    pub(crate) fn is_any(&self) -> bool {
        // Who takes may be seen before who has put, so for a moment there may be less than none.
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Backlog {
    pub(super) fn new(behind: Arc<Behind>) -> Backlog {
        Backlog { bytes: AtomicUsize::new(0), behind }
    }

    /// So much is put into the mailbox. Of all who do it at once, one crosses the bound: the changes of a
    /// counter have one order.
    pub(super) fn add(&self, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before <= MAIL_BYTES_MAX && before + bytes > MAIL_BYTES_MAX {
            self.behind.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So much was taken, or could not be put there.
    pub(super) fn remove(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > MAIL_BYTES_MAX && before - bytes <= MAIL_BYTES_MAX {
            self.behind.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_behind_while_more_waits_than_should() {
        let behind = Arc::<Behind>::default();
        let shards = [(); 2].map(|()| Backlog::new(Arc::clone(&behind)));
        shards.iter().for_each(|shard| shard.add(MAIL_BYTES_MAX));
        assert!(!behind.is_any());
        shards.iter().for_each(|shard| shard.add(1));
        shards[0].add(7);
        shards[1].remove(1);
        assert!(behind.is_any(), "the other one is");
        shards[0].remove(7);
        assert!(behind.is_any());
        shards[0].remove(2);
        assert!(!behind.is_any());
    }
}
