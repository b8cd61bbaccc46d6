//! All logs of the index, each with its parts in their order: a walk over everything that needs the
//! memory of a block for each file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use dunlin_protocol::LogId;

use super::super::segment::segment_name;
use super::layout::{LogSpan, log_id, run_name};
use super::memory::{LogPart, SegmentIndex};
use super::run::{Run, Stream, damaged};

/// Entries of a log that are in no part of the index, though later ones are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Gap {
    /// The file whose part begins behind it.
    pub file: String,
    pub log: LogId,
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
    runs: Vec<Stream<LogSpan>>,
    memory: Vec<std::vec::IntoIter<([u8; 16], Part)>>,
    names: Vec<String>,
    queue: BinaryHeap<Reverse<([u8; 16], usize)>>,
    /// What is next of each source.
    next: Vec<Option<([u8; 16], Part)>>,
}

/// Walks over all logs and tells the gaps. Returns how many logs there are. `in_memory` are parts that
/// have no file yet, the oldest first.
pub(in super::super) fn find_gaps(
    runs: &[Arc<Run>],
    in_memory: &[SegmentIndex],
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
                found(Gap { file, log, seq: part.first });
            }
            last = part.last.max(last);
        }
    }
    Ok(logs)
}

impl Sources {
    fn new(runs: &[Arc<Run>], in_memory: &[SegmentIndex]) -> io::Result<Self> {
        let of_run = |run: &Arc<Run>| run_name(run.segments().0, run.segments().1);
        let names = runs.iter().map(of_run);
        let names = names.chain(in_memory.iter().map(|part| segment_name(part.segment)));
        let mut sources = Sources {
            runs: runs.iter().map(Run::spans).collect(),
            memory: (runs.len()..).zip(in_memory).map(|(at, part)| parts_of(at, part)).collect(),
            names: names.collect(),
            queue: BinaryHeap::new(),
            next: Vec::new(),
        };
        for source in 0..sources.names.len() {
            sources.next.push(None);
            sources.advance(source)?;
        }
        Ok(sources)
    }

    /// Reads on in a source.
    fn advance(&mut self, source: usize) -> io::Result<()> {
        let in_memory = source.checked_sub(self.runs.len());
        let next = match in_memory {
            Some(at) => self.memory[at].next(),
            None => self.runs[source].next()?.map(|span| {
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

/// The parts of a segment in memory, sorted.
fn parts_of(source: usize, index: &SegmentIndex) -> std::vec::IntoIter<([u8; 16], Part)> {
    let part = |&(log, ref part): &(LogId, LogPart)| {
        let entries_from = index.floors.get(&log).map_or(0, |floors| floors.entries_from);
        (*log.as_bytes(), Part { source, first: part.first, last: part.last(), entries_from })
    };
    let mut parts: Vec<_> = index.logs.iter().map(part).collect();
    parts.sort_unstable_by_key(|(log, _)| *log);
    parts.into_iter()
}
