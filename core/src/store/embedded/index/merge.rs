//! Merging index files of neighbouring segments into one, so that a look-up asks few files.

use std::io;
use std::sync::Arc;

use dunlin_protocol::LogId;

use crate::store::RegisterKey;

use super::super::disk::Disk;
use super::super::identity::Identity;
use super::super::segment::files::Location;
use super::super::segment::record::Floors;
use super::layout::{Key, LogSpan, Position, Record, RegisterAt, log_id};
use super::run::{Run, Stream, damaged};
use super::write::{Changes, RunWriter};

/// Positions that one file can have: their numbers are 32 bits.
const POSITIONS_MAX: u64 = u32::MAX as u64;

/// What is done between two records of a merge.
pub(super) type Between<'a> = dyn FnMut() -> io::Result<()> + 'a;

/// Chooses runs to merge, from all runs, the oldest first: as many neighbours of one level as are
/// merged at a time. The level of a run is how often it was merged, by its length.
pub(super) fn choose(runs: &[Arc<Run>], at_a_time: usize) -> Option<std::ops::Range<usize>> {
    let level = |run: &Arc<Run>| {
        let (first, last) = run.segments();
        (last - first + 1).ilog(at_a_time as u32)
    };
    let candidates = (0..(runs.len() + 1).saturating_sub(at_a_time)).map(|at| at..at + at_a_time);
    let equal = candidates.filter(|range| {
        let lowest = runs[range.clone()].iter().map(level).min();
        let highest = runs[range.clone()].iter().map(level).max();
        lowest == highest && fits(&runs[range.clone()])
    });
    equal.min_by_key(|range| level(&runs[range.start]))
}

/// Whether one file has room for all of these.
pub(super) fn fits(runs: &[Arc<Run>]) -> bool {
    runs.iter().map(|run| run.head().positions).sum::<u64>() < POSITIONS_MAX
}

/// A register that was removed, as the newest of the files that have it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct RemovedRegister {
    pub log: LogId,
    pub key: RegisterKey,
    pub version: u64,
    pub place: Location,
    /// That it was removed is forgotten in every answer, as the files know it.
    pub is_forgotten: bool,
}

/// Goes through all registers of some files, the oldest first, and tells each and whether it was removed.
pub(in super::super) fn marks(
    runs: &[Arc<Run>],
    mut tell: impl FnMut(Option<RemovedRegister>) -> io::Result<()>,
) -> io::Result<()> {
    let mut registers = NewestRegisters::new(runs, 0)?;
    while let Some(RegisterAt { name: (log, key), version, place, gone }) = registers.next()? {
        let is_forgotten = version <= registers.floors.1.marks_from;
        let log = log_id(&log).ok_or_else(damaged)?;
        let mark = RemovedRegister { log, key, version, place, is_forgotten };
        tell(gone.then_some(mark))?;
    }
    Ok(())
}

/// Merges runs, the oldest first, into a new file. Removals of registers that are
/// forgotten are left out if they are in segments up to `forget_through`: then these must be all runs, and
/// no file of segments may hold an older value, since an index that is made anew would bring that back.
/// Returns its size. `between` is called for each record, and ends it by an error.
pub(super) fn merge(
    disk: &dyn Disk,
    identity: &Identity,
    runs: &[Arc<Run>],
    forget_through: u32,
    between: &mut Between<'_>,
) -> io::Result<u64> {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Err(damaged()) };
    let segments = (first.segments().0, last.segments().1);
    let elements = runs.iter().map(|run| run.head().keys + run.head().logs + run.head().registers);
    let mut writer =
        RunWriter::create(disk, identity, segments, last.next_batch(), elements.sum())?;
    let mut keys = Merge::new(runs.iter().map(Run::keys))?;
    while let Some((_, key)) = keys.next(Key::cmp)? {
        between()?;
        writer.key(key)?;
    }
    writer.end_section()?;
    merge_positions(&mut writer, runs, between)?;
    writer.end_section()?;
    merge_logs(&mut writer, runs, between)?;
    writer.end_section()?;
    merge_registers(&mut writer, runs, forget_through, between)?;
    writer.finish(disk, identity)
}

/// Writes the positions of all logs. Each run has them in the order of its logs, so they are
/// read from beginning to end. Those of entries that have expired are left out.
fn merge_positions(
    writer: &mut RunWriter,
    runs: &[Arc<Run>],
    between: &mut Between<'_>,
) -> io::Result<()> {
    let mut positions: Vec<Stream<Position>> = runs.iter().map(Run::positions).collect();
    let mut groups = Groups::new(runs)?;
    while let Some(parts) = groups.next()? {
        between()?;
        let mut next_seq = first_of(parts);
        for (run, span) in parts {
            // What damage has taken away between two runs.
            for _ in next_seq..span.first() {
                writer.position(Position(None))?;
            }
            next_seq = next_seq.max(span.first());
            for seq in span.first()..=span.state.seq {
                let position = positions[*run].next()?.ok_or_else(damaged)?;
                if seq == next_seq {
                    writer.position(position)?;
                    next_seq += 1;
                }
            }
        }
    }
    Ok(())
}

/// The first entry that is kept of a log.
fn first_of(parts: &[(usize, LogSpan)]) -> u64 {
    let (Some((_, first)), Some((_, last))) = (parts.first(), parts.last()) else { return 1 };
    first.first().max(last.state.floors.entries_from)
}

/// Writes what is known of each log, as one span.
fn merge_logs(
    writer: &mut RunWriter,
    runs: &[Arc<Run>],
    between: &mut Between<'_>,
) -> io::Result<()> {
    let mut groups = Groups::new(runs)?;
    let mut start = 0;
    while let Some(parts) = groups.next()? {
        between()?;
        let Some((_, last)) = parts.last() else { continue };
        let count = (last.state.seq + 1).saturating_sub(first_of(parts));
        let count = u32::try_from(count).map_err(|_| damaged())?;
        writer.log(&LogSpan { count, start, ..*last })?;
        start += count;
    }
    if u64::from(start) == writer.positions() { Ok(()) } else { Err(damaged()) }
}

/// Writes each register as it was set last, and then all changes that led to one of these.
fn merge_registers(
    writer: &mut RunWriter,
    runs: &[Arc<Run>],
    forget_through: u32,
    between: &mut Between<'_>,
) -> io::Result<()> {
    let mut registers = NewestRegisters::new(runs, forget_through)?;
    while let Some(register) = registers.next()? {
        between()?;
        writer.register(&register)?;
    }
    writer.end_section()?;
    // By version they can't be had from what is sorted by key, but log by log; so all registers are
    // gone through once more, and those of one log are in memory.
    let mut registers = NewestRegisters::new(runs, forget_through)?;
    let mut changes = Changes::default();
    while let Some(register) = registers.next()? {
        between()?;
        changes.add(writer, &register)?;
    }
    changes.end_log(writer)?;
    writer.end_section()
}

/// Reads the registers of several runs, each as it was set last, without those that are gone for good.
struct NewestRegisters {
    registers: Merge<RegisterAt>,
    ahead: Option<(usize, RegisterAt)>,
    groups: Groups,
    /// The log that was asked for last, and its floors.
    floors: ([u8; 16], Floors),
    /// The last segment whose removals may be forgotten.
    forget_through: u32,
}

impl NewestRegisters {
    fn new(runs: &[Arc<Run>], forget_through: u32) -> io::Result<NewestRegisters> {
        let mut registers = Merge::new(runs.iter().map(Run::all_registers))?;
        let ahead = registers.next(by_name)?;
        let groups = Groups::new(runs)?;
        let floors = ([0; 16], Floors::default());
        Ok(NewestRegisters { registers, ahead, groups, floors, forget_through })
    }

    fn next(&mut self) -> io::Result<Option<RegisterAt>> {
        while let Some((_, mut newest)) = self.ahead.take() {
            // Equal ones come in the order of the runs: the last one counts.
            self.ahead = self.registers.next(by_name)?;
            while let Some((_, later)) = self.ahead.take_if(|(_, next)| next.name == newest.name) {
                newest = later;
                self.ahead = self.registers.next(by_name)?;
            }
            let floors = self.floors_of(&newest.name.0)?;
            let is_gone = newest.version < floors.registers_from
                || (newest.gone
                    && newest.version <= floors.marks_from
                    && newest.place.segment <= self.forget_through);
            if !is_gone {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// The floors of a log. Registers are sorted by logs, so logs are asked for in their order.
    fn floors_of(&mut self, log: &[u8; 16]) -> io::Result<Floors> {
        while self.floors.0 < *log {
            let parts = self.groups.next()?.ok_or_else(damaged)?;
            let (_, newest) = parts.last().ok_or_else(damaged)?;
            self.floors = (newest.log, newest.state.floors);
        }
        Ok(self.floors.1)
    }
}

fn by_name(one: &RegisterAt, other: &RegisterAt) -> std::cmp::Ordering {
    one.name.cmp(&other.name)
}

/// Reads several sorted streams as one. Equal records come in the order of the streams.
struct Merge<T> {
    streams: Vec<(Stream<T>, Option<T>)>,
}

impl<T: Record> Merge<T> {
    fn new(streams: impl Iterator<Item = Stream<T>>) -> io::Result<Merge<T>> {
        let opened = streams.map(|mut stream| {
            let first = stream.next()?;
            Ok((stream, first))
        });
        Ok(Merge { streams: opened.collect::<io::Result<_>>()? })
    }

    /// The lowest record and the number of its stream.
    fn next(
        &mut self,
        order: impl Fn(&T, &T) -> std::cmp::Ordering,
    ) -> io::Result<Option<(usize, T)>> {
        let heads = self.streams.iter().enumerate();
        let heads = heads.filter_map(|(at, (_, head))| Some((at, head.as_ref()?)));
        let Some((at, _)) = heads.min_by(|(_, a), (_, b)| order(a, b)) else { return Ok(None) };
        let (stream, head) = &mut self.streams[at];
        let lowest = std::mem::replace(head, stream.next()?);
        Ok(lowest.map(|lowest| (at, lowest)))
    }
}

/// Reads the logs of several runs: for each log its parts, the oldest first.
struct Groups {
    spans: Merge<LogSpan>,
    ahead: Option<(usize, LogSpan)>,
    parts: Vec<(usize, LogSpan)>,
}

impl Groups {
    fn new(runs: &[Arc<Run>]) -> io::Result<Groups> {
        let mut spans = Merge::new(runs.iter().map(Run::spans))?;
        let ahead = spans.next(|a, b| a.log.cmp(&b.log))?;
        Ok(Groups { spans, ahead, parts: Vec::new() })
    }

    /// The runs of the next log and what they know of it: never empty.
    fn next(&mut self) -> io::Result<Option<&[(usize, LogSpan)]>> {
        self.parts.clear();
        while let Some((run, span)) = self.ahead {
            if self.parts.first().is_some_and(|(_, first)| first.log != span.log) {
                break;
            }
            self.parts.push((run, span));
            self.ahead = self.spans.next(|a, b| a.log.cmp(&b.log))?;
        }
        Ok((!self.parts.is_empty()).then_some(&self.parts[..]))
    }
}
