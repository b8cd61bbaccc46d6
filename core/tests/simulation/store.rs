//! The store that all nodes of a run share, and the ways in which it can be broken on purpose.

use std::sync::mpsc;

use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{
    Append, Appended, Head, Page, Range, Store, StoreError, StoreReply, StoreRequest, StoredEntry,
};
use dunlin_protocol::LogId;

use super::chance::Chance;
use super::profile::Sabotage;

pub(crate) struct SharedStore {
    memory: MemoryStore,
    sabotage: Option<Sabotage>,
    chance: Chance,
}

impl SharedStore {
    pub(crate) fn new(sabotage: Option<Sabotage>, chance: Chance) -> SharedStore {
        SharedStore { memory: MemoryStore::new(1), sabotage, chance }
    }

    pub(crate) fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    /// Carries a request out.
    pub(crate) fn run(&mut self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        let StoreRequest::Append(mut items) = request else { return self.ask(request) };
        match self.sabotage {
            Some(Sabotage::NoDedupe) => items.iter_mut().for_each(|item| item.key = None),
            Some(Sabotage::NoFence) => return self.append_unfenced(items),
            Some(Sabotage::ForgetsAppends) if self.chance.permille(20) => {
                let stored = items.iter().map(|_| Appended::Stored).collect();
                return Ok(StoreReply::Appended(stored));
            }
            _ => {}
        }
        self.ask(StoreRequest::Append(items))
    }

    fn append_unfenced(&mut self, items: Vec<Append>) -> Result<StoreReply, StoreError> {
        let mut all = Vec::new();
        for mut item in items {
            item.seq = self.head(item.log).seq + 1;
            match self.ask(StoreRequest::Append(vec![item]))? {
                StoreReply::Appended(one) => all.extend(one),
                other => panic!("{other:?}"),
            }
        }
        Ok(StoreReply::Appended(all))
    }

    fn ask(&self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        let (sender, receiver) = mpsc::channel();
        self.memory.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
        receiver.try_recv().unwrap()
    }

    fn head(&self, log: LogId) -> Head {
        match self.ask(StoreRequest::Heads(vec![log])) {
            Ok(StoreReply::Heads(heads)) => heads[0],
            other => panic!("{other:?}"),
        }
    }

    /// All of a log.
    pub(crate) fn entries(&self, log: LogId) -> Vec<StoredEntry> {
        let (entries_max, bytes_max) = (usize::MAX, usize::MAX);
        let range = Range { log, from: 1, to: u64::MAX, entries_max, bytes_max, backwards: false };
        match self.ask(StoreRequest::Range(range)) {
            Ok(StoreReply::Page(Page { entries, .. })) => entries,
            other => panic!("{other:?}"),
        }
    }
}
