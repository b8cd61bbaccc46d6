//! The queue in front of the commit lane. `core/tests/hand_overs` tries every interleaving of it.

use dunlin_protocol::LogId;

use super::locks::{Condvar, Mutex};
use crate::store::{Deletion, StoreDone, StoreError, Write};

/// One request that changes something.
pub(in super::super) struct Job {
    pub task: Task,
    pub done: StoreDone,
}

/// What is to be done.
pub(in super::super) enum Task {
    Write(Vec<Write>),
    Delete(Vec<Deletion>),
    /// Forget of these logs which registers were removed, by versions up to these.
    Forget(Vec<(LogId, u64)>),
    /// Leave the segment that is written, so that it can be cleaned.
    Seal,
}

impl Task {
    /// How many things.
    pub(in super::super) fn items(&self) -> usize {
        match self {
            Task::Write(writes) => writes.len(),
            Task::Delete(deletions) => deletions.len(),
            Task::Forget(logs) => logs.len(),
            Task::Seal => 1,
        }
    }
}

/// What waits for the lane. It takes everything at once: what arrives while an fsync runs is the
/// next batch. It has no limit of its own; who submits waits for answers, which bounds it.
#[derive(Default)]
pub(in super::super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// The lane sleeps and must be woken: waking it for every job costs more than the job.
    asleep: bool,
    closed: bool,
}

impl Queue {
    /// Adds a request; answers it at once if the store is being closed.
    pub(in super::super) fn push(&self, job: Job) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            drop(waiting);
            return (job.done)(Err(StoreError::Unavailable { reason: "it is closed".into() }));
        }
        waiting.jobs.push(job);
        if std::mem::take(&mut waiting.asleep) {
            self.arrived.notify_one();
        }
    }

    /// Takes all that waits, after waiting until there is something. False when the queue is
    /// closed and empty.
    pub(in super::super) fn take(&self, jobs: &mut Vec<Job>) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting.asleep = true;
            self.arrived.wait(&mut waiting);
        }
        std::mem::swap(jobs, &mut waiting.jobs);
        true
    }

    /// Requests that wait.
    pub(in super::super) fn len(&self) -> usize {
        self.waiting.lock().jobs.len()
    }

    /// Takes no more.
    pub(in super::super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_all();
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.len()).finish()
    }
}
