//! One user who writes to several devices of another one: each way of breaking the promise is found
//! at the device that it befell.

use crate::audit::{Fault, FaultLog, Item, Ledger, Told, Way};

const DEVICES: usize = 3;

/// Readers of the conversation: the writer is the first one, the devices follow.
const FIRST_DEVICE: usize = 1;

struct Run {
    ledger: Ledger,
    faults: FaultLog,
    log: Vec<Item>,
}

impl Run {
    fn new() -> Run {
        let ledger = Ledger::new(10..11 + DEVICES as u32, 1);
        Run { ledger, faults: FaultLog::default(), log: Vec::new() }
    }

    /// Sent, stored, acknowledged.
    fn store(&mut self) -> (u64, Item) {
        let counter = self.ledger.sent(0);
        let item = Item::Message { writer: 0, counter };
        self.log.push(item);
        let seq = self.log.len() as u64;
        self.ledger.acknowledged(0, counter, seq, &mut self.faults);
        (seq, item)
    }

    fn push(&mut self, device: usize, (seq, item): (u64, Item)) -> Told {
        self.ledger.told(FIRST_DEVICE + device, seq, item, Way::Push, &mut self.faults)
    }

    fn push_to_all(&mut self, messages: usize) {
        for _ in 0..messages {
            let stored = self.store();
            for device in 0..DEVICES {
                assert_eq!(self.push(device, stored), Told::Delivered);
            }
        }
    }

    fn kinds(mut self) -> Vec<&'static str> {
        for reader in [0, FIRST_DEVICE] {
            self.ledger.begin_reading(reader);
            for (seq, &item) in (1..).zip(&self.log) {
                self.ledger.read(reader, seq, item, &mut self.faults);
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
        assert_eq!(run.ledger.lacks(FIRST_DEVICE + 1), (6, true));
        assert_eq!(run.ledger.lacks(FIRST_DEVICE + 2), (12, false));
        if repaired {
            let (seq, item) = missed;
            run.ledger.told(FIRST_DEVICE + 1, seq, item, Way::Repair, &mut run.faults);
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
    invented.log.push(Item::Message { writer: 0, counter: 9 });
    assert!(invented.kinds().contains(&"phantom"));
}

#[test]
fn acknowledgements_are_checked_too() {
    let mut run = Run::new();
    let first = run.ledger.sent(0);
    let second = run.ledger.sent(0);
    run.ledger.acknowledged(0, first, 1, &mut run.faults);
    run.ledger.acknowledged(0, second, 1, &mut run.faults);
    run.ledger.acknowledged(0, second, 2, &mut run.faults);
    run.ledger.sent(0);
    run.log =
        vec![Item::Message { writer: 0, counter: 1 }, Item::Message { writer: 0, counter: 2 }];
    let kinds = run.kinds();
    assert_eq!(kinds, ["duplicated", "sequence_reused", "unanswered", "undelivered"]);
}

#[test]
fn only_what_was_postponed_may_be_overtaken() {
    for postponed in [false, true] {
        let mut run = Run::new();
        let (late, early) = (run.ledger.sent(0), run.ledger.sent(0));
        if postponed {
            run.ledger.postponed(0, late);
        }
        for (seq, counter) in [(1, early), (2, late)] {
            let item = Item::Message { writer: 0, counter };
            run.ledger.acknowledged(0, counter, seq, &mut run.faults);
            run.log.push(item);
            for reader in 0..DEVICES {
                run.push(reader, (seq, item));
            }
        }
        let expected: &[_] = if postponed { &[] } else { &["reordered"] };
        assert_eq!(run.kinds(), expected);
    }
}
