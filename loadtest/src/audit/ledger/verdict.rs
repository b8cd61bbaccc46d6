//! The final reading of the log, and the comparison of everything in the end.

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::ledger::book::Meet;
use crate::audit::ledger::reading::Reading;
use crate::audit::ledger::{Ledger, Reader};
use crate::audit::view::Item;

impl Ledger {
    /// The final reading of this reader begins where its first sync stood; returns the first
    /// sequence to ask for.
    pub fn begin_reading(&mut self, reader: usize) -> u64 {
        let Reader { told, reading, .. } = &mut self.readers[reader];
        let begun = Reading::new(&told.view, &self.writers);
        let next = begun.stored.view.next();
        *reading = Some(Box::new(begun));
        next
    }

    /// The next sequence of the final reading; 0 before it has begun.
    pub fn reads_next(&self, reader: usize) -> u64 {
        self.readers[reader].reading.as_ref().map_or(0, |reading| reading.stored.view.next())
    }

    /// The next entry of the final reading; nothing before it has begun.
    pub fn read(&mut self, reader: usize, seq: u64, item: Item, faults: &mut FaultLog) {
        self.check_sent(self.readers[reader].user, seq, item, faults);
        let Reader { user, reading, .. } = &mut self.readers[reader];
        let Some(Reading { stored, .. }) = reading.as_deref_mut() else {
            return;
        };
        let (user, expected) = (*user, stored.view.next());
        if seq != expected {
            faults.add(Fault::NotDense { user, expected, found: seq });
            stored.view.skip_to(seq);
        }
        let meet = Meet { user, writers: &self.writers };
        stored.place(seq, item, &meet, "stored", faults);
    }

    /// Compares everything after all who read it have read the whole log.
    pub fn finish(&self, faults: &mut FaultLog) {
        if self.is_untouched() {
            return; // Nobody has read it: there is nothing to compare.
        }
        // Whoever does not read is held against what was read by the one before, or by the first one.
        let mut readings = self.readers.iter().filter_map(|reader| reader.reading.as_deref());
        let mut stands_for = readings.next();
        for reader in &self.readers {
            stands_for = reader.reading.as_deref().or(stands_for);
            if let Some(reading) = stands_for {
                reader.compare(reading, faults);
            }
        }
        for (writer, of) in self.writers.iter().enumerate() {
            if !of.pending.is_empty() {
                let (user, requests) = (self.user(writer), of.pending.len());
                faults.add(Fault::Unanswered { user, requests });
            }
        }
        self.compare_readings(faults);
    }

    /// All must have read the same, with all that was owed in it.
    fn compare_readings(&self, faults: &mut FaultLog) {
        let readings = || self.readers.iter().filter_map(|reader| reader.reading.as_deref());
        if let Some(first) = readings().next() {
            let parts = readings().find_map(|other| first.differs_from(other));
            if let Some((from, to)) = parts {
                faults.add(Fault::Diverged { user: self.user(0), from, to });
            }
        }
        for (writer, counter) in readings().flat_map(Reading::lost) {
            faults.add(Fault::Lost { user: self.user(writer), counter });
        }
    }
}

impl Reader {
    /// What this one was told must be all that is stored, and nothing else.
    fn compare(&self, reading: &Reading, faults: &mut FaultLog) {
        let (user, told, stored) = (self.user, &self.told.view, &reading.stored.view);
        let (up_to, head) = (told.next() - 1, stored.next() - 1);
        if up_to < head {
            faults.add(Fault::Undelivered { user, told: up_to, head });
        }
        let known = self.reading.as_ref().map_or(told.highest(), |own| own.highest);
        if known > head {
            faults.add(Fault::HeadWentBack { user, known, head });
        }
        if let Some((from, to)) = told.differs_from(stored) {
            faults.add(Fault::Diverged { user, from, to });
        }
    }
}
