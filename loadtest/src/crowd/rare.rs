//! Everything else that a server says, and its errors.

use bytes::Bytes;
use dunlin_protocol::frame;
use dunlin_protocol::wire::{Error, Frame, frame::Body};

use crate::audit::{Fault, Way};
use crate::crowd::ids::{HELLO, LOGIN, READ, REPAIR, SYNC, repaired};
use crate::crowd::state::{Crowd, Retry};
use crate::crowd::syncing::Asked;
use crate::crowd::{Scenario, refusal, retry_after_ms};
use crate::net::Links;
use crate::phases::Phase;

impl<S: Scenario> Crowd<'_, S> {
    pub(crate) fn on_rare(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        match frame::decode(Bytes::copy_from_slice(body)) {
            Ok(Frame { request_id: 0, body }) => self.on_unasked(slot, body, links),
            Ok(Frame { request_id, body }) => self.on_answer(slot, request_id, body, links),
            Err(error) => {
                let user = self.user_index(slot);
                self.fault(Fault::Protocol { user, detail: error.to_string() });
            }
        }
    }

    fn on_answer(&mut self, slot: usize, request_id: u64, body: Option<Body>, links: &mut Links) {
        match (request_id, body) {
            (HELLO, Some(Body::Welcome(welcome))) => self.on_welcome(slot, &welcome, links),
            (LOGIN, Some(Body::LoggedIn(logged_in))) => self.on_logged_in(slot, &logged_in, links),
            (SYNC, Some(Body::Synced(synced))) => {
                self.on_synced(slot, &synced, Asked::Itself, links);
            }
            (READ, Some(Body::HistoryPage(page))) => self.on_read(slot, &page, links),
            (REPAIR.., Some(Body::HistoryPage(page))) => {
                self.on_repair(slot, request_id, &page, links);
            }
            (..HELLO, Some(Body::HistoryPage(page))) => {
                self.on_newest(slot, request_id, &page, links);
            }
            (..HELLO, Some(Body::Synced(synced))) => {
                self.on_what_is_new(slot, request_id, &synced, links);
            }
            (..HELLO, Some(Body::ReadReceipt(cursor))) => {
                self.on_marked(slot, request_id, &cursor, links);
            }
            (_, Some(Body::Error(error))) => self.on_error(slot, request_id, &error, links),
            (_, Some(_) | None) => self.unexpected(slot, request_id),
        }
    }

    fn on_unasked(&mut self, slot: usize, body: Option<Body>, links: &mut Links) {
        match body {
            Some(Body::Push(push)) => {
                let place = self.place_of(slot, &push.conversation_id);
                if let (Some(place), Some(entry)) = (place, &push.entry) {
                    self.on_whole_entry(place, entry, Way::Push, links);
                    self.note_gap(place, links);
                }
            }
            Some(Body::Behind(behind)) => self.on_behind(slot, &behind, links),
            Some(Body::Close(close)) => {
                let member = &mut self.members[slot];
                let farewell = format!("{:?}: {}", close.reason(), close.detail);
                member.farewell = Some(farewell.into_boxed_str());
                member.reconnect_delay_ms = close.reconnect_delay_ms;
            }
            Some(Body::GoAway(go_away)) => {
                self.members[slot].reconnect_delay_ms = go_away.reconnect_delay_ms;
            }
            Some(Body::ReadReceipt(receipt)) => self.on_receipt(slot, &receipt),
            Some(Body::Error(error)) => self.on_error(slot, 0, &error, links),
            // What a later version of the protocol adds is no fault.
            None => {}
            Some(_) => self.unexpected(slot, 0),
        }
    }

    pub(crate) fn unexpected(&mut self, slot: usize, request_id: u64) {
        self.fault(Fault::UnexpectedResponse { user: self.user_index(slot), request_id });
    }

    // ---------------------------------------------------------------- errors

    fn on_error(&mut self, slot: usize, request_id: u64, error: &Error, links: &mut Links) {
        let Some(wait_ms) = retry_after_ms(error) else {
            return self.on_refusal(slot, request_id, error, links);
        };
        if request_id < HELLO {
            return self.postpone(slot, request_id, wait_ms, links);
        }
        // Hello, login, sync or history: begin again with a new connection.
        self.outcome.totals.arrivals_postponed += 1;
        self.members[slot].reconnect_delay_ms = wait_ms;
        links.close(slot);
        self.went_away(slot, links);
    }

    /// The server can't take a message or a request of a mix now.
    fn postpone(&mut self, slot: usize, request_id: u64, wait_ms: u32, links: &mut Links) {
        self.outcome.totals.postponed += 1;
        let member = &self.members[slot];
        match member.under_way(request_id) {
            Some(sending) if sending.is_durable() || sending.is_request() => {
                let due_ns = links.now_ns() + u64::from(wait_ms) * 1_000_000;
                let connection = member.connection;
                self.retries.put(due_ns, Retry { slot, connection, request_id });
                if sending.is_durable() {
                    let place = self.seat(slot).place(sending.lane);
                    let ledger = &mut self.conversations[place.conversation].ledger;
                    ledger.postponed(place.reader, sending.counter);
                }
            }
            // A signal is of the moment; it is not repeated.
            Some(_) => self.give_up_sending(slot, request_id, links),
            None => self.unexpected(slot, request_id),
        }
    }

    fn on_refusal(&mut self, slot: usize, request_id: u64, error: &Error, links: &mut Links) {
        let user = self.user_index(slot);
        self.fault(refusal(user, error));
        if self.phase == Phase::Gather {
            self.setup.board.give_up();
        }
        match request_id {
            HELLO | LOGIN | SYNC => self.setup.board.give_up(),
            READ => self.has_read_log(slot, links),
            REPAIR.. => {
                if let Some(lane) = repaired(request_id) {
                    self.ended_repair(slot, lane);
                }
            }
            _ => self.give_up_sending(slot, request_id, links),
        }
    }
}
