//! How full the disk is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::node::data::DataFolder;

/// Bytes that `stat` counts blocks in, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// The disk of the data folder. What can't be found out is missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// The data folder.
    pub(crate) folder: String,
    /// What the store takes, with the space that it keeps ready.
    pub(crate) store_bytes: Option<u64>,
    /// Files that hold entries; one that is kept ready is none yet.
    pub(crate) segments: Option<u64>,
    /// What the server may still write.
    pub(crate) free_bytes: Option<u64>,
    /// The size of the file system.
    pub(crate) total_bytes: Option<u64>,
}

pub(super) fn usage(data: &DataFolder) -> Disk {
    let store = of_folder(&data.store()).ok();
    let system = rustix::fs::statvfs(data.path()).ok();
    let bytes = |blocks: u64, of: &rustix::fs::StatVfs| blocks.saturating_mul(of.f_frsize);
    Disk {
        folder: data.path().display().to_string(),
        store_bytes: store.map(|(bytes, _)| bytes),
        segments: store.map(|(_, segments)| segments),
        free_bytes: system.as_ref().map(|of| bytes(of.f_bavail, of)),
        total_bytes: system.as_ref().map(|of| bytes(of.f_blocks, of)),
    }
}

/// The bytes of all files in a folder, and how many of them are segments.
fn of_folder(folder: &Path) -> io::Result<(u64, u64)> {
    let (mut bytes, mut segments) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file that has gone since its name was read takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += metadata.blocks() * BLOCK_BYTES;
        segments += u64::from(entry.path().extension().is_some_and(|extension| extension == "log"));
    }
    Ok((bytes, segments))
}
