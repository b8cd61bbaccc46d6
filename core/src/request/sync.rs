//! Catching up.

use dunlin_protocol::limits::{SYNC_ENTRIES_DEFAULT, SYNC_ENTRIES_MAX, SYNC_POSITIONS_MAX};
use dunlin_protocol::{LogId, wire};

use super::Request;
use super::invalid::{InvalidRequest, checked_conversation, invalid, or_default};

/// What a device has: it wants what comes after it. See [`wire::Sync`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFrom {
    /// The epoch that the client knows, or 0.
    pub epoch: u64,
    /// Up to where it has its conversations.
    pub positions: Vec<Position>,
    /// Newest entries wanted of each changed conversation.
    pub entries_per_conversation: usize,
}

/// What a client has of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which.
    pub conversation: LogId,
    /// Up to where.
    pub seq: u64,
    /// The cursor of the other member that it shows.
    pub peer_read_seq: u64,
    /// Its own cursor, as it knows it.
    pub read_seq: u64,
}

impl TryFrom<wire::Sync> for Request {
    type Error = InvalidRequest;

    fn try_from(sync: wire::Sync) -> Result<Request, InvalidRequest> {
        if sync.positions.len() > SYNC_POSITIONS_MAX {
            let reason = format!("{} of at most {SYNC_POSITIONS_MAX}", sync.positions.len());
            return Err(invalid("positions", reason));
        }
        let position = |position: wire::LogPosition| {
            Ok(Position {
                conversation: checked_conversation(&position.conversation_id)?,
                seq: position.seq,
                peer_read_seq: position.peer_read_seq,
                read_seq: position.read_seq,
            })
        };
        let entries = or_default(sync.entries_per_conversation, SYNC_ENTRIES_DEFAULT);
        Ok(Request::Sync(SyncFrom {
            epoch: sync.epoch,
            positions: sync.positions.into_iter().map(position).collect::<Result<_, _>>()?,
            entries_per_conversation: entries.min(SYNC_ENTRIES_MAX) as usize,
        }))
    }
}
