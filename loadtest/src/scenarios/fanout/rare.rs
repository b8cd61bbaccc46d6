//! Everything else that a server says: the way to being logged in, errors. Pages of history are
//! read in `reading`.

use bytes::Bytes;
use dunlin_protocol::frame;
use dunlin_protocol::limits::SYNC_ENTRIES_MAX;
use dunlin_protocol::wire::{
    Device, DeviceKind, Error, LogPosition, LoggedIn, Login, Sync, Synced, Welcome, frame::Body,
    login::Credential,
};

use crate::audit::{Fault, Way};
use crate::chat::MessageKind;
use crate::crowd::{refusal, retry_after_ms};
use crate::fanout::crowd::Crowd;
use crate::fanout::people::Stage;
use crate::fanout::shape::Seat;
use crate::login::hello;
use crate::net::Links;
use crate::scenarios::fanout::people::Side;
use crate::target::Service;

// Request ids of messages are below 2^60: see `Sending::request_id`.
const HELLO: u64 = 1 << 60;
const LOGIN: u64 = HELLO + 1;
const SYNC: u64 = HELLO + 2;
pub(crate) const REPAIR: u64 = HELLO + 3;
pub(crate) const READ: u64 = HELLO + 4;

impl Crowd<'_> {
    pub(crate) fn greet(&mut self, slot: usize, links: &mut Links) {
        match &self.scenario.target.service {
            Service::Dunlin(_) | Service::Holder => {
                self.put(slot, HELLO, Body::Hello(hello()), links);
            }
            Service::Relay => {
                let (fan, is_reader) = match self.shape.seat(slot) {
                    Seat::Writer { fan } => (fan, 0),
                    // With one conversation for each writer, they have the same numbers.
                    Seat::Reader { conversation, .. } => (conversation, 1),
                };
                let fan = self.first_fan + fan as u32;
                if let Some(outbox) = links.outbox(slot) {
                    outbox.extend_from_slice(&12u32.to_be_bytes());
                    for word in [fan, is_reader, self.shape.devices] {
                        outbox.extend_from_slice(&word.to_be_bytes());
                    }
                }
                self.become_active(slot);
            }
        }
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
            (SYNC, Some(Body::Synced(synced))) => self.on_synced(slot, &synced, links),
            (REPAIR, Some(Body::HistoryPage(page))) => self.on_repair(slot, &page, links),
            (READ, Some(Body::HistoryPage(page))) => self.on_read(slot, &page, links),
            (request_id, Some(Body::Error(error))) => {
                self.on_error(slot, request_id, &error, links);
            }
            // Account logs grow beside the conversations, and are none of this run's business.
            (0, Some(Body::Push(push))) => {
                if let Some((conversation, device)) = self.reads(slot, &push.conversation_id)
                    && let Some(entry) = &push.entry
                {
                    self.on_whole_entry(conversation, device, entry, Way::Push, links);
                    self.note_gap(slot, conversation, device, links.now_ns());
                }
            }
            (0, Some(Body::Behind(behind))) => self.on_behind(slot, &behind, links),
            (0, Some(Body::Close(close))) => {
                let farewell = format!("{:?}: {}", close.reason(), close.detail);
                self.members[slot].farewell = Some(farewell.into_boxed_str());
            }
            // What this protocol version adds is no fault.
            (0, Some(Body::GoAway(_) | Body::ReadReceipt(_)) | None) => {}
            (request_id, Some(_)) | (request_id, None) => {
                self.fault(Fault::UnexpectedResponse { user, request_id });
            }
        }
    }

    /// The conversation that a device reads, if it is this one.
    pub(crate) fn reads(&self, slot: usize, id: &[u8]) -> Option<(usize, usize)> {
        match self.shape.seat(slot) {
            Seat::Reader { conversation, device } if self.conversations[conversation].id == id => {
                Some((conversation, device))
            }
            Seat::Reader { .. } | Seat::Writer { .. } => None,
        }
    }

    // ---------------------------------------------------------------- arriving

    fn on_welcome(&mut self, slot: usize, welcome: &Welcome, links: &mut Links) {
        self.heartbeats.set_interval(welcome.heartbeat_interval_ms);
        // Half: beyond the limit the server would stop reading, and heartbeats with it.
        self.outstanding_max = (welcome.requests_outstanding_max as usize / 2).max(1);
        self.log_in(slot, links);
    }

    fn log_in(&mut self, slot: usize, links: &mut Links) {
        let Service::Dunlin(issuer) = &self.scenario.target.service else {
            return;
        };
        let (name, device) = match self.shape.seat(slot) {
            Seat::Writer { fan } => (format!("writer-{}", self.first_fan as usize + fan), 0),
            Seat::Reader { conversation, device } => {
                (format!("reader-{}", self.first_conversation as usize + conversation), device)
            }
        };
        let device_id = (device as u128 + 1).to_be_bytes().to_vec();
        let login = Login {
            credential: Some(Credential::IssuerToken(
                issuer.token(&format!("fanout-{:016x}-{name}", self.run)),
            )),
            device: Some(Device {
                device_id: device_id.into(),
                kind: DeviceKind::Bot.into(),
                name: "dunlin-loadtest".to_owned(),
            }),
        };
        self.put(slot, LOGIN, Body::Login(login), links);
    }

    fn on_logged_in(&mut self, slot: usize, logged_in: &LoggedIn, links: &mut Links) {
        self.members[slot].user_id = logged_in.user_id;
        self.name_conversations(slot);
        self.sync(slot, links);
    }

    pub(crate) fn sync(&mut self, slot: usize, links: &mut Links) {
        let mut sync = Sync { entries_per_conversation: SYNC_ENTRIES_MAX, ..Sync::default() };
        // All users of a run are new: there is nothing to sync from before they were active.
        if self.members[slot].stage == Stage::Active
            && let Seat::Reader { conversation, device } = self.shape.seat(slot)
        {
            let of = &self.conversations[conversation];
            sync.epoch = self.epoch;
            sync.positions.push(LogPosition {
                conversation_id: Bytes::copy_from_slice(&of.id),
                seq: of.ledger.lacks(device + 1).0 - 1,
                peer_read_seq: 0,
            });
        }
        self.put(slot, SYNC, Body::Sync(sync), links);
    }

    fn on_synced(&mut self, slot: usize, synced: &Synced, links: &mut Links) {
        let user = self.user_index(slot);
        let before = std::mem::replace(&mut self.epoch, synced.epoch);
        if before != 0 && before != synced.epoch {
            self.fault(Fault::EpochChanged { user, before, after: synced.epoch });
        }
        if self.members[slot].stage == Stage::Arriving {
            return self.become_active(slot);
        }
        for state in &synced.conversations {
            let Some((conversation, device)) = self.reads(slot, &state.conversation_id) else {
                continue;
            };
            for entry in &state.entries {
                self.on_whole_entry(conversation, device, entry, Way::Repair, links);
            }
            self.members[slot].head = self.members[slot].head.max(state.head);
            self.repair_if_behind(slot, conversation, device, links);
        }
    }

    // ---------------------------------------------------------------- errors

    fn on_error(&mut self, slot: usize, request_id: u64, error: &Error, links: &mut Links) {
        let Some(wait_ms) = retry_after_ms(error) else {
            return self.on_refusal(slot, request_id, error, links);
        };
        self.outcome.totals.postponed += 1;
        let sending = match self.shape.seat(slot) {
            Seat::Writer { fan } => self.writers[fan].waiting(request_id),
            Seat::Reader { .. } => None,
        };
        match (sending, self.scenario.message) {
            (Some(sending), MessageKind::Durable) => {
                self.conversations[sending.conversation].ledger.postponed(0, sending.counter);
            }
            // A signal is of the moment; it is not repeated.
            (Some(_), MessageKind::Signal | MessageKind::QuietSignal) => {
                return self.give_up_message(slot, request_id, links);
            }
            (None, _) => {}
        }
        let due_ns = links.now_ns() + u64::from(wait_ms) * 1_000_000;
        self.retries.put(due_ns, (slot, request_id));
    }

    /// The time has come to repeat a request that was answered "not now".
    pub(crate) fn ask_again(&mut self, slot: usize, request_id: u64, links: &mut Links) {
        let seat = self.shape.seat(slot);
        match (request_id, seat) {
            (HELLO, _) => self.greet(slot, links),
            (LOGIN, _) => self.log_in(slot, links),
            (SYNC, _) => self.sync(slot, links),
            (REPAIR, Seat::Reader { conversation, device }) => {
                self.members[slot].repairing = None;
                self.repair(slot, conversation, device, links);
            }
            (READ, Seat::Reader { conversation, .. }) => {
                self.read_on(conversation, Side::Reader, links);
            }
            (READ, Seat::Writer { fan }) => self.read_next_as_writer(fan, links),
            (request_id, Seat::Writer { fan }) => {
                if let Some(sending) = self.writers[fan].waiting(request_id) {
                    self.put_message(slot, sending, links);
                }
            }
            (_, Seat::Reader { .. }) => {}
        }
    }

    /// Nothing more is expected of a message.
    fn give_up_message(&mut self, slot: usize, request_id: u64, links: &mut Links) {
        if let Seat::Writer { fan } = self.shape.seat(slot)
            && let Some(sending) = self.writers[fan].answered(request_id)
        {
            let flights = &mut self.conversations[sending.conversation].flights;
            self.writers[fan].open -= flights.abandon(sending.counter);
            self.transmit(fan, links);
            self.fill(fan, links);
        }
    }

    fn on_refusal(&mut self, slot: usize, request_id: u64, error: &Error, links: &mut Links) {
        let user = self.user_index(slot);
        self.fault(refusal(user, error));
        match (request_id, self.shape.seat(slot)) {
            (HELLO | LOGIN | SYNC, _) => self.board.give_up(),
            (REPAIR, _) => self.members[slot].repairing = None,
            (READ, Seat::Reader { conversation, .. }) => {
                self.has_read(conversation, Side::Reader, links);
            }
            (READ, Seat::Writer { fan }) => {
                if let Some(conversation) = self.unread_of_writer(fan) {
                    self.has_read(conversation, Side::Writer, links);
                }
            }
            (request_id, _) => self.give_up_message(slot, request_id, links),
        }
    }
}
