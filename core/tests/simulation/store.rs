//! The store that all nodes of a run share, what lies before it, and the ways in which it can be
//! broken on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use dunlin_core::store::contract::wrapper::{Deed, Failing, Later, Losing, Rate, Reordering, Slow};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::question::{self, Heads, Question};
use dunlin_core::store::{
    Head, Page, Range, Register, RegisterRange, Store, StoreDone, StoreError, StoreReply,
    StoreRequest, StoredEntry, Write, Written,
};
use dunlin_protocol::LogId;
use parking_lot::Mutex;

use super::chance::Chance;
use super::profile::{Between, Sabotage};

pub(crate) struct SharedStore {
    memory: MemoryStore,
    sabotage: Option<Sabotage>,
    chance: Mutex<Chance>,
}

impl SharedStore {
    pub(crate) fn new(sabotage: Option<Sabotage>, chance: Chance) -> SharedStore {
        SharedStore { memory: MemoryStore::new(1), sabotage, chance: Mutex::new(chance) }
    }

    pub(crate) fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    fn run(&self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        match request {
            StoreRequest::Write(writes) => self.write(writes),
            request => self.pass_on(request),
        }
    }

    fn write(&self, mut writes: Vec<Write>) -> Result<StoreReply, StoreError> {
        match self.sabotage {
            Some(Sabotage::NoDedupe) => {
                let entries = writes.iter_mut().filter_map(|write| write.entry.as_mut());
                entries.for_each(|entry| entry.key = None);
            }
            Some(Sabotage::NoFence) => return self.write_unfenced(writes),
            Some(Sabotage::ForgetsAppends) if self.chance.lock().permille(20) => {
                let stored =
                    |write: &Write| Written::Stored { version: self.head(write.log).version };
                return Ok(StoreReply::Written(writes.iter().map(stored).collect()));
            }
            _ => {}
        }
        self.ask(writes).map(StoreReply::Written)
    }

    fn write_unfenced(&self, writes: Vec<Write>) -> Result<StoreReply, StoreError> {
        let mut verdicts = Vec::new();
        for mut write in writes {
            if let Some(entry) = &mut write.entry {
                entry.seq = self.head(write.log).seq + 1;
            }
            verdicts.extend(self.ask(vec![write])?);
        }
        Ok(StoreReply::Written(verdicts))
    }

    fn pass_on(&self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        let (sender, receiver) = mpsc::channel();
        self.memory.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
        receiver.try_recv().unwrap()
    }

    fn ask<Q: Question>(&self, question: Q) -> Result<Q::Answer, StoreError>
    where
        Q::Answer: Send,
    {
        let (sender, receiver) = mpsc::channel();
        question::ask(&self.memory, question, move |answer| sender.send(answer).unwrap());
        receiver.try_recv().unwrap()
    }

    fn head(&self, log: LogId) -> Head {
        *self.ask(Heads(vec![log])).unwrap()[0].as_ref().unwrap()
    }

    /// All of a log.
    pub(crate) fn entries(&self, log: LogId) -> Vec<StoredEntry> {
        let (entries_max, bytes_max) = (usize::MAX, usize::MAX);
        let range = Range {
            log,
            from: 1,
            to: u64::MAX,
            entries_max,
            bytes_max,
            backwards: false,
            since: None,
        };
        let Page { entries, .. } = self.ask(vec![range]).unwrap().remove(0).unwrap();
        entries
    }

    /// All registers of a log.
    pub(crate) fn registers(&self, log: LogId) -> Vec<Register> {
        let (registers_max, bytes_max) = (usize::MAX, usize::MAX);
        let (prefix, after) = (Default::default(), None);
        let range = RegisterRange { log, prefix, after, registers_max, bytes_max };
        self.ask(vec![range]).unwrap().remove(0).unwrap().registers
    }
}

impl Store for SharedStore {
    fn epoch(&self) -> u64 {
        self.memory.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        done(self.run(request));
    }
}

/// Puts over a store what is between it and the nodes.
pub(crate) fn over(
    store: Arc<dyn Store>,
    between: Between,
    clock: &Arc<Clockwork>,
    rate: &Rate,
    seed: u64,
) -> Arc<dyn Store> {
    let later = Arc::clone(clock) as Arc<dyn Later>;
    match between {
        Between::Nothing => store,
        Between::Slowness => Arc::new(Slow::over(store, later, seed)),
        Between::Parts => Arc::new(Reordering::over(store, later, seed)),
        Between::Failures => Arc::new(Failing::over(store, rate.clone(), seed)),
        Between::LostAnswers => Arc::new(Losing::over(store, rate.clone(), seed)),
    }
}

/// The time of a run as the stores over the store have it: what they want done later becomes an event.
#[derive(Default)]
pub(crate) struct Clockwork {
    now_ms: AtomicU64,
    wanted: Mutex<Vec<(u64, Deed)>>,
}

impl Clockwork {
    pub(crate) fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn take_wanted(&self) -> Vec<(u64, Deed)> {
        std::mem::take(&mut *self.wanted.lock())
    }
}

impl Later for Clockwork {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn at(&self, time_ms: u64, deed: Deed) {
        self.wanted.lock().push((time_ms, deed));
    }
}
