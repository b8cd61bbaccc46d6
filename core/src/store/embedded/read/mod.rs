//! The threads that read: they wait for the disk, so that neither workers nor the commit lane do.
//!
//! What is little work has threads of its own: whoever asks for one register, or whether anything has
//! changed, does not wait behind pages of others.

mod entries;
mod registers;
mod window;

use crossbeam_channel::Receiver;

use crate::store::{StoreDone, StoreError, StoreReply, StoreRequest};

use super::Shared;
use super::feed::read_feed;
use entries::read_page;
use registers::read_changes;
pub(super) use registers::{read_register, read_registers, read_value};
pub(super) use window::{HeadRead, read_head, read_head_bytes};

/// The most bytes of registers that are asked for among what is little work: an identity or an account,
/// which a login waits for, and which mostly has a hundredth of what it may have.
const LITTLE_BYTES_MAX: usize = 1024 * 1024;
/// The most ranges, or registers, of which the same holds.
const LITTLE_ITEMS_MAX: usize = 64;

/// What a reader does.
pub(super) enum ReadJob {
    /// Answer a request.
    Request(StoreRequest, StoreDone),
    /// Anything else that needs the files.
    Run(Box<dyn FnOnce(&Shared) + Send>),
}

/// Works until the channel is closed.
pub(super) fn run(shared: &Shared, jobs: &Receiver<ReadJob>) {
    for job in jobs {
        match job {
            ReadJob::Request(request, done) => done(answer(shared, request)),
            ReadJob::Run(work) => work(shared),
        }
    }
}

/// Whether a request is so little work that it should not wait behind others.
pub(super) fn is_little(request: &StoreRequest) -> bool {
    match request {
        StoreRequest::Heads(logs) => logs.len() <= LITTLE_ITEMS_MAX,
        StoreRequest::Register(questions) => questions.len() <= LITTLE_ITEMS_MAX,
        StoreRequest::Registers(ranges) => {
            is_little_of(ranges.len(), ranges.iter().map(|range| range.bytes_max))
        }
        StoreRequest::Changes(ranges) => {
            is_little_of(ranges.len(), ranges.iter().map(|range| range.bytes_max))
        }
        StoreRequest::Consumers
        | StoreRequest::Ranges(_)
        | StoreRequest::Feed(_)
        | StoreRequest::Logs { .. }
        | StoreRequest::Write(_)
        | StoreRequest::Delete(_)
        | StoreRequest::Consumer(_) => false,
    }
}

fn is_little_of(items: usize, bytes_max: impl Iterator<Item = usize>) -> bool {
    let bytes = bytes_max.fold(0, usize::saturating_add);
    items <= LITTLE_ITEMS_MAX && bytes <= LITTLE_BYTES_MAX
}

fn answer(shared: &Shared, request: StoreRequest) -> Result<StoreReply, StoreError> {
    let index = &shared.index;
    Ok(match request {
        StoreRequest::Ranges(ranges) => {
            StoreReply::Pages(ranges.iter().map(|range| read_page(shared, range)).collect())
        }
        StoreRequest::Register(questions) => {
            let read = |(log, key): &_| read_register(shared, *log, key);
            StoreReply::Register(questions.iter().map(read).collect())
        }
        StoreRequest::Registers(ranges) => StoreReply::Registers(
            ranges.iter().map(|range| read_registers(shared, range)).collect(),
        ),
        StoreRequest::Changes(ranges) => {
            StoreReply::Registers(ranges.iter().map(|range| read_changes(shared, range)).collect())
        }
        StoreRequest::Heads(logs) => {
            StoreReply::Heads(logs.iter().map(|&log| index.head(log)).collect())
        }
        StoreRequest::Logs { kind, after, limit } => {
            StoreReply::Logs(index.logs(kind, after, limit)?)
        }
        StoreRequest::Feed(range) => StoreReply::Feed(read_feed(shared, &range)?),
        StoreRequest::Consumers => StoreReply::Consumers(shared.consumers.list(shared)?),
        StoreRequest::Write(_) | StoreRequest::Delete(_) | StoreRequest::Consumer(_) => {
            unreachable!("what changes something goes to the commit lane")
        }
    })
}

fn unreadable(error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}
