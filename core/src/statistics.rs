//! What the workers count.

use dunlin_protocol::wire::ErrorCode;

/// Counts of one worker since it started, and its state at the end of its last tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatistics {
    /// Requests of clients that were taken.
    pub commands: u64,
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
    /// Requests that were refused, by [`ErrorCode`].
    pub errors: [u64; ERROR_CODES],
    /// Sessions that are open.
    pub sessions: u64,
    /// Conversations in memory.
    pub conversations: u64,
    /// Accounts in memory.
    pub accounts: u64,
    /// Requests to the store that are not answered yet.
    pub store_outstanding: u64,
    /// Batches of commands that wait.
    pub commands_queued: u64,
    /// Answers and messages of other workers that wait.
    pub messages_queued: u64,
}

/// Codes are below this.
pub const ERROR_CODES: usize = 64;

const _: () = assert!((ErrorCode::DataCorrupt as usize) < ERROR_CODES);

impl Default for WorkerStatistics {
    fn default() -> WorkerStatistics {
        WorkerStatistics {
            commands: 0,
            appends: 0,
            append_batches: 0,
            pushes: 0,
            signals: 0,
            forwarded: 0,
            forwards_late: 0,
            envelopes_sent: 0,
            envelopes_received: 0,
            gaps: 0,
            errors: [0; ERROR_CODES],
            sessions: 0,
            conversations: 0,
            accounts: 0,
            store_outstanding: 0,
            commands_queued: 0,
            messages_queued: 0,
        }
    }
}

impl WorkerStatistics {
    /// Requests that were refused with this code.
    pub fn errors_of(&self, code: ErrorCode) -> u64 {
        self.errors.get(code as usize).copied().unwrap_or(0)
    }

    pub(crate) fn count_error(&mut self, code: ErrorCode) {
        if let Some(count) = self.errors.get_mut(code as usize) {
            *count += 1;
        }
    }
}
