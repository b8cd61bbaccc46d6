//! Reading a conversation page by page.
//!
//! ```text
//! room ─► where it begins for the user ─► (where the time is, one entry after the other) ─► the page
//! ```

use dunlin_protocol::LogId;
use dunlin_protocol::limits::CONTENT_BYTES_MAX;
use dunlin_protocol::wire::{self, frame::Body};

use super::by_time::{self, Searching};
use super::{ConversationPage, find};
use crate::account::membership::{self, Membership};
use crate::entry::decode_entries;
use crate::limits::{ENTRY_OVERHEAD_BYTES, HISTORY_ROOM_LEAST, RESPONSE_BYTES_MAX};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, NO_SUCH_CONVERSATION, Refusal};
use crate::request::{Client, History};
use crate::room::{Claim, Wanted};
use crate::store::{Head, Page, Range, Register};
use crate::worker::flow::{Answer, Answers, PagesFlow, RegisterFlow, single};
use crate::worker::turn::Turn;

/// The largest entry, about.
const ENTRY_BYTES_MAX: usize = CONTENT_BYTES_MAX + 1024;

/// What room a page needs; `None` if it is refused.
pub(crate) fn take(
    client: Client,
    log: LogId,
    history: &History,
    turn: &mut Turn<'_>,
) -> Option<Wanted> {
    if other_member(log, client.user).is_none() {
        turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
        return None;
    }
    let bytes_max = history.bytes_max.clamp(ENTRY_BYTES_MAX, RESPONSE_BYTES_MAX);
    let entries = history.limit.saturating_mul(ENTRY_BYTES_MAX).min(bytes_max);
    let overhead = overhead(history);
    let least = entries.min(HISTORY_ROOM_LEAST) + overhead;
    Some(Wanted { least, most: entries + overhead })
}

/// What a page takes beside its entries.
fn overhead(history: &History) -> usize {
    history.limit * ENTRY_OVERHEAD_BYTES
}

/// Who reads, with the room for it.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) client: Client,
    pub(crate) claim: Claim,
    pub(crate) form: Form,
}

/// As what an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A page of history.
    Page,
    /// The one message that was looked for.
    Message,
}

/// A page for which there is room, and of which it is asked where the conversation begins for the user.
#[derive(Debug)]
pub(crate) struct FlooredPage {
    pub(crate) reader: Reader,
    pub(crate) log: LogId,
    pub(crate) history: History,
}

impl Reader {
    /// What was asked is answered by this.
    pub(crate) fn refuse(&self, refusal: Refusal, turn: &mut Turn<'_>) {
        turn.effects.refuse(self.client.conn, self.client.request_id, refusal);
    }
}

/// Asks what the user has cleared, which nobody reads again.
pub(crate) fn ask_floor(page: FlooredPage, turn: &mut Turn<'_>) {
    let register = (LogId::account(page.reader.client.user), Membership::key(page.log));
    turn.ask_register(vec![register], RegisterFlow::Floor(Box::new(page)));
}

/// It is known: asks for the page. False if it was refused.
pub(crate) fn floor_read(
    page: FlooredPage,
    answers: Answers<Register>,
    turn: &mut Turn<'_>,
) -> bool {
    let floor = membership::floor(single(answers));
    match floor {
        Ok(floor) => match page.history.from_time_ms {
            Some(time_ms) => by_time::ask(Searching::new(page, floor, time_ms), turn),
            None => ask(page, floor, turn),
        },
        Err(refusal) => page.reader.refuse(refusal, turn),
    }
    floor.is_ok()
}

/// Asks for the page.
pub(super) fn ask(page: FlooredPage, floor: u64, turn: &mut Turn<'_>) {
    let FlooredPage { reader, log, history } = page;
    let room = (reader.claim.bytes() - overhead(&history)).min(RESPONSE_BYTES_MAX);
    let range = Range {
        log,
        from: history.from.max(floor),
        to: history.to,
        entries_max: history.limit,
        bytes_max: room.min(history.bytes_max),
        backwards: history.backwards,
        since: None,
    };
    let page = ConversationPage::Asked(reader, floor);
    turn.ask_pages(vec![range], PagesFlow::Conversation(page));
}

/// The page was read.
pub(crate) fn page_read(reader: Reader, floor: u64, answer: Answer<Page>, turn: &mut Turn<'_>) {
    let body = answer.and_then(|page| match reader.form {
        Form::Page => page_for_client(&page, floor, turn.shared.epoch).map(Body::HistoryPage),
        Form::Message => find::message_for_client(&page).map(Body::FoundMessage),
    });
    match body {
        Ok(body) => turn.effects.respond_large(reader.client, body, Some(reader.claim)),
        Err(refusal) => reader.refuse(refusal, turn),
    }
}

fn page_for_client(page: &Page, floor: u64, epoch: u64) -> Result<wire::HistoryPage, Refusal> {
    let entries = decode_entries(page).ok_or(DATA_CORRUPT)?;
    let Head { seq: head, expired_below, .. } = page.head;
    // To the user it is the same whether it has expired or was cleared.
    let expired_below = expired_below.max(floor);
    Ok(wire::HistoryPage { entries, head, epoch, more: page.more, expired_below })
}
