//! The final reading of the logs.

use dunlin_protocol::wire::HistoryPage;

use crate::audit::Fault;
use crate::crowd::ids::READ;
use crate::crowd::state::Crowd;
use crate::crowd::{Logged, Place, Scenario};
use crate::net::Links;

impl<S: Scenario> Crowd<'_, S> {
    /// Asks for the next page of the log that is to be read, one log after the other; each begins at
    /// its beginning.
    pub(crate) fn read_on(&mut self, slot: usize, links: &mut Links) {
        while let Some(Place { conversation, reader }) = self.reads(slot) {
            let ledger = &mut self.conversations[conversation].ledger;
            // A conversation in which nothing was said has no log to read.
            if ledger.is_untouched() {
                self.members[slot].logs_read += 1;
                continue;
            }
            let from_seq = match ledger.reads_next(reader) {
                0 => ledger.begin_reading(reader),
                next => next,
            };
            return self.ask_history(slot, READ, conversation, from_seq, links);
        }
    }

    /// The log that a connection is to read now.
    fn reads(&self, slot: usize) -> Option<Place> {
        let place = || self.seat(slot).place(self.members[slot].logs_read as u32);
        (!self.has_read(slot)).then(place)
    }

    pub(crate) fn on_read(&mut self, slot: usize, page: &HistoryPage, links: &mut Links) {
        let Some(place) = self.reads(slot) else {
            return self.unexpected(slot, READ);
        };
        let Place { conversation, reader } = place;
        for entry in &page.entries {
            let item = match Logged::from(entry) {
                Logged::Message(message) => self.judge(place, &message).0,
                Logged::Other(item) => item,
            };
            let ledger = &mut self.conversations[conversation].ledger;
            ledger.read(reader, entry.seq, item, &mut self.outcome.faults);
        }
        self.outcome.totals.entries_read += page.entries.len() as u64;
        let next = self.conversations[conversation].ledger.reads_next(reader);
        if next <= page.head && !page.entries.is_empty() {
            return self.read_on(slot, links);
        }
        if next <= page.head {
            let user = self.user_index(slot);
            self.fault(Fault::NotDense { user, expected: next, found: page.head + 1 });
        }
        self.has_read_log(slot, links);
    }

    /// A log has come to its end, or can't be read.
    pub(crate) fn has_read_log(&mut self, slot: usize, links: &mut Links) {
        self.members[slot].logs_read += 1;
        self.read_on(slot, links);
    }
}
