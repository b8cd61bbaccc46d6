//! Everything else that a server says: the way to being logged in, errors, pages of history.

use bytes::Bytes;
use dunlin_protocol::frame;
use dunlin_protocol::limits::{HISTORY_ENTRIES_MAX, SYNC_ENTRIES_MAX};
use dunlin_protocol::wire::{
    Behind, Entry, Error, History, HistoryPage, LogPosition, LoggedIn, Sync, Synced, Welcome,
    frame::Body,
};

use crate::audit::{Fault, Item, Way};
use crate::chat::crowd::Crowd;
use crate::chat::user::Stage;
use crate::crowd::{Logged, refusal, retry_after_ms};
use crate::login::{hello, login, resume};
use crate::net::Links;
use crate::phases::Phase;
use crate::target::Service;

// Request ids of messages are below 2^32.
const HELLO: u64 = 1 << 40;
const LOGIN: u64 = HELLO + 1;
const SYNC: u64 = HELLO + 2;
const REPAIR: u64 = HELLO + 3;
const READ: u64 = HELLO + 4;

impl Crowd<'_> {
    pub(crate) fn greet(&mut self, slot: usize, links: &mut Links) {
        self.put(slot, HELLO, Body::Hello(hello()), links);
    }

    pub(crate) fn on_rare(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        let user = self.user_index(slot);
        let frame = match frame::decode(Bytes::copy_from_slice(body)) {
            Ok(frame) => frame,
            Err(error) => {
                return self.fault(Fault::Protocol { user, detail: error.to_string() });
            }
        };
        match (frame.request_id, frame.body) {
            (HELLO, Some(Body::Welcome(welcome))) => self.on_welcome(slot, &welcome, links),
            (LOGIN, Some(Body::LoggedIn(logged_in))) => self.on_logged_in(slot, &logged_in, links),
            (SYNC, Some(Body::Synced(synced))) => {
                let known = self.users[slot].known_at_sync.take().unwrap_or(0);
                self.on_synced(slot, &synced, known, links);
            }
            (REPAIR, Some(Body::HistoryPage(page))) => self.on_repair(slot, &page, links),
            (READ, Some(Body::HistoryPage(page))) => self.on_read(slot, &page, links),
            (request_id, Some(Body::HistoryPage(page))) => {
                self.on_newest(slot, request_id, &page, links);
            }
            (request_id, Some(Body::Synced(synced))) => {
                self.on_what_is_new(slot, request_id, &synced, links);
            }
            (request_id, Some(Body::Error(error))) => {
                self.on_error(slot, request_id, &error, links);
            }
            (0, Some(Body::Push(push))) => {
                if push.conversation_id[..] == self.pairs[slot / 2].conversation
                    && let Some(entry) = &push.entry
                {
                    self.on_whole_entry(slot, entry, Way::Push, links);
                    self.note_gap(slot, links);
                } else if let Some(entry) = &push.entry {
                    self.on_account_entry(slot, &push.conversation_id, entry);
                }
            }
            (0, Some(Body::Behind(behind))) => self.on_behind(slot, &behind, links),
            (0, Some(Body::Close(close))) => {
                let user = &mut self.users[slot];
                let farewell = format!("{:?}: {}", close.reason(), close.detail);
                user.farewell = Some(farewell.into_boxed_str());
                user.reconnect_delay_ms = close.reconnect_delay_ms;
            }
            (0, Some(Body::GoAway(go_away))) => {
                self.users[slot].reconnect_delay_ms = go_away.reconnect_delay_ms;
            }
            (0, Some(Body::ReadReceipt(receipt))) => self.on_receipt(slot, &receipt),
            // What a later version of the protocol adds is no fault.
            (0, None) => {}
            (request_id, Some(_)) | (request_id, None) => {
                self.fault(Fault::UnexpectedResponse { user, request_id });
            }
        }
    }

    fn on_welcome(&mut self, slot: usize, welcome: &Welcome, links: &mut Links) {
        self.heartbeats.set_interval(welcome.heartbeat_interval_ms);
        // Half: beyond the limit the server would stop reading, and heartbeats with it.
        self.outstanding_max = (welcome.requests_outstanding_max as usize / 2).max(1);
        let Service::Dunlin(issuer) = &self.scenario.target.service else {
            return;
        };
        let prefix = format!("load-{:016x}", self.run);
        let user = self.user_index(slot);
        let login = match self.resume_token(slot) {
            Some(token) => resume(token, user),
            None => login(issuer, &prefix, user),
        };
        self.users[slot].stage = Stage::LoggingIn;
        self.put(slot, LOGIN, Body::Login(login), links);
    }

    fn on_logged_in(&mut self, slot: usize, logged_in: &LoggedIn, links: &mut Links) {
        self.pairs[slot / 2].ledger.connected(slot % 2);
        self.keep_resume_token(slot, &logged_in.resume_token);
        let user = &mut self.users[slot];
        user.user_id = logged_in.user_id;
        user.stage = Stage::Waiting;
        self.name_conversation(slot / 2);
        // The first login of a pair waits for the second: only then the conversation has a name.
        for slot in [slot, slot ^ 1] {
            if self.users[slot].stage == Stage::Waiting && self.users[slot ^ 1].user_id != 0 {
                self.users[slot].stage = Stage::Syncing;
                self.sync(slot, links);
            }
        }
    }

    fn sync(&mut self, slot: usize, links: &mut Links) {
        let known = self.pairs[slot / 2].ledger.known(slot % 2);
        self.users[slot].known_at_sync.get_or_insert(known);
        let sync = self.what_is_new(slot);
        self.put(slot, SYNC, Body::Sync(sync), links);
    }

    /// The question for whatever this user does not know yet.
    pub(crate) fn what_is_new(&self, slot: usize) -> Sync {
        let pair = &self.pairs[slot / 2];
        let has_started = self.users[slot].has_started;
        let position = LogPosition {
            conversation_id: Bytes::copy_from_slice(&pair.conversation),
            seq: if has_started { pair.ledger.told_up_to(slot % 2) } else { 0 },
            peer_read_seq: 0,
        };
        Sync {
            epoch: if has_started { self.epoch } else { 0 },
            account_seq: self.users[slot].account_seq,
            positions: vec![position],
            entries_per_conversation: SYNC_ENTRIES_MAX,
        }
    }

    /// The answer; `known` was known when it was asked for.
    pub(crate) fn on_synced(
        &mut self,
        slot: usize,
        synced: &Synced,
        known: u64,
        links: &mut Links,
    ) {
        let user = self.user_index(slot);
        if self.epoch == 0 {
            self.epoch = synced.epoch;
        } else if self.epoch != synced.epoch {
            let (before, after) = (self.epoch, synced.epoch);
            self.fault(Fault::EpochChanged { user, before, after });
            self.epoch = synced.epoch;
        }
        if !synced.more {
            self.users[slot].account_seq = synced.account_head;
        }
        let conversation = self.pairs[slot / 2].conversation;
        let state =
            synced.conversations.iter().find(|state| state.conversation_id[..] == conversation);
        if self.users[slot].has_started {
            for entry in state.iter().flat_map(|state| &state.entries) {
                self.on_whole_entry(slot, entry, Way::Repair, links);
            }
            if let Some(state) = state {
                self.see_read_cursors(slot, state);
                let ledger = &self.pairs[slot / 2].ledger;
                ledger.head_seen(slot % 2, known, state.head, &mut self.outcome.faults);
                self.users[slot].head = self.users[slot].head.max(state.head);
            }
        } else {
            self.users[slot].has_started = true;
            let head = state.map_or(0, |state| state.head);
            self.pairs[slot / 2].ledger.start_at(slot % 2, head);
        }
        if self.users[slot].stage == Stage::Syncing {
            self.become_active(slot, links);
        }
        self.repair_if_behind(slot, links);
    }

    fn on_behind(&mut self, slot: usize, behind: &Behind, links: &mut Links) {
        self.outcome.totals.behind += 1;
        self.note_behind(slot);
        if behind.conversation_id.is_empty() {
            self.sync(slot, links);
        } else if behind.conversation_id[..] == self.pairs[slot / 2].conversation {
            let user = &mut self.users[slot];
            user.head = user.head.max(behind.head);
            self.repair_if_behind(slot, links);
        }
    }

    fn repair_if_behind(&mut self, slot: usize, links: &mut Links) {
        let (next, has_gap) = self.pairs[slot / 2].ledger.lacks(slot % 2);
        if has_gap || next <= self.users[slot].head {
            self.repair(slot, links);
        }
    }

    /// Fetches what this user lacks, from the first missing entry on.
    pub(crate) fn repair(&mut self, slot: usize, links: &mut Links) {
        if self.scenario.has_durable() && !self.users[slot].repairing {
            self.users[slot].repairing = true;
            self.note_repair(slot);
            let ledger = &self.pairs[slot / 2].ledger;
            self.users[slot].known_at_repair = ledger.known(slot % 2);
            let (from_seq, _) = ledger.lacks(slot % 2);
            self.ask_history(slot, REPAIR, from_seq, links);
        }
    }

    fn on_repair(&mut self, slot: usize, page: &HistoryPage, links: &mut Links) {
        self.users[slot].repairing = false;
        let (before, _) = self.pairs[slot / 2].ledger.lacks(slot % 2);
        for entry in &page.entries {
            self.on_whole_entry(slot, entry, Way::Repair, links);
        }
        let ledger = &self.pairs[slot / 2].ledger;
        let user = &mut self.users[slot];
        ledger.head_seen(slot % 2, user.known_at_repair, page.head, &mut self.outcome.faults);
        user.head = user.head.max(page.head);
        let (after, _) = ledger.lacks(slot % 2);
        if after > before {
            self.repair_if_behind(slot, links);
        }
    }

    fn ask_history(&mut self, slot: usize, request_id: u64, from_seq: u64, links: &mut Links) {
        let history = History {
            conversation_id: Bytes::copy_from_slice(&self.pairs[slot / 2].conversation),
            from_seq,
            to_seq: 0,
            limit: HISTORY_ENTRIES_MAX,
            backwards: false,
        };
        self.put(slot, request_id, Body::History(history), links);
    }

    /// An entry as prost decodes it.
    pub(crate) fn on_whole_entry(
        &mut self,
        slot: usize,
        entry: &Entry,
        way: Way,
        links: &Links,
    ) -> Item {
        match Logged::from(entry) {
            Logged::Message(message) => self.on_entry(slot, &message, way, links),
            Logged::Other(item) => {
                let ledger = &mut self.pairs[slot / 2].ledger;
                ledger.told(slot % 2, entry.seq, item, way, &mut self.outcome.faults);
                item
            }
        }
    }

    // ---------------------------------------------------------------- the final reading

    /// Asks for the next page of the log; begins at its beginning.
    pub(crate) fn read_on(&mut self, slot: usize, links: &mut Links) {
        let ledger = &mut self.pairs[slot / 2].ledger;
        // A conversation in which nothing was said has no log to read.
        if self.users[slot].has_read || ledger.is_untouched() {
            self.users[slot].has_read = true;
            return;
        }
        let from_seq = match ledger.reads_next(slot % 2) {
            0 => ledger.begin_reading(slot % 2),
            next => next,
        };
        self.ask_history(slot, READ, from_seq, links);
    }

    fn on_read(&mut self, slot: usize, page: &HistoryPage, links: &mut Links) {
        let user = self.user_index(slot);
        for entry in &page.entries {
            let item = match Logged::from(entry) {
                Logged::Message(message) => self.judge(slot, &message).0,
                Logged::Other(item) => item,
            };
            let ledger = &mut self.pairs[slot / 2].ledger;
            ledger.read(slot % 2, entry.seq, item, &mut self.outcome.faults);
        }
        self.outcome.totals.entries_read += page.entries.len() as u64;
        let next = self.pairs[slot / 2].ledger.reads_next(slot % 2);
        if next > page.head {
            self.users[slot].has_read = true;
        } else if page.entries.is_empty() {
            self.users[slot].has_read = true;
            self.fault(Fault::NotDense { user, expected: next, found: page.head + 1 });
        } else {
            self.read_on(slot, links);
        }
    }

    // ---------------------------------------------------------------- errors

    fn on_error(&mut self, slot: usize, request_id: u64, error: &Error, links: &mut Links) {
        let Some(wait_ms) = retry_after_ms(error) else {
            return self.on_refusal(slot, request_id, error);
        };
        match u32::try_from(request_id) {
            Ok(request_id) => self.postpone(slot, request_id, wait_ms, links),
            Err(_) => {
                // Hello, login, sync or history: begin again with a new connection.
                self.outcome.totals.arrivals_postponed += 1;
                self.users[slot].reconnect_delay_ms = wait_ms;
                links.close(slot);
                self.went_away(slot, links);
            }
        }
    }

    /// The server can't take a message or a request of a mix now.
    fn postpone(&mut self, slot: usize, request_id: u32, wait_ms: u32, links: &mut Links) {
        self.outcome.totals.postponed += 1;
        match self.users[slot].under_way(request_id) {
            Some(sending) if sending.is_durable() || sending.is_request() => {
                if sending.is_durable() {
                    self.pairs[slot / 2].ledger.postponed(slot % 2, sending.counter);
                }
                let due_ns = links.now_ns() + u64::from(wait_ms) * 1_000_000;
                self.retries.put(due_ns, (slot, self.users[slot].connection, request_id));
            }
            Some(_) => {
                // A signal is of the moment; it is not repeated.
                self.users[slot].answered(request_id);
                self.transmit(slot, links);
                self.fill(slot, links);
            }
            None => {
                let (user, request_id) = (self.user_index(slot), request_id.into());
                self.fault(Fault::UnexpectedResponse { user, request_id });
            }
        }
    }

    fn on_refusal(&mut self, slot: usize, request_id: u64, error: &Error) {
        let user = self.user_index(slot);
        self.fault(refusal(user, error));
        match request_id {
            HELLO | LOGIN | SYNC => self.shared.give_up(),
            REPAIR => self.users[slot].repairing = false,
            READ => self.users[slot].has_read = true,
            counter => {
                if let Ok(counter) = u32::try_from(counter) {
                    self.users[slot].answered(counter);
                }
            }
        }
        if self.phase == Phase::Gather {
            self.shared.give_up();
        }
    }
}
