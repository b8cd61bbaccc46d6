//! Forgetting which registers were removed.
//!
//! That a register was removed is a record like any other, a *mark*, so that whoever asks what has changed
//! hears of it, and so that no older value comes back when the index is made anew. A mark goes in four
//! steps, each durable before the next: the floor of its log says that it is forgotten; the index files
//! become one without it; its file is cleaned. The second waits until no file of segments holds an older
//! value: so what the index does not know is nowhere.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use dunlin_protocol::LogId;

use crate::store::{StoreError, StoreReply};

use super::super::Shared;
use super::super::index::{RemovedRegister, marks};
use super::super::lane::queue::{Job, Queue, Task};
use super::ages::Ages;
use super::choice::Candidate;
use super::cleaner::{Cleaner, INDEX_LOOK, now_ms};
use super::life::Died;
use super::pace::Pace;

/// Logs whose floors are raised at a time: a frame of them is small.
const LOGS_AT_A_TIME: usize = 1000;

/// Registers that are gone through between two looks at the pace, and what each takes in an index file.
const REGISTERS_PART: u64 = 256;
const REGISTER_BYTES: u64 = 64;

/// What a mark takes in a file of segments, about.
const MARK_BYTES: u64 = 150;

/// So many times in the time that marks are kept it is looked for those that are older.
const LOOKS: u32 = 8;

/// Marks that are forgotten wait for each other: all index files are written anew without them, at most so
/// many times in the time that marks are kept.
const MERGES: u32 = 2;

/// When it was done last.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    looked: Option<Instant>,
    merged: Option<Instant>,
}

/// Goes through the marks.
struct Look<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    pace: Pace<'a>,
    /// Marks in lower segments are older than they are kept.
    old_below: u32,
    /// No older value of what was removed is left in the files up to this segment.
    through: u32,
    registers: u64,
    marks: u64,
    /// Floors to raise.
    forgotten: Vec<(LogId, u64)>,
    /// How many marks may leave the index, by segment.
    leaving: BTreeMap<u32, u64>,
}

impl Cleaner {
    /// Forgets the marks that are old enough. True if some have left the index, so that their files can be
    /// cleaned of them.
    pub(super) fn forget_marks(&self, shared: &Shared, queue: &Queue) -> io::Result<bool> {
        let kept = shared.config.marks_kept;
        let mut known = self.round.lock();
        if !is_due(known.forgetting.looked, kept / LOOKS) {
            return Ok(false);
        }
        let files = self.candidates(shared, &mut known)?;
        let now_ms = now_ms();
        let mut ages = Ages::read(shared, kept).map_err(io::Error::other)?;
        let mut look = Look {
            shared,
            queue,
            pace: self.pace(shared),
            old_below: ages.old_below(now_ms),
            through: through(&files),
            registers: 0,
            marks: 0,
            forgotten: Vec::new(),
            leaving: BTreeMap::new(),
        };
        marks(&shared.index.runs(), |mark| look.see(mark))?;
        look.forget()?;
        if look.marks > 0
            && let Some(write) = ages.note(now_ms, newest_segment(shared))
        {
            ask(queue, Task::Write(vec![write]))?;
        }
        known.forgetting.looked = Some(Instant::now());
        if look.leaving.is_empty() || !is_due(known.forgetting.merged, kept / MERGES) {
            return Ok(false);
        }
        known.forgetting.merged = Some(Instant::now());
        shared.indexer.forget(shared, look.through);
        while shared.indexer.is_forgetting() && !self.is_stopped() {
            self.wake.wait(Some(INDEX_LOOK));
        }
        let marks = look.leaving.into_iter();
        let died = |(segment, count)| Died { segment, bytes: count * MARK_BYTES, by: None };
        self.life.died(&marks.map(died).collect::<Vec<_>>(), now_ms);
        Ok(true)
    }
}

impl Look<'_> {
    fn see(&mut self, mark: Option<RemovedRegister>) -> io::Result<()> {
        self.registers += 1;
        if self.registers.is_multiple_of(REGISTERS_PART) {
            self.pace.spend(REGISTERS_PART * REGISTER_BYTES)?;
        }
        let Some(mark) = mark else { return Ok(()) };
        self.marks += 1;
        let RemovedRegister { log, version, place, is_forgotten, .. } = mark;
        if is_forgotten {
            if place.segment <= self.through {
                *self.leaving.entry(place.segment).or_default() += 1;
            }
            return Ok(());
        }
        if place.segment >= self.old_below || !self.is_newest(&mark).map_err(io::Error::other)? {
            return Ok(());
        }
        if let Some((last, highest)) = self.forgotten.last_mut()
            && *last == log
        {
            *highest = version.max(*highest);
            return Ok(());
        }
        if self.forgotten.len() >= LOGS_AT_A_TIME {
            self.forget()?;
        }
        self.forgotten.push((log, version));
        Ok(())
    }

    /// Whether the register was not set again since, nor the mark forgotten, in what has no index file yet.
    fn is_newest(&self, mark: &RemovedRegister) -> Result<bool, StoreError> {
        let index = &self.shared.index;
        let newest = index.register(mark.log, &mark.key)?;
        let floors = index.state(mark.log)?.floors;
        Ok(newest.is_some_and(|newest| newest.place == mark.place && newest.is_known(&floors)))
    }

    /// Raises floors, durably.
    fn forget(&mut self) -> io::Result<()> {
        if self.forgotten.is_empty() {
            return Ok(());
        }
        ask(self.queue, Task::Forget(std::mem::take(&mut self.forgotten)))
    }
}

/// The last segment of which it is known that no older value of what was removed in it, or before it, is
/// left in any file.
fn through(files: &[Candidate]) -> u32 {
    let (mut through, mut lowest) = (0, u32::MAX);
    for file in files {
        if file.is_kept || !file.life.is_known {
            break;
        }
        // What has died by later segments was alive when these were written.
        lowest = lowest.min(file.life.dead_from.map_or(u32::MAX, |from| from.saturating_sub(1)));
        if lowest < file.span.first {
            break;
        }
        through = lowest.min(file.span.last);
    }
    through
}

fn newest_segment(shared: &Shared) -> u32 {
    let in_memory = shared.index.ends_in_memory().into_iter().map(|(segment, _)| segment);
    let in_files = shared.index.runs().last().map_or(0, |run| run.segments().1);
    in_memory.fold(in_files, u32::max)
}

fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= interval)
}

/// Has the lane do something, and waits until it is durable.
pub(super) fn ask(queue: &Queue, task: Task) -> io::Result<()> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    let done = Box::new(move |reply: Result<StoreReply, StoreError>| drop(sender.send(reply)));
    queue.push(Job { task, done });
    match answer.recv() {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(io::Error::other(error)),
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::segment::Span;
    use super::super::life::SegmentLife;
    use super::*;

    fn file(first: u32, last: u32, dead_from: Option<u32>) -> Candidate {
        let life = SegmentLife { dead_from, is_known: true, ..SegmentLife::default() };
        Candidate { span: Span { first, last }, bytes: 1000, life, is_kept: false }
    }

    #[test]
    fn an_older_value_in_any_older_file_keeps_a_mark() {
        let clean = [file(1, 1, None), file(2, 4, None), file(5, 5, None)];
        assert_eq!(through(&clean), 5);
        // What died by segment 4 lies in segment 1: the mark in 4 has to stay, the one in 3 has not.
        let [one, two, three] = clean;
        assert_eq!(through(&[file(1, 1, Some(4)), two, three]), 3);
        assert_eq!(through(&[one, two, file(5, 5, Some(5))]), 4);
        assert_eq!(through(&[one, two, file(5, 5, Some(9))]), 5);
        assert_eq!(through(&[file(1, 1, Some(0)), two, three]), 0);
        assert_eq!(through(&[one, Candidate { is_kept: true, ..two }, three]), 1);
        let unknown = Candidate { life: SegmentLife::default(), ..two };
        assert_eq!(through(&[one, unknown, three]), 1);
        assert_eq!(through(&[]), 0);
    }
}
