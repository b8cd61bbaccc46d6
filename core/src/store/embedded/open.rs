//! Finding out what a folder holds, and bringing it into order after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::random::Random;

use super::config::OpenError;
use super::disk::{Disk, DiskFile, read_all};
use super::identity::{self, Identity};
use super::index::memory::SegmentIndex;
use super::record::FrameHead;
use super::recovery::{Scan, scan};
use super::segment::{
    SEGMENT_HEAD_BYTES, SegmentHead, UNFINISHED_SUFFIX, segment_name, segment_number,
};
use super::verify::{Damage, DamageKind};

/// Made by file systems at the root of a disk.
const LOST_AND_FOUND: &str = "lost+found";

/// What opening a store had to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Segments that were read because they had no index file.
    pub segments_scanned: usize,
    /// Whole batches in them.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of an unfinished batch at the end that were cut off. It was never acknowledged. (A
    /// last batch that was damaged after it was acknowledged, before the end of the process, looks
    /// the same; nothing follows it that could tell.)
    pub unfinished_bytes: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Entries were lost, and the store has a new epoch.
    pub history_lost: bool,
}

/// A folder in order.
pub(super) struct Recovered {
    pub identity: Identity,
    pub sealed: Vec<Arc<SegmentIndex>>,
    pub next_segment: u32,
    pub next_batch: u64,
    pub report: RecoveryReport,
}

/// A segment that has to be scanned.
struct Unindexed {
    number: u32,
    file: Arc<dyn DiskFile>,
    /// By its header, or if that is damaged, by its first readable frame.
    first_batch: Option<u64>,
    head_damaged: bool,
}

/// Opens what is in the folder, or makes a new store in an empty one.
pub(super) fn recover(disk: &dyn Disk, random: &dyn Random) -> Result<Recovered, OpenError> {
    let names = disk.names().map_err(OpenError::io("can't list", disk.path()))?;
    let identity = if names.iter().any(|name| name == identity::NAME) {
        Identity::load(disk)?
    } else {
        make(disk, &names, random)?
    };
    remove_unfinished(disk, &names)?;
    let mut recovery = Recovery::new(disk, identity);
    recovery.scan_all(&names)?;
    recovery.finish(random)
}

/// Makes a new store, if the folder is empty.
fn make(disk: &dyn Disk, names: &[String], random: &dyn Random) -> Result<Identity, OpenError> {
    let unfinished = format!("{}{UNFINISHED_SUFFIX}", identity::NAME);
    if names.iter().any(|name| name != LOST_AND_FOUND && *name != unfinished) {
        return Err(OpenError::NotAStore { path: disk.path() });
    }
    let identity = Identity::random(random);
    identity.save(disk)?;
    Ok(identity)
}

/// Removes what a crash left half made.
fn remove_unfinished(disk: &dyn Disk, names: &[String]) -> Result<(), OpenError> {
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED_SUFFIX)) {
        match disk.remove(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::io("can't remove", disk.path().join(name))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The state of a recovery.
struct Recovery<'a> {
    disk: &'a dyn Disk,
    identity: Identity,
    /// The batch that comes next, if it is known.
    expected: Option<u64>,
    next_segment: u32,
    sealed: Vec<Arc<SegmentIndex>>,
    report: RecoveryReport,
}

impl Recovery<'_> {
    fn new(disk: &dyn Disk, identity: Identity) -> Recovery<'_> {
        // A new store begins with batch 1 in segment 1.
        let (expected, next_segment, sealed) = (Some(1), 1, Vec::new());
        let report = RecoveryReport::default();
        Recovery { disk, identity, expected, next_segment, sealed, report }
    }

    fn scan_all(&mut self, names: &[String]) -> Result<(), OpenError> {
        let numbers = names.iter().filter_map(|name| Some((segment_number(name)?, ())));
        let numbers: BTreeMap<u32, ()> = numbers.collect();
        let mut segments = Vec::new();
        for &number in numbers.keys() {
            self.next_segment = self.next_segment.max(number + 1);
            segments.extend(self.look_at(number)?);
        }
        for at in 0..segments.len() {
            let later = segments[at + 1..].iter().filter_map(|segment| segment.first_batch);
            self.scan_one(&segments[at], later.min())?;
        }
        Ok(())
    }

    /// Opens a segment; `None` if nothing was ever written to it.
    fn look_at(&self, number: u32) -> Result<Option<Unindexed>, OpenError> {
        let name = segment_name(number);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let file = self.disk.open(&name).map_err(io("can't open"))?;
        let mut head = vec![0; SEGMENT_HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(io("can't read"))?;
        if let Some(head) = SegmentHead::decode(&self.identity, number, &head[..read])? {
            let first_batch = Some(head.first_batch);
            return Ok(Some(Unindexed { number, file, first_batch, head_damaged: false }));
        }
        let content = read_all(&*file).map_err(io("can't read"))?;
        let mark = self.identity.mark(number);
        let first_frame = FrameHead::find(mark, &content, 0);
        let first_batch = first_frame.and_then(|at| FrameHead::decode(mark, &content[at..]));
        let Some(first_batch) = first_batch.map(|frame| frame.batch) else {
            // It was opened for a batch that never became durable.
            self.disk.remove(&name).map_err(io("can't remove"))?;
            return Ok(None);
        };
        let first_batch = Some(first_batch);
        Ok(Some(Unindexed { number, file, first_batch, head_damaged: true }))
    }

    fn scan_one(&mut self, segment: &Unindexed, next_first: Option<u64>) -> Result<(), OpenError> {
        let Unindexed { number, file, first_batch, head_damaged } = segment;
        let name = segment_name(*number);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let content = read_all(&**file).map_err(io("can't read"))?;
        self.check_begin(*number, *first_batch, *head_damaged);
        let Scan { index, batches, damage, unfinished_bytes, history_lost } =
            scan(&self.identity, *number, &content, *first_batch, next_first);
        if *head_damaged {
            let first_batch = first_batch.unwrap_or(index.next_batch);
            let head = SegmentHead { number: *number, first_batch };
            let written = file.write_at(&head.encode(&self.identity), 0);
            written.and_then(|()| file.sync()).map_err(io("can't write"))?;
        }
        self.expected = Some(index.next_batch);
        self.report.segments_scanned += 1;
        self.report.batches += batches;
        self.report.entries += index.entries;
        self.report.unfinished_bytes += unfinished_bytes;
        self.report.damage.extend(damage);
        self.report.history_lost |= history_lost;
        if index.entries == 0 && !history_lost {
            return self.disk.remove(&name).map_err(io("can't remove"));
        }
        if content.len() as u64 > index.end {
            file.truncate(index.end).and_then(|()| file.sync()).map_err(io("can't cut"))?;
        }
        self.sealed.push(Arc::new(index));
        Ok(())
    }

    /// Whether a segment goes on where the one before ended.
    fn check_begin(&mut self, number: u32, first_batch: Option<u64>, head_damaged: bool) {
        let file = segment_name(number);
        let bytes = SEGMENT_HEAD_BYTES as u64;
        if head_damaged {
            let kind = DamageKind::Header;
            self.report.damage.push(Damage { file: file.clone(), offset: 0, bytes, kind });
        }
        // If it goes back, it overrules the end of the one before.
        if let (Some(expected), Some(first)) = (self.expected, first_batch)
            && first > expected
        {
            let kind = DamageKind::Batches;
            self.report.damage.push(Damage { file, offset: bytes, bytes: 0, kind });
            self.report.history_lost = true;
        }
    }

    fn finish(mut self, random: &dyn Random) -> Result<Recovered, OpenError> {
        self.disk.sync_names().map_err(OpenError::io("can't sync", self.disk.path()))?;
        for damage in &self.report.damage {
            tracing::error!(%damage, "the store is damaged");
        }
        if self.report.history_lost {
            self.identity = self.identity.with_new_epoch(random);
            self.identity.save(self.disk)?;
            tracing::error!(epoch = self.identity.epoch, "entries were lost; the epoch is new");
        }
        Ok(Recovered {
            identity: self.identity,
            sealed: self.sealed,
            next_segment: self.next_segment,
            next_batch: self.expected.unwrap_or(1),
            report: self.report,
        })
    }
}
