//! What of the files of a folder can't be read while it is brought into order.
//!
//! What a disk can't read is read as bytes that fit no checksum, and is handled like any other damage. But
//! a disk may be able to read it another time: whatever would take something away looks here first.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::disk::{Disk, DiskFile};

/// A disk that keeps the names of the files of which something could not be read.
#[derive(Debug)]
pub(in super::super) struct Watch<'a> {
    disk: &'a dyn Disk,
    unread: Unread,
}

type Unread = Arc<Mutex<BTreeSet<String>>>;

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    name: String,
    unread: Unread,
}

impl<'a> Watch<'a> {
    pub(in super::super) fn new(disk: &'a dyn Disk) -> Watch<'a> {
        Watch { disk, unread: Unread::default() }
    }

    /// The disk itself, for files that stay open.
    pub(in super::super) fn unwatched(&self) -> &'a dyn Disk {
        self.disk
    }

    /// Opens a file; what can't be read of it is kept in mind.
    pub(in super::super) fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let (file, name) = (self.disk.open(name)?, name.to_owned());
        Ok(Arc::new(WatchedFile { file, name, unread: Arc::clone(&self.unread) }))
    }

    /// Whether something of a file could not be read.
    pub(in super::super) fn is_unread(&self, name: &str) -> bool {
        self.unread.lock().contains(name)
    }

    /// The files of which something could not be read.
    pub(in super::super) fn unread(&self) -> Vec<String> {
        self.unread.lock().iter().cloned().collect()
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        if self.file.has_unreadable() {
            self.unread.lock().insert(self.name.clone());
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn has_unreadable(&self) -> bool {
        self.file.has_unreadable()
    }
}
