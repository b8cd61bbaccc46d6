//! Reading a conversation page by page.

use dunlin_protocol::LogId;
use dunlin_protocol::limits::CONTENT_BYTES_MAX;
use dunlin_protocol::wire::{self, frame::Body};

use super::ConversationPage;
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
    let entries = history.limit.saturating_mul(ENTRY_BYTES_MAX).min(RESPONSE_BYTES_MAX);
    let overhead = overhead(history);
    let least = entries.min(HISTORY_ROOM_LEAST) + overhead;
    Some(Wanted { least, most: entries + overhead })
}

/// What a page takes beside its entries.
fn overhead(history: &History) -> usize {
    history.limit * ENTRY_OVERHEAD_BYTES
}

/// A page for which there is room, and of which it is asked where the conversation begins for the user.
#[derive(Debug)]
pub(crate) struct FlooredPage {
    pub(crate) client: Client,
    pub(crate) log: LogId,
    pub(crate) history: History,
    pub(crate) claim: Claim,
}

/// Asks what the user has cleared, which nobody reads again.
pub(crate) fn ask_floor(page: FlooredPage, turn: &mut Turn<'_>) {
    let register = (LogId::account(page.client.user), Membership::key(page.log));
    turn.ask_register(vec![register], RegisterFlow::Floor(Box::new(page)));
}

/// It is known: asks for the page. False if it was refused.
pub(crate) fn floor_read(
    page: FlooredPage,
    answers: Answers<Register>,
    turn: &mut Turn<'_>,
) -> bool {
    let FlooredPage { client, log, history, claim } = page;
    let floor = membership::floor(single(answers));
    match floor {
        Ok(floor) => ask(client, log, &history, (claim, floor), turn),
        Err(refusal) => turn.effects.refuse(client.conn, client.request_id, refusal),
    }
    floor.is_ok()
}

fn ask(
    client: Client,
    log: LogId,
    history: &History,
    (claim, floor): (Claim, u64),
    turn: &mut Turn<'_>,
) {
    let range = Range {
        log,
        from: history.from.max(floor),
        to: history.to,
        entries_max: history.limit,
        bytes_max: (claim.bytes() - overhead(history)).min(RESPONSE_BYTES_MAX),
        backwards: history.backwards,
        since: None,
    };
    let page = ConversationPage::History(client, claim, floor);
    turn.ask_pages(vec![range], PagesFlow::Conversation(page));
}

/// The page was read.
pub(crate) fn page_read(
    client: Client,
    answer: Answer<Page>,
    claim: Claim,
    floor: u64,
    turn: &mut Turn<'_>,
) {
    let Client { conn, request_id, .. } = client;
    match answer.and_then(|page| page_for_client(&page, floor, turn.shared.epoch)) {
        Ok(page) => turn.effects.respond_large(client, Body::HistoryPage(page), Some(claim)),
        Err(refusal) => turn.effects.refuse(conn, request_id, refusal),
    }
}

fn page_for_client(page: &Page, floor: u64, epoch: u64) -> Result<wire::HistoryPage, Refusal> {
    let entries = decode_entries(page).ok_or(DATA_CORRUPT)?;
    let Head { seq: head, expired_below, .. } = page.head;
    // To the user it is the same whether it has expired or was cleared.
    let expired_below = expired_below.max(floor);
    Ok(wire::HistoryPage { entries, head, epoch, more: page.more, expired_below })
}
