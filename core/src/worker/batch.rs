//! The appends of a tick: one request to the store for all conversations and accounts.

use dunlin_protocol::{LogId, UserId};

use crate::store::Append;

/// What a tick appends.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) appends: Vec<Append>,
    pub(super) runs: Vec<Run>,
}

/// Appends of one log, which stand together in the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) owner: Owner,
    pub(super) count: usize,
}

/// Who waits for the results of a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    Conversation(LogId),
    Account(UserId),
}
