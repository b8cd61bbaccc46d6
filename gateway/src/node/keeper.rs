//! What can be done with a store that is kept on this machine, beyond what every store can.

use std::fmt::Debug;
use std::path::Path;

use dunlin_core::store::embedded::{
    BackupReport, EmbeddedStatistics, EmbeddedStore, OpenError, VerifyReport,
};

/// Keeps what is stored: copies it and looks whether it is whole. A store on other machines has
/// tools of its own for that, and no keeper here.
pub(crate) trait Keeper: Send + Sync + Debug {
    /// Copies all that was durable when the call began into an empty folder, while the store is
    /// in use.
    fn backup(&self, target: &Path) -> Result<BackupReport, OpenError>;

    /// Reads everything that is stored, and compares the index with it, while the store is in use.
    fn verify(&self) -> Result<VerifyReport, OpenError>;

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
}

impl Keeper for EmbeddedStore {
    fn backup(&self, target: &Path) -> Result<BackupReport, OpenError> {
        EmbeddedStore::backup(self, target)
    }

    fn verify(&self) -> Result<VerifyReport, OpenError> {
        EmbeddedStore::verify(self)
    }

    fn standing(&self) -> Standing {
        let recovery = self.recovery();
        Standing {
            counted: self.statistics(),
            damage_at_start: recovery.damage.len(),
            history_lost_at_start: recovery.history_lost,
        }
    }
}
