//! Reading a log page by page.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, frame::Body};

use crate::entry::decode_entry;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, NO_SUCH_CONVERSATION, store_refusal};
use crate::request::History;
use crate::store::{Page, Range, StoreReply, StoreRequest};
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use crate::worker::{Client, Worker};

impl Worker {
    pub(in crate::worker) fn take_history(
        &mut self,
        client: Client,
        log: LogId,
        history: History,
        effects: &mut Effects,
    ) {
        let is_own = log.owner() == Some(client.user);
        if !is_own && other_member(log, client.user).is_none() {
            effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        }
        let range = Range {
            log,
            from: history.from,
            to: history.to,
            entries_max: history.limit,
            bytes_max: RESPONSE_BYTES_MAX,
            backwards: history.backwards,
        };
        self.ask_store(StoreRequest::Range(range), Flow::History(client), effects);
    }

    pub(in crate::worker) fn history_read(
        &mut self,
        client: Client,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let Client { conn, request_id, .. } = client;
        let page = match result {
            Ok(StoreReply::Page(page)) => page,
            Ok(_) => return effects.refuse(conn, request_id, INTERNAL),
            Err(error) => return effects.refuse(conn, request_id, store_refusal(&error)),
        };
        match decode_entries(&page) {
            Some(entries) => {
                let (head, more, epoch) = (page.head.seq, page.more, self.shared.epoch);
                let page = wire::HistoryPage { entries, head, epoch, more };
                effects.respond(conn, request_id, Body::HistoryPage(page));
            }
            None => effects.refuse(conn, request_id, DATA_CORRUPT),
        }
    }
}

/// The entries of a page for a client; `None` if one is no entry.
pub(in crate::worker) fn decode_entries(page: &Page) -> Option<Vec<wire::Entry>> {
    page.entries.iter().map(decode_entry).collect()
}
