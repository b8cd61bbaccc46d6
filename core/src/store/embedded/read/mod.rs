//! The threads that read: they wait for the disk, so that neither workers nor the commit lane do.
//!
//! What is little work has threads of its own: whoever asks for one register, or whether anything has
//! changed, does not wait behind pages of others.

mod entries;
mod keys;
mod registers;
mod window;

use crossbeam_channel::Receiver;

use dunlin_protocol::LogId;

use crate::store::{ChangedLogs, Moment, StoreDone, StoreError, StoreReply, StoreRequest};

use super::feed::read_feed;
use super::segment::files::Location;
use super::{Shared, moment};
use entries::read_page;
use keys::find_key;
use registers::{read_changes, registers_in_memory};
pub(super) use registers::{read_register, read_registers, read_value};
pub(super) use window::{HeadRead, read_head, read_head_bytes};

/// The most bytes of registers that are asked for among what is little work: an identity or an account,
/// which a login waits for, and which mostly has a hundredth of what it may have.
const LITTLE_BYTES_MAX: usize = 1024 * 1024;
/// The most ranges, or registers, of which the same holds.
const LITTLE_ITEMS_MAX: usize = 64;
/// The most logs of which it is asked among little work whether they have changed, if memory alone tells:
/// a millisecond or two.
const LITTLE_CHANGED_MAX: usize = 16_384;

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

/// The answer to a question that needs no file, on the thread that asks.
pub(super) fn answer_in_memory(shared: &Shared, request: &StoreRequest) -> Option<StoreReply> {
    match request {
        // Who has no conversations asks for the moment alone. That a moment is unknown, a thread says.
        StoreRequest::Changed { logs, since } if logs.is_empty() => {
            changed(shared, logs, *since).ok().map(StoreReply::Changed)
        }
        StoreRequest::Changed { logs, since: Some(since) } if logs.len() <= LITTLE_ITEMS_MAX => {
            let since = moment::place_in_memory(shared, since)?;
            let (heads, end) = shared.index.changed_in_memory(logs, since)?;
            Some(StoreReply::Changed(ChangedLogs { heads, now: moment::encode(shared, end) }))
        }
        StoreRequest::Registers(ranges) if ranges.len() <= LITTLE_ITEMS_MAX => {
            let registers = ranges.iter().map(|range| registers_in_memory(shared, range).map(Ok));
            registers.collect::<Option<_>>().map(StoreReply::Registers)
        }
        request => shared.index.answer_in_memory(request),
    }
}

/// The place of a moment, if everything since then is in memory.
fn in_memory_since(shared: &Shared, since: &Moment) -> Option<Location> {
    moment::place_in_memory(shared, since).filter(|place| shared.index.is_in_memory(*place))
}

/// Whether a request is so little work that it should not wait behind others.
pub(super) fn is_little(shared: &Shared, request: &StoreRequest) -> bool {
    match request {
        StoreRequest::Heads(logs) => logs.len() <= LITTLE_ITEMS_MAX,
        StoreRequest::Keys(keys) => keys.len() <= LITTLE_ITEMS_MAX,
        StoreRequest::Changed { logs, since } => {
            let in_memory = || since.is_some_and(|since| in_memory_since(shared, &since).is_some());
            logs.len() <= LITTLE_ITEMS_MAX || (logs.len() <= LITTLE_CHANGED_MAX && in_memory())
        }
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
        StoreRequest::Changed { logs, since } => {
            StoreReply::Changed(changed(shared, &logs, since)?)
        }
        StoreRequest::Keys(keys) => {
            StoreReply::Keys(keys.iter().map(|(log, key)| find_key(shared, *log, key)).collect())
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

fn changed(
    shared: &Shared,
    logs: &[LogId],
    since: Option<Moment>,
) -> Result<ChangedLogs, StoreError> {
    let nothing = Location { segment: 0, offset: 0 };
    let since = since.map_or(Ok(nothing), |since| moment::place_of(shared, &since))?;
    // Before anything is looked at: what is written meanwhile may be told twice, and never not at all.
    let now = moment::now(shared);
    Ok(ChangedLogs { heads: shared.index.changed(logs, since), now })
}

fn unreadable(error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}
