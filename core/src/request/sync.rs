//! Catching up.

use dunlin_protocol::limits::{
    SYNC_BYTES_DEFAULT, SYNC_BYTES_MIN, SYNC_ENTRIES_DEFAULT, SYNC_ENTRIES_MAX, SYNC_POSITIONS_MAX,
    SYNC_TOKEN_BYTES_MAX,
};
use dunlin_protocol::{LogId, wire};

use super::Request;
use super::invalid::{InvalidRequest, checked_conversation, invalid, or_default};

/// What a device has: it wants what comes after it. See [`wire::Sync`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFrom {
    /// The epoch that the client knows, or 0.
    pub epoch: u64,
    /// The token of its last answer, in memory of its own; empty if it has none.
    pub token: Box<[u8]>,
    /// What it knows beside it.
    pub positions: Vec<Position>,
    /// Newest entries wanted of each changed conversation.
    pub entries_per_conversation: u32,
    /// Bytes of the answer, about.
    pub bytes_max: u32,
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
    /// The time of the entry up to which it has everything; 0 if it does not know.
    pub time_ms: u64,
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
                time_ms: position.time_ms,
            })
        };
        let entries = or_default(sync.entries_per_conversation, SYNC_ENTRIES_DEFAULT);
        let bytes = or_default(sync.bytes_max, SYNC_BYTES_DEFAULT);
        // What is longer is no token, and whoever has none is told everything.
        let is_token = sync.token.len() <= SYNC_TOKEN_BYTES_MAX;
        let token = Some(&sync.token[..]).filter(|_| is_token).unwrap_or_default();
        Ok(Request::Sync(SyncFrom {
            epoch: sync.epoch,
            token: token.into(),
            positions: sync.positions.into_iter().map(position).collect::<Result<_, _>>()?,
            entries_per_conversation: entries.min(SYNC_ENTRIES_MAX),
            bytes_max: bytes.max(SYNC_BYTES_MIN),
        }))
    }
}
