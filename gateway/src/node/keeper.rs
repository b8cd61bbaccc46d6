//! What can be done with a store that is kept on this machine, beyond what every store can.

use std::fmt::Debug;
use std::path::Path;

use dunlin_core::store::embedded::{BackupReport, EmbeddedStore, OpenError, VerifyReport};

/// Keeps what is stored: copies it and looks whether it is whole. A store on other machines has
/// tools of its own for that, and no keeper here.
pub(crate) trait Keeper: Send + Sync + Debug {
    /// Copies all that was durable when the call began into an empty folder, while the store is
    /// in use.
    fn backup(&self, target: &Path) -> Result<BackupReport, OpenError>;

    /// Reads everything that is stored, and compares the index with it, while the store is in use.
    fn verify(&self) -> Result<VerifyReport, OpenError>;
}

impl Keeper for EmbeddedStore {
    fn backup(&self, target: &Path) -> Result<BackupReport, OpenError> {
        EmbeddedStore::backup(self, target)
    }

    fn verify(&self) -> Result<VerifyReport, OpenError> {
        EmbeddedStore::verify(self)
    }
}
