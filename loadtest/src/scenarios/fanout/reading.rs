//! Reading the logs: what a device missed, and in the end everything.

use bytes::Bytes;
use dunlin_protocol::limits::HISTORY_ENTRIES_MAX;
use dunlin_protocol::wire::{Behind, Entry, History, HistoryPage, frame::Body};

use crate::audit::{Fault, Way};
use crate::crowd::Logged;
use crate::fanout::crowd::Crowd;
use crate::fanout::rare::{READ, REPAIR};
use crate::fanout::shape::Seat;
use crate::net::Links;
use crate::scenarios::fanout::people::Side;

impl Crowd<'_> {
    pub(crate) fn on_behind(&mut self, slot: usize, behind: &Behind, links: &mut Links) {
        self.outcome.totals.behind += 1;
        if behind.conversation_id.is_empty() {
            self.sync(slot, links);
        } else if let Some((conversation, device)) = self.reads(slot, &behind.conversation_id) {
            self.members[slot].head = self.members[slot].head.max(behind.head);
            self.repair_if_behind(slot, conversation, device, links);
        }
    }

    pub(crate) fn repair_if_behind(
        &mut self,
        slot: usize,
        conversation: usize,
        device: usize,
        links: &mut Links,
    ) {
        let (next, has_gap) = self.conversations[conversation].ledger.lacks(device + 1);
        if has_gap || next <= self.members[slot].head {
            self.repair(slot, conversation, device, links);
        }
    }

    /// Fetches what a device lacks, from the first missing entry on.
    pub(crate) fn repair(
        &mut self,
        slot: usize,
        conversation: usize,
        device: usize,
        links: &mut Links,
    ) {
        if self.members[slot].repairing.is_none() {
            let ledger = &self.conversations[conversation].ledger;
            self.members[slot].repairing = Some(ledger.known(device + 1));
            let (from_seq, _) = ledger.lacks(device + 1);
            self.ask_history(slot, REPAIR, conversation, from_seq, links);
        }
    }

    pub(crate) fn on_repair(&mut self, slot: usize, page: &HistoryPage, links: &mut Links) {
        let (known, seat) = (self.members[slot].repairing.take(), self.shape.seat(slot));
        let (Some(known), Seat::Reader { conversation, device }) = (known, seat) else {
            let user = self.user_index(slot);
            return self.fault(Fault::UnexpectedResponse { user, request_id: REPAIR });
        };
        let (before, _) = self.conversations[conversation].ledger.lacks(device + 1);
        for entry in &page.entries {
            self.on_whole_entry(conversation, device, entry, Way::Repair, links);
        }
        let ledger = &self.conversations[conversation].ledger;
        ledger.head_seen(device + 1, known, page.head, &mut self.outcome.faults);
        let (after, _) = ledger.lacks(device + 1);
        self.members[slot].head = self.members[slot].head.max(page.head);
        if after > before {
            self.repair_if_behind(slot, conversation, device, links);
        }
    }

    fn ask_history(
        &mut self,
        slot: usize,
        request_id: u64,
        conversation: usize,
        from_seq: u64,
        links: &mut Links,
    ) {
        let history = History {
            conversation_id: Bytes::copy_from_slice(&self.conversations[conversation].id),
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
        conversation: usize,
        device: usize,
        entry: &Entry,
        way: Way,
        links: &mut Links,
    ) {
        match Logged::from(entry) {
            Logged::Message(message) => self.on_entry(conversation, device, &message, way, links),
            Logged::Other(item) => {
                let ledger = &mut self.conversations[conversation].ledger;
                ledger.told(device + 1, entry.seq, item, way, &mut self.outcome.faults);
            }
        }
    }

    // ---------------------------------------------------------------- the final reading

    /// Asks for the next page of a log.
    pub(crate) fn read_on(&mut self, conversation: usize, side: Side, links: &mut Links) {
        let slot = match side {
            Side::Writer => self.shape.writer_of(conversation),
            Side::Reader => self.shape.first_reader_of(conversation),
        };
        let ledger = &mut self.conversations[conversation].ledger;
        let from_seq = match ledger.reads_next(side as usize) {
            0 => ledger.begin_reading(side as usize),
            next => next,
        };
        self.ask_history(slot, READ, conversation, from_seq, links);
    }

    /// A writer reads its conversations one after the other.
    pub(crate) fn read_next_as_writer(&mut self, fan: usize, links: &mut Links) {
        if let Some(conversation) = self.unread_of_writer(fan) {
            self.read_on(conversation, Side::Writer, links);
        }
    }

    pub(crate) fn unread_of_writer(&self, fan: usize) -> Option<usize> {
        let mut conversations = self.shape.conversations_of(fan);
        conversations.find(|&one| !self.conversations[one].has_read[Side::Writer as usize])
    }

    pub(crate) fn on_read(&mut self, slot: usize, page: &HistoryPage, links: &mut Links) {
        let user = self.user_index(slot);
        let (conversation, side) = match self.shape.seat(slot) {
            Seat::Writer { fan } => (self.unread_of_writer(fan), Side::Writer),
            Seat::Reader { conversation, device: 0 } => (Some(conversation), Side::Reader),
            Seat::Reader { .. } => (None, Side::Reader),
        };
        let Some(conversation) = conversation else {
            return self.fault(Fault::UnexpectedResponse { user, request_id: READ });
        };
        for entry in &page.entries {
            let item = match Logged::from(entry) {
                Logged::Message(message) => self.judge(slot, conversation, &message).0,
                Logged::Other(item) => item,
            };
            let ledger = &mut self.conversations[conversation].ledger;
            ledger.read(side as usize, entry.seq, item, &mut self.outcome.faults);
        }
        self.outcome.totals.entries_read += page.entries.len() as u64;
        let next = self.conversations[conversation].ledger.reads_next(side as usize);
        if next <= page.head && !page.entries.is_empty() {
            return self.read_on(conversation, side, links);
        }
        if next <= page.head {
            self.fault(Fault::NotDense { user, expected: next, found: page.head + 1 });
        }
        self.has_read(conversation, side, links);
    }

    pub(crate) fn has_read(&mut self, conversation: usize, side: Side, links: &mut Links) {
        self.conversations[conversation].has_read[side as usize] = true;
        match side {
            Side::Writer => {
                let fan = conversation / self.shape.conversations as usize;
                self.read_next_as_writer(fan, links);
            }
            Side::Reader => {}
        }
    }
}
