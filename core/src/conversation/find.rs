//! Where a message of one's own is, by the id that it was sent with. Nobody finds those of others: the key has the
//! sender in it.

use dunlin_protocol::{ClientMessageId, LogId, wire};

use super::history::{self, FlooredPage, Reader};
use crate::entry::decode_entry;
use crate::limits::{ENTRY_OVERHEAD_BYTES, HISTORY_ROOM_LEAST, RESPONSE_BYTES_MAX};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, NO_SUCH_CONVERSATION, NO_SUCH_ENTRY, Refusal};
use crate::request::{Client, History};
use crate::room::Wanted;
use crate::store::{DedupeKey, KeyedEntry, Page};
use crate::worker::flow::{Answers, KeysFlow, single};
use crate::worker::turn::Turn;

/// Somebody who looks for a message.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) reader: Reader,
    pub(crate) log: LogId,
}

/// What room it needs; `None` if it is refused.
pub(crate) fn take(client: Client, log: LogId, turn: &mut Turn<'_>) -> Option<Wanted> {
    if other_member(log, client.user).is_none() {
        turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
        return None;
    }
    let bytes = HISTORY_ROOM_LEAST + ENTRY_OVERHEAD_BYTES;
    Some(Wanted { least: bytes, most: bytes })
}

/// Asks where it is: there is room for it.
pub(crate) fn ask(finding: Finding, id: ClientMessageId, turn: &mut Turn<'_>) {
    let key = DedupeKey { sender: finding.reader.client.user, client_message_id: id };
    turn.ask_keys(vec![(finding.log, key)], KeysFlow::Find(Box::new(finding)));
}

/// It is known: asks for the entry. False if there is none, or it can't be told.
pub(crate) fn found(
    finding: Finding,
    answers: Answers<Option<KeyedEntry>>,
    turn: &mut Turn<'_>,
) -> bool {
    let Finding { reader, log } = finding;
    match single(answers).and_then(|entry| entry.ok_or(NO_SUCH_ENTRY)) {
        Ok(KeyedEntry { seq, .. }) => {
            let (from_time_ms, bytes_max) = (None, RESPONSE_BYTES_MAX);
            let history =
                History { from: seq, to: seq, limit: 1, backwards: false, from_time_ms, bytes_max };
            history::ask_floor(FlooredPage { reader, log, history }, turn);
            true
        }
        Err(refusal) => {
            reader.refuse(refusal, turn);
            false
        }
    }
}

/// The entry; none if it has expired meanwhile, or was cleared by the user.
pub(super) fn message_for_client(page: &Page) -> Result<wire::FoundMessage, Refusal> {
    let stored = page.entries.first().ok_or(NO_SUCH_ENTRY)?;
    let entry = decode_entry(stored).ok_or(DATA_CORRUPT)?;
    Ok(wire::FoundMessage { entry: Some(entry) })
}
