//! A group: some of its members write, all of them read, and one reads the stored log in the end.

use crate::audit::{FaultLog, Item, Ledger, Told, Way};

const MEMBERS: usize = 5;
const WRITERS: usize = 3;

/// Who reads the stored log.
const HISTORIAN: usize = 1;

/// Each writer has written in turn, and everybody was told, but for what `leaves_out` says of a
/// member and a sequence.
fn run(messages: usize, leaves_out: impl Fn(usize, u64) -> bool) -> (Ledger, FaultLog, Vec<Item>) {
    let mut ledger = Ledger::new(20..20 + MEMBERS as u32, WRITERS);
    let (mut faults, mut log) = (FaultLog::default(), Vec::new());
    for (seq, writer) in (1..).zip((0..WRITERS).cycle().take(messages)) {
        let item = Item::Message { writer, counter: ledger.sent(writer) };
        log.push(item);
        let Item::Message { counter, .. } = item else { unreachable!() };
        ledger.acknowledged(writer, counter, seq, &mut faults);
        for member in (0..MEMBERS).filter(|&member| member != writer && !leaves_out(member, seq)) {
            let told = ledger.told(member, seq, item, Way::Push, &mut faults);
            assert_eq!(told, Told::Delivered);
        }
    }
    (ledger, faults, log)
}

fn kinds((mut ledger, mut faults, _): (Ledger, FaultLog, Vec<Item>), log: &[Item]) -> Vec<String> {
    ledger.begin_reading(HISTORIAN);
    for (seq, &item) in (1..).zip(log) {
        ledger.read(HISTORIAN, seq, item, &mut faults);
    }
    ledger.finish(&mut faults);
    faults.examples().iter().map(|fault| fault.kind().to_owned()).collect()
}

#[test]
fn a_sound_group_has_no_fault_whoever_reads_its_log() {
    let run = run(4000, |_, _| false);
    let log = run.2.clone();
    assert!(run.0.is_level());
    assert_eq!(kinds(run, &log), [""; 0]);
}

#[test]
fn whoever_was_not_told_is_found_though_another_one_reads_the_log() {
    let run = run(30, |member, seq| member == 4 && seq == 30);
    assert!(!run.0.is_level());
    let log = run.2.clone();
    assert_eq!(kinds(run, &log), ["undelivered"]);
}

#[test]
fn what_one_of_many_writers_lost_is_found() {
    let whole = run(30, |_, _| false);
    let mut log = whole.2.clone();
    log.pop();
    let found = kinds(whole, &log);
    // All had it, and the log has it no more.
    let lost = found.iter().filter(|kind| *kind == "lost").count();
    assert_eq!((found.len(), lost), (MEMBERS - 1 + 1 + 1, MEMBERS + 1), "{found:?}");
}

#[test]
fn two_writers_that_change_places_diverge_and_one_that_overtakes_itself_is_reordered() {
    let whole = run(3000, |_, _| false);
    let mut log = whole.2.clone();
    log.swap(7, 8);
    assert_eq!(kinds(whole, &log), ["diverged"; MEMBERS]);
    let whole = run(3000, |_, _| false);
    log.swap(7, 8);
    log.swap(0, WRITERS);
    let found = kinds(whole, &log);
    assert_eq!(found[0], "reordered");
    assert!(found[1..].iter().all(|kind| kind == "diverged") && found.len() == 1 + MEMBERS);
}
