//! What a reader missed: hints of the server, gaps between pushes, and the pages that fill them.

use bytes::Bytes;
use dunlin_protocol::limits::HISTORY_ENTRIES_MAX;
use dunlin_protocol::wire::{Behind, Entry, History, HistoryPage, frame::Body};

use crate::audit::{Item, Way};
use crate::crowd::ids::{REPAIR, repaired};
use crate::crowd::state::Crowd;
use crate::crowd::{GAP_PATIENCE, Logged, Place, Scenario, Seating, Turmoil};
use crate::net::Links;

impl<S: Scenario> Crowd<'_, S> {
    pub(crate) fn on_behind(&mut self, slot: usize, behind: &Behind, links: &mut Links) {
        self.outcome.totals.behind += 1;
        self.turmoil.fell_behind(slot);
        if behind.conversation_id.is_empty() {
            self.sync(slot, links);
        } else if let Some(place) = self.place_of(slot, &behind.conversation_id) {
            let following = &mut self.conversations[place.conversation].following[place.reader];
            following.head = following.head.max(behind.head);
            self.repair_if_behind(place, links);
        }
    }

    pub(crate) fn repair_if_behind(&mut self, place: Place, links: &mut Links) {
        let conversation = &self.conversations[place.conversation];
        let (next, has_gap) = conversation.ledger.lacks(place.reader);
        if has_gap || next <= conversation.following[place.reader].head {
            self.repair(place, links);
        }
    }

    /// Fetches what this reader lacks, from the first missing entry on.
    fn repair(&mut self, place: Place, links: &mut Links) {
        let Place { conversation, reader } = place;
        let of = &mut self.conversations[conversation];
        if !self.has_durable || of.following[reader].repairing.is_some() {
            return;
        }
        of.following[reader].repairing = Some(of.ledger.known(reader));
        let (from_seq, _) = of.ledger.lacks(reader);
        let slot = self.seating.connection(place);
        self.turmoil.repairs(slot);
        let lane = conversation - self.seat(slot).first_conversation;
        self.ask_history(slot, REPAIR + lane as u64, conversation, from_seq, links);
    }

    pub(crate) fn on_repair(
        &mut self,
        slot: usize,
        request_id: u64,
        page: &HistoryPage,
        links: &mut Links,
    ) {
        let lane = repaired(request_id).filter(|&lane| self.has_lane(slot, lane));
        let known = lane.and_then(|lane| self.ended_repair(slot, lane));
        let (Some(lane), Some(known)) = (lane, known) else {
            return self.unexpected(slot, request_id);
        };
        let place = self.seat(slot).place(lane);
        let Place { conversation, reader } = place;
        let (before, _) = self.conversations[conversation].ledger.lacks(reader);
        for entry in &page.entries {
            self.on_whole_entry(place, entry, Way::Repair, links);
        }
        let of = &mut self.conversations[conversation];
        of.ledger.head_seen(reader, known, page.head, &mut self.outcome.faults);
        let following = &mut of.following[reader];
        following.head = following.head.max(page.head);
        let (after, _) = of.ledger.lacks(reader);
        if after > before {
            self.repair_if_behind(place, links);
        }
    }

    fn has_lane(&self, slot: usize, lane: u32) -> bool {
        (lane as usize) < self.seat(slot).conversations
    }

    /// A repair is no longer under way; returns what was known when it was asked for.
    pub(crate) fn ended_repair(&mut self, slot: usize, lane: u32) -> Option<u64> {
        if !self.has_lane(slot, lane) {
            return None;
        }
        let Place { conversation, reader } = self.seat(slot).place(lane);
        self.conversations[conversation].following[reader].repairing.take()
    }

    pub(crate) fn ask_history(
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
            limit: HISTORY_ENTRIES_MAX,
            ..History::default()
        };
        self.put(slot, request_id, Body::History(history), links);
    }

    /// An entry as prost decodes it.
    pub(crate) fn on_whole_entry(
        &mut self,
        place: Place,
        entry: &Entry,
        way: Way,
        links: &mut Links,
    ) -> Item {
        match Logged::from(entry) {
            Logged::Message(message) => self.on_entry(place, &message, way, links),
            Logged::Other(item) => {
                let ledger = &mut self.conversations[place.conversation].ledger;
                ledger.told(place.reader, entry.seq, item, way, &mut self.outcome.faults);
                item
            }
        }
    }

    // ---------------------------------------------------------------- gaps

    /// Puts a reader on the list of gaps if pushes left one.
    pub(crate) fn note_gap(&mut self, place: Place, links: &Links) {
        let conversation = &mut self.conversations[place.conversation];
        let (_, has_gap) = conversation.ledger.lacks(place.reader);
        let following = &mut conversation.following[place.reader];
        if has_gap && !following.gap_noted {
            following.gap_noted = true;
            self.gaps.put(links.now_ns() + GAP_PATIENCE.as_nanos() as u64, place);
        }
    }

    pub(crate) fn repair_gaps(&mut self, now_ns: u64, links: &mut Links) {
        let conversations = &self.conversations;
        let has_gap =
            |place: &Place| conversations[place.conversation].ledger.lacks(place.reader).1;
        // Most are closed before their time comes, and the next one is to have all of its own.
        let due = self.gaps.take_or(now_ns, |place| !has_gap(place));
        for place in due {
            let conversation = &mut self.conversations[place.conversation];
            conversation.following[place.reader].gap_noted = false;
            let (_, has_gap) = conversation.ledger.lacks(place.reader);
            if has_gap && self.members[self.seating.connection(place)].is_active() {
                self.outcome.totals.gaps_repaired += 1;
                self.repair(place, links);
            }
        }
    }
}
