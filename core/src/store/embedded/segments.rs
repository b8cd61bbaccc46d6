//! The segment files that are kept open, and where in them a record is.

use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};
use super::segment::segment_name;

/// Sealed segments that are kept open for reading.
const OPEN_SEGMENTS_MAX: usize = 512;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub segment: u32,
    pub offset: u32,
}

/// Opens segments to read from them, and keeps a bounded number of them open.
#[derive(Debug)]
pub(super) struct Segments {
    disk: Arc<dyn Disk>,
    open: Mutex<HashMap<u32, Arc<dyn DiskFile>, RandomState>>,
}

impl Segments {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Segments {
        Segments { disk, open: Mutex::default() }
    }

    /// The file of a segment.
    pub(super) fn file(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.open.lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_name(number))?;
        self.keep(number, Arc::clone(&file));
        Ok(file)
    }

    /// The file that holds a record, and where in it the record begins; `None` if it was cleaned
    /// away. All reads of records go this way.
    pub(super) fn resolve(
        &self,
        location: Location,
    ) -> io::Result<Option<(Arc<dyn DiskFile>, u64)>> {
        Ok(Some((self.file(location.segment)?, u64::from(location.offset))))
    }

    /// Keeps a file that is open anyway.
    pub(super) fn keep(&self, number: u32, file: Arc<dyn DiskFile>) {
        let mut open = self.open.lock();
        if open.len() >= OPEN_SEGMENTS_MAX
            && let Some(oldest) = open.keys().copied().min()
        {
            // Old segments are read least.
            open.remove(&oldest);
        }
        open.insert(number, file);
    }

    /// Forgets a segment that is removed.
    pub(super) fn forget(&self, number: u32) {
        self.open.lock().remove(&number);
    }
}
