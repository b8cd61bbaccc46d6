//! A store whose appends the test can hold up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Store, StoreDone, StoreRequest, Write};
use dunlin_protocol::UserId;
use parking_lot::Mutex;

/// Answers like the store in memory, but appends only while it is not held.
#[derive(Default)]
pub struct HeldStore {
    pub memory: MemoryStore,
    pages_read: AtomicUsize,
    held: Mutex<Option<Vec<(StoreRequest, StoreDone)>>>,
}

impl HeldStore {
    pub fn new() -> Arc<HeldStore> {
        Arc::default()
    }

    /// From now on appends get no answer.
    pub fn hold(&self) {
        self.held.lock().get_or_insert_default();
    }

    /// Entries that wait.
    pub fn waiting(&self) -> usize {
        let entries = |(request, _): &(StoreRequest, _)| match request {
            StoreRequest::Write(writes) => writes.len(),
            _ => 1,
        };
        self.held.lock().iter().flatten().map(entries).sum()
    }

    /// Messages of this user among them.
    pub fn waiting_of(&self, user: UserId) -> usize {
        let of_user = |write: &Write| {
            let key = write.entry.as_ref().and_then(|entry| entry.key);
            key.is_some_and(|key| key.sender == user)
        };
        let messages = |(request, _): &(StoreRequest, _)| match request {
            StoreRequest::Write(writes) => writes.iter().filter(|write| of_user(write)).count(),
            _ => 0,
        };
        self.held.lock().iter().flatten().map(messages).sum()
    }

    /// Pages that were asked for.
    pub fn pages_read(&self) -> usize {
        self.pages_read.load(Ordering::SeqCst)
    }

    /// Carries out what was held, and holds nothing any more.
    pub fn release(&self) {
        for (request, done) in self.held.lock().take().into_iter().flatten() {
            self.memory.submit(request, done);
        }
    }
}

impl Store for HeldStore {
    fn epoch(&self) -> u64 {
        self.memory.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        if let StoreRequest::Write(_) = request
            && let Some(held) = &mut *self.held.lock()
        {
            return held.push((request, done));
        }
        if let StoreRequest::Ranges(ranges) = &request {
            self.pages_read.fetch_add(ranges.len(), Ordering::SeqCst);
        }
        self.memory.submit(request, done);
    }
}
