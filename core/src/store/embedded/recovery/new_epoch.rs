//! Beginning a new epoch by hand: for a store that was put back from a copy.

use std::path::Path;

use crate::random::SystemSource;

use super::super::config::OpenError;
use super::super::disk::{Disk, Folder};
use super::super::identity::Identity;
use super::extent::{self, Content, Found};

/// Gives the store in a folder, which no server has open, a new epoch, and returns it: what clients
/// have above the end of a log, or otherwise than it is there, they forget.
pub fn begin_epoch(path: &Path) -> Result<u64, OpenError> {
    let disk = Folder::open_existing(path)?;
    let identity = Identity::load(&disk)?;
    let found = Content::load(disk.open(extent::NAME), &identity);
    match found.map_err(OpenError::io("can't read", disk.path().join(extent::NAME)))? {
        Found::Read(mut content) if !content.damaged => {
            let identity = identity.with_new_epoch(&SystemSource::new());
            extent::save(&disk, &mut content, &identity, true)?;
            Ok(identity.epoch)
        }
        // The next start begins one for that.
        Found::Read(_) | Found::Unreadable => Err(OpenError::Damaged {
            name: extent::NAME.into(),
            what: "the next start begins a new epoch for that",
        }),
        Found::Missing => Err(OpenError::Damaged {
            name: extent::NAME.into(),
            what: "it is missing; the next start begins a new epoch for that",
        }),
    }
}
