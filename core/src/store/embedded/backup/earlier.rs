//! An earlier backup, with which a new one shares what has not changed: such a file has a name in both
//! folders, and takes its place on the disk once. Either folder can be removed without the other.
//!
//! The earlier backup is asked, and not believed. A file is shared if it is, byte for byte, what the
//! store holds now; so what has become of it meanwhile, or who has put it there, can do no harm. A
//! file whose length is the same can't be taken for the same without reading it: what is erased is
//! overwritten in its place.

use std::io;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::super::backup::{Listed, MANIFEST, decode_manifest};
use super::super::config::OpenError;
use super::super::disk::{Disk, FolderFile, read_all};
use super::super::identity::{self, Identity};
use super::own_folder::OwnFolder;

/// A finished backup of the same store, with which a new one shares what has not changed: such a file
/// has a name in both folders, and either folder can be removed without the other.
#[derive(Debug)]
pub struct EarlierBackup {
    folder: OwnFolder,
    /// By their names.
    files: HashMap<String, Listed, RandomState>,
}

/// Whether a file of the earlier backup is one of the new backup as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Sharing {
    /// It is, and has its name there.
    Linked,
    /// The earlier backup has no such file, or one with another content.
    Other,
    /// It should be the same, but is not what its manifest says.
    Damaged,
    /// The file system does not let the two share it, or others may read it.
    Impossible,
}

impl EarlierBackup {
    /// Opens a backup that is finished; refuses one of another store.
    pub(in super::super) fn open(
        folder: OwnFolder,
        store: &Identity,
    ) -> Result<EarlierBackup, OpenError> {
        let read = |name: &str| {
            let content = folder.read_secret(name);
            content.map_err(OpenError::io("can't read", folder.path().join(name)))
        };
        let files = decode_manifest(&read(MANIFEST)?)?;
        let found = Identity::decode(&read(identity::NAME)?)?;
        if found.store_id != store.store_id {
            return Err(OpenError::Foreign { name: folder.path().display().to_string() });
        }
        let files = files.into_iter().map(|file| (file.name.clone(), file)).collect();
        Ok(EarlierBackup { folder, files })
    }

    /// Gives a file a name in the new backup too, if it is what belongs there.
    pub(in super::super) fn share(
        &self,
        target: &OwnFolder,
        file: &Listed,
        content: &[u8],
    ) -> Result<Sharing, OpenError> {
        let name = file.name.as_str();
        if self.files.get(name) != Some(file) {
            return Ok(Sharing::Other);
        }
        match target.link_from(&self.folder, name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(self.damaged(name, "it is missing"));
            }
            // Another file system, too many names, a rule of this system: a copy is as good.
            Err(_) => return Ok(Sharing::Impossible),
        }
        // What has got the name is looked at, not what had it there a moment ago.
        let sharing = match is_durably(target, name, content) {
            Ok(true) => return Ok(Sharing::Linked),
            Ok(false) => self.damaged(name, "its content has changed"),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Sharing::Impossible,
            Err(_) => self.damaged(name, "it can't be read"),
        };
        let removed = target.remove(name);
        removed.map_err(OpenError::io("can't remove", target.path().join(name)))?;
        Ok(sharing)
    }

    fn damaged(&self, name: &str, what: &'static str) -> Sharing {
        let file = self.folder.path().join(name);
        tracing::warn!(file = %file.display(), what, "a file of the earlier backup is damaged");
        Sharing::Damaged
    }
}

/// Whether a file of a new backup has this content, and keeps it if power fails.
fn is_durably(target: &OwnFolder, name: &str, content: &[u8]) -> io::Result<bool> {
    let file = FolderFile::new(target.open_secret(name)?);
    if file.file.metadata()?.len() != content.len() as u64 || read_all(&file)? != content {
        return Ok(false);
    }
    file.file.sync_all()?;
    Ok(true)
}
