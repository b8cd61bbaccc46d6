//! All logs of the index, each with its parts in their order, and what of them is missing: a walk over
//! everything that needs the memory of a block for each file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use dunlin_protocol::LogId;

use super::super::segment::files::Location;
use super::layout::{LogSpan, RegisterAt, log_id};
use super::memory::{LOST, LogPart, SegmentIndex};
use super::run::{Run, Stream, damaged};
use crate::store::RegisterKey;

/// Entries of a log that are not where they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Missing {
    pub log: LogId,
    /// The first and the last of them.
    pub from: u64,
    pub to: u64,
    pub of: Whereabouts,
}

/// Where missing entries were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Whereabouts {
    /// An index file knows it.
    In(u32),
    /// In one of these segments: what comes before them ends in the first (0 if nothing does), and
    /// what comes behind them begins in the last.
    Between(u32, u32),
}

/// Who knows what is lost.
pub(in super::super) trait Lossy {
    /// Whether something of these segments may be lost.
    fn has_loss(&self, first: u32, last: u32) -> bool;

    /// Whether what was in this place is there no more.
    fn is_lost(&self, place: Location) -> bool;
}

/// How far one has gone through the entries of a log, from the first that has not expired.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Course {
    log: LogId,
    /// The entry that comes next.
    next: u64,
    /// Where the one before it is.
    after: u32,
}

impl Course {
    pub(in super::super) fn new(log: LogId, entries_from: u64) -> Course {
        Course { log, next: entries_from.max(1), after: 0 }
    }

    /// Goes on to entries that are there, in these segments. Returns those before them that are not.
    pub(in super::super) fn pass(
        &mut self,
        from: u64,
        to: u64,
        segments: (u32, u32),
    ) -> Option<Missing> {
        let missing = from.checked_sub(1).and_then(|before| self.reach(before, segments.0));
        self.next = self.next.max(to + 1);
        self.after = segments.1;
        missing
    }

    /// There were entries up to this one, as a segment knows. Returns those that are not there.
    pub(in super::super) fn reach(&mut self, seq: u64, segment: u32) -> Option<Missing> {
        if seq < self.next {
            return None;
        }
        let of = Whereabouts::Between(self.after, segment);
        let missing = Missing { log: self.log, from: self.next, to: seq, of };
        self.next = seq + 1;
        Some(missing)
    }
}

/// A part of a log: its first and last entry (the last is lower if there is none), and from where on
/// entries have not expired.
#[derive(Debug, Clone)]
struct Part {
    source: usize,
    first: u64,
    last: u64,
    entries_from: u64,
    known: Known,
}

/// What is known of the entries of a part.
#[derive(Debug, Clone)]
enum Known {
    /// An index file has the place of each.
    Indexed(LogSpan),
    /// All are there but these.
    Lost(Vec<u64>),
}

/// The sources of parts, the oldest first.
struct Sources {
    sources: Vec<Source>,
    queue: BinaryHeap<Reverse<([u8; 16], usize)>>,
    /// What is next of each source.
    next: Vec<Option<([u8; 16], Part)>>,
}

/// Where parts come from: the segments, and what is known of them.
struct Source {
    segments: (u32, u32),
    spans: Spans,
}

enum Spans {
    Run(Arc<Run>, Stream<LogSpan>),
    Memory(std::vec::IntoIter<SpanInMemory>),
}

/// What is remembered of a segment that is in no index file: which entries of which logs were in it.
#[derive(Debug)]
pub(in super::super) struct SegmentSpans {
    segment: u32,
    /// By log.
    spans: Vec<SpanInMemory>,
}

#[derive(Debug, Clone)]
struct SpanInMemory {
    log: [u8; 16],
    first: u64,
    last: u64,
    entries_from: u64,
    /// Those that were here and can't be read any more.
    lost: Vec<u64>,
}

/// Walks over all logs and tells what of them is missing, log by log and in the order of the entries.
/// Returns how many logs there are. `in_memory` are parts that have no file, or none that can be read.
pub(in super::super) fn find_missing(
    runs: &[Arc<Run>],
    in_memory: Vec<SegmentSpans>,
    lossy: &dyn Lossy,
    mut found: impl FnMut(Missing),
) -> io::Result<u64> {
    let mut sources = Sources::new(runs, in_memory)?;
    let (mut logs, mut parts) = (0, Vec::new());
    while let Some(log) = sources.next_log(&mut parts)? {
        logs += 1;
        let log = log_id(&log).ok_or_else(damaged)?;
        let entries_from = parts.iter().map(|part: &Part| part.entries_from).max().unwrap_or(0);
        let mut course = Course::new(log, entries_from);
        for part in &parts {
            sources.follow(part, &mut course, lossy, &mut found)?;
        }
    }
    Ok(logs)
}

impl Sources {
    fn new(runs: &[Arc<Run>], in_memory: Vec<SegmentSpans>) -> io::Result<Self> {
        let of_run = |run: &Arc<Run>| {
            let spans = Spans::Run(Arc::clone(run), run.spans());
            Source { segments: run.segments(), spans }
        };
        let of_memory = |part: SegmentSpans| {
            let SegmentSpans { segment, spans } = part;
            Source { segments: (segment, segment), spans: Spans::Memory(spans.into_iter()) }
        };
        let mut all: Vec<_> =
            runs.iter().map(of_run).chain(in_memory.into_iter().map(of_memory)).collect();
        all.sort_unstable_by_key(|source| source.segments.0);
        let next = all.iter().map(|_| None).collect();
        let count = all.len();
        let mut sources = Sources { sources: all, queue: BinaryHeap::new(), next };
        (0..count).try_for_each(|number| sources.advance(number))?;
        Ok(sources)
    }

    /// Reads on in a source.
    fn advance(&mut self, source: usize) -> io::Result<()> {
        let next = match &mut self.sources[source].spans {
            Spans::Memory(spans) => spans.next().map(|span| {
                let SpanInMemory { log, first, last, entries_from, lost } = span;
                (log, Part { source, first, last, entries_from, known: Known::Lost(lost) })
            }),
            Spans::Run(_, spans) => spans.next()?.map(|span| {
                let (log, first, last) = (span.log, span.first(), span.state.seq);
                let entries_from = span.state.floors.entries_from;
                (log, Part { source, first, last, entries_from, known: Known::Indexed(span) })
            }),
        };
        if let Some((log, _)) = &next {
            self.queue.push(Reverse((*log, source)));
        }
        self.next[source] = next;
        Ok(())
    }

    /// The next log, and all its parts.
    fn next_log(&mut self, parts: &mut Vec<Part>) -> io::Result<Option<[u8; 16]>> {
        parts.clear();
        let Some(Reverse((log, _))) = self.queue.peek().copied() else { return Ok(None) };
        while let Some(Reverse((other, source))) = self.queue.peek().copied()
            && other == log
        {
            self.queue.pop();
            parts.extend(self.next[source].take().map(|(_, part)| part));
            self.advance(source)?;
        }
        Ok(Some(log))
    }

    /// Goes through the entries of a part. Each is looked at only where something may be lost.
    fn follow(
        &self,
        part: &Part,
        course: &mut Course,
        lossy: &dyn Lossy,
        found: &mut impl FnMut(Missing),
    ) -> io::Result<()> {
        let Source { segments, spans } = &self.sources[part.source];
        match (&part.known, spans) {
            (Known::Indexed(span), Spans::Run(run, _))
                if lossy.has_loss(segments.0, segments.1) =>
            {
                follow_places(run, span, course, lossy, found)?;
            }
            (Known::Indexed(_), _) if part.first <= part.last => {
                course.pass(part.first, part.last, *segments).into_iter().for_each(&mut *found);
            }
            (Known::Indexed(_), _) => {}
            (Known::Lost(lost), _) => {
                follow_memory(part, lost, segments.0, course).for_each(&mut *found);
            }
        }
        // What was set later knows how far the log had come.
        course.reach(part.last, segments.1).into_iter().for_each(found);
        Ok(())
    }
}

/// Looks up the place of each entry.
fn follow_places(
    run: &Run,
    span: &LogSpan,
    course: &mut Course,
    lossy: &dyn Lossy,
    found: &mut impl FnMut(Missing),
) -> io::Result<()> {
    let log = course.log;
    let mut from = span.first().max(course.next.min(span.state.seq));
    while from <= span.state.seq {
        let to = span.state.seq.min(from + POSITIONS_MAX - 1);
        for (seq, place) in (from..).zip(run.places(span, from, to)?) {
            let Some(place) = place else { continue };
            course.pass(seq, seq, (place.segment, place.segment)).into_iter().for_each(&mut *found);
            if lossy.is_lost(place) {
                let of = Whereabouts::In(place.segment);
                found(Missing { log, from: seq, to: seq, of });
            }
        }
        from = to + 1;
    }
    Ok(())
}

/// Goes through the entries of a segment that is in no index file.
fn follow_memory<'a>(
    part: &'a Part,
    lost: &'a [u64],
    segment: u32,
    course: &'a mut Course,
) -> impl Iterator<Item = Missing> + 'a {
    let begins = std::iter::once(part.first).chain(lost.iter().map(|seq| seq + 1));
    let ends = lost.iter().map(|seq| seq - 1).chain(std::iter::once(part.last));
    let there = begins.zip(ends).filter(|(from, to)| from <= to);
    there.filter_map(move |(from, to)| course.pass(from, to, (segment, segment)))
}

impl SegmentSpans {
    pub(in super::super) fn of(index: &SegmentIndex) -> SegmentSpans {
        let span = |&(log, ref part): &(LogId, LogPart)| {
            let entries_from = index.floors.get(&log).map_or(0, |floors| floors.entries_from);
            let lost = part.lost().filter(|seq| *seq >= entries_from).collect();
            let (first, last) = (part.first, part.last());
            SpanInMemory { log: *log.as_bytes(), first, last, entries_from, lost }
        };
        let mut spans: Vec<_> = index.logs.iter().map(span).collect();
        spans.sort_unstable_by_key(|span| span.log);
        SegmentSpans { segment: index.segment, spans }
    }
}

impl LogPart {
    /// The entries that were here and can't be read any more.
    pub(in super::super) fn lost(&self) -> impl Iterator<Item = u64> {
        (self.first..).zip(&self.offsets).filter(|(_, at)| **at == LOST).map(|(seq, _)| seq)
    }
}

/// Positions that are looked up at a time.
const POSITIONS_MAX: u64 = 4096;

/// Visits all registers of an index file, each as it was set last in its segments, and where.
pub(in super::super) fn walk_registers(
    run: &Arc<Run>,
    mut visit: impl FnMut(LogId, RegisterKey, Location),
) -> io::Result<()> {
    let mut registers = run.all_registers();
    while let Some(RegisterAt { name: (log, key), place, .. }) = registers.next()? {
        visit(log_id(&log).ok_or_else(damaged)?, key, place);
    }
    Ok(())
}
