//! Reading a conversation page by page.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, frame::Body};

use super::ConversationPage;
use crate::entry::decode_entries;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, NO_SUCH_CONVERSATION, Refusal};
use crate::request::{Client, History};
use crate::store::{Head, Page, Range};
use crate::worker::flow::{Answer, PagesFlow};
use crate::worker::turn::Turn;

/// Asks for a page.
pub(crate) fn ask(client: Client, log: LogId, history: History, turn: &mut Turn<'_>) {
    if other_member(log, client.user).is_none() {
        turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
        return;
    }
    let range = Range {
        log,
        from: history.from,
        to: history.to,
        entries_max: history.limit,
        bytes_max: RESPONSE_BYTES_MAX,
        backwards: history.backwards,
        since: None,
    };
    turn.ask_pages(vec![range], PagesFlow::Conversation(ConversationPage::History(client)));
}

/// The page was read.
pub(crate) fn page_read(client: Client, answer: Answer<Page>, turn: &mut Turn<'_>) {
    let Client { conn, request_id, .. } = client;
    match answer.and_then(|page| page_for_client(&page, turn.shared.epoch)) {
        Ok(page) => turn.effects.respond_large(client, Body::HistoryPage(page)),
        Err(refusal) => turn.effects.refuse(conn, request_id, refusal),
    }
}

fn page_for_client(page: &Page, epoch: u64) -> Result<wire::HistoryPage, Refusal> {
    let entries = decode_entries(page).ok_or(DATA_CORRUPT)?;
    let Head { seq: head, expired_below, .. } = page.head;
    Ok(wire::HistoryPage { entries, head, epoch, more: page.more, expired_below })
}
