//! Requests that wait for their response, and those that wait to be sent.

use std::collections::{BTreeMap, VecDeque};

use dunlin_protocol::LogId;

use super::outbox::OutgoingId;
use super::request::{Request, Ticket};

/// A request of the application other than Send.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) request: Request,
    /// How often the server failed at it (codes of that class).
    pub(super) failures: u32,
}

/// What a response is the answer to.
#[derive(Debug)]
pub(super) enum Pending {
    Hello,
    Register,
    LogIn,
    Refresh,
    Sync,
    /// Fetches what is missing in a log.
    Repair(LogId),
    Send(OutgoingId),
    Job(Job),
}

/// Requests under way.
#[derive(Debug)]
pub(super) struct PendingRequests {
    next_id: u64,
    waiting: BTreeMap<u64, (u64, Pending)>,
    max: usize,
}

impl PendingRequests {
    pub(super) fn new() -> PendingRequests {
        PendingRequests { next_id: 1, waiting: BTreeMap::new(), max: 1 }
    }

    /// How many the server lets wait at one time.
    pub(super) fn set_max(&mut self, max: u32) {
        self.max = (max as usize).max(1);
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.max
    }

    /// Gives a request its id, which is never used again.
    pub(super) fn add(&mut self, now_ms: u64, pending: Pending) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert(id, (now_ms, pending));
        id
    }

    pub(super) fn take(&mut self, request_id: u64) -> Option<Pending> {
        self.waiting.remove(&request_id).map(|(_, pending)| pending)
    }

    /// When the oldest of them was sent.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.waiting.values().next().map(|(sent_ms, _)| *sent_ms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn repairs(&self) -> usize {
        self.waiting.values().filter(|(_, pending)| matches!(pending, Pending::Repair(_))).count()
    }

    /// The connection broke; in the order in which they were sent.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Pending> + use<> {
        std::mem::take(&mut self.waiting).into_values().map(|(_, pending)| pending)
    }
}

/// Jobs that wait to be sent.
#[derive(Debug)]
pub(super) struct JobQueue {
    ready: VecDeque<Job>,
    /// They were refused for now.
    later: Vec<(u64, Job)>,
    max: usize,
}

impl JobQueue {
    pub(super) fn new(max: usize) -> JobQueue {
        JobQueue { ready: VecDeque::new(), later: Vec::new(), max }
    }

    /// Takes a new job; says no if too many wait already.
    pub(super) fn push(&mut self, job: Job) -> Result<(), Job> {
        if self.ready.len() + self.later.len() >= self.max {
            return Err(job);
        }
        self.ready.push_back(job);
        Ok(())
    }

    /// Puts jobs that were sent in vain back to the front.
    pub(super) fn put_back(&mut self, jobs: Vec<Job>) {
        for job in jobs.into_iter().rev() {
            self.ready.push_front(job);
        }
    }

    pub(super) fn retry_at(&mut self, at_ms: u64, job: Job) {
        self.later.push((at_ms, job));
    }

    pub(super) fn next(&mut self, now_ms: u64) -> Option<Job> {
        if let Some(index) = self.later.iter().position(|(at_ms, _)| *at_ms <= now_ms) {
            return Some(self.later.remove(index).1);
        }
        self.ready.pop_front()
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.later.iter().map(|(at_ms, _)| *at_ms).min()
    }

    pub(super) fn drain(&mut self) -> Vec<Job> {
        let later = std::mem::take(&mut self.later).into_iter().map(|(_, job)| job);
        later.chain(std::mem::take(&mut self.ready)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(ticket: u64) -> Job {
        Job { ticket: Ticket(ticket), request: Request::ListSessions, failures: 0 }
    }

    #[test]
    fn ids_are_not_used_twice_and_answers_are_taken_once() {
        let mut pending = PendingRequests::new();
        let first = pending.add(5, Pending::Hello);
        assert!(!pending.has_room());
        pending.set_max(2);
        let second = pending.add(7, Pending::Sync);
        assert_ne!(first, second);
        assert_eq!(pending.oldest_ms(), Some(5));
        assert!(pending.take(first).is_some());
        assert!(pending.take(first).is_none());
        assert_eq!(pending.oldest_ms(), Some(7));
        assert_ne!(pending.add(9, Pending::Sync), first);
    }

    #[test]
    fn jobs_wait_for_their_time_and_are_bounded() {
        let mut queue = JobQueue::new(2);
        queue.push(job(1)).unwrap();
        queue.retry_at(100, job(2));
        assert_eq!(queue.push(job(3)).unwrap_err().ticket, Ticket(3));
        assert_eq!(queue.next(50).unwrap().ticket, Ticket(1));
        assert!(queue.next(50).is_none());
        assert_eq!(queue.deadline_ms(), Some(100));
        assert_eq!(queue.next(100).unwrap().ticket, Ticket(2));
        queue.push(job(6)).unwrap();
        queue.put_back(vec![job(4), job(5)]);
        let order: Vec<u64> = queue.drain().iter().map(|job| job.ticket.0).collect();
        assert_eq!(order, [4, 5, 6]);
    }
}
