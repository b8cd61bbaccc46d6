//! Reading everything back: is it whole, and does the index agree with it?
//!
//! What is in some segments is in memory, as their indexes would have it, and a block of each index file:
//! not more, however many logs there are. (Of segments without an index file that can be read, it is remembered which entries of which
//! logs they have; of some of which something is lost, where their records are.)

mod compare;
mod dead;
mod logs;
pub(super) mod losses;
mod parts;
mod segments;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::random::SystemSource;

use super::cleaning::cleaner::now_ms;
use super::config::{EmbeddedConfig, OpenError};
use super::disk::overlay::Overlay;
use super::disk::{Disk, ReadFolder};
use super::index::memory::SegmentIndex;
use super::index::run::Run;
use super::index::run_name;
use super::index::spans::{SegmentSpans, find_missing};
use super::recovery::damage::{Damage, DamageKind};
use super::recovery::told::{self, ToldDamage};
use super::segment::{Span, first_batches_behind, segment_name};
use super::{Shared, recovery};
use crate::store::StoreError;
use compare::compare;
pub(super) use logs::LogsCheck;
use losses::Losses;
pub use losses::{Loss, LostEntries};
pub(super) use parts::{durable_parts, first_batches, read_part};
pub(super) use segments::SegmentsCheck;

/// What a full check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments that were read.
    pub segments: usize,
    /// Batches in them.
    pub batches: u64,
    /// Entries in them that are whole.
    pub entries: u64,
    /// Logs that they belong to.
    pub logs: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong; empty if all is well.
    pub damage: Vec<Damage>,
    /// What is damaged and is no loss: nothing refers to it any more, since it was set anew or has
    /// expired. It is gone when its file is cleaned.
    pub dead: Vec<Damage>,
    /// What is lost with it, as far as that is known.
    pub losses: Vec<Loss>,
    /// Files of which something is lost that are not among these.
    pub losses_left_out: usize,
    /// What was found wrong when the store was opened, now or earlier, and was not acknowledged: it
    /// may be found no more.
    pub told: Vec<ToldDamage>,
}

/// How far a full check has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Files of segments that were read.
    pub files: usize,
    /// Of so many.
    pub files_total: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Of so many.
    pub bytes_total: u64,
}

/// Checks all of the store in a folder that no server has open, and changes nothing there: what opening
/// it would bring into order is done in memory.
pub fn verify_folder(
    path: &Path,
    config: EmbeddedConfig,
    mut progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    config.check()?;
    recovery::inspect(path)?;
    // What recovery would log is not so yet: no epoch begins here. What it finds is in the report.
    let nobody = tracing::subscriber::NoSubscriber::new();
    tracing::subscriber::with_default(nobody, || verify_closed(path, config, &mut progress))
}

fn verify_closed(
    path: &Path,
    config: EmbeddedConfig,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    let disk = Arc::new(Overlay::new(Arc::new(ReadFolder::open(path)?)));
    let told = told::load(disk.open(told::NAME), now_ms())
        .map_err(OpenError::io("can't read", path.join(told::NAME)))?;
    let mut recovered = recovery::recover(&*disk, &config, &SystemSource::new())?;
    let mut found = std::mem::take(&mut recovered.report).damage;
    let damaged = std::mem::take(&mut recovered.damaged_runs).into_iter();
    found.extend(damaged.map(|name| Damage::of_file(name, DamageKind::Index)));
    let shared = Shared::new(disk, config, recovered);
    let mut report = verify(&shared, progress)?;
    report.told = told::unacknowledged(&told);
    for damage in found {
        if !report.damage.contains(&damage) && !report.dead.contains(&damage) {
            report.damage.push(damage);
        }
    }
    Ok(report)
}

/// Checks all of an open store.
pub(super) fn verify(
    shared: &Shared,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    let _names = shared.segments.hold_names();
    let mut walk = Walk::begin(shared);
    let parts = durable_parts(shared)?;
    let mut check = SegmentsCheck::of_open(shared);
    check.report.damage.extend(walk.damage());
    let mut losses = Losses::default();
    for (segment, row) in &check.lost {
        let refused = shared.refused.iter().find(|(span, _)| span.holds(*segment));
        let file = refused.map_or(Span::one(*segment), |(span, _)| *span);
        losses.add_file(file, *segment, row);
    }
    let mut unindexed = Vec::new();
    let firsts = first_batches(shared, &parts)?;
    let mut step = VerifyProgress { files_total: parts.len(), ..VerifyProgress::default() };
    step.bytes_total = parts.iter().map(|part| part.bytes).sum();
    for (part, next_first) in parts.iter().zip(first_batches_behind(&firsts)) {
        for scan in check.part(shared, part, next_first)? {
            let (segment, index) = (scan.index.segment, &scan.index);
            losses.add_scan(part.span, &scan, shared.extent.row(segment).as_ref());
            if walk.run_of(segment).is_none() {
                unindexed.push(SegmentSpans::of(index));
            }
            walk.compare(shared, scan.index, &mut check.report.damage)?;
        }
        step.files += 1;
        step.bytes += part.bytes;
        progress(step);
    }
    walk.compare_rest(shared, &mut check.report.damage)?;
    for (segment, row) in std::mem::take(&mut check.missing) {
        losses.add_file(Span::one(segment), segment, &row);
    }
    let mut report = check.finish();
    walk.finish(shared, unindexed, losses, &mut report)?;
    report.told = shared.unacknowledged();
    Ok(report)
}

/// The index files while everything is looked up in them.
struct Walk {
    /// Those that are whole.
    runs: Vec<Arc<Run>>,
    broken: Vec<Arc<Run>>,
    /// What was found in segments and is to be looked up: of one index file, or of none.
    found: Vec<SegmentIndex>,
    found_bytes: usize,
}

/// So much of what was found in segments is looked up at a time, in bytes: the more, the less often each
/// index file is read.
const FOUND_BYTES_MAX: usize = 128 * 1024 * 1024;

impl Walk {
    /// Reads the index files themselves first: what can't be looked up for one that is damaged is no
    /// damage of anything else.
    fn begin(shared: &Shared) -> Walk {
        let runs = shared.index.runs();
        let (runs, broken): (Vec<_>, Vec<_>) =
            runs.iter().map(Arc::clone).partition(|run| run.check().is_ok());
        if !broken.is_empty() {
            shared.index.wake.wake();
        }
        runs.iter().for_each(|run| run.begin_walk());
        Walk { runs, broken, found: Vec::new(), found_bytes: 0 }
    }

    fn damage(&self) -> impl Iterator<Item = Damage> {
        let name = |run: &Arc<Run>| run_name(run.segments().0, run.segments().1);
        self.broken.iter().map(move |run| Damage::of_file(name(run), DamageKind::Index))
    }

    /// The index file of a segment.
    fn run_of(&self, segment: u32) -> Option<&Run> {
        let covers = |run: &&Arc<Run>| (run.segments().0..=run.segments().1).contains(&segment);
        self.runs.iter().find(covers).map(|run| &**run)
    }

    /// Compares a segment with the index, now or together with others. What is older than a file that
    /// is damaged is not compared: that it is not in the index any more may be for what only this file
    /// knows.
    fn compare(
        &mut self,
        shared: &Shared,
        found: SegmentIndex,
        damage: &mut Vec<Damage>,
    ) -> Result<(), OpenError> {
        if self.broken.iter().any(|run| found.segment <= run.segments().1) {
            return Ok(());
        }
        let run_of = |segment| self.run_of(segment).map(Run::segments);
        let is_another = |last: &SegmentIndex| run_of(last.segment) != run_of(found.segment);
        if self.found.last().is_some_and(is_another) {
            self.compare_rest(shared, damage)?;
        }
        self.found_bytes += found.bytes();
        self.found.push(found);
        if self.found_bytes >= FOUND_BYTES_MAX {
            self.compare_rest(shared, damage)?;
        }
        Ok(())
    }

    /// Compares what was not compared yet.
    fn compare_rest(&mut self, shared: &Shared, damage: &mut Vec<Damage>) -> Result<(), OpenError> {
        self.found_bytes = 0;
        let found = std::mem::take(&mut self.found);
        let own = found.first().and_then(|first| self.run_of(first.segment));
        match compare(shared, own, &found, damage) {
            Err(error) if self.broken.is_empty() => Err(unreadable(shared)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Looks whether the parts of each log follow each other, and what the index files know of what is
    /// lost.
    fn finish(
        &self,
        shared: &Shared,
        unindexed: Vec<SegmentSpans>,
        mut losses: Losses,
        report: &mut VerifyReport,
    ) -> Result<(), OpenError> {
        let io = OpenError::io("can't read the index files in", shared.disk.path());
        let logs = losses
            .count(&self.runs, |lossy, found| find_missing(&self.runs, unindexed, lossy, found));
        report.logs = usize::try_from(logs.map_err(&io)?).unwrap_or(usize::MAX);
        self.runs.iter().try_for_each(|run| losses.add_registers(shared, run)).map_err(&io)?;
        (report.losses, report.losses_left_out) = losses.finish(&mut report.damage);
        Ok(())
    }
}

fn unreadable(shared: &Shared) -> impl FnOnce(StoreError) -> OpenError {
    let path = shared.disk.path();
    move |error| OpenError::io("can't read the index files in", path)(io::Error::other(error))
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.runs.iter().for_each(|run| run.end_walk());
    }
}

/// Files that are known to be lost, or are not ours.
fn lost_files(shared: &Shared) -> Vec<Damage> {
    let is_refused = |number: u32| shared.refused.iter().any(|(span, _)| span.holds(number));
    let lost = shared.extent.lost_files().into_iter().filter(|(number, _)| !is_refused(*number));
    let missing =
        lost.map(|(number, _)| Damage::of_file(segment_name(number), DamageKind::Missing));
    let refused = shared.refused.iter().map(|(_, damage)| damage.clone());
    missing.chain(refused).collect()
}
