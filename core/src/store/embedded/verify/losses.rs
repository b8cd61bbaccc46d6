//! What is lost, so that an operator can decide by it: how much, and of which conversations.
//!
//! Who knows: `EXTENT` knows how many batches a segment had; an index file knows each entry and
//! register that was in its segments; and where neither does, entries behind a gap know that some
//! were before them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use dunlin_protocol::{LogId, LogKind};

use super::super::Shared;
use super::super::index::memory::{LOST, SegmentIndex};
use super::super::index::run::Run;
use super::super::index::spans::{Gap, Indexed, walk};
use super::super::recovery::damage::DamageKind;
use super::super::recovery::extent::Row;
use super::super::recovery::scan::Scan;
use super::super::segment::files::Location;
use super::super::segment::segment_name;

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
    /// It is known only by what comes behind it.
    pub is_before: bool,
    /// Batches that were acknowledged, if it is known how many.
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
    fn add(&mut self, log: LogId, from: u64, to: u64, last_log: &mut Option<LogId>) {
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
            0 => Ok(()),
            others => write!(f, "; and {}", Count(others, "other log", "other logs")),
        }
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
        write_name(f, log)?;
        match entries {
            1 => write!(f, ", entry {from}"),
            all if all == to + 1 - from => write!(f, ", entries {from} to {to}"),
            some => write!(f, ", {some} entries from {from} to {to}"),
        }
    }
}

/// The name of a log, as somebody knows it who knows users and conversations.
fn write_name(f: &mut fmt::Formatter<'_>, log: LogId) -> fmt::Result {
    let kind = match log.kind() {
        LogKind::Direct => "conversation",
        LogKind::Group => "group",
        LogKind::Account => "account of user",
        LogKind::Name => "claim of a name",
        LogKind::Identity => "identity of user",
        LogKind::Service => "log of the store",
    };
    match (log.direct_members(), log.owner()) {
        (Some((lower, higher)), _) => write!(f, "{kind} {}:{}", lower.get(), higher.get()),
        (None, Some(user)) => write!(f, "{kind} {}", user.get()),
        (None, None) => write!(f, "{kind} {log}"),
    }
}

/// A file of which something is lost.
#[derive(Debug)]
struct Counted {
    loss: Loss,
    last_log: Option<LogId>,
    /// The offsets of what is left, sorted.
    left: Vec<u32>,
}

impl Counted {
    fn new(loss: Loss) -> Counted {
        Counted { loss, last_log: None, left: Vec::new() }
    }
}

/// Counts what is lost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    segments: BTreeMap<u32, Counted>,
    /// By the segment or the row that goes on behind them.
    gaps: BTreeMap<String, Counted>,
    left_out: usize,
}

impl Losses {
    /// A segment is lost as a whole; `row` is what `EXTENT` knows of it.
    pub(super) fn add_file(&mut self, segment: u32, row: &Row) {
        let batches = row.next_batch.saturating_sub(row.first_batch);
        let mut loss = Loss::new(segment_name(segment), false);
        loss.batches = (batches > 0).then_some(batches);
        self.keep(segment, Counted::new(loss));
    }

    /// A segment was read of which something may be lost.
    pub(super) fn add_scan(&mut self, scan: &Scan, was_told: bool) {
        let missing = scan.damage.iter().filter_map(|damage| {
            if let DamageKind::Batches { missing } = damage.kind { missing } else { None }
        });
        let missing: u64 = missing.sum();
        if !was_told && !scan.history_lost {
            return;
        }
        let mut loss = Loss::new(segment_name(scan.index.segment), false);
        loss.batches = (missing > 0).then_some(missing);
        let offsets = scan.index.logs.iter().flat_map(|(_, part)| part.offsets.iter().copied());
        let registers = scan.index.registers.iter().map(|(_, _, slot)| slot.offset);
        let mut left: Vec<u32> = offsets.chain(registers).filter(|at| *at != LOST).collect();
        left.sort_unstable();
        self.keep(scan.index.segment, Counted { left, ..Counted::new(loss) });
    }

    fn keep(&mut self, segment: u32, counted: Counted) {
        if self.segments.len() < LOSSES_MAX {
            self.segments.insert(segment, counted);
        } else {
            self.left_out += 1;
        }
    }

    /// Counts entries that are known to be lost of a segment that no index file covers.
    pub(super) fn add_unindexed(&mut self, shared: &Shared, index: &SegmentIndex) {
        let Some(counted) = self.segments.get_mut(&index.segment) else { return };
        let mut logs: Vec<_> = index.logs.iter().collect();
        logs.sort_unstable_by_key(|(log, _)| *log);
        for (log, part) in logs {
            let expired_below = shared.index.head(*log).map_or(0, |head| head.expired_below);
            let lost = (part.first..).zip(&part.offsets).filter(|(_, at)| **at == LOST);
            for (seq, _) in lost.filter(|(seq, _)| *seq >= expired_below) {
                counted.loss.add(*log, seq, seq, &mut counted.last_log);
            }
        }
    }

    /// Counts what an index file knows.
    pub(super) fn add_run(&mut self, shared: &Shared, run: &Arc<Run>) -> io::Result<()> {
        let (first, last) = run.segments();
        if self.segments.range(first..=last).next().is_none() {
            return Ok(());
        }
        for (_, counted) in self.segments.range_mut(first..=last) {
            counted.loss.is_known = true;
        }
        let mut expired: Option<(LogId, u64)> = None;
        walk(run, |indexed| match indexed {
            Indexed::Entry { log, seq, place } => {
                let Some(counted) = self.lost_at(place) else { return Ok(()) };
                let below = match expired {
                    Some((of, below)) if of == log => below,
                    // (What another file that is damaged knows can't be told.)
                    Some(_) | None => shared.index.head(log).map_or(0, |head| head.expired_below),
                };
                expired = Some((log, below));
                if seq >= below {
                    counted.loss.add(log, seq, seq, &mut counted.last_log);
                }
                Ok(())
            }
            Indexed::Register { log, key, place } => {
                let Some(counted) = self.lost_at(place) else { return Ok(()) };
                let newest = shared.index.register(log, &key).ok().flatten();
                if newest.is_some_and(|newest| newest.place == place) {
                    counted.loss.registers += 1;
                }
                Ok(())
            }
        })
    }

    fn lost_at(&mut self, place: Location) -> Option<&mut Counted> {
        let counted = self.segments.get_mut(&place.segment)?;
        counted.left.binary_search(&place.offset).is_err().then_some(counted)
    }

    /// Counts entries of which no index file knows. True if these are the first before a file.
    pub(super) fn add_gap(&mut self, gap: &Gap) -> bool {
        let is_first = !self.gaps.contains_key(&gap.file);
        if is_first && self.gaps.len() == LOSSES_MAX {
            self.left_out += 1;
            return true;
        }
        let new = || Counted::new(Loss::new(gap.file.clone(), true));
        let counted = self.gaps.entry(gap.file.clone()).or_insert_with(new);
        counted.loss.is_known = true;
        counted.loss.add(gap.log, gap.from, gap.seq - 1, &mut counted.last_log);
        is_first
    }

    /// All of them, and how many files were left out.
    pub(super) fn finish(self) -> (Vec<Loss>, usize) {
        let all = self.segments.into_values().chain(self.gaps.into_values());
        (all.map(|counted| counted.loss).collect(), self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_protocol::UserId;

    fn log(number: u64) -> LogId {
        LogId::direct(UserId::new(17).unwrap(), UserId::new(number).unwrap())
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
            loss.add(log(other), 5, 89, &mut last);
            loss.add(log(other), 90, 90, &mut last);
        }
        let said = loss.to_string();
        let begin = "lost with 00000006.log: 1161 batches; 1462 entries of 17 logs: conversation \
                     17:23, entries 5 to 90; conversation 17:24";
        assert!(said.starts_with(begin), "{said}");
        assert!(said.ends_with("17:32, entries 5 to 90; and 7 other logs"), "{said}");
        let mut gap = Loss::new("00000007.log".into(), true);
        (gap.is_known, last) = (true, None);
        gap.add(log(23), 4, 4, &mut last);
        gap.add(log(23), 6, 6, &mut last);
        gap.add(log(99), 4, 4, &mut last);
        let said = "lost before 00000007.log: 3 entries of 2 logs: conversation 17:23, 2 entries \
                    from 4 to 6; conversation 17:99, entry 4";
        assert_eq!(gap.to_string(), said);
    }
}
