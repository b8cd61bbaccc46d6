//! Finding out who has a name, and what is known of a user: reads that begin most flows.

use bytes::Bytes;
use dunlin_protocol::wire::{self, entry};
use dunlin_protocol::{LogId, UserId};
use prost::Message as _;

use crate::auth::identity::Identity;
use crate::auth::names;
use crate::entry::decode_entry;
use crate::refusal::{INTERNAL, Refusal};
use crate::store::{Append, Appended, EntryMeta, Head, Page, Range};
use crate::worker::flow::Answer;

/// Names and identities are one small entry each: this limit is never met, and a store returns
/// one entry whatever its size.
const BYTES_MAX: usize = 64 * 1024;

/// Who has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody.
    Free,
    /// This user.
    Of {
        /// The user.
        user: UserId,
        /// Who vouches for the name; empty for a registered one.
        issuer: String,
    },
    /// A user with another name of the same hash: the name can't be used.
    Blocked,
}

/// Asks who has a name; see [`claim`].
pub(crate) fn read_name(username: &str) -> Range {
    read_name_log(names::log_of(username))
}

/// The same, by the log of the name.
pub(crate) fn read_name_log(log: LogId) -> Range {
    let (entries_max, bytes_max) = (1, BYTES_MAX);
    Range { log, from: 1, to: 1, entries_max, bytes_max, backwards: false }
}

/// Reads the answer to [`read_name`].
pub(crate) fn claim(username: &str, answer: Answer<Page>) -> Result<Claim, Refusal> {
    let Some(claimed) = name_claimed(answer)? else { return Ok(Claim::Free) };
    if claimed.username != username {
        return Ok(Claim::Blocked);
    }
    let user = UserId::new(claimed.user_id).map_err(|_| INTERNAL)?;
    Ok(Claim::Of { user, issuer: claimed.issuer })
}

/// The first entry of the log of a name; `None` if there is none.
pub(crate) fn name_claimed(answer: Answer<Page>) -> Result<Option<wire::NameClaimed>, Refusal> {
    let page = answer?;
    let Some(stored) = page.entries.first() else { return Ok(None) };
    match decode_entry(stored).and_then(|entry| entry.body) {
        Some(entry::Body::NameClaimed(claimed)) => Ok(Some(claimed)),
        Some(_) | None => Err(INTERNAL),
    }
}

/// Asks for the newest entry of an identity log; see [`identity`].
pub(crate) fn read_identity(user: UserId) -> Range {
    let (entries_max, bytes_max) = (1, BYTES_MAX);
    let (log, from, to) = (LogId::identity(user), 1, u64::MAX);
    Range { log, from, to, entries_max, bytes_max, backwards: true }
}

/// Reads the answer to [`read_identity`]: what is known of the user, and where it stands.
pub(crate) fn identity(answer: Answer<Page>) -> Result<(Identity, Head), Refusal> {
    let page = answer?;
    let Some(stored) = page.entries.first() else {
        return Ok((Identity::default(), Head::default()));
    };
    match decode_entry(stored).and_then(|entry| entry.body) {
        Some(entry::Body::IdentityChanged(changed)) => {
            let identity = Identity::from_wire(&changed).map_err(|_| INTERNAL)?;
            Ok((identity, Head { seq: stored.seq, meta: stored.meta, ..Head::default() }))
        }
        Some(_) | None => Err(INTERNAL),
    }
}

/// The append of a changed identity after `head`.
pub(crate) fn append_identity(
    user: UserId,
    identity: &Identity,
    head: Head,
    now_ms: u64,
) -> Append {
    let time_ms = now_ms.max(head.meta.time_ms);
    let body = entry::Body::IdentityChanged(identity.to_wire());
    append(LogId::identity(user), head.seq + 1, time_ms, user, body)
}

/// An append without a key: its sequence alone decides.
pub(crate) fn append(
    log: LogId,
    seq: u64,
    time_ms: u64,
    sender: UserId,
    body: entry::Body,
) -> Append {
    let meta = EntryMeta { time_ms, sender: sender.get(), ..EntryMeta::default() };
    let entry =
        wire::Entry { seq, time_ms, sender: meta.sender, body: Some(body), ..Default::default() };
    let body = Bytes::from(entry.encode_to_vec());
    Append { log, seq, meta, key: None, digest: 0, cursor: None, body }
}

/// Whether all appends of a request were stored; if not, at least one met another's entry.
pub(crate) fn all_stored(answer: Answer<Vec<Appended>>) -> Result<bool, Refusal> {
    Ok(answer?.iter().all(|appended| *appended == Appended::Stored))
}
