//! Two users who write to each other: each way of breaking the promise is found.

use crate::audit::{FaultLog, Item, Ledger, Told, Way};

#[test]
fn a_conversation_in_which_nothing_was_said_is_sound_without_a_reading() {
    let mut ledger = Ledger::new([0, 1], 2);
    ledger.start_at(0, 7);
    ledger.start_at(1, 7);
    let mut faults = FaultLog::default();
    ledger.finish(&mut faults);
    assert!(faults.is_empty(), "{faults:?}");
}

/// Both users send `messages` in turn; everything goes right.
fn sound(messages: u32) -> (Ledger, FaultLog, Vec<Item>) {
    let (mut ledger, mut faults) = (Ledger::new([10, 11], 2), FaultLog::default());
    let mut log = Vec::new();
    for number in 0..messages {
        let side = number as usize % 2;
        let counter = ledger.sent(side);
        let item = Item::Message { writer: side, counter };
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
        let item = Item::Message { writer: 0, counter };
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
    log.push(Item::Message { writer: 0, counter: 6 });
    assert!(verdict(&mut ledger, faults, &log).contains(&"phantom"));
}

#[test]
fn a_push_that_comes_twice_or_late_is_a_fault() {
    let (mut ledger, mut faults, log) = sound(10);
    ledger.told(1, 9, log[8], Way::Push, &mut faults);
    assert_eq!(faults.counts()["duplicated"], 1);
    let (mut ledger, mut faults) = (Ledger::new([0, 1], 2), FaultLog::default());
    let items = [1, 2].map(|_| Item::Message { writer: 0, counter: ledger.sent(0) });
    ledger.told(1, 2, items[1], Way::Push, &mut faults);
    ledger.told(1, 1, items[0], Way::Push, &mut faults);
    assert_eq!(faults.counts().keys().copied().collect::<Vec<_>>(), ["reordered"]);
}

#[test]
fn a_gap_that_is_repaired_is_none_and_one_that_stays_is_undelivered() {
    for repaired in [true, false] {
        let (mut ledger, mut faults) = (Ledger::new([0, 1], 2), FaultLog::default());
        let log: Vec<Item> =
            (0..3).map(|_| Item::Message { writer: 0, counter: ledger.sent(0) }).collect();
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
        let (mut ledger, mut faults) = (Ledger::new([0, 1], 2), FaultLog::default());
        let item = Item::Message { writer: 0, counter: ledger.sent(0) };
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
    let (mut ledger, mut faults) = (Ledger::new([0, 1], 2), FaultLog::default());
    let (first, second) = (ledger.sent(0), ledger.sent(0));
    ledger.acknowledged(0, first, 1, &mut faults);
    ledger.acknowledged(0, second, 1, &mut faults);
    assert_eq!(faults.counts()["sequence_reused"], 1);
}

#[test]
fn a_postponed_message_may_come_behind_later_ones_and_an_unanswered_one_not_at_all() {
    let (mut ledger, mut faults) = (Ledger::new([0, 1], 2), FaultLog::default());
    let counters = [1, 2, 3].map(|_| ledger.sent(0));
    ledger.postponed(0, counters[0]);
    let log = [counters[1], counters[0]].map(|counter| Item::Message { writer: 0, counter });
    for (seq, &item) in (1..).zip(&log) {
        let Item::Message { counter, .. } = item else { unreachable!() };
        ledger.acknowledged(0, counter, seq, &mut faults);
        ledger.told(1, seq, item, Way::Push, &mut faults);
    }
    assert_eq!(verdict(&mut ledger, faults, &log), ["unanswered"]);
}
