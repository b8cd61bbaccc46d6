//! What can be done with a store that is kept on this machine, beyond what every store can.

use std::fmt::Debug;
use std::sync::mpsc;
use std::time::Duration;

use dunlin_core::store::embedded::{
    BackupReport, EarlierBackup, EmbeddedStatistics, EmbeddedStore, OpenError, OwnFolder,
    VerifyProgress, VerifyReport,
};
use dunlin_core::store::feed::ConsumerName;
use dunlin_core::store::question::{self, Question};
use dunlin_core::store::{Consumer, ConsumerChange, StoreError};

/// Keeps what is stored: copies it and looks whether it is whole. A store on other machines has
/// tools of its own for that, and no keeper here.
pub(crate) trait Keeper: Send + Sync + Debug {
    /// Copies all that was durable when the call began into an empty folder, while the store is
    /// in use. What an earlier backup has of it is shared with that one.
    fn backup(
        &self,
        target: OwnFolder,
        earlier: Option<EarlierBackup>,
    ) -> Result<BackupReport, OpenError>;

    /// An earlier backup of this store.
    fn earlier_backup(&self, folder: OwnFolder) -> Result<EarlierBackup, OpenError>;

    /// Reads everything that is stored, and compares the index with it, while the store is in use;
    /// tells now and then how far it has come.
    fn verify(&self, told: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport, OpenError>;

    /// Somebody has seen the damage that was told when it was opened.
    fn acknowledge_damage(&self) -> Result<(), OpenError>;

    /// Who reads the feed of the store, by name.
    fn consumers(&self) -> Result<Vec<Consumer>, StoreError>;

    /// Forgets a consumer that will not come back; false if there is none of this name.
    fn remove_consumer(&self, name: &ConsumerName) -> Result<bool, StoreError>;

    /// How long ago something could not be made durable, if nothing was since.
    fn failing_since(&self) -> Option<Duration>;

    /// What the store has done since it was opened, and what was found then.
    fn standing(&self) -> Standing;
}

/// How a store stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) counted: EmbeddedStatistics,
    /// Places that were damaged when it was opened.
    pub(crate) damage_at_start: usize,
    /// Entries had been lost, so that it began a new epoch.
    pub(crate) history_lost_at_start: bool,
    /// Who reads the feed, and about how many bytes are kept for each; `None` if that can't be read.
    pub(crate) consumers: Option<Vec<(String, u64)>>,
    /// Places of damage that were told at a start, and that nobody has acknowledged.
    pub(crate) damage_told: usize,
}

impl Keeper for EmbeddedStore {
    fn backup(
        &self,
        target: OwnFolder,
        earlier: Option<EarlierBackup>,
    ) -> Result<BackupReport, OpenError> {
        EmbeddedStore::backup_to(self, target, earlier)
    }

    fn earlier_backup(&self, folder: OwnFolder) -> Result<EarlierBackup, OpenError> {
        EmbeddedStore::earlier_backup(self, folder)
    }

    fn verify(&self, told: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport, OpenError> {
        EmbeddedStore::verify_with(self, told)
    }

    fn acknowledge_damage(&self) -> Result<(), OpenError> {
        EmbeddedStore::acknowledge_damage(self)
    }

    fn consumers(&self) -> Result<Vec<Consumer>, StoreError> {
        ask(self, question::Consumers)
    }

    fn remove_consumer(&self, name: &ConsumerName) -> Result<bool, StoreError> {
        let is_there = Keeper::consumers(self)?.iter().any(|consumer| consumer.name == *name);
        if is_there {
            ask(self, ConsumerChange::Removed { name: name.clone() })?;
        }
        Ok(is_there)
    }

    fn failing_since(&self) -> Option<Duration> {
        EmbeddedStore::failing_since(self)
    }

    fn standing(&self) -> Standing {
        let recovery = self.recovery();
        let consumers = Keeper::consumers(self).inspect_err(|error| {
            tracing::warn!(%error, "the consumers of the feed can't be read");
        });
        let line = |consumer: Consumer| (consumer.name.as_str().to_owned(), consumer.behind_bytes);
        Standing {
            counted: self.statistics(),
            damage_at_start: recovery.damage.len(),
            history_lost_at_start: recovery.history_lost,
            consumers: consumers.ok().map(|all| all.into_iter().map(line).collect()),
            damage_told: self.told_damage().len(),
        }
    }
}

/// Asks the store, and waits for the answer.
fn ask<Q: Question>(store: &EmbeddedStore, question: Q) -> Result<Q::Answer, StoreError>
where
    Q::Answer: Send,
{
    let (sender, receiver) = mpsc::channel();
    // The receiver waits below, for as long as it takes.
    question::ask(store, question, move |answer| drop(sender.send(answer)));
    let closed = |_| Err(StoreError::Unavailable { reason: "it is closed".into() });
    receiver.recv().unwrap_or_else(closed)
}
