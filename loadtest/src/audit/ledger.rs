//! The books of one conversation of two users: what each sent, what was acknowledged, what each
//! was told while it was connected, and in the end what each reads in the stored log.

use std::collections::VecDeque;

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::order::{Met, SenderOrder};
use crate::audit::view::{Item, Placed, View};
use crate::audit::window::{Place, Window};

/// How an entry reached a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The server pushed it.
    Push,
    /// The user asked: Sync or History.
    Repair,
}

/// What an entry turned out to be, after its bytes were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A message of the other user that this one had not seen: a delivery.
    Delivered,
    /// One's own, one that was known, or nothing.
    Nothing,
}

/// One of the two users.
#[derive(Debug, Clone, Default)]
struct Side {
    /// Index within the run, for reports.
    user: u32,
    /// Messages sent so far; they are counted from 1.
    sent: u32,
    /// Those that wait for their acknowledgement, ascending.
    pending: VecDeque<u32>,
    /// Inclusive ranges that were answered "not now" and may be stored behind later ones.
    postponed: Vec<(u32, u32)>,
    /// Own messages that were seen in the log before their acknowledgement came.
    seen_early: Vec<(u32, u64)>,
    told: Book,
    stored: Book,
    /// From when the final reading begins.
    owed: Option<Box<Owed>>,
    pushes: Window,
}

/// What a final reading must show: what was certain when it began. A server that is behind may
/// store more while the log is read, or after.
#[derive(Debug, Clone)]
struct Owed {
    /// The highest sequence that the reader had been told.
    highest: u64,
    /// Messages that each side had sent, but for those that waited for their acknowledgement.
    sent: [u32; 2],
    unanswered: [VecDeque<u32>; 2],
}

/// A log as one side reads it, with the order of both senders in it.
#[derive(Debug, Clone, Default)]
struct Book {
    view: View,
    senders: [SenderOrder; 2],
}

/// The auditor of a conversation.
///
/// Memory: some hundred bytes, the unacknowledged messages, and 16 bytes for each 1,024 entries.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    sides: [Side; 2],
}

impl Ledger {
    /// A conversation of two users, named by their indexes within the run.
    pub fn new(users: [u32; 2]) -> Ledger {
        let mut ledger = Ledger::default();
        for (side, user) in ledger.sides.iter_mut().zip(users) {
            side.user = user;
            side.told.view = View::after(0);
        }
        ledger
    }

    /// Index within the run of the user on this side.
    pub(super) fn user(&self, side: usize) -> u32 {
        self.sides[side].user
    }

    /// The run starts behind `head`, before anything is sent.
    pub fn start_at(&mut self, side: usize, head: u64) {
        self.sides[side].told.view = View::after(head);
    }

    /// The counter for the next message of this side, which counts as sent from now on.
    pub fn sent(&mut self, side: usize) -> u32 {
        let side = &mut self.sides[side];
        side.sent += 1;
        side.pending.push_back(side.sent);
        side.sent
    }

    /// The server answered "not now" to this message: its retry may come behind later ones.
    pub fn postponed(&mut self, side: usize, counter: u32) {
        let ranges = &mut self.sides[side].postponed;
        match ranges.last_mut() {
            Some((from, to)) if (*from..=*to).contains(&counter) => {}
            Some((_, to)) if *to + 1 == counter => *to = counter,
            _ => ranges.push((counter, counter)),
        }
    }

    /// The server acknowledged a message.
    pub fn acknowledged(&mut self, side: usize, counter: u32, seq: u64, faults: &mut FaultLog) {
        let this = &mut self.sides[side];
        let user = this.user;
        let Ok(at) = this.pending.binary_search(&counter) else {
            return faults.add(Fault::Duplicated { user, counter, place: "acknowledged" });
        };
        this.pending.remove(at);
        if let Some(at) = this.seen_early.iter().position(|&(seen, _)| seen == counter) {
            if this.seen_early.swap_remove(at).1 != seq {
                faults.add(Fault::SequenceReused { user, seq });
            }
            return;
        }
        match self.place(side, seq, Item::Message { side, counter }, faults) {
            Placed::New => {}
            Placed::Known | Placed::Other => faults.add(Fault::SequenceReused { user, seq }),
        }
    }

    /// A new connection of this side: its pushes begin anew.
    pub fn connected(&mut self, side: usize) {
        self.sides[side].pushes = Window::default();
    }

    /// The highest sequence that this side knows of.
    pub fn known(&self, side: usize) -> u64 {
        self.sides[side].told.view.highest()
    }

    /// The server said that the newest sequence is `head`, to a question that was asked when
    /// `known` was known. (Answers may overtake each other, so by now more can be known.)
    pub fn head_seen(&self, side: usize, known: u64, head: u64, faults: &mut FaultLog) {
        if head < known {
            faults.add(Fault::HeadWentBack { user: self.sides[side].user, known, head });
        }
    }

    /// An entry came to this side.
    pub fn told(
        &mut self,
        side: usize,
        seq: u64,
        item: Item,
        way: Way,
        faults: &mut FaultLog,
    ) -> Told {
        let user = self.sides[side].user;
        if way == Way::Push {
            match self.sides[side].pushes.note(seq) {
                Place::Rising => {}
                Place::Again => faults.add(Fault::PushedTwice { user, seq }),
                Place::Late => faults.add(Fault::PushedLate { user, seq }),
            }
        }
        self.check_sent(side, seq, item, faults);
        match (self.place(side, seq, item, faults), item) {
            (Placed::New, Item::Message { side: sender, counter }) if sender == side => {
                let this = &mut self.sides[side];
                if this.pending.binary_search(&counter).is_ok() {
                    this.seen_early.push((counter, seq));
                }
                Told::Nothing
            }
            (Placed::New, Item::Message { .. }) => Told::Delivered,
            (Placed::New, Item::Void | Item::Unknown) | (Placed::Known, _) => Told::Nothing,
            (Placed::Other, _) => {
                faults.add(Fault::SequenceReused { user, seq });
                Told::Nothing
            }
        }
    }

    /// The first sequence that this side lacks, and whether it knows of later ones.
    pub fn lacks(&self, side: usize) -> (u64, bool) {
        let view = &self.sides[side].told.view;
        (view.next(), view.has_gap())
    }

    /// Up to where this side was told everything.
    pub fn told_up_to(&self, side: usize) -> u64 {
        self.sides[side].told.view.next() - 1
    }

    /// Messages that wait for their acknowledgement.
    pub fn pending(&self, side: usize) -> usize {
        self.sides[side].pending.len()
    }

    /// The final reading of this side begins where its first sync stood; returns the first
    /// sequence to ask for.
    pub fn begin_reading(&mut self, side: usize) -> u64 {
        let owed = Owed {
            highest: self.sides[side].told.view.highest(),
            sent: [0, 1].map(|side: usize| self.sides[side].sent),
            unanswered: [0, 1].map(|side: usize| self.sides[side].pending.clone()),
        };
        let side = &mut self.sides[side];
        side.owed = Some(Box::new(owed));
        side.stored = Book { view: View::after(side.told.view.base()), ..Book::default() };
        side.stored.view.next()
    }

    /// The next entry of the final reading.
    pub fn read(&mut self, side: usize, seq: u64, item: Item, faults: &mut FaultLog) {
        let this = &mut self.sides[side];
        let (user, expected) = (this.user, this.stored.view.next());
        if seq != expected {
            faults.add(Fault::NotDense { user, expected, found: seq });
            this.stored.view.skip_to(seq);
        }
        self.check_sent(side, seq, item, faults);
        let senders = self.postponed_ranges();
        let Book { view, senders: orders } = &mut self.sides[side].stored;
        view.place(seq, item, |item| note(user, item, orders, &senders, "stored", faults));
    }

    /// Whether neither side has sent or been told anything.
    pub fn is_untouched(&self) -> bool {
        let untouched =
            |side: &Side| side.sent == 0 && side.told.view.highest() == side.told.view.base();
        self.sides.iter().all(untouched)
    }

    /// The next sequence of the final reading; 0 before it has begun.
    pub fn reads_next(&self, side: usize) -> u64 {
        self.sides[side].stored.view.next()
    }

    /// Compares everything after both sides have read the whole log.
    pub fn finish(&self, faults: &mut FaultLog) {
        if self.is_untouched() {
            return; // Nobody has read it: there is nothing to compare.
        }
        for side in &self.sides {
            let (user, told) = (side.user, side.told.view.next() - 1);
            let head = side.stored.view.next() - 1;
            if told < head {
                faults.add(Fault::Undelivered { user, told, head });
            }
            let known = side.owed.as_ref().map_or(0, |owed| owed.highest);
            if known > head {
                faults.add(Fault::HeadWentBack { user, known, head });
            }
            if let Some((from, to)) = side.told.view.differs_from(&side.stored.view) {
                faults.add(Fault::Diverged { user, from, to });
            }
            if !side.pending.is_empty() {
                faults.add(Fault::Unanswered { user, requests: side.pending.len() });
            }
        }
        let [one, other] = &self.sides;
        if let Some((from, to)) = one.stored.view.differs_from(&other.stored.view) {
            faults.add(Fault::Diverged { user: one.user, from, to });
        }
        for (reader, sender) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            self.find_lost(reader, sender, faults);
        }
    }

    fn find_lost(&self, reader: usize, sender: usize, faults: &mut FaultLog) {
        let Side { owed: Some(owed), stored, .. } = &self.sides[reader] else {
            return;
        };
        let (sent, unanswered) = (owed.sent[sender], &owed.unanswered[sender]);
        for counter in stored.senders[sender].missing(sent) {
            if counter <= sent && unanswered.binary_search(&counter).is_err() {
                faults.add(Fault::Lost { user: self.sides[sender].user, counter });
            }
        }
    }

    fn check_sent(&self, side: usize, seq: u64, item: Item, faults: &mut FaultLog) {
        if let Item::Message { side: sender, counter } = item
            && (counter == 0 || counter > self.sides[sender].sent)
        {
            let of = self.sides[sender].user;
            let detail = format!("user {of} has not sent message {counter}");
            faults.add(Fault::Phantom { user: self.sides[side].user, seq, detail });
        }
    }

    fn place(&mut self, side: usize, seq: u64, item: Item, faults: &mut FaultLog) -> Placed {
        let postponed = self.postponed_ranges();
        let this = &mut self.sides[side];
        let user = this.user;
        let Book { view, senders } = &mut this.told;
        view.place(seq, item, |item| note(user, item, senders, &postponed, "told", faults))
    }

    /// Taken out of the sides, so that one of them can be changed meanwhile; nearly always empty,
    /// and then it costs nothing.
    pub(super) fn postponed_ranges(&self) -> [Vec<(u32, u32)>; 2] {
        [0, 1].map(|side| self.sides[side].postponed.clone())
    }
}

pub(super) fn note(
    user: u32,
    item: Item,
    senders: &mut [SenderOrder; 2],
    postponed: &[Vec<(u32, u32)>; 2],
    place: &'static str,
    faults: &mut FaultLog,
) {
    let Item::Message { side, counter } = item else {
        return;
    };
    match senders[side].note(counter) {
        Met::InOrder => {}
        Met::AfterLater => {
            let excused = postponed[side].iter().any(|(from, to)| (from..=to).contains(&&counter));
            if !excused {
                faults.add(Fault::Reordered { user, counter, place });
            }
        }
        Met::Again => faults.add(Fault::Duplicated { user, counter, place }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_in_which_nothing_was_said_is_sound_without_a_reading() {
        let mut ledger = Ledger::new([0, 1]);
        ledger.start_at(0, 7);
        ledger.start_at(1, 7);
        let mut faults = FaultLog::default();
        ledger.finish(&mut faults);
        assert!(faults.is_empty(), "{faults:?}");
    }

    /// Both users send `messages` in turn; everything goes right.
    fn sound(messages: u32) -> (Ledger, FaultLog, Vec<Item>) {
        let (mut ledger, mut faults) = (Ledger::new([10, 11]), FaultLog::default());
        let mut log = Vec::new();
        for number in 0..messages {
            let side = number as usize % 2;
            let counter = ledger.sent(side);
            let item = Item::Message { side, counter };
            log.push(item);
            let seq = log.len() as u64;
            ledger.acknowledged(side, counter, seq, &mut faults);
            assert_eq!(ledger.told(1 - side, seq, item, Way::Push, &mut faults), Told::Delivered);
        }
        (ledger, faults, log)
    }

    fn read_all(ledger: &mut Ledger, log: &[Item], faults: &mut FaultLog) {
        for side in 0..2 {
            ledger.begin_reading(side);
            for (seq, &item) in (1..).zip(log) {
                ledger.read(side, seq, item, faults);
            }
        }
        ledger.finish(faults);
    }

    /// The kinds of fault after both have read `log`.
    fn verdict(ledger: &mut Ledger, mut faults: FaultLog, log: &[Item]) -> Vec<&'static str> {
        read_all(ledger, log, &mut faults);
        faults.counts().keys().copied().collect()
    }

    #[test]
    fn a_sound_conversation_has_no_fault() {
        let (mut ledger, faults, log) = sound(5000);
        assert_eq!(verdict(&mut ledger, faults, &log), [""; 0]);
    }

    #[test]
    fn an_acknowledged_message_that_is_not_stored_is_lost() {
        let (mut ledger, faults, mut log) = sound(10);
        log.remove(6);
        assert!(verdict(&mut ledger, faults, &log).contains(&"lost"));
        let (mut ledger, faults, mut log) = sound(10);
        log.pop();
        assert!(verdict(&mut ledger, faults, &log).contains(&"lost"));
    }

    #[test]
    fn what_is_stored_after_the_reading_began_is_not_lost() {
        let (mut ledger, mut faults, log) = sound(10);
        // One waits for its acknowledgement, another is not even sent, when the log is read.
        let late = ledger.sent(0);
        for side in 0..2 {
            ledger.begin_reading(side);
            for (seq, &item) in (1..).zip(&log) {
                ledger.read(side, seq, item, &mut faults);
            }
        }
        for (seq, counter) in [(11, late), (12, ledger.sent(0))] {
            ledger.acknowledged(0, counter, seq, &mut faults);
            let item = Item::Message { side: 0, counter };
            ledger.told(1, seq, item, Way::Push, &mut faults);
        }
        ledger.finish(&mut faults);
        assert!(faults.is_empty(), "{:?}", faults.examples());
    }

    #[test]
    fn a_message_that_is_stored_twice_is_duplicated() {
        let (mut ledger, faults, mut log) = sound(10);
        log.push(log[4]);
        assert!(verdict(&mut ledger, faults, &log).contains(&"duplicated"));
    }

    #[test]
    fn two_messages_of_one_sender_that_are_swapped_are_reordered() {
        let (mut ledger, faults, mut log) = sound(10);
        log.swap(4, 6);
        let kinds = verdict(&mut ledger, faults, &log);
        assert!(kinds.contains(&"reordered") && kinds.contains(&"diverged"), "{kinds:?}");
    }

    #[test]
    fn two_messages_of_two_senders_that_are_swapped_diverge_from_what_was_told() {
        let (mut ledger, faults, mut log) = sound(3000);
        log.swap(4, 5);
        assert_eq!(verdict(&mut ledger, faults, &log), ["diverged"]);
    }

    #[test]
    fn a_message_that_nobody_sent_is_a_phantom() {
        let (mut ledger, faults, mut log) = sound(10);
        log.push(Item::Message { side: 0, counter: 6 });
        assert!(verdict(&mut ledger, faults, &log).contains(&"phantom"));
    }

    #[test]
    fn a_push_that_comes_twice_or_late_is_a_fault() {
        let (mut ledger, mut faults, log) = sound(10);
        ledger.told(1, 9, log[8], Way::Push, &mut faults);
        assert_eq!(faults.counts()["duplicated"], 1);
        let (mut ledger, mut faults) = (Ledger::new([0, 1]), FaultLog::default());
        let items = [1, 2].map(|_| Item::Message { side: 0, counter: ledger.sent(0) });
        ledger.told(1, 2, items[1], Way::Push, &mut faults);
        ledger.told(1, 1, items[0], Way::Push, &mut faults);
        assert_eq!(faults.counts().keys().copied().collect::<Vec<_>>(), ["reordered"]);
    }

    #[test]
    fn a_gap_that_is_repaired_is_none_and_one_that_stays_is_undelivered() {
        for repaired in [true, false] {
            let (mut ledger, mut faults) = (Ledger::new([0, 1]), FaultLog::default());
            let log: Vec<Item> =
                (0..3).map(|_| Item::Message { side: 0, counter: ledger.sent(0) }).collect();
            for (seq, &item) in (1..).zip(&log) {
                ledger.acknowledged(0, seq as u32, seq, &mut faults);
                if seq != 2 {
                    ledger.told(1, seq, item, Way::Push, &mut faults);
                }
            }
            assert_eq!(ledger.lacks(1), (2, true));
            if repaired {
                ledger.told(1, 2, log[1], Way::Repair, &mut faults);
            }
            let kinds = verdict(&mut ledger, faults, &log);
            assert_eq!(kinds.contains(&"undelivered"), !repaired, "{kinds:?}");
        }
    }

    #[test]
    fn a_lost_response_is_healed_by_the_retry_and_a_second_place_is_not() {
        for (seq, expected) in [(1, vec![]), (2, vec!["sequence_reused"])] {
            let (mut ledger, mut faults) = (Ledger::new([0, 1]), FaultLog::default());
            let item = Item::Message { side: 0, counter: ledger.sent(0) };
            // The connection broke before the response; sync shows the message.
            ledger.connected(0);
            ledger.told(0, 1, item, Way::Repair, &mut faults);
            ledger.told(1, 1, item, Way::Push, &mut faults);
            ledger.acknowledged(0, 1, seq, &mut faults);
            assert_eq!(verdict(&mut ledger, faults, &[item]), expected);
        }
    }

    #[test]
    fn a_head_that_goes_back_and_a_second_acknowledgement_are_faults() {
        let (mut ledger, mut faults, _) = sound(4);
        ledger.head_seen(0, ledger.known(0), 3, &mut faults);
        assert_eq!(faults.counts()["lost"], 1);
        ledger.acknowledged(0, 1, 1, &mut faults);
        assert_eq!(faults.counts()["duplicated"], 1);
    }

    #[test]
    fn one_sequence_for_two_messages_is_a_fault() {
        let (mut ledger, mut faults) = (Ledger::new([0, 1]), FaultLog::default());
        let (first, second) = (ledger.sent(0), ledger.sent(0));
        ledger.acknowledged(0, first, 1, &mut faults);
        ledger.acknowledged(0, second, 1, &mut faults);
        assert_eq!(faults.counts()["sequence_reused"], 1);
    }

    #[test]
    fn a_postponed_message_may_come_behind_later_ones_and_an_unanswered_one_not_at_all() {
        let (mut ledger, mut faults) = (Ledger::new([0, 1]), FaultLog::default());
        let counters = [1, 2, 3].map(|_| ledger.sent(0));
        ledger.postponed(0, counters[0]);
        let log = [counters[1], counters[0]].map(|counter| Item::Message { side: 0, counter });
        for (seq, &item) in (1..).zip(&log) {
            let Item::Message { counter, .. } = item else { unreachable!() };
            ledger.acknowledged(0, counter, seq, &mut faults);
            ledger.told(1, seq, item, Way::Push, &mut faults);
        }
        assert_eq!(verdict(&mut ledger, faults, &log), ["unanswered"]);
    }
}
