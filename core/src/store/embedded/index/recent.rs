//! The blocks of an index file that were read last, for who looks up one thing after the other in
//! their order: a full check asks for each entry of a store, and most of them are in the block of the
//! one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::layout::BlockBytes;

/// Blocks that are kept: one of each section, and one more.
const RECENT_MAX: usize = 8;

/// The blocks. Nothing is kept while nobody walks.
#[derive(Debug, Default)]
pub(super) struct Recent {
    walks: AtomicUsize,
    blocks: Mutex<Vec<(u64, Arc<BlockBytes>)>>,
}

impl Recent {
    /// Begins to keep blocks, until [`Recent::end`].
    pub(super) fn begin(&self) {
        self.walks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        if self.walks.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.blocks.lock() = Vec::new();
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<BlockBytes>> {
        if self.walks.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let blocks = self.blocks.lock();
        blocks.iter().find(|(kept, _)| *kept == number).map(|(_, block)| Arc::clone(block))
    }

    /// Keeps a block whose checksum is good.
    pub(super) fn keep(&self, number: u64, block: &Arc<BlockBytes>) {
        if self.walks.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut blocks = self.blocks.lock();
        if blocks.len() == RECENT_MAX {
            blocks.remove(0);
        }
        blocks.push((number, Arc::clone(block)));
    }
}
