//! The books of one conversation in which one user writes and many devices of the other read: what
//! was sent, what was acknowledged, what each device was told, and in the end what both users read
//! in the stored log.

use std::collections::VecDeque;
use std::ops::Range;

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::ledger::{Told, Way};
use crate::audit::order::{Met, SenderOrder};
use crate::audit::view::{Item, Placed, View};
use crate::audit::window::{Place, Window};

/// Who reads the stored log in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The user who wrote it.
    Writer,
    /// One device of the user whom it was written to: the log is the same for all of them.
    Reader,
}

/// A log as somebody meets it, with the order of the messages in it.
#[derive(Debug, Clone, Default)]
struct Book {
    view: View,
    order: SenderOrder,
}

impl Book {
    fn new() -> Book {
        Book { view: View::after(0), order: SenderOrder::default() }
    }
}

/// A device.
#[derive(Debug, Clone)]
struct Reader {
    told: Book,
    pushes: Window,
}

/// The auditor of such a conversation, which begins empty. Connections are named by their indexes
/// within the run.
///
/// Memory: some hundred bytes, as many for each device, the unacknowledged messages, and for each
/// device 8 bytes per 1,024 entries.
#[derive(Debug, Clone)]
pub struct FanoutLedger {
    writer: u32,
    first_reader: u32,
    /// Messages sent so far; they are counted from 1.
    sent: u32,
    /// Those that wait for their acknowledgement, ascending.
    pending: VecDeque<u32>,
    /// Messages that were answered "not now" and may be stored behind later ones, as inclusive
    /// ranges.
    postponed: Vec<(u32, u32)>,
    acknowledged: Book,
    readers: Vec<Reader>,
    stored: [Book; 2],
}

impl FanoutLedger {
    /// Of a conversation between the user of one connection and the user of these others.
    pub fn new(writer: u32, readers: Range<u32>) -> FanoutLedger {
        let reader = |_| Reader { told: Book::new(), pushes: Window::default() };
        FanoutLedger {
            writer,
            first_reader: readers.start,
            sent: 0,
            pending: VecDeque::new(),
            postponed: Vec::new(),
            acknowledged: Book::new(),
            readers: readers.map(reader).collect(),
            stored: [Book::new(), Book::new()],
        }
    }

    /// The counter for the next message, which counts as sent from now on.
    pub fn sent(&mut self) -> u32 {
        self.sent += 1;
        self.pending.push_back(self.sent);
        self.sent
    }

    /// The server answered "not now" to this message: its retry may come behind later ones.
    pub fn postponed(&mut self, counter: u32) {
        match self.postponed.last_mut() {
            Some((from, to)) if (*from..=*to).contains(&counter) => {}
            Some((_, to)) if *to + 1 == counter => *to = counter,
            _ => self.postponed.push((counter, counter)),
        }
    }

    /// The server acknowledged a message.
    pub fn acknowledged(&mut self, counter: u32, seq: u64, faults: &mut FaultLog) {
        let user = self.writer;
        let Ok(at) = self.pending.binary_search(&counter) else {
            return faults.add(Fault::Duplicated { user, counter, place: "acknowledged" });
        };
        self.pending.remove(at);
        let item = Item::Message { side: 0, counter };
        let Book { view, order } = &mut self.acknowledged;
        let placed = view.place(seq, item, |item| {
            note(user, item, order, &self.postponed, "acknowledged", faults);
        });
        match placed {
            Placed::New => {}
            Placed::Known | Placed::Other => faults.add(Fault::SequenceReused { user, seq }),
        }
    }

    /// An entry came to a device.
    pub fn told(
        &mut self,
        reader: usize,
        seq: u64,
        item: Item,
        way: Way,
        faults: &mut FaultLog,
    ) -> Told {
        let user = self.user_of(reader);
        self.check_sent(user, seq, item, faults);
        let Reader { told, pushes } = &mut self.readers[reader];
        if way == Way::Push {
            match pushes.note(seq) {
                Place::Rising => {}
                Place::Again => faults.add(Fault::PushedTwice { user, seq }),
                Place::Late => faults.add(Fault::PushedLate { user, seq }),
            }
        }
        let Book { view, order } = told;
        let placed = view.place(seq, item, |item| {
            note(user, item, order, &self.postponed, "told", faults);
        });
        match (placed, item) {
            (Placed::New, Item::Message { .. }) => Told::Delivered,
            (Placed::New, Item::Void | Item::Unknown) | (Placed::Known, _) => Told::Nothing,
            (Placed::Other, _) => {
                faults.add(Fault::SequenceReused { user, seq });
                Told::Nothing
            }
        }
    }

    /// The first sequence that a device lacks, and whether it knows of later ones.
    pub fn lacks(&self, reader: usize) -> (u64, bool) {
        let view = &self.readers[reader].told.view;
        (view.next(), view.has_gap())
    }

    /// The highest sequence that a device knows of.
    pub fn known(&self, reader: usize) -> u64 {
        self.readers[reader].told.view.highest()
    }

    /// The server told a device that the newest sequence is `head`, when it was asked while
    /// `known` was known.
    pub fn head_seen(&self, reader: usize, known: u64, head: u64, faults: &mut FaultLog) {
        if head < known {
            faults.add(Fault::HeadWentBack { user: self.user_of(reader), known, head });
        }
    }

    /// Whether nothing was sent, so that there is no log.
    pub fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// The next sequence of the final reading.
    pub fn reads_next(&self, side: Side) -> u64 {
        self.stored[side as usize].view.next()
    }

    /// The next entry of the final reading.
    pub fn read(&mut self, side: Side, seq: u64, item: Item, faults: &mut FaultLog) {
        let user = self.user_of_side(side);
        self.check_sent(user, seq, item, faults);
        let Book { view, order } = &mut self.stored[side as usize];
        let expected = view.next();
        if seq != expected {
            faults.add(Fault::NotDense { user, expected, found: seq });
            view.skip_to(seq);
        }
        view.place(seq, item, |item| note(user, item, order, &self.postponed, "stored", faults));
    }

    /// Compares everything after both users have read the whole log.
    pub fn finish(&self, faults: &mut FaultLog) {
        let [by_writer, by_reader] = &self.stored;
        let told = self.readers.iter().map(|reader| &reader.told.view);
        for (reader, told) in told.enumerate() {
            compare(self.user_of(reader), told, &by_reader.view, faults);
        }
        compare_known(self.writer, &self.acknowledged.view, &by_writer.view, faults);
        if let Some((from, to)) = by_writer.view.differs_from(&by_reader.view) {
            faults.add(Fault::Diverged { user: self.writer, from, to });
        }
        if !self.pending.is_empty() {
            faults.add(Fault::Unanswered { user: self.writer, requests: self.pending.len() });
        }
        for book in &self.stored {
            for counter in book.order.missing(self.sent) {
                if self.pending.binary_search(&counter).is_err() {
                    faults.add(Fault::Lost { user: self.writer, counter });
                }
            }
        }
    }

    fn user_of(&self, reader: usize) -> u32 {
        self.first_reader + reader as u32
    }

    fn user_of_side(&self, side: Side) -> u32 {
        match side {
            Side::Writer => self.writer,
            Side::Reader => self.first_reader,
        }
    }

    fn check_sent(&self, user: u32, seq: u64, item: Item, faults: &mut FaultLog) {
        if let Item::Message { counter, .. } = item
            && (counter == 0 || counter > self.sent)
        {
            let detail = format!("user {} has not sent message {counter}", self.writer);
            faults.add(Fault::Phantom { user, seq, detail });
        }
    }
}

/// What a device was told must be all that is stored.
fn compare(user: u32, told: &View, stored: &View, faults: &mut FaultLog) {
    let head = stored.next() - 1;
    if told.next() <= head {
        faults.add(Fault::Undelivered { user, told: told.next() - 1, head });
    }
    compare_known(user, told, stored, faults);
}

/// What somebody knows must be what is stored.
fn compare_known(user: u32, known: &View, stored: &View, faults: &mut FaultLog) {
    let head = stored.next() - 1;
    if known.highest() > head {
        faults.add(Fault::HeadWentBack { user, known: known.highest(), head });
    }
    if let Some((from, to)) = known.differs_from(stored) {
        faults.add(Fault::Diverged { user, from, to });
    }
}

fn note(
    user: u32,
    item: Item,
    order: &mut SenderOrder,
    postponed: &[(u32, u32)],
    place: &'static str,
    faults: &mut FaultLog,
) {
    let Item::Message { counter, .. } = item else {
        return;
    };
    match order.note(counter) {
        Met::InOrder => {}
        Met::AfterLater => {
            if !postponed.iter().any(|(from, to)| (from..=to).contains(&&counter)) {
                faults.add(Fault::Reordered { user, counter, place });
            }
        }
        Met::Again => faults.add(Fault::Duplicated { user, counter, place }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: usize = 3;

    struct Run {
        ledger: FanoutLedger,
        faults: FaultLog,
        log: Vec<Item>,
    }

    impl Run {
        fn new() -> Run {
            let ledger = FanoutLedger::new(10, 11..11 + DEVICES as u32);
            Run { ledger, faults: FaultLog::default(), log: Vec::new() }
        }

        /// Sent, stored, acknowledged.
        fn store(&mut self) -> (u64, Item) {
            let counter = self.ledger.sent();
            let item = Item::Message { side: 0, counter };
            self.log.push(item);
            let seq = self.log.len() as u64;
            self.ledger.acknowledged(counter, seq, &mut self.faults);
            (seq, item)
        }

        fn push(&mut self, reader: usize, (seq, item): (u64, Item)) -> Told {
            self.ledger.told(reader, seq, item, Way::Push, &mut self.faults)
        }

        fn push_to_all(&mut self, messages: usize) {
            for _ in 0..messages {
                let stored = self.store();
                for reader in 0..DEVICES {
                    assert_eq!(self.push(reader, stored), Told::Delivered);
                }
            }
        }

        fn kinds(mut self) -> Vec<&'static str> {
            for side in [Side::Writer, Side::Reader] {
                for (seq, &item) in (1..).zip(&self.log) {
                    self.ledger.read(side, seq, item, &mut self.faults);
                }
            }
            self.ledger.finish(&mut self.faults);
            self.faults.counts().keys().copied().collect()
        }
    }

    #[test]
    fn a_sound_conversation_has_no_faults_however_long() {
        let mut run = Run::new();
        run.push_to_all(3000);
        assert!(run.kinds().is_empty());
    }

    #[test]
    fn a_delivery_that_one_device_lacks_is_found_and_a_repair_heals_it() {
        for repaired in [false, true] {
            let mut run = Run::new();
            run.push_to_all(5);
            let missed = run.store();
            assert_eq!(run.push(0, missed), Told::Delivered);
            assert_eq!(run.push(2, missed), Told::Delivered);
            run.push_to_all(5);
            assert_eq!(run.ledger.lacks(1), (6, true));
            assert_eq!(run.ledger.lacks(2), (12, false));
            if repaired {
                let (seq, item) = missed;
                run.ledger.told(1, seq, item, Way::Repair, &mut run.faults);
            }
            let expected: &[_] = if repaired { &[] } else { &["undelivered"] };
            assert_eq!(run.kinds(), expected);
        }
    }

    #[test]
    fn pushes_that_come_twice_or_late_are_found_at_the_device_that_got_them() {
        let mut run = Run::new();
        let (one, other) = (run.store(), run.store());
        for reader in [0, 2] {
            run.push(reader, one);
            run.push(reader, other);
        }
        run.push(0, other);
        run.push(1, other);
        run.push(1, one);
        let examples: Vec<_> = run.faults.examples().to_vec();
        let twice = Fault::PushedTwice { user: 11, seq: 2 };
        assert_eq!(examples, [twice, Fault::PushedLate { user: 12, seq: 1 }]);
        assert_eq!(run.kinds(), ["duplicated", "reordered"]);
    }

    #[test]
    fn another_entry_for_one_device_is_found() {
        let mut run = Run::new();
        run.push_to_all(2000);
        let (one, other) = (run.store(), run.store());
        for reader in [0, 1] {
            run.push(reader, one);
            run.push(reader, other);
        }
        run.push(2, (one.0, other.1));
        run.push(2, (other.0, one.1));
        assert_eq!(run.kinds(), ["diverged", "reordered"]);
    }

    #[test]
    fn what_the_log_lacks_doubles_or_never_got_is_found() {
        let mut lost = Run::new();
        lost.push_to_all(5);
        lost.log.remove(2);
        assert_eq!(lost.kinds(), ["lost"]);

        let mut doubled = Run::new();
        doubled.push_to_all(5);
        doubled.log.push(doubled.log[1]);
        assert_eq!(doubled.kinds(), ["duplicated", "undelivered"]);

        let mut invented = Run::new();
        invented.push_to_all(2);
        invented.log.push(Item::Message { side: 0, counter: 9 });
        assert!(invented.kinds().contains(&"phantom"));
    }

    #[test]
    fn acknowledgements_are_checked_too() {
        let mut run = Run::new();
        let first = run.ledger.sent();
        let second = run.ledger.sent();
        run.ledger.acknowledged(first, 1, &mut run.faults);
        run.ledger.acknowledged(second, 1, &mut run.faults);
        run.ledger.acknowledged(second, 2, &mut run.faults);
        run.ledger.sent();
        run.log =
            vec![Item::Message { side: 0, counter: 1 }, Item::Message { side: 0, counter: 2 }];
        let kinds = run.kinds();
        assert_eq!(kinds, ["duplicated", "sequence_reused", "unanswered", "undelivered"]);
    }

    #[test]
    fn only_what_was_postponed_may_be_overtaken() {
        for postponed in [false, true] {
            let mut run = Run::new();
            let (late, early) = (run.ledger.sent(), run.ledger.sent());
            if postponed {
                run.ledger.postponed(late);
            }
            for (seq, counter) in [(1, early), (2, late)] {
                let item = Item::Message { side: 0, counter };
                run.ledger.acknowledged(counter, seq, &mut run.faults);
                run.log.push(item);
                for reader in 0..DEVICES {
                    run.push(reader, (seq, item));
                }
            }
            let expected: &[_] = if postponed { &[] } else { &["reordered"] };
            assert_eq!(run.kinds(), expected);
        }
    }
}
