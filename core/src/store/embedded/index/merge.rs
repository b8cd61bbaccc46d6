//! Merging index files of neighbouring segments into one, so that a look-up asks few files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_protocol::UserId;

use super::super::disk::Disk;
use super::super::identity::Identity;
use super::layout::{CursorAt, Key, LogSpan, Position, Record, log_id};
use super::run::{Run, Stream, damaged};
use super::write::RunWriter;

/// Positions that one file can have: their numbers are 32 bits.
const POSITIONS_MAX: u64 = u32::MAX as u64;

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
        let positions = runs[range.clone()].iter().map(|run| run.head().positions).sum::<u64>();
        lowest == highest && positions < POSITIONS_MAX
    });
    equal.min_by_key(|range| level(&runs[range.start]))
}

/// Merges runs, the oldest first, into a new file. Returns its size, or an error of the kind
/// `Interrupted` when `stop` is set.
pub(super) fn merge(
    disk: &dyn Disk,
    identity: &Identity,
    runs: &[Arc<Run>],
    stop: &AtomicBool,
) -> io::Result<u64> {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Err(damaged()) };
    let segments = (first.segments().0, last.segments().1);
    let elements = runs.iter().map(|run| run.head().keys + run.head().logs + run.head().cursors);
    let mut writer =
        RunWriter::create(disk, identity, segments, last.next_batch(), elements.sum())?;
    let mut keys = Merge::new(runs.iter().map(Run::keys))?;
    while let Some((_, key)) = keys.next(Key::cmp)? {
        check_stop(stop)?;
        writer.key(key)?;
    }
    writer.end_section()?;
    merge_positions(&mut writer, runs, stop)?;
    writer.end_section()?;
    merge_logs(&mut writer, runs, stop)?;
    writer.end_section()?;
    merge_cursors(&mut writer, identity, runs)?;
    writer.end_section()?;
    writer.finish(disk, identity)
}

fn check_stop(stop: &AtomicBool) -> io::Result<()> {
    let stopped = stop.load(Ordering::Relaxed);
    if stopped { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}

/// Writes the positions of all logs. Each run has them in the order of its logs, so they are
/// read from beginning to end.
fn merge_positions(writer: &mut RunWriter, runs: &[Arc<Run>], stop: &AtomicBool) -> io::Result<()> {
    let mut positions: Vec<Stream<Position>> = runs.iter().map(Run::positions).collect();
    let mut groups = Groups::new(runs)?;
    while let Some(parts) = groups.next()? {
        check_stop(stop)?;
        let mut next_seq = parts[0].1.first();
        for (run, span) in parts {
            // What damage has taken away between two runs.
            for _ in next_seq..span.first() {
                writer.position(Position(None))?;
            }
            for _ in 0..span.count {
                writer.position(positions[*run].next()?.ok_or_else(damaged)?)?;
            }
            next_seq = span.state.seq + 1;
        }
    }
    Ok(())
}

/// Writes what is known of each log, as one span.
fn merge_logs(writer: &mut RunWriter, runs: &[Arc<Run>], stop: &AtomicBool) -> io::Result<()> {
    let mut groups = Groups::new(runs)?;
    let mut start = 0;
    while let Some(parts) = groups.next()? {
        check_stop(stop)?;
        let (Some((_, first)), Some((_, last))) = (parts.first(), parts.last()) else { continue };
        let count = u32::try_from(last.state.seq + 1 - first.first()).map_err(|_| damaged())?;
        writer.log(&LogSpan { count, start, ..*last })?;
        start += count;
    }
    if u64::from(start) == writer.positions() { Ok(()) } else { Err(damaged()) }
}

/// Writes each cursor once, where it is furthest.
fn merge_cursors(writer: &mut RunWriter, identity: &Identity, runs: &[Arc<Run>]) -> io::Result<()> {
    let mut cursors = Merge::new(runs.iter().map(Run::cursors))?;
    let mut current: Option<CursorAt> = None;
    loop {
        let next = cursors.next(|a, b| a.whose.cmp(&b.whose))?.map(|(_, cursor)| cursor);
        match (&mut current, next) {
            (Some(current), Some(next)) if current.whose == next.whose => {
                current.seq = current.seq.max(next.seq);
            }
            (done, next) => {
                if let Some(done) = done {
                    let conversation = log_id(&done.whose.0).ok_or_else(damaged)?;
                    let user = UserId::new(done.whose.1).map_err(|_| damaged())?;
                    writer.cursor(done, identity.hash_key.of_cursor(conversation, user))?;
                }
                if next.is_none() {
                    return Ok(());
                }
                current = next;
            }
        }
    }
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
        let heads = heads.filter_map(|(at, (_, head))| Some((at, (*head)?)));
        let Some((at, lowest)) = heads.min_by(|(_, a), (_, b)| order(a, b)) else {
            return Ok(None);
        };
        let (stream, head) = &mut self.streams[at];
        *head = stream.next()?;
        Ok(Some((at, lowest)))
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
