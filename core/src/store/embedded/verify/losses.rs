//! What is lost, so that an operator can decide by it: how much, and of which conversations.
//!
//! Who knows: `EXTENT` knows how many batches a segment had; an index file that was made before the loss
//! knows each entry and register that was in its segments; and where neither does, entries behind a gap
//! know that some were before them, though not whether others were behind.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use dunlin_protocol::LogId;

use super::super::Shared;
use super::super::index::memory::LOST;
use super::super::index::run::Run;
use super::super::index::spans::{Lossy, Missing, Whereabouts, walk_registers};
use super::super::recovery::damage::{Damage, DamageKind, LogName};
use super::super::recovery::extent::Row;
use super::super::recovery::scan::Scan;
use super::super::segment::files::Location;
use super::super::segment::{Span, segment_name};

/// Files of which it is told what is lost of them: what is left of each is remembered, which takes 4
/// bytes for each of its records.
const LOSSES_MAX: usize = 32;

/// Logs that are named of each: enough to see what kind of conversations these are.
const NAMED_MAX: usize = 10;

/// What is lost with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file that it was in; or the one that goes on behind it.
    pub file: String,
    /// It is known only by what comes behind it, and there is more than one file that it may have been in,
    /// or none.
    pub is_before: bool,
    /// Batches that were acknowledged and of which something is lost, if it is known how many.
    pub batches: Option<u64>,
    /// An index file knows which entries and registers. Otherwise there may be more of them.
    pub is_known: bool,
    /// Entries that have not expired.
    pub entries: u64,
    /// Registers of which no other value is newer.
    pub registers: u64,
    /// Logs of these entries.
    pub logs: u64,
    /// The first of these logs.
    pub named: Vec<LostEntries>,
}

/// Entries of a log that are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostEntries {
    /// The log.
    pub log: LogId,
    /// The first of them.
    pub from: u64,
    /// The last of them.
    pub to: u64,
    /// How many.
    pub entries: u64,
}

impl Loss {
    fn new(file: String, is_before: bool) -> Loss {
        Loss {
            file,
            is_before,
            batches: None,
            is_known: false,
            entries: 0,
            registers: 0,
            logs: 0,
            named: Vec::new(),
        }
    }

    /// Counts entries. Those of one log come together, in their order.
    fn add(&mut self, missing: &Missing, last_log: &mut Option<LogId>) {
        let Missing { log, from, to, .. } = *missing;
        let entries = to + 1 - from;
        self.entries += entries;
        if *last_log != Some(log) {
            *last_log = Some(log);
            self.logs += 1;
            if self.named.len() < NAMED_MAX {
                self.named.push(LostEntries { log, from, to, entries });
            }
        } else if let Some(named) = self.named.last_mut().filter(|named| named.log == log) {
            named.to = to;
            named.entries += entries;
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { file, is_before, batches, is_known, entries, registers, logs, named } = self;
        write!(f, "lost {} {file}: ", if *is_before { "before" } else { "with" })?;
        if let Some(batches) = batches {
            write!(f, "{}; ", Count(*batches, "batch", "batches"))?;
        }
        if !is_known && *entries == 0 {
            return write!(f, "no index file knows any more which entries these were");
        }
        let at_least = if *is_known { "" } else { "at least " };
        write!(f, "{at_least}{}", Count(*entries, "entry", "entries"))?;
        if *logs > 0 {
            write!(f, " of {}", Count(*logs, "log", "logs"))?;
        }
        if *registers > 0 {
            write!(f, ", {}", Count(*registers, "register", "registers"))?;
        }
        for (place, lost) in named.iter().enumerate() {
            write!(f, "{} {lost}", if place == 0 { ":" } else { ";" })?;
        }
        match logs - named.len() as u64 {
            0 => {}
            others => write!(f, "; and {}", Count(others, "other log", "other logs"))?,
        }
        if *is_known || *is_before {
            return Ok(());
        }
        write!(f, "; no index file knows any more whether these were all")
    }
}

/// So many of something.
struct Count(u64, &'static str, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(count, one, many) = *self;
        write!(f, "{count} {}", if count == 1 { one } else { many })
    }
}

impl fmt::Display for LostEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LostEntries { log, from, to, entries } = *self;
        write!(f, "{}", LogName(log))?;
        match entries {
            1 => write!(f, ", entry {from}"),
            all if all == to + 1 - from => write!(f, ", entries {from} to {to}"),
            some => write!(f, ", {some} entries from {from} to {to}"),
        }
    }
}

/// Counts what is lost.
#[derive(Debug, Default)]
pub(in super::super) struct Losses {
    lossy: LossySegments,
    counts: Counts,
}

/// The segments of which something may be lost.
#[derive(Debug, Default)]
struct LossySegments {
    segments: BTreeMap<u32, LossySegment>,
}

#[derive(Debug)]
struct LossySegment {
    /// The first segment of its file.
    file: u32,
    /// The index file that covers it was made of what was left, or will be.
    is_forgotten: bool,
    /// The offsets of what is left, sorted; `None` if that is not remembered.
    left: Option<Vec<u32>>,
}

/// What was counted, by file.
#[derive(Debug, Default)]
struct Counts {
    /// By the segment that each begins with.
    files: BTreeMap<u32, Counted>,
    /// By the segments that go on behind what is in none of these.
    gaps: BTreeMap<u32, Counted>,
    left_out: usize,
}

#[derive(Debug)]
struct Counted {
    loss: Loss,
    last_log: Option<LogId>,
}

impl Losses {
    /// A segment is lost with its file; `row` is what `EXTENT` knows of it.
    pub(in super::super) fn add_file(&mut self, file: Span, segment: u32, row: &Row) {
        let batches = row.next_batch.saturating_sub(row.first_batch);
        let left = self.counts.begin(file, batches).then(Vec::new);
        self.lossy.add(file, segment, row.forgotten, left);
    }

    /// A segment was read of which something may be lost.
    pub(in super::super) fn add_scan(&mut self, file: Span, scan: &Scan, row: Option<&Row>) {
        if !row.is_some_and(Row::has_loss) && !scan.history_lost {
            return;
        }
        let is_remembered = self.counts.begin(file, scan.lost_batches);
        let left = is_remembered.then(|| {
            let offsets = scan.index.logs.iter().flat_map(|(_, part)| part.offsets.iter().copied());
            let registers = scan.index.registers.iter().map(|(_, _, slot)| slot.offset);
            let mut left: Vec<u32> = offsets.chain(registers).filter(|at| *at != LOST).collect();
            left.sort_unstable();
            left
        });
        let is_forgotten = row.is_some_and(|row| row.forgotten);
        self.lossy.add(file, scan.index.segment, is_forgotten, left);
    }

    /// Counts what is missing of logs, as `find` tells it: log by log, and in the order of the entries.
    pub(in super::super) fn count<T>(
        &mut self,
        runs: &[Arc<Run>],
        find: impl FnOnce(&dyn Lossy, &mut dyn FnMut(Missing)) -> T,
    ) -> T {
        let Losses { lossy, counts } = self;
        for (file, counted) in &mut counts.files {
            counted.loss.is_known = lossy.is_known(*file, runs);
        }
        find(lossy, &mut |missing| counts.add(lossy, &missing))
    }

    /// Counts registers of which no other value is newer, as an index file knows.
    pub(in super::super) fn add_registers(
        &mut self,
        shared: &Shared,
        run: &Arc<Run>,
    ) -> io::Result<()> {
        let Losses { lossy, counts } = self;
        let (first, last) = run.segments();
        if !lossy.has_loss(first, last) {
            return Ok(());
        }
        walk_registers(run, |log, key, place| {
            if !lossy.is_lost(place) {
                return;
            }
            let newest = shared.index.register(log, &key).ok().flatten();
            let counted = lossy.file_of(place.segment).and_then(|file| counts.files.get_mut(&file));
            if let Some(counted) = counted.filter(|_| newest.is_some_and(|it| it.place == place)) {
                counted.loss.registers += 1;
            }
        })
    }

    /// All of them, and how many files were left out. What no other damage says is said here.
    pub(in super::super) fn finish(self, damage: &mut Vec<Damage>) -> (Vec<Loss>, usize) {
        let Counts { files, gaps, left_out } = self.counts;
        let mut losses = Vec::new();
        for loss in files.into_values().map(|counted| counted.loss) {
            // A file that was lost may have come back, and what was in it may have expired.
            let is_nothing = loss.is_known && loss.batches.is_none();
            if is_nothing && loss.entries == 0 && loss.registers == 0 {
                continue;
            }
            if !damage.iter().any(|damage| damage.file == loss.file) {
                damage.push(Damage::of_file(&*loss.file, DamageKind::Forgotten));
            }
            losses.push(loss);
        }
        for loss in gaps.into_values().map(|counted| counted.loss) {
            if let Some(first) = loss.named.first() {
                let kind = DamageKind::Hole { log: first.log, seq: first.to + 1 };
                damage.push(Damage::of_file(&*loss.file, kind));
            }
            losses.push(loss);
        }
        (losses, left_out)
    }
}

impl LossySegments {
    fn add(&mut self, file: Span, segment: u32, is_forgotten: bool, left: Option<Vec<u32>>) {
        let lossy = LossySegment { file: file.first, is_forgotten, left };
        self.segments.insert(segment, lossy);
    }

    fn file_of(&self, segment: u32) -> Option<u32> {
        self.segments.get(&segment).map(|lossy| lossy.file)
    }

    /// The only file that something between these segments may have been in.
    fn file_between(&self, first: u32, last: u32) -> Option<u32> {
        let mut files = self.segments.range(first.min(last)..=last).map(|(_, lossy)| lossy.file);
        let first = files.next()?;
        files.all(|other| other == first).then_some(first)
    }

    /// Whether index files know how a file was.
    fn is_known(&self, file: u32, runs: &[Arc<Run>]) -> bool {
        let is_covered = |segment| {
            let mut spans = runs.iter().map(|run| run.segments());
            spans.any(|(first, last)| (first..=last).contains(&segment))
        };
        let mut of_file = self.segments.iter().filter(|(_, lossy)| lossy.file == file);
        of_file.all(|(segment, lossy)| !lossy.is_forgotten && is_covered(*segment))
    }
}

impl Lossy for LossySegments {
    fn has_loss(&self, first: u32, last: u32) -> bool {
        self.segments.range(first..=last).next().is_some()
    }

    fn is_lost(&self, place: Location) -> bool {
        let left = self.segments.get(&place.segment).and_then(|lossy| lossy.left.as_ref());
        left.is_some_and(|left| left.binary_search(&place.offset).is_err())
    }
}

impl Counts {
    /// Whether what is lost of a file is counted.
    fn begin(&mut self, file: Span, batches: u64) -> bool {
        if !self.files.contains_key(&file.first) {
            if self.files.len() == LOSSES_MAX {
                self.left_out += 1;
                return false;
            }
            let loss = Loss::new(file.name(), false);
            self.files.insert(file.first, Counted::new(loss));
        }
        if let Some(counted) = self.files.get_mut(&file.first).filter(|_| batches > 0) {
            *counted.loss.batches.get_or_insert(0) += batches;
        }
        true
    }

    /// Counts entries that are missing, with the file that they were in; if that can't be told, with the
    /// one that goes on behind them.
    fn add(&mut self, lossy: &LossySegments, missing: &Missing) {
        let (file, before) = match missing.of {
            Whereabouts::In(segment) => (lossy.file_of(segment), segment),
            Whereabouts::Between(after, before) => (lossy.file_between(after, before), before),
        };
        if let Some(file) = file {
            // One of those that are left out is counted as a file.
            self.files.get_mut(&file).into_iter().for_each(|counted| counted.add(missing));
        } else if self.gaps.contains_key(&before) || self.gaps.len() < LOSSES_MAX {
            let new = || Counted::new(Loss::new(segment_name(before), true));
            self.gaps.entry(before).or_insert_with(new).add(missing);
        } else {
            self.left_out += 1;
        }
    }
}

impl Counted {
    fn new(loss: Loss) -> Counted {
        Counted { loss, last_log: None }
    }

    fn add(&mut self, missing: &Missing) {
        self.loss.add(missing, &mut self.last_log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_protocol::UserId;

    fn missing(other: u64, from: u64, to: u64) -> Missing {
        let log = LogId::direct(UserId::new(17).unwrap(), UserId::new(other).unwrap());
        Missing { log, from, to, of: Whereabouts::In(6) }
    }

    #[test]
    fn a_loss_says_how_much_and_of_what() {
        let mut loss = Loss::new("00000006.log".into(), false);
        loss.batches = Some(1161);
        let nobody = "lost with 00000006.log: 1161 batches; no index file knows any more which \
                      entries these were";
        assert_eq!(loss.to_string(), nobody);
        loss.is_known = true;
        let mut last = None;
        for other in 23..40 {
            loss.add(&missing(other, 5, 89), &mut last);
            loss.add(&missing(other, 90, 90), &mut last);
        }
        let said = loss.to_string();
        let begin = "lost with 00000006.log: 1161 batches; 1462 entries of 17 logs: conversation \
                     of users 17 and 23, entries 5 to 90; conversation of users 17 and 24";
        assert!(said.starts_with(begin), "{said}");
        assert!(said.ends_with("17 and 32, entries 5 to 90; and 7 other logs"), "{said}");
        let mut gap = Loss::new("00000007.log".into(), true);
        last = None;
        gap.add(&missing(23, 4, 4), &mut last);
        gap.add(&missing(23, 6, 6), &mut last);
        gap.add(&missing(99, 4, 4), &mut last);
        let said = "lost before 00000007.log: at least 3 entries of 2 logs: conversation of users \
                    17 and 23, 2 entries from 4 to 6; conversation of users 17 and 99, entry 4";
        assert_eq!(gap.to_string(), said);
    }

    #[test]
    fn a_number_that_nobody_knows_is_not_given() {
        let mut loss = Loss::new("00000006.log".into(), false);
        loss.add(&missing(23, 4, 4), &mut None);
        let said = "lost with 00000006.log: at least 1 entry of 1 log: conversation of users 17 and \
                    23, entry 4; no index file knows any more whether these were all";
        assert_eq!(loss.to_string(), said);
    }
}
