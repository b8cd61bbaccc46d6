//! The thread that gives sealed segments their index files, merges these, and makes damaged ones
//! again. Whatever it fails to do stays in memory, or unmerged, and is tried again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::super::Shared;
use super::super::cleaning::cleaner::now_ms;
use super::super::cleaning::deaths;
use super::super::cleaning::scan::scan_cleaned;
use super::super::eraser::overwrite;
use super::super::index::memory::SegmentIndex;
use super::super::index::run::Run;
use super::super::index::{can_merge, merge_runs, run_name, write_segment};
use super::super::recovery::extent::Row;
use super::super::recovery::scan::{Scan, scan_file};
use super::super::segment::files::SegmentFile;
use super::super::segment::{
    SEGMENT_HEAD_BYTES, SegmentFiles, SegmentHead, Span, first_batches_behind,
};

/// How long to wait after a failure, which is most often a full disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Records of a merge between two looks at what else is to be done.
const MERGED_BETWEEN_LOOKS: u32 = 4096;

/// How often whoever waits for an index file looks whether it is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Tells the thread to end, also in the middle of a merge, and what else to do.
#[derive(Debug, Default)]
pub(in super::super) struct Indexer {
    stop: AtomicBool,
    /// What it tried last has failed, and it waits before it tries again.
    has_failed: AtomicBool,
    /// Merge all files, and forget in them which registers were removed, as far as these segments go and
    /// the floors of their logs allow it. 0 if nobody wants that.
    forget_through: AtomicU32,
}

impl Indexer {
    pub(in super::super) fn stop(&self, shared: &Shared) {
        self.stop.store(true, Ordering::Relaxed);
        shared.index.wake.wake();
    }

    /// Asks for one file in the place of all, without the removals that may be forgotten.
    pub(in super::super) fn forget(&self, shared: &Shared, through: u32) {
        self.forget_through.store(through, Ordering::Release);
        shared.index.wake.wake();
    }

    /// Whether that is still to be done. If it fails, it has to be asked for again.
    pub(in super::super) fn is_forgetting(&self) -> bool {
        self.forget_through.load(Ordering::Acquire) > 0
    }

    /// Works until it is stopped.
    pub(in super::super) fn run(&self, shared: &Shared) {
        loop {
            let done = self.work(shared);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.has_failed.store(done.is_err(), Ordering::Relaxed);
            if let Err(error) = &done {
                tracing::warn!(%error, "can't write the index; it will be tried again");
            }
            shared.index.wake.wait(done.is_err().then_some(RETRY_INTERVAL));
        }
    }

    /// Waits while more segments wait for their index files than may be in memory: whoever writes faster
    /// than that is done, or on a machine that has no time for it, would fill the memory. Where index files
    /// can't be written nobody waits for them.
    pub(in super::super) fn wait_for_room(&self, shared: &Shared) {
        let bytes_max = shared.config.index_bytes_max.saturating_mul(2);
        while shared.index.sealed_bytes() > bytes_max && !self.has_failed.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Does all that there is to do.
    fn work(&self, shared: &Shared) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let runs = shared.index.runs();
            let mut damaged = runs.iter().filter(|run| run.is_damaged());
            // First what waits in memory: a damaged file may be beyond help until the next start.
            if let Some(sealed) = shared.index.oldest_sealed() {
                index_segment(shared, &sealed)?;
            } else if let Some(damaged) = damaged.clone().find(|run| can_be_made_again(shared, run))
            {
                rebuild(shared, damaged)?;
            } else if damaged.next().is_some() {
                // It can't be merged, nor what is older and newer without it.
                break;
            } else if let Some(runs) = shared.index.choose_merge(shared.config.merge_runs) {
                self.merge(shared, &runs, 0)?;
            } else if self.is_forgetting() {
                let merged = self.forget_marks(shared);
                self.forget_through.store(0, Ordering::Release);
                merged?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Without the removals, all of them have to be merged: an older file might say what was removed.
    fn forget_marks(&self, shared: &Shared) -> io::Result<()> {
        let runs = shared.index.runs();
        if !can_merge(&runs) {
            return Ok(());
        }
        self.merge(shared, &runs, self.forget_through.load(Ordering::Acquire))
    }

    fn merge(&self, shared: &Shared, runs: &[Arc<Run>], forget_through: u32) -> io::Result<()> {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        let segments = (first.segments().0, last.segments().1);
        let Shared { disk, identity, .. } = shared;
        let mut merged = 0_u32;
        let mut between = || {
            merged = merged.wrapping_add(1);
            if merged.is_multiple_of(MERGED_BETWEEN_LOOKS) { self.look_up(shared) } else { Ok(()) }
        };
        let bytes = merge_runs(&**disk, identity, runs, forget_through, &mut between)?;
        shared.counters.index_bytes.add(bytes);
        shared.index.install(&[open_run(shared, segments)?]);
        place_filters(shared)?;
        // One alone was replaced by its new name, which is the old one.
        for run in runs.iter().filter(|run| run.segments() != segments) {
            let (first, last) = run.segments();
            shared.disk.remove(&run_name(first, last))?;
        }
        Ok(())
    }

    /// Looks up from a merge, which takes minutes where there are many messages: segments that are sealed
    /// meanwhile would fill the memory.
    fn look_up(&self, shared: &Shared) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(sealed) = shared.index.oldest_sealed() else { return Ok(()) };
            index_segment(shared, &sealed)?;
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

/// Cuts a segment at its end and writes its index file.
fn index_segment(shared: &Shared, sealed: &SegmentIndex) -> io::Result<()> {
    let number = sealed.segment;
    let file = shared.segments.file(number)?;
    // Not needed to be correct: it only gives space back. But a file that is shorter than it was
    // made, and not known to be sealed, would look damaged.
    if !sealed.keeps_end
        && shared.extent.has_sealed(number)
        && let Err(error) = file.truncate(sealed.end).and_then(|()| file.sync())
    {
        tracing::warn!(%error, segment = number, "can't cut a segment at its end");
    }
    // Segments that have an index file are not looked at when the store opens: what may not have been
    // overwritten yet must be.
    let Shared { disk, segments, identity, .. } = shared;
    let erased = overwrite(&**disk, segments, identity, &sealed.erasures);
    if let Err(error) = erased {
        // Whoever has erased was told then, if it could not be done.
        tracing::error!(%error, segment = number, "what was erased can't be overwritten");
    }
    let bytes = write_segment(&*shared.disk, &shared.identity, sealed)?;
    shared.counters.index_bytes.add(bytes);
    let died = deaths::of(shared, sealed);
    let run = open_run(shared, (number, number))?;
    // Before the file is seen: whoever sees it relies on that.
    match died {
        Ok(died) => shared.cleaner.life.died(&died, now_ms()),
        Err(error) => {
            tracing::warn!(%error, segment = number, "can't tell what has died");
            shared.cleaner.life.forget();
        }
    }
    shared.index.install(&[run]);
    place_filters(shared)
}

fn open_run(shared: &Shared, segments: (u32, u32)) -> io::Result<Arc<Run>> {
    let filter_bytes_max = shared.index.filter_bytes_left(segments.1);
    Run::open(&*shared.disk, &shared.identity, segments, filter_bytes_max).map(Arc::new)
}

/// Lets the filters of the oldest files make room for those of the newer ones, and come back when there is
/// room again. (Until then there may be more of them in memory than are allowed: those of the newest file,
/// which was just made.)
fn place_filters(shared: &Shared) -> io::Result<()> {
    while let Some((run, filter_bytes_max)) = shared.index.misplaced_filter() {
        let segments = run.segments();
        match Run::open(&*shared.disk, &shared.identity, segments, filter_bytes_max) {
            Ok(again) => shared.index.install(&[Arc::new(again)]),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                run.found_damaged();
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an index file that is damaged can be made again while the store is open.
fn can_be_made_again(shared: &Shared, damaged: &Run) -> bool {
    let (first, last) = damaged.segments();
    // It may be all that knows what is lost of its segments, or was in one that is not read. The next start looks
    // at all of them, and begins another epoch if something is missing.
    let is_read = shared.passed_over.range(first..=last).next().is_none();
    let can = is_read && !shared.extent.has_loss(first, last);
    if damaged.begins_to_tell() {
        let file = run_name(first, last);
        if can {
            tracing::error!(file, "an index file is damaged and made again");
        } else {
            tracing::error!(file, "an index file is damaged; the next start makes it again");
        }
    }
    can
}

/// Makes a damaged index file again, as one file for each of its segments.
fn rebuild(shared: &Shared, damaged: &Run) -> io::Result<()> {
    let (first, last) = damaged.segments();
    let _names = shared.segments.hold_names();
    let names = shared.disk.names()?;
    let mut files = SegmentFiles::of_names(names.iter().map(String::as_str)).kept;
    files.retain(|span| span.first <= last && first <= span.last);
    // The last batch of its last segment is known; of the others, the headers behind them tell.
    let firsts = files.iter().map(|span| first_batch(shared, *span));
    let mut firsts = firsts.collect::<io::Result<Vec<_>>>()?;
    firsts.push(Some(damaged.next_batch()));
    let mut scans = Vec::new();
    for (span, next_first) in files.into_iter().zip(first_batches_behind(&firsts)) {
        match shared.segments.open(span.first)? {
            SegmentFile::Plain(_) => {
                let (disk, number) = (&*shared.disk, span.first);
                scans.push(scan_file(disk, &shared.identity, number, None, next_first)?);
            }
            SegmentFile::Cleaned(cleaned) => {
                scans.extend(scan_cleaned(&shared.identity, &cleaned)?);
            }
        }
    }
    // A row may reach beyond what the index file is about.
    scans.retain(|scan| (first..=last).contains(&scan.index.segment));
    for damage in scans.iter().flat_map(|scan| &scan.damage) {
        tracing::error!(%damage, "the store is damaged");
    }
    tell_losses(shared, &scans)?;
    let mut runs = Vec::new();
    for scan in scans {
        let number = scan.index.segment;
        if scan.index.records == 0 {
            // Opened for a batch that failed, and not removed.
            continue;
        }
        let bytes = write_segment(&*shared.disk, &shared.identity, &scan.index)?;
        shared.counters.index_bytes.add(bytes);
        runs.push(open_run(shared, (number, number))?);
    }
    shared.index.install(&runs);
    if first != last {
        shared.disk.remove(&run_name(first, last))?;
    }
    Ok(())
}

/// Writes down what is lost in segments whose index file is damaged as well. A new one would not know of
/// it: older registers would be served in the place of those that are lost.
fn tell_losses(shared: &Shared, scans: &[Scan]) -> io::Result<()> {
    let mut has_loss = false;
    for scan in scans.iter().filter(|scan| scan.history_lost) {
        let number = scan.index.segment;
        let was = shared.extent.row(number).unwrap_or_default();
        let row = match shared.segments.open(number)? {
            SegmentFile::Plain(_) => Row::of(was.first_batch, scan, true),
            // Where its last record was says nothing of a cleaned file.
            SegmentFile::Cleaned(_) => Row { loss_told: true, last_frame: 0, ..was },
        };
        shared.extent.lose(number, row)?;
        has_loss = true;
    }
    if has_loss { Err(lost_in_part()) } else { Ok(()) }
}

/// The index file is all that knows what is lost, and it is damaged. The next start begins another epoch.
fn lost_in_part() -> io::Error {
    io::Error::other("what an index file is about is lost in part: the next start tells it")
}

fn first_batch(shared: &Shared, span: Span) -> io::Result<Option<u64>> {
    let mut head = vec![0; SEGMENT_HEAD_BYTES];
    let file = shared.segments.file(span.first)?;
    let read = file.read_at(&mut head, 0)?;
    let head = SegmentHead::decode(&shared.identity, span, &head[..read]);
    let head = head.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(head.map(|head| head.first_batch))
}
