//! All logs of the index, each with its parts in their order: a walk over everything that needs the
//! memory of a block for each file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use dunlin_protocol::LogId;

use super::super::segment::files::Location;
use super::super::segment::segment_name;
use super::layout::{LogSpan, RegisterAt, log_id, run_name};
use super::memory::{LogPart, SegmentIndex};
use super::run::{Run, Stream, damaged};
use crate::store::RegisterKey;

/// Entries of a log that are in no part of the index, though later ones are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Gap {
    /// The file whose part begins behind it.
    pub file: String,
    pub log: LogId,
    /// The first entry in it.
    pub from: u64,
    /// The first entry behind it.
    pub seq: u64,
}

/// A part of a log: its first and last entry (the last is lower if there is none), and from where on
/// entries have not expired.
#[derive(Debug, Clone, Copy)]
struct Part {
    source: usize,
    first: u64,
    last: u64,
    entries_from: u64,
}

/// The sources of parts, the oldest first.
struct Sources {
    sources: Vec<Source>,
    names: Vec<String>,
    queue: BinaryHeap<Reverse<([u8; 16], usize)>>,
    /// What is next of each source.
    next: Vec<Option<([u8; 16], Part)>>,
}

/// Where parts come from.
enum Source {
    Run(Stream<LogSpan>),
    Memory(std::vec::IntoIter<SpanInMemory>),
}

/// What is remembered of a segment that is in no index file: which entries of which logs were in it.
#[derive(Debug)]
pub(in super::super) struct SegmentSpans {
    segment: u32,
    /// By log.
    spans: Vec<SpanInMemory>,
}

#[derive(Debug, Clone, Copy)]
struct SpanInMemory {
    log: [u8; 16],
    first: u64,
    last: u64,
    entries_from: u64,
}

/// Walks over all logs and tells the gaps. Returns how many logs there are. `in_memory` are parts that
/// have no file, or none that can be read.
pub(in super::super) fn find_gaps(
    runs: &[Arc<Run>],
    in_memory: Vec<SegmentSpans>,
    mut found: impl FnMut(Gap),
) -> io::Result<u64> {
    let mut sources = Sources::new(runs, in_memory)?;
    let (mut logs, mut parts) = (0, Vec::new());
    while let Some(log) = sources.next_log(&mut parts)? {
        logs += 1;
        let entries_from = parts.last().map_or(0, |part: &Part| part.entries_from);
        let mut last = 0;
        for part in &parts {
            if part.first <= part.last && part.first > (last + 1).max(entries_from) {
                let file = sources.names[part.source].clone();
                let log = log_id(&log).ok_or_else(damaged)?;
                found(Gap { file, log, from: (last + 1).max(entries_from), seq: part.first });
            }
            last = part.last.max(last);
        }
    }
    Ok(logs)
}

impl Sources {
    fn new(runs: &[Arc<Run>], in_memory: Vec<SegmentSpans>) -> io::Result<Self> {
        let of_run = |run: &Arc<Run>| {
            let (first, last) = run.segments();
            let name = if first == last { segment_name(first) } else { run_name(first, last) };
            (first, name, Source::Run(run.spans()))
        };
        let of_memory = |part: SegmentSpans| {
            let SegmentSpans { segment, spans } = part;
            (segment, segment_name(segment), Source::Memory(spans.into_iter()))
        };
        let mut all: Vec<_> =
            runs.iter().map(of_run).chain(in_memory.into_iter().map(of_memory)).collect();
        all.sort_unstable_by_key(|(first, _, _)| *first);
        let mut sources = Sources {
            sources: Vec::new(),
            names: Vec::new(),
            queue: BinaryHeap::new(),
            next: Vec::new(),
        };
        for (number, (_, name, source)) in all.into_iter().enumerate() {
            sources.names.push(name);
            sources.sources.push(source);
            sources.next.push(None);
            sources.advance(number)?;
        }
        Ok(sources)
    }

    /// Reads on in a source.
    fn advance(&mut self, source: usize) -> io::Result<()> {
        let next = match &mut self.sources[source] {
            Source::Memory(spans) => spans.next().map(|span| {
                let SpanInMemory { log, first, last, entries_from } = span;
                (log, Part { source, first, last, entries_from })
            }),
            Source::Run(spans) => spans.next()?.map(|span| {
                let (first, last) = (span.first(), span.state.seq);
                let entries_from = span.state.floors.entries_from;
                (span.log, Part { source, first, last, entries_from })
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
            parts.extend(self.next[source].map(|(_, part)| part));
            self.advance(source)?;
        }
        Ok(Some(log))
    }
}

impl SegmentSpans {
    pub(in super::super) fn of(index: &SegmentIndex) -> SegmentSpans {
        let span = |&(log, ref part): &(LogId, LogPart)| {
            let entries_from = index.floors.get(&log).map_or(0, |floors| floors.entries_from);
            let (first, last) = (part.first, part.last());
            SpanInMemory { log: *log.as_bytes(), first, last, entries_from }
        };
        let mut spans: Vec<_> = index.logs.iter().map(span).collect();
        spans.sort_unstable_by_key(|span| span.log);
        SegmentSpans { segment: index.segment, spans }
    }
}

/// Something that an index file knows of.
#[derive(Debug)]
pub(in super::super) enum Indexed {
    /// An entry, and where it is.
    Entry { log: LogId, seq: u64, place: Location },
    /// A register as it was set last in these segments, and where.
    Register { log: LogId, key: RegisterKey, place: Location },
}

/// Positions that are looked up at a time.
const POSITIONS_MAX: u64 = 4096;

/// Visits all that an index file knows of: the entries by log and sequence, then the registers.
pub(in super::super) fn walk(
    run: &Arc<Run>,
    mut visit: impl FnMut(Indexed) -> io::Result<()>,
) -> io::Result<()> {
    let mut spans = run.spans();
    while let Some(span) = spans.next()? {
        let log = log_id(&span.log).ok_or_else(damaged)?;
        let mut from = span.first();
        while from <= span.state.seq {
            let to = span.state.seq.min(from + POSITIONS_MAX - 1);
            for (seq, place) in (from..).zip(run.places(&span, from, to)?) {
                place.map_or(Ok(()), |place| visit(Indexed::Entry { log, seq, place }))?;
            }
            from = to + 1;
        }
    }
    let mut registers = run.all_registers();
    while let Some(RegisterAt { name: (log, key), place, .. }) = registers.next()? {
        let log = log_id(&log).ok_or_else(damaged)?;
        visit(Indexed::Register { log, key, place })?;
    }
    Ok(())
}
