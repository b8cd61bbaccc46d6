//! The queue between those who log and the thread that writes: bounded in bytes, and nobody who
//! logs ever waits for it to be emptied.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Bytes of lines that may wait to be written: some thousands of lines, which covers a disk that is
/// slow for a second. The writer holds as much again while it writes.
pub(crate) const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that only warnings and errors may use: whoever floods the log with lesser lines must not
/// keep these out.
const RESERVED_BYTES: usize = QUEUE_BYTES_MAX / 4;

/// Buffers that have grown beyond this are given back when they are empty.
const KEPT_BYTES: usize = 64 * 1024;

/// How much room a line may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// What is not reserved.
    Shared,
    /// All of it.
    Whole,
}

impl Room {
    fn bytes(self) -> usize {
        match self {
            Room::Shared => QUEUE_BYTES_MAX - RESERVED_BYTES,
            Room::Whole => QUEUE_BYTES_MAX,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do for the writer.
    work: Condvar,
    /// The writer has nothing left to do.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that found no room since the writer came last.
    dropped: u64,
    /// When kinds of lines that were left out are to be reported.
    report_at: Option<Instant>,
    /// The writer has taken something and not come back.
    writing: bool,
}

impl State {
    fn report_is_due(&self) -> bool {
        self.report_at.is_some_and(|at| at <= Instant::now())
    }

    fn has_work(&self) -> bool {
        !self.lines.is_empty() || self.dropped > 0 || self.report_is_due()
    }
}

/// What the writer is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Lines that were dropped after those that it got.
    pub(super) dropped: u64,
    /// What was left out is to be reported.
    pub(super) report: bool,
}

impl Queue {
    /// Adds a line; false if it found no room, and was counted.
    pub(super) fn push(&self, line: &[u8], room: Room) -> bool {
        self.add(self.state.lock(), line, room)
    }

    /// The same for a thread that panicks, maybe while somebody holds the lock who will never go
    /// on: it waits for the lock for a moment only.
    pub(super) fn push_at_last(&self, line: &[u8], patience: Duration) -> bool {
        let state = self.state.try_lock_for(patience);
        state.is_some_and(|state| self.add(state, line, Room::Whole))
    }

    fn add(&self, mut state: MutexGuard<'_, State>, line: &[u8], room: Room) -> bool {
        if state.lines.len() + line.len() > room.bytes() {
            state.dropped += 1;
            return false;
        }
        // Otherwise it was told already.
        let is_first = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if is_first {
            self.work.notify_one();
        }
        true
    }

    /// Has the writer report what was left out, at a time or sooner.
    pub(super) fn report_by(&self, time: Instant) {
        let mut state = self.state.lock();
        if state.report_at.is_none_or(|at| at > time) {
            state.report_at = Some(time);
            self.work.notify_one();
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().lines.len()
    }

    /// For the writer: waits for something to do, and puts the lines that wait into `lines`, which
    /// it has emptied.
    pub(super) fn take(&self, lines: &mut Vec<u8>) -> Work {
        lines.shrink_to(KEPT_BYTES);
        let mut state = self.state.lock();
        state.writing = false;
        loop {
            if state.has_work() {
                let report = state.report_is_due();
                if report {
                    state.report_at = None;
                }
                std::mem::swap(&mut state.lines, lines);
                state.writing = true;
                return Work { dropped: std::mem::take(&mut state.dropped), report };
            }
            self.idle.notify_all();
            match state.report_at {
                Some(at) => drop(self.work.wait_until(&mut state, at)),
                None => self.work.wait(&mut state),
            }
        }
    }

    /// Waits until everything is written, or has failed to be; false if the time is up before.
    pub(super) fn wait_until_idle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let Some(mut state) = self.state.try_lock_until(deadline) else { return false };
        while state.writing || state.has_work() {
            if self.idle.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_errors_have_room_of_their_own() {
        let queue = Queue::default();
        let line = [b'x'; 1024];
        let fitted = (0..2000).filter(|_| queue.push(&line, Room::Shared)).count();
        assert_eq!(fitted, (QUEUE_BYTES_MAX - RESERVED_BYTES) / line.len());
        let errors = (0..2000).filter(|_| queue.push(&line, Room::Whole)).count();
        assert_eq!(errors, RESERVED_BYTES / line.len());
        assert_eq!(queue.bytes(), QUEUE_BYTES_MAX);
        let mut taken = Vec::new();
        let dropped = 4000 - (fitted + errors) as u64;
        assert_eq!(queue.take(&mut taken), Work { dropped, report: false });
        assert_eq!(taken.len(), QUEUE_BYTES_MAX);
        assert_eq!(queue.bytes(), 0);
        assert!(queue.push(&line, Room::Shared));
    }

    #[test]
    fn it_is_idle_only_when_the_writer_has_come_back() {
        let queue = Queue::default();
        let moment = Duration::from_millis(1);
        assert!(queue.wait_until_idle(moment));
        queue.push(b"one\n", Room::Shared);
        assert!(!queue.wait_until_idle(moment), "it waits");
        let mut taken = Vec::new();
        queue.take(&mut taken);
        assert!(!queue.wait_until_idle(moment), "it is being written");
        std::thread::scope(|threads| {
            threads.spawn(|| {
                taken.clear();
                assert_eq!(queue.take(&mut taken), Work { dropped: 0, report: true });
            });
            assert!(queue.wait_until_idle(Duration::from_secs(60)));
            queue.report_by(Instant::now());
        });
    }

    #[test]
    fn the_earliest_report_counts() {
        let queue = Queue::default();
        let now = Instant::now();
        queue.report_by(now + Duration::from_secs(3600));
        queue.report_by(now);
        queue.report_by(now + Duration::from_secs(3600));
        assert_eq!(queue.take(&mut Vec::new()), Work { dropped: 0, report: true });
    }

    #[test]
    fn a_thread_that_panicks_does_not_wait_for_a_lock_that_is_lost() {
        let queue = Queue::default();
        let moment = Duration::from_millis(1);
        let lost = queue.state.lock();
        assert!(!queue.push_at_last(b"panicked\n", moment));
        drop(lost);
        assert!(queue.push_at_last(b"panicked\n", moment));
    }
}
