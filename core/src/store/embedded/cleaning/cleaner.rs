//! The thread that cleans: one file or row at a time, slowly, and only what is worth it.
//!
//! Whatever it fails to do it tries again. At each moment the folder holds everything: a cleaned file
//! gets its name when it is durable, and what it takes the place of is removed when that name is.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::super::Shared;
use super::super::lane::queue::{Job, Queue, Task};
use super::super::segment::files::SegmentFile;
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentFiles, SegmentHead, Span};
use super::super::wake::Wake;
use super::choice::{Candidate, Next, Rules, choose};
use super::copy::copy;
use super::life::{Died, Life, lower};
use super::marks::{Forgetting, ask};
use super::oldest::Oldest;
use super::pace::Pace;
use super::pieces::damaged;
use super::survey::{Survey, Surveyor};
use super::writer::Row;

/// How often somebody who waits looks whether the index files are written.
pub(super) const INDEX_LOOK: Duration = Duration::from_millis(1);

/// Looks after what is dead.
#[derive(Debug, Default)]
pub(in super::super) struct Cleaner {
    stop: AtomicBool,
    pub(super) wake: Wake,
    pub life: Life,
    /// One round at a time.
    pub(super) round: Mutex<Known>,
}

/// What one round tells the next.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The sizes of files that do not change any more.
    bytes: HashMap<Span, u64, RandomState>,
    /// The segment that was written when it was looked last.
    written: Option<Written>,
    /// Files that are damaged: they are left as they are until the next start.
    damaged: BTreeSet<Span>,
    /// Files that were or are being copied: a wider one takes their place, and they are removed then. Others
    /// are not, whatever they are called.
    copied: BTreeSet<Span>,
    pub forgetting: Forgetting,
    /// Read with the first round.
    oldest: Option<Oldest>,
}

/// A segment that is written.
#[derive(Debug, Clone, Copy)]
struct Written {
    segment: u32,
    /// Since when it is.
    since: Instant,
    /// Where it ended when it was looked last, and since when it has.
    end: u64,
    quiet_since: Instant,
}

/// The index of a segment that nobody writes to may stay in memory up to so many bytes: those of some
/// thousand logins, or of ten thousand messages.
const QUIET_INDEX_BYTES_MAX: u64 = 1024 * 1024;

/// The files of a row, as they are before it is cleaned.
struct Old<'a> {
    files: &'a [Candidate],
    row: Row,
    /// The batches of each file.
    batches: Vec<Range<u64>>,
}

impl Old<'_> {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Cleaner {
    pub(in super::super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.wake();
    }

    /// Works until it is stopped.
    pub(in super::super) fn run(&self, shared: &Shared, queue: &Queue) {
        loop {
            self.wake.wait(Some(shared.config.cleaning_interval));
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.leave_old_segment(shared, queue);
            match self.clean(shared, queue) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "can't clean the store; it will be tried again");
                }
                Ok(()) => {}
            }
        }
    }

    /// Has the lane leave the segment that is written, if it was begun so long ago that what is dead in
    /// it has to be cleaned soon, or if nobody writes and much of its index is in memory. True if it has.
    pub(in super::super) fn leave_old_segment(&self, shared: &Shared, queue: &Queue) -> bool {
        let Some(&(segment, end)) = shared.index.ends_in_memory().last() else { return false };
        if end == 0 || segment == 0 {
            return false;
        }
        // Not by the date: a clock that was ahead for a moment must not hold it up.
        let now = Instant::now();
        let mut known = self.round.lock();
        let written = match known.written {
            Some(known) if (known.segment, known.end) == (segment, end) => known,
            Some(known) if known.segment == segment => Written { end, quiet_since: now, ..known },
            Some(_) | None => Written { segment, since: now, end, quiet_since: now },
        };
        known.written = Some(written);
        drop(known);
        let is_old = now - written.since >= Duration::from_millis(dead_ms_max(shared));
        let is_quiet = now - written.quiet_since >= shared.config.index_quiet;
        let holds_memory = is_quiet && shared.index.active_bytes() > QUIET_INDEX_BYTES_MAX;
        if !is_old && !holds_memory {
            return false;
        }
        let (sender, sealed) = crossbeam_channel::bounded(1);
        // Nobody waits any more when the store is being closed.
        let done = Box::new(move |reply| drop(sender.send(reply)));
        queue.push(Job { task: Task::Seal, done });
        sealed.recv().is_ok()
    }

    /// Waits until all sealed segments have their index files.
    pub(in super::super) fn wait_for_index(&self, shared: &Shared) {
        while shared.index.oldest_sealed().is_some() && !self.stop.load(Ordering::Relaxed) {
            self.wake.wait(Some(INDEX_LOOK));
        }
    }

    /// Does all that there is to do.
    pub(in super::super) fn clean(&self, shared: &Shared, queue: &Queue) -> io::Result<()> {
        self.clean_files(shared)?;
        if self.forget_marks(shared, queue)? {
            self.clean_files(shared)?;
        }
        self.note_oldest(shared, queue)
    }

    /// Keeps in mind since when the oldest has been dead of what is left.
    fn note_oldest(&self, shared: &Shared, queue: &Queue) -> io::Result<()> {
        let mut known = self.round.lock();
        let files = self.candidates(shared, &mut known)?;
        let is_left =
            |span: &Span| known.damaged.contains(span) || shared.passed_over.contains(&span.first);
        let is_unknown = |file: &Candidate| !file.life.is_known && !is_left(&file.span);
        // What was not looked at may be as old as at the start.
        let unknown = files.iter().any(is_unknown);
        let before = known.oldest(shared)?.before_start_ms().filter(|_| unknown);
        let since_ms = lower(self.life.oldest_ms(), before);
        let write = known.oldest(shared)?.note(since_ms, dead_ms_max(shared));
        drop(known);
        let Some(write) = write else { return Ok(()) };
        // If that is not known to be stored, the register says what is.
        ask(queue, Task::Write(vec![write])).inspect_err(|_| self.round.lock().oldest = None)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn pace(&self, shared: &Shared) -> Pace<'_> {
        Pace::new(&self.stop, &self.wake, shared.config.cleaning_bytes_per_second)
    }

    fn clean_files(&self, shared: &Shared) -> io::Result<()> {
        let mut known = self.round.lock();
        let before_start_ms = known.oldest(shared)?.before_start_ms();
        loop {
            let files = self.candidates(shared, &mut known)?;
            let rules = Rules {
                now_ms: now_ms(),
                gone_within_ms: dead_ms_max(shared),
                file_bytes_max: u64::from(shared.config.segment_bytes),
                credit_bytes: shared.counters.cleaning_credit(),
            };
            let next = choose(&files, &rules);
            let Some(next) = next else { return Ok(()) };
            let row = match &next {
                Next::LookThrough(at) | Next::Overdue(at) => *at..*at + 1,
                Next::Clean(row) | Next::Join(row) => row.clone(),
            };
            known.copied.extend(files[row.clone()].iter().map(|file| file.span));
            match self.do_next(shared, &next, (&files, row.clone()), before_start_ms) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let names: Vec<String> =
                        files[row.clone()].iter().map(|f| f.span.name()).collect();
                    tracing::error!(%error, ?names, "damaged files are not cleaned");
                    known.damaged.extend(files[row].iter().map(|file| file.span));
                }
                done => done?,
            }
        }
    }

    /// All files, and what is known of them.
    pub(super) fn candidates(
        &self,
        shared: &Shared,
        known: &mut Known,
    ) -> io::Result<Vec<Candidate>> {
        let names = shared.disk.names()?;
        let files = SegmentFiles::of_names(names.iter().map(String::as_str));
        let mut copied = files.covered.iter().filter(|span| known.copied.contains(span)).peekable();
        if copied.peek().is_some() {
            shared.segments.rewrites().settle(&*shared.disk)?;
            copied.try_for_each(|span| shared.disk.remove(&span.name()))?;
        }
        known.copied.clear();
        let indexed = shared.index.runs().last().map_or(0, |run| run.segments().1);
        let newest = files.kept.last().map_or(0, |span| span.last);
        let kept_from = shared.feed_kept_from();
        known.bytes.retain(|span, _| files.kept.binary_search(span).is_ok());
        let mut candidates = Vec::with_capacity(files.kept.len());
        for span in files.kept {
            let is_done = span.last <= indexed && span.last < newest && span.last < kept_from;
            // What is not ours, or is not what it was, is left as it is.
            let is_left = known.damaged.contains(&span) || shared.passed_over.contains(&span.first);
            let is_kept = !is_done || is_left;
            let bytes = if is_kept { 0 } else { known.bytes_of(shared, span)? };
            let life = self.life.of(span.first, span.last);
            candidates.push(Candidate { span, bytes, life, is_kept });
        }
        Ok(candidates)
    }

    fn do_next(
        &self,
        shared: &Shared,
        next: &Next,
        (files, row): (&[Candidate], Range<usize>),
        before_start_ms: Option<u64>,
    ) -> io::Result<()> {
        let old = old(shared, files, row)?;
        let span = old.row.span;
        let indexed = shared.index.runs().last().map_or(0, |run| run.segments().1);
        let is_known = self.life.of(span.first, span.last).is_known;
        let before = self.life.begin_survey(span.first, span.last);
        let pace = self.pace(shared);
        let survey = match look_through(shared, &pace, &old) {
            Ok(survey) => survey,
            Err(error) => {
                self.life.give_back(before);
                return Err(error);
            }
        };
        let since_ms = before.iter().filter_map(|(_, life)| life.dead_since_ms).min();
        let since_ms = lower(since_ms, before_start_ms.filter(|_| !is_known));
        let frees = old.bytes().saturating_sub(survey.cleaned_bytes());
        let does_it = match next {
            Next::LookThrough(_) => false,
            Next::Clean(_) => survey.cleaned_bytes() <= frees,
            Next::Overdue(_) => survey.has_dead(),
            Next::Join(_) => survey.cleaned_bytes() <= shared.counters.cleaning_credit() + frees,
        };
        if !does_it {
            // What was not told yet has died by a segment that has no index file yet.
            let told = before.iter().filter_map(|(_, life)| life.dead_from).min();
            let by = if is_known { told.unwrap_or(indexed + 1) } else { 0 };
            self.life.found(&believed(&old, &survey, by), since_ms, now_ms());
            return Ok(());
        }
        let written = copy(shared, &pace, &old.row, &survey, files_of(&old));
        match written {
            Ok(bytes) => {
                shared.counters.cleaned(old.bytes(), bytes);
                Ok(())
            }
            Err(error) => {
                self.life.give_back(before);
                Err(error)
            }
        }
    }
}

impl Known {
    fn oldest(&mut self, shared: &Shared) -> io::Result<&mut Oldest> {
        match &mut self.oldest {
            Some(oldest) => Ok(oldest),
            unread => Ok(unread.insert(Oldest::read(shared).map_err(io::Error::other)?)),
        }
    }

    fn bytes_of(&mut self, shared: &Shared, span: Span) -> io::Result<u64> {
        if let Some(bytes) = self.bytes.get(&span) {
            return Ok(*bytes);
        }
        let bytes = shared.segments.file(span.first)?.bytes()?;
        self.bytes.insert(span, bytes);
        Ok(bytes)
    }
}

fn files_of(old: &Old<'_>) -> Vec<Span> {
    old.files.iter().map(|file| file.span).collect()
}

/// The files of a row and their batches. All but the last end where the next begins.
fn old<'a>(shared: &Shared, files: &'a [Candidate], row: Range<usize>) -> io::Result<Old<'a>> {
    let first_batch = |span: Span| -> io::Result<Option<u64>> {
        let mut bytes = vec![0; SEGMENT_HEAD_BYTES];
        if shared.passed_over.contains(&span.first) {
            return Ok(None);
        }
        let file = match shared.segments.open(span.first)? {
            SegmentFile::Cleaned(cleaned) => return Ok(Some(cleaned.head.first_batch)),
            SegmentFile::Plain(file) => file,
        };
        let read = file.read_at(&mut bytes, 0)?;
        let head = SegmentHead::decode(&shared.identity, span, &bytes[..read]);
        let head = head.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(head.map(|head| head.first_batch))
    };
    let mut batches = Vec::new();
    for at in row.clone() {
        let first = first_batch(files[at].span)?.ok_or_else(damaged)?;
        let next = match shared.segments.open(files[at].span.first)? {
            SegmentFile::Cleaned(cleaned) => Some(cleaned.cleaned().next_batch),
            SegmentFile::Plain(_) => match files.get(at + 1) {
                Some(next) => first_batch(next.span)?,
                None => None,
            },
        };
        let run_end = || {
            let runs = shared.index.runs();
            let run = runs.iter().find(|run| run.segments().1 == files[at].span.last);
            run.map(|run| run.next_batch())
        };
        let row_end = || shared.extent.row(files[at].span.last).map(|row| row.next_batch);
        batches.push(first..next.or_else(run_end).or_else(row_end).ok_or_else(damaged)?);
    }
    let files = &files[row];
    let (Some(first), Some(last)) = (files.first(), files.last()) else { return Err(damaged()) };
    let span = Span { first: first.span.first, last: last.span.last };
    // What is durable beyond the index files may be asked as well; it is newer than this says.
    let cleaned_through = shared.index.runs().last().map_or(0, |run| run.next_batch() - 1);
    let (first_batch, next_batch) = match (batches.first(), batches.last()) {
        (Some(first), Some(last)) => (first.start, last.end),
        _ => return Err(damaged()),
    };
    let generation = generation(shared, span)? + 1;
    let life = shared.life;
    let row = Row { span, first_batch, next_batch, cleaned_through, generation, life };
    Ok(Old { files, row, batches })
}

/// How often the segments of a row were cleaned, by what their files say, or `EXTENT`.
fn generation(shared: &Shared, span: Span) -> io::Result<u32> {
    let mut generation = 0;
    for number in span.first..=span.last {
        let of_file = match shared.segments.open(number) {
            Ok(SegmentFile::Cleaned(cleaned)) => cleaned.cleaned().generation,
            Ok(SegmentFile::Plain(_)) => 0,
            // Numbers may be missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let known = shared.extent.row(number).map_or(0, |row| row.generation);
        generation = generation.max(of_file).max(known);
    }
    Ok(generation)
}

fn look_through(shared: &Shared, pace: &Pace<'_>, old: &Old<'_>) -> io::Result<Survey> {
    let mut surveyor = Surveyor::new(shared, pace);
    for (file, batches) in old.files.iter().zip(&old.batches) {
        surveyor.file(file.span, batches.clone())?;
    }
    Ok(surveyor.finish())
}

/// What is dead in files that are left as they are, as far as cleaning would free it: what was not worth it
/// is not chosen again before more has died.
fn believed(old: &Old<'_>, survey: &Survey, by: u32) -> Vec<Died> {
    let mut left = old.bytes().saturating_sub(survey.cleaned_bytes());
    let part = |died: &Died| {
        let bytes = died.bytes.min(left);
        left -= bytes;
        Died { bytes, by: Some(by), ..*died }
    };
    survey.dead.iter().map(part).collect()
}

/// How long something dead may stay in a file before that is cleaned, and how long a segment may be
/// written: both together are the time within which it is gone.
fn dead_ms_max(shared: &Shared) -> u64 {
    u64::try_from(shared.config.gone_within.as_millis() / 2).unwrap_or(u64::MAX)
}

pub(in super::super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
