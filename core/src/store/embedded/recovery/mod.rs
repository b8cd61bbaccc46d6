//! Finding out what a folder holds, and bringing it into order after a crash.

pub(super) mod damage;
pub(super) mod extent;
pub(super) mod inventory;
pub(super) mod new_epoch;
pub(super) mod scan;
mod strays;
pub(super) mod told;
pub(super) mod torn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::random::Random;

use self::damage::{Damage, DamageKind};
use self::extent::{Content, Extent};
use self::inventory::SegmentBound;
use self::scan::{End, scan};
use self::told::ToldDamage;
use super::cleaning::file::{CleanedFile, open_if_cleaned};
use super::cleaning::scan::scan_cleaned;
use super::config::{EmbeddedConfig, OpenError};
use super::disk::{Disk, DiskFile, names_in, read_all};
use super::identity::{self, Identity};
use super::index::indexer::remove_covered;
use super::index::memory::SegmentIndex;
use super::index::run::Run;
use super::index::{run_name, run_segments, write_segment};
use super::segment::frame::FrameHead;
use super::segment::{
    SEGMENT_HEAD_BYTES, SegmentFiles, SegmentHead, Span, UNFINISHED_SUFFIX, segment_name,
};

/// Made by file systems at the root of a disk.
const LOST_AND_FOUND: &str = "lost+found";

/// What opening a store had to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Segments that were read because they had no index file, or were not what they should be.
    pub segments_scanned: usize,
    /// Index files that were damaged and are made again.
    pub indexes_rebuilt: usize,
    /// Whole batches in them.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of an unfinished batch at the end that were cut off. It was never acknowledged.
    pub unfinished_bytes: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Entries may be lost, and the store has a new epoch.
    pub history_lost: bool,
    /// All damage that was told when the store was opened, now or earlier, and was not acknowledged.
    pub told: Vec<ToldDamage>,
}

/// A folder in order.
pub(super) struct Recovered {
    pub identity: Identity,
    pub extent: Extent,
    /// Segments whose files are there and are not ours, or came back too late.
    pub passed_over: BTreeSet<u32>,
    /// Of these, the files that are not what their names say.
    pub refused: Vec<(Span, Damage)>,
    /// Index files that were damaged, and were made again.
    pub damaged_runs: Vec<String>,
    pub runs: Vec<Arc<Run>>,
    /// The files that hold more than one segment.
    pub rows: Vec<Span>,
    pub sealed: Vec<Arc<SegmentIndex>>,
    pub next_segment: u32,
    /// Numbers above it that files have, whatever they are.
    pub taken: BTreeSet<u32>,
    pub next_batch: u64,
    /// Random: what is begun from now on is told by it from what an older copy would begin.
    pub life: u64,
    pub told: Vec<ToldDamage>,
    pub report: RecoveryReport,
}

/// A segment that has to be scanned.
pub(super) struct Unindexed {
    number: u32,
    file: Arc<dyn DiskFile>,
    /// By its header, or if that is damaged, by its first readable frame, if it has one.
    pub first_batch: Option<u64>,
    head_damaged: bool,
}

/// Opens what is in the folder, or makes a new store in an empty one.
pub(super) fn recover(
    disk: &dyn Disk,
    config: &EmbeddedConfig,
    random: &dyn Random,
) -> Result<Recovered, OpenError> {
    let names = disk.names().map_err(OpenError::io("can't list", disk.path()))?;
    let identity = if names.iter().any(|name| name == identity::NAME) {
        Identity::load(disk)?
    } else {
        make(disk, &names, random)?
    };
    remove_unfinished(disk, &names)?;
    let mut recovery = Recovery::new(disk, identity);
    recovery.open_runs(&names, config.filter_bytes_max)?;
    recovery.take_inventory(&names)?;
    recovery.scan_all()?;
    recovery.finish(random)
}

/// Whether a folder holds a store that this version reads, as far as its identity tells, or is empty
/// so that one can be made. Changes nothing and locks nothing: a server may have it open.
pub fn inspect(path: &Path) -> Result<(), OpenError> {
    let names = names_in(path).map_err(OpenError::io("can't list", path))?;
    if !names.iter().any(|name| name == identity::NAME) {
        return ensure_new(&names, path);
    }
    let file = path.join(identity::NAME);
    let content = std::fs::read(&file).map_err(OpenError::io("can't read", file))?;
    Identity::decode(&content).map(drop)
}

/// Makes a new store, if the folder is empty.
fn make(disk: &dyn Disk, names: &[String], random: &dyn Random) -> Result<Identity, OpenError> {
    ensure_new(names, &disk.path())?;
    let identity = Identity::random(random);
    identity.save(disk)?;
    Ok(identity)
}

fn ensure_new(names: &[String], path: &Path) -> Result<(), OpenError> {
    if names.iter().any(|name| is_of_a_store(name)) {
        return Err(OpenError::NoIdentity { path: path.to_owned() });
    }
    let unfinished = format!("{}{UNFINISHED_SUFFIX}", identity::NAME);
    if names.iter().any(|name| name != LOST_AND_FOUND && *name != unfinished) {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    Ok(())
}

/// Whether it is a file that is beside `STORE` in every store that has something.
fn is_of_a_store(name: &str) -> bool {
    Span::of_name(name).is_some() || run_segments(name).is_some() || name == extent::NAME
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
pub(super) struct Recovery<'a> {
    pub disk: &'a dyn Disk,
    pub identity: Identity,
    /// How far the store had come.
    pub extent: Content,
    /// As it was read, if it was whole.
    pub extent_before: Option<Content>,
    /// Index files that are whole, by their first segment.
    pub runs: BTreeMap<u32, Arc<Run>>,
    /// Those that were not.
    pub damaged_runs: Vec<String>,
    filter_bytes_left: usize,
    /// The files of segments that are there and are ours, in the order of what they hold.
    pub files: Vec<Span>,
    pub passed_over: BTreeSet<u32>,
    pub refused: Vec<(Span, Damage)>,
    /// The batch that comes next, if it is known.
    pub expected: Option<u64>,
    next_segment: u32,
    taken: BTreeSet<u32>,
    /// The index of the newest segment, if it has no file.
    sealed: Option<SegmentIndex>,
    /// Files that are longer than what is in them.
    uncut: Vec<(Arc<dyn DiskFile>, u64)>,
    /// Files in which nothing is that counts.
    unneeded: Vec<String>,
    told: Vec<ToldDamage>,
    pub report: RecoveryReport,
}

impl Recovery<'_> {
    fn new(disk: &dyn Disk, identity: Identity) -> Recovery<'_> {
        Recovery {
            disk,
            identity,
            extent: Content::new(identity.epoch),
            extent_before: None,
            runs: BTreeMap::new(),
            damaged_runs: Vec::new(),
            filter_bytes_left: 0,
            files: Vec::new(),
            passed_over: BTreeSet::new(),
            refused: Vec::new(),
            // A new store begins with batch 1 in segment 1.
            expected: Some(1),
            next_segment: 1,
            taken: BTreeSet::new(),
            sealed: None,
            uncut: Vec::new(),
            unneeded: Vec::new(),
            told: Vec::new(),
            report: RecoveryReport::default(),
        }
    }

    /// Opens the index files; what is damaged is removed and made again from its segments.
    fn open_runs(&mut self, names: &[String], filter_bytes_max: usize) -> Result<(), OpenError> {
        self.filter_bytes_left = filter_bytes_max;
        let found = names.iter().filter_map(|name| run_segments(name)).collect();
        let kept = remove_covered(self.disk, found);
        let mut kept = kept.map_err(OpenError::io("can't remove from", self.disk.path()))?;
        // The newest are asked most often: their filters come first.
        kept.reverse();
        for segments in kept {
            self.open_run(segments)?;
        }
        Ok(())
    }

    fn open_run(&mut self, segments: (u32, u32)) -> Result<(), OpenError> {
        let name = run_name(segments.0, segments.1);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        match Run::open(self.disk, &self.identity, segments, self.filter_bytes_left) {
            Ok(run) => {
                self.filter_bytes_left -= run.filter_bytes();
                self.runs.insert(segments.0, Arc::new(run));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => self.make_again(name),
            Err(error) => Err(io("can't open")(error)),
        }
    }

    /// Removes an index file that is damaged: what it covers is read instead.
    pub(super) fn make_again(&mut self, name: String) -> Result<(), OpenError> {
        tracing::error!(file = name, "an index file is damaged and made again");
        self.report.indexes_rebuilt += 1;
        let removed = self.disk.remove(&name);
        removed.map_err(OpenError::io("can't remove", self.disk.path().join(&name)))?;
        self.damaged_runs.push(name);
        Ok(())
    }

    /// The run that covers a segment.
    pub(super) fn run_of(&self, segment: u32) -> Option<&Arc<Run>> {
        let (_, run) = self.runs.range(..=segment).next_back()?;
        (segment <= run.segments().1).then_some(run)
    }

    /// Finds out what should be there and is not.
    fn take_inventory(&mut self, names: &[String]) -> Result<(), OpenError> {
        let names = self.set_strays_aside(names)?;
        self.files = self.segment_files(&names)?;
        self.load_extent()?;
        // No number is given twice, whatever has become of the file.
        let sealed = self.extent.sealed().last().map_or(0, |(segment, _)| segment);
        let indexed = self.runs.values().next_back().map_or(0, |run| run.segments().1);
        let known = sealed.max(self.extent.bound.segment).max(indexed);
        let newest = self.newest_named(known)?;
        self.taken = self.taken_above(newest);
        self.next_segment = newest.saturating_add(1);
        self.check_presence()
    }

    /// The files of segments, without those of which a wider one has taken the place.
    fn segment_files(&self, names: &[String]) -> Result<Vec<Span>, OpenError> {
        let files = SegmentFiles::of_names(names.iter().map(String::as_str));
        if !files.covered.is_empty() {
            // The wider one must outlive them.
            self.disk.sync_names().map_err(OpenError::io("can't sync", self.disk.path()))?;
        }
        for name in files.covered.into_iter().map(Span::name) {
            let removed = self.disk.remove(&name);
            removed.map_err(OpenError::io("can't remove", self.disk.path().join(name)))?;
        }
        Ok(files.kept)
    }

    /// Scans all segments that no run covers.
    fn scan_all(&mut self) -> Result<(), OpenError> {
        let mut later_first = self.first_batches()?;
        self.erase_again(&later_first)?;
        for span in self.files.clone() {
            let number = span.first;
            self.pass_lost(number);
            if let Some(run) = self.run_of_all(span) {
                self.expected = Some(run.next_batch());
                self.write_older()?;
            } else if let Some(cleaned) = self.open_cleaned(span)? {
                self.scan_cleaned(&cleaned)?;
            } else {
                later_first = later_first.split_off(&(number + 1));
                let next_first = later_first.values().copied().min();
                self.scan_unindexed(number, next_first)?;
            }
        }
        self.pass_lost(u32::MAX);
        Ok(())
    }

    /// The run of the last segment of a file, if there are runs of all of them.
    pub(super) fn run_of_all(&self, span: Span) -> Option<&Arc<Run>> {
        let all = (span.first..=span.last).all(|number| self.run_of(number).is_some());
        if all { self.run_of(span.last) } else { None }
    }

    /// Opens a file if it was cleaned.
    pub(super) fn open_cleaned(&self, span: Span) -> Result<Option<CleanedFile>, OpenError> {
        let name = span.name();
        let opened = self.disk.open(&name);
        let opened = opened.and_then(|file| open_if_cleaned(&self.identity, &file, span));
        opened.map_err(OpenError::io("can't open", self.disk.path().join(name)))
    }

    /// Gives those segments of a cleaned file an index file that have none.
    fn scan_cleaned(&mut self, cleaned: &CleanedFile) -> Result<(), OpenError> {
        self.write_older()?;
        let first = cleaned.span().first;
        self.report.history_lost |=
            self.check_begin(first, Some(cleaned.head.first_batch), false) && !self.was_told(first);
        let io = OpenError::io("can't read", self.disk.path().join(cleaned.span().name()));
        for scan in scan_cleaned(&self.identity, cleaned).map_err(io)? {
            self.take_cleaned(&scan);
            if scan.index.records == 0 || self.run_of(scan.index.segment).is_some() {
                continue;
            }
            self.report.segments_scanned += 1;
            self.report.batches += scan.batches;
            self.report.entries += scan.index.entries;
            self.sealed = Some(scan.index);
            self.write_older()?;
        }
        self.expected = Some(cleaned.cleaned().next_batch);
        Ok(())
    }

    /// The first batches of the segments that are not indexed, and of those right behind them.
    fn first_batches(&self) -> Result<BTreeMap<u32, u64>, OpenError> {
        let mut first_batches = BTreeMap::new();
        let mut before_indexed = true;
        for &span in &self.files {
            let number = span.first;
            let indexed = self.run_of_all(span).is_some();
            if (!indexed || !before_indexed)
                && let Some(first) = self.look_at(span)?.first_batch
            {
                first_batches.insert(number, first);
            }
            before_indexed = indexed;
        }
        Ok(first_batches)
    }

    fn scan_unindexed(&mut self, number: u32, next_first: Option<u64>) -> Result<(), OpenError> {
        let mut segment = self.look_at(Span::one(number))?;
        if segment.first_batch.is_none() && self.was_durable(number) {
            // Nothing in it says which batches these were, but it is known that there were some.
            let row = self.extent.row(number).map(|row| row.first_batch);
            segment.first_batch = row.or(self.expected);
        }
        if segment.first_batch.is_none() {
            return self.remove_unused(number);
        }
        self.scan_one(&segment, next_first)
    }

    /// Removes a segment that was opened for a batch that never became durable: neither its header
    /// nor any frame is whole. If it is garbage instead, the next segment misses its batches.
    fn remove_unused(&mut self, number: u32) -> Result<(), OpenError> {
        let name = segment_name(number);
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let content = self.disk.open(&name).and_then(|file| read_all(&*file));
        let used = content.map_err(io("can't read"))?.iter().filter(|byte| **byte != 0).count();
        self.report.unfinished_bytes += used as u64;
        self.unneeded.push(name);
        Ok(())
    }

    /// Opens a segment and finds out where it begins.
    pub(super) fn look_at(&self, span: Span) -> Result<Unindexed, OpenError> {
        let (number, name) = (span.first, span.name());
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let file = self.disk.open(&name).map_err(io("can't open"))?;
        let mut head = vec![0; SEGMENT_HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(io("can't read"))?;
        if let Some(head) = SegmentHead::decode(&self.identity, number, &head[..read])? {
            let first_batch = Some(head.first_batch);
            return Ok(Unindexed { number, file, first_batch, head_damaged: false });
        }
        let content = read_all(&*file).map_err(io("can't read"))?;
        let mark = self.identity.mark(number);
        let first_frame = FrameHead::find(mark, &content, 0);
        let first_frame = first_frame.and_then(|at| FrameHead::decode(mark, &content[at..]));
        let first_batch = first_frame.map(|frame| frame.batch);
        Ok(Unindexed { number, file, first_batch, head_damaged: true })
    }

    fn scan_one(&mut self, segment: &Unindexed, next_first: Option<u64>) -> Result<(), OpenError> {
        let Unindexed { number, file, first_batch, head_damaged } = segment;
        let (number, name) = (*number, segment_name(*number));
        let io = |doing| OpenError::io(doing, self.disk.path().join(&name));
        let content = read_all(&**file).map_err(io("can't read"))?;
        let SegmentBound { durable, ends_at } = self.bound_of(number);
        // Where the next one is lost, its row says how far this one reached.
        let end = End::at(next_first.into_iter().chain(ends_at).min());
        let mut scan = scan(&self.identity, number, &content, *first_batch, end, durable);
        // If the header is all that a crash left unwritten of the first batch, nothing is damaged.
        let was_durable = self.was_durable(number)
            || scan.batches > 1
            || next_first.is_some_and(|next| *first_batch < Some(next));
        scan.history_lost |= self.check_begin(number, *first_batch, *head_damaged && was_durable);
        self.check_length(number, content.len() as u64);
        let is_newest = next_first.is_none();
        if *head_damaged || is_newest {
            let first_batch = first_batch.unwrap_or(scan.index.next_batch);
            let head = SegmentHead::plain(number, first_batch);
            let written = file.write_at(&head.encode(&self.identity), 0);
            written.map_err(io("can't write"))?;
        }
        // After the death of the process alone, the last batch may be in the page cache and not on
        // the disk; and if its fsync had failed, no later one would write it. What was read is
        // going to be served, so it is written anew; but not what could not be read of it, which the disk
        // may be able to read another time.
        if is_newest
            && let Some(at) = scan.last_frame
            && !scan.is_damaged_behind(at as u64)
        {
            let frame = &content[at..scan.index.end as usize];
            file.write_at(frame, at as u64).map_err(io("can't write"))?;
        }
        self.expected = Some(scan.index.next_batch);
        self.report.segments_scanned += 1;
        self.report.batches += scan.batches;
        self.report.entries += scan.index.entries;
        self.report.unfinished_bytes += scan.unfinished_bytes;
        self.check_unknown_segment(number, scan.batches);
        let history_lost = self.take_damage(number, &scan);
        if scan.index.records == 0 && !history_lost {
            self.forget(number);
            self.unneeded.push(name);
            return Ok(());
        }
        if content.len() as u64 > scan.index.end {
            self.uncut.push((Arc::clone(file), scan.index.end));
        }
        file.sync().map_err(io("can't sync"))?;
        self.remember(number, first_batch.unwrap_or(1), &scan);
        self.write_older()?;
        self.sealed = Some(scan.index);
        Ok(())
    }

    /// Writes the index of a segment to its file when a newer one comes: what is in memory is
    /// newer than all files, and a store whose index files are all lost must not need memory for
    /// its whole history.
    fn write_older(&mut self) -> Result<(), OpenError> {
        let Some(older) = self.sealed.take() else { return Ok(()) };
        let segment = older.segment;
        let io = |doing| OpenError::io(doing, self.disk.path().join(run_name(segment, segment)));
        write_segment(self.disk, &self.identity, &older).map_err(io("can't write"))?;
        self.open_run((segment, segment))
    }

    /// Whether a segment goes on where the one before ended. Returns whether batches are missing.
    fn check_begin(&mut self, number: u32, first: Option<u64>, head_damaged: bool) -> bool {
        let file = segment_name(number);
        let bytes = SEGMENT_HEAD_BYTES as u64;
        if head_damaged {
            let kind = DamageKind::Header;
            self.report.damage.push(Damage { file: file.clone(), offset: 0, bytes, kind });
        }
        // If it goes back, it overrules the end of the one before.
        let missing = first.zip(self.expected).and_then(|(first, next)| first.checked_sub(next));
        let missing = missing.filter(|missing| *missing > 0);
        if missing.is_some() {
            let kind = DamageKind::Batches { missing };
            self.report.damage.push(Damage { file, offset: bytes, bytes: 0, kind });
        }
        missing.is_some()
    }

    fn finish(mut self, random: &dyn Random) -> Result<Recovered, OpenError> {
        // What is written down below must be there.
        self.disk.sync_names().map_err(OpenError::io("can't sync", self.disk.path()))?;
        let next_batch = self.expected.unwrap_or(1).max(self.extent.bound.next_batch);
        self.tell()?;
        let life = random.next_u64();
        if self.extent.bound.segment > 0 {
            self.extent.adopt(life);
        }
        self.save_extent(next_batch, random)?;
        for (file, end) in &self.uncut {
            let cut = file.truncate(*end).and_then(|()| file.sync());
            cut.map_err(OpenError::io("can't cut a file in", self.disk.path()))?;
        }
        for name in &self.unneeded {
            let removed = self.disk.remove(name);
            removed.map_err(OpenError::io("can't remove", self.disk.path().join(name)))?;
        }
        self.disk.sync_names().map_err(OpenError::io("can't sync", self.disk.path()))?;
        if let Some(sealed) = &mut self.sealed {
            sealed.life = self.extent.life_of(sealed.segment);
        }
        let extent = Extent::open(self.disk, self.identity, self.extent);
        let rows = self.files.into_iter().filter(|span| span.first != span.last).collect();
        Ok(Recovered {
            rows,
            identity: self.identity,
            passed_over: self.passed_over,
            refused: self.refused,
            extent: extent.map_err(OpenError::io("can't open", self.disk.path()))?,
            damaged_runs: self.damaged_runs,
            runs: self.runs.into_values().collect(),
            sealed: self.sealed.into_iter().map(Arc::new).collect(),
            next_segment: self.next_segment,
            taken: self.taken,
            next_batch,
            life,
            told: self.told,
            report: self.report,
        })
    }

    /// Says what is damaged, in the log and in a file that stays until somebody has seen it.
    fn tell(&mut self) -> Result<(), OpenError> {
        let io = |doing| OpenError::io(doing, self.disk.path().join(told::NAME));
        for damage in &self.report.damage {
            tracing::error!(file = damage.file, %damage, "the store is damaged");
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let mut told = told::load(self.disk).map_err(io("can't read"))?;
        let RecoveryReport { damage, history_lost, .. } = &self.report;
        let added = told::add(self.disk, &mut told, damage, *history_lost, now_ms);
        added.map_err(io("can't write"))?;
        self.report.told = told::unacknowledged(&told);
        self.told = told;
        Ok(())
    }

    /// Writes how far the store has come, and a new epoch if entries may be lost. The epoch is
    /// first in `EXTENT`: whatever is interrupted there is finished at the next start.
    fn save_extent(&mut self, next_batch: u64, random: &dyn Random) -> Result<(), OpenError> {
        self.extent.bound.next_batch = next_batch;
        if self.report.history_lost {
            self.identity = self.identity.with_new_epoch(random);
            tracing::error!(
                epoch = self.identity.epoch,
                "entries may have been lost; the epoch is new"
            );
        }
        self.extent.bound.epoch = self.identity.epoch;
        if self.extent_before.as_ref() == Some(&self.extent) {
            return Ok(());
        }
        extent::save(self.disk, &mut self.extent, &self.identity, self.report.history_lost)
    }
}
