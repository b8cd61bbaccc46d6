//! What the engine counts.
//!
//! Each worker counts for itself, in plain numbers, and publishes them a few times a second: no other
//! thread waits for that, and nothing is shared while messages are handled. Whoever asks
//! ([`Engine::statistics`](crate::engine::Engine::statistics), or at the
//! [door](crate::engine::door::Door::statistics)) gets numbers that are a moment old.

mod errors;
mod histogram;
mod requests;
mod shared_histogram;

use dunlin_protocol::wire::ErrorCode;

use crate::request::Request;

pub use errors::ErrorCounts;
pub use histogram::Histogram;
pub use requests::RequestCounts;
pub use shared_histogram::SharedHistogram;

/// Counts of one worker since it started, and its state at the end of its last tick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerStatistics {
    /// Requests of clients that were taken.
    pub commands: u64,
    /// The same by kind, with calls at the door.
    pub requests: RequestCounts,
    /// Entries that were given to the store.
    pub appends: u64,
    /// Requests that carried them.
    pub append_batches: u64,
    /// Entries that were given to sessions.
    pub pushes: u64,
    /// Signals and receipts that were given to sessions.
    pub signals: u64,
    /// Sends that were forwarded to other nodes.
    pub forwarded: u64,
    /// Batches of them that were not answered in time.
    pub forwards_late: u64,
    /// Envelopes for other nodes, beacons included.
    pub envelopes_sent: u64,
    /// Envelopes of other nodes that were taken.
    pub envelopes_received: u64,
    /// How often something before an envelope was missing.
    pub gaps: u64,
    /// Conversations of which a client had more than there is: the store was put back to an earlier
    /// state.
    pub clients_ahead: u64,
    /// How often the clock of the machine was set while the engine ran.
    pub clock_jumps: u64,
    /// Responses that were deflated.
    pub deflated: u64,
    /// Bytes that they had before, which is what the time is spent on ...
    pub deflated_bytes: u64,
    /// ... and how many of them were saved.
    pub deflated_saved_bytes: u64,
    /// Requests that were refused, by their code.
    pub errors: ErrorCounts,
    /// How often it has looked at its timers: a worker that stands still does not.
    pub timer_turns: u64,
    /// How long ticks took that had something to do, in microseconds.
    pub tick_us: Histogram,
    /// How long the store took for each request, in microseconds: from the beginning of the tick that
    /// submits it to that of the tick that takes the answer.
    pub store_round_us: Histogram,
    /// Entries of each request that appended.
    pub batch_entries: Histogram,
    /// Sessions that are open.
    pub sessions: u64,
    /// Conversations in memory.
    pub conversations: u64,
    /// Requests to the store that are not answered yet.
    pub store_outstanding: u64,
    /// Requests that the store did not answer in time.
    pub store_overdue: u64,
    /// How often messages of a conversation have expired.
    pub expirations: u64,
    /// Batches of commands that wait.
    pub commands_queued: u64,
    /// Answers and messages of other workers that wait.
    pub messages_queued: u64,
    /// Memory of the commands that wait.
    pub command_bytes: u64,
    /// Memory of the messages that were taken and are not answered.
    pub message_bytes: u64,
    /// Memory of large answers, from when they are read to when they are written.
    pub answer_bytes: u64,
    /// Requests that wait for room for their answer.
    pub answers_waiting: u64,
}

impl WorkerStatistics {
    /// Requests that were refused with this code.
    pub fn errors_of(&self, code: ErrorCode) -> u64 {
        self.errors.of(code)
    }

    /// Adds what another worker has counted and holds.
    pub fn add(&mut self, other: &WorkerStatistics) {
        let WorkerStatistics {
            commands,
            requests,
            appends,
            append_batches,
            pushes,
            signals,
            forwarded,
            forwards_late,
            envelopes_sent,
            envelopes_received,
            gaps,
            clients_ahead,
            clock_jumps,
            deflated,
            deflated_bytes,
            deflated_saved_bytes,
            errors,
            timer_turns,
            tick_us,
            store_round_us,
            batch_entries,
            sessions,
            conversations,
            store_outstanding,
            store_overdue,
            expirations,
            commands_queued,
            messages_queued,
            command_bytes,
            message_bytes,
            answer_bytes,
            answers_waiting,
        } = other;
        self.commands += commands;
        self.requests.add(requests);
        self.appends += appends;
        self.append_batches += append_batches;
        self.pushes += pushes;
        self.signals += signals;
        self.forwarded += forwarded;
        self.forwards_late += forwards_late;
        self.envelopes_sent += envelopes_sent;
        self.envelopes_received += envelopes_received;
        self.gaps += gaps;
        self.clients_ahead += clients_ahead;
        self.clock_jumps += clock_jumps;
        self.deflated += deflated;
        self.deflated_bytes += deflated_bytes;
        self.deflated_saved_bytes += deflated_saved_bytes;
        self.errors.add(errors);
        self.timer_turns += timer_turns;
        self.tick_us.add(tick_us);
        self.store_round_us.add(store_round_us);
        self.batch_entries.add(batch_entries);
        self.sessions += sessions;
        self.conversations += conversations;
        self.store_outstanding += store_outstanding;
        self.store_overdue += store_overdue;
        self.expirations += expirations;
        self.commands_queued += commands_queued;
        self.messages_queued += messages_queued;
        self.command_bytes += command_bytes;
        self.message_bytes += message_bytes;
        self.answer_bytes += answer_bytes;
        self.answers_waiting += answers_waiting;
    }

    #[inline]
    pub(crate) fn count_request(&mut self, request: &Request) {
        self.commands += 1;
        self.requests.count(request.kind());
    }

    pub(crate) fn count_error(&mut self, code: ErrorCode) {
        self.errors.count(code);
    }

    pub(crate) fn count_deflated(&mut self, bytes: usize, bytes_left: usize) {
        self.deflated += 1;
        self.deflated_bytes += bytes as u64;
        self.deflated_saved_bytes += bytes.saturating_sub(bytes_left) as u64;
    }

    pub(crate) fn count_batch(&mut self, entries: usize) {
        self.append_batches += 1;
        self.appends += entries as u64;
        self.batch_entries.record(entries as u64);
    }
}

/// What an engine has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStatistics {
    /// Of each worker.
    pub workers: Vec<WorkerStatistics>,
    /// Calls at the door that wait for their answer now.
    pub calls_waiting: u64,
}

impl EngineStatistics {
    /// All workers together.
    pub fn total(&self) -> WorkerStatistics {
        let mut total = WorkerStatistics::default();
        self.workers.iter().for_each(|worker| total.add(worker));
        total
    }
}
