//! The segment files that are kept open, and where in them a record is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::process::{Resource, getrlimit};

use super::super::cleaning::file::{CleanedFile, open_if_cleaned};
use super::super::disk::{Disk, DiskFile};
use super::super::identity::Identity;
use super::super::segment::Span;

/// Sealed segments that are kept open for reading, and the part of the descriptors of a process that they
/// may take if it has few: others need some as well, the next segment first of all.
const OPEN_SEGMENTS_MAX: usize = 512;
const OPEN_SEGMENTS_PART: u64 = 4;

/// How many segments this process keeps open.
fn open_segments_max() -> usize {
    // None is as many as one likes.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / OPEN_SEGMENTS_PART).unwrap_or(usize::MAX).clamp(1, OPEN_SEGMENTS_MAX)
}

/// How long cleaning waits at a time for who goes through the files: it may have to stop.
const TAKE_OVER_PART: Duration = Duration::from_millis(100);

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Location {
    pub segment: u32,
    pub offset: u32,
}

/// An open file of segments.
#[derive(Debug, Clone)]
pub(in super::super) enum SegmentFile {
    /// As the lane wrote it.
    Plain(Arc<dyn DiskFile>),
    /// What cleaning has left.
    Cleaned(Arc<CleanedFile>),
}

/// Opens segments to read from them, and keeps a bounded number of them open.
#[derive(Debug)]
pub(in super::super) struct Segments {
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// The rows of several segments that one file holds: the last of each by the first.
    rows: RwLock<BTreeMap<u32, u32>>,
    open: Mutex<Open>,
    /// Held by who changes records in their places.
    rewrites: Mutex<Rewrites>,
    /// Held shared by who goes through the files by their names.
    names: RwLock<()>,
    /// Segments whose files are there and are not read.
    passed_over: BTreeSet<u32>,
}

/// Changing records in their places, which cleaning must not miss: a record that is erased after it was
/// copied is copied once more.
#[derive(Debug, Default)]
pub(in super::super) struct Rewrites {
    is_copying: bool,
    late: Vec<Location>,
    /// A cleaned file has its name, and it is not known whether it will keep it.
    is_unsettled: bool,
}

#[derive(Debug, Default)]
struct Open {
    /// By the first segment of each.
    files: HashMap<u32, SegmentFile, RandomState>,
    /// At most so many are kept.
    files_max: usize,
    /// How often files took the place of others: one that was opened before is not kept.
    replaced: u64,
}

impl Segments {
    /// `rows` are the files that hold more than one segment, `passed_over` the segments whose files are
    /// there and are not to be read.
    pub(in super::super) fn new(
        disk: Arc<dyn Disk>,
        identity: Identity,
        rows: impl IntoIterator<Item = Span>,
        passed_over: BTreeSet<u32>,
    ) -> Segments {
        let rows = rows.into_iter().map(|span| (span.first, span.last)).collect();
        Segments {
            disk,
            identity,
            rows: RwLock::new(rows),
            open: Mutex::new(Open { files_max: open_segments_max(), ..Open::default() }),
            rewrites: Mutex::default(),
            names: RwLock::default(),
            passed_over,
        }
    }

    /// What the file that holds a segment holds.
    pub(in super::super) fn span_of(&self, segment: u32) -> Span {
        let rows = self.rows.read();
        let row = rows.range(..=segment).next_back().map(|(&first, &last)| Span { first, last });
        row.filter(|row| row.holds(segment)).unwrap_or(Span::one(segment))
    }

    /// The file that holds a segment.
    pub(in super::super) fn open(&self, segment: u32) -> io::Result<SegmentFile> {
        if self.passed_over.contains(&segment) {
            return Err(io::ErrorKind::NotFound.into());
        }
        loop {
            let span = self.span_of(segment);
            match self.open_span(span) {
                // Another one took its place meanwhile.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && self.span_of(segment) != span => {
                }
                opened => return opened,
            }
        }
    }

    fn open_span(&self, span: Span) -> io::Result<SegmentFile> {
        let replaced = {
            let open = self.open.lock();
            if let Some(file) = open.files.get(&span.first) {
                return Ok(file.clone());
            }
            open.replaced
        };
        let file = self.disk.open(&span.name())?;
        let file = match open_if_cleaned(&self.identity, &file, span)? {
            Some(cleaned) => SegmentFile::Cleaned(Arc::new(cleaned)),
            None => SegmentFile::Plain(file),
        };
        let mut open = self.open.lock();
        if open.replaced == replaced {
            open.keep(span.first, file.clone());
        }
        Ok(file)
    }

    /// The file of a segment as it is on the disk, whatever is in it.
    pub(in super::super) fn file(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        Ok(match self.open(number)? {
            SegmentFile::Plain(file) => file,
            SegmentFile::Cleaned(cleaned) => Arc::clone(&cleaned.file),
        })
    }

    /// The file that holds a record, and where in it the record begins; `None` if it was cleaned
    /// away. All reads of records go this way.
    pub(in super::super) fn resolve(
        &self,
        location: Location,
    ) -> io::Result<Option<(Arc<dyn DiskFile>, u64)>> {
        Ok(match self.open(location.segment)? {
            SegmentFile::Plain(file) => Some((file, u64::from(location.offset))),
            SegmentFile::Cleaned(cleaned) => {
                let found = cleaned.resolve(location)?;
                found.map(|offset| (Arc::clone(&cleaned.file), offset))
            }
        })
    }

    /// Keeps a segment that is open anyway.
    pub(in super::super) fn keep(&self, number: u32, file: Arc<dyn DiskFile>) {
        self.open.lock().keep(number, SegmentFile::Plain(file));
    }

    /// Lets a cleaned file take the place of those of its segments. Who reads one of these goes on to
    /// do so: its content is as good.
    pub(in super::super) fn replace(&self, cleaned: CleanedFile) {
        let span = cleaned.span();
        let mut rows = self.rows.write();
        rows.retain(|first, _| !span.holds(*first));
        if span.first != span.last {
            rows.insert(span.first, span.last);
        }
        let mut open = self.open.lock();
        open.replaced += 1;
        open.files.retain(|first, _| !span.holds(*first));
        open.keep(span.first, SegmentFile::Cleaned(Arc::new(cleaned)));
    }

    /// Lets nobody else change a record in its place, nor a cleaned file take the place of another.
    pub(in super::super) fn rewrites(&self) -> MutexGuard<'_, Rewrites> {
        self.rewrites.lock()
    }

    /// Keeps all files under their names for as long as the guard lives.
    pub(in super::super) fn hold_names(&self) -> RwLockReadGuard<'_, ()> {
        self.names.read()
    }

    /// Lets nobody count on the names of files; `None` if somebody does, for a while.
    pub(in super::super) fn try_take_over(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.names.try_write_for(TAKE_OVER_PART)
    }

    /// Forgets a segment that is removed.
    pub(in super::super) fn forget(&self, number: u32) {
        self.open.lock().files.remove(&number);
    }
}

impl Rewrites {
    /// A record is changed in its place.
    pub(in super::super) fn rewritten(&mut self, place: Location) {
        if self.is_copying {
            self.late.push(place);
        }
    }

    /// Makes sure of the names of cleaned files, before a change of a record in one of them is counted
    /// on, and before what it covers is removed.
    pub(in super::super) fn settle(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.is_unsettled {
            disk.sync_names()?;
            self.is_unsettled = false;
        }
        Ok(())
    }

    /// Files are going to be copied.
    pub(in super::super) fn begin(&mut self) {
        self.is_copying = true;
        self.late.clear();
    }

    /// What was changed since then.
    pub(in super::super) fn take_late(&mut self) -> Vec<Location> {
        std::mem::take(&mut self.late)
    }

    /// The copy has got a name.
    pub(in super::super) fn renamed(&mut self) {
        self.is_unsettled = true;
    }

    /// Nothing is copied any more.
    pub(in super::super) fn end(&mut self) {
        self.is_copying = false;
        self.late.clear();
    }
}

impl Open {
    fn keep(&mut self, first: u32, file: SegmentFile) {
        if self.files.len() >= self.files_max
            && let Some(oldest) = self.files.keys().copied().min()
        {
            // Old segments are read least.
            self.files.remove(&oldest);
        }
        self.files.insert(first, file);
    }
}
