//! What has changed since a version.

use super::ask::{changes, delete, write, write_one};
use super::sample::{chat, entry, key, read, set, since};
use crate::store::{ChangeRange, Deletion, Registers, Set, Store, Write};

fn told(answer: &Registers) -> Vec<(u64, u64, Option<&str>)> {
    answer.registers.iter().map(read).collect()
}

pub(super) fn changes_cost_what_changed(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    assert_eq!(changes(store, since(log, 0)), Registers::default());
    for number in 1..=20 {
        write_one(store, Write::registers(log, [set(number, "old")]));
    }
    write(store, vec![Write::registers(other, [set(7, "of another log")])]);
    let nothing = Registers { version: 20, ..Registers::default() };
    assert_eq!(changes(store, since(log, 20)), nothing);
    write(store, vec![entry(log, 1, 0)]);
    assert_eq!(changes(store, since(log, 20)), nothing, "an entry is no change of a register");
    write(store, vec![Write::registers(log, [set(5, "new"), set(3, "new")])]);
    write(store, vec![Write::registers(log, [set(5, "newer"), Set::removal(key(9))])]);
    let answer = changes(store, since(log, 20));
    // Each once, as it is now, in the order of versions.
    assert_eq!(told(&answer), [(3, 21, Some("new")), (5, 22, Some("newer")), (9, 22, None)]);
    assert_eq!((answer.version, answer.more, answer.afresh), (22, false, false));
    assert_eq!(told(&changes(store, since(log, 21))), [(5, 22, Some("newer")), (9, 22, None)]);
    assert_eq!(told(&changes(store, since(log, 19)))[0], (20, 20, Some("old")));
    // Of one that was removed and set again there is one change.
    write(store, vec![Write::registers(log, [set(9, "back")])]);
    assert_eq!(told(&changes(store, since(log, 22))), [(9, 23, Some("back"))]);
    assert_eq!(changes(store, since(log, 0)).registers.len(), 20);
}

pub(super) fn changes_of_one_version_are_not_parted(store: &dyn Store) {
    let log = chat(1, 2);
    write(store, vec![Write::registers(log, [set(9, "aaaa")])]);
    write(store, vec![Write::registers(log, [set(3, "bb"), set(1, "b"), set(2, "b")])]);
    write(store, vec![Write::registers(log, [set(4, "c"), set(5, "c")])]);
    let part = |since, registers_max, bytes_max| {
        let answer = changes(store, ChangeRange { log, since, registers_max, bytes_max });
        assert_eq!((answer.version, answer.afresh), (3, false));
        let numbers = told(&answer).iter().map(|(number, ..)| *number).collect::<Vec<_>>();
        (numbers, answer.more)
    };
    let max = usize::MAX;
    assert_eq!(part(0, 1, max), (vec![9], true));
    assert_eq!(part(0, 3, max), (vec![9], true));
    assert_eq!(part(0, 4, max), (vec![9, 1, 2, 3], true));
    assert_eq!(part(0, 6, max), (vec![9, 1, 2, 3, 4, 5], false));
    // A version that is more than what fits comes whole all the same.
    assert_eq!(part(1, 1, max), (vec![1, 2, 3], true));
    assert_eq!(part(1, 4, max), (vec![1, 2, 3], true));
    assert_eq!(part(2, 1, max), (vec![4, 5], false));
    // The same by bytes of keys and values: 13, then 31, then 20.
    assert_eq!(part(0, 9, 0), (vec![9], true));
    assert_eq!(part(0, 9, 43), (vec![9], true));
    assert_eq!(part(0, 9, 44), (vec![9, 1, 2, 3], true));
    assert_eq!(part(1, 9, 50), (vec![1, 2, 3], true));
    assert_eq!(part(1, 9, 51), (vec![1, 2, 3, 4, 5], false));
}

pub(super) fn who_knows_what_is_gone_begins_afresh(store: &dyn Store) {
    let log = chat(1, 2);
    let afresh = |version| Registers { version, afresh: true, ..Registers::default() };
    // A version that the log never had: of an older copy of it, say.
    assert_eq!(changes(store, since(log, 1)), afresh(0));
    write(store, vec![Write::registers(log, [set(1, "a")])]);
    write(store, vec![Write::registers(log, [set(2, "b")])]);
    assert_eq!(changes(store, since(log, 3)), afresh(2));
    assert!(!changes(store, since(log, 2)).afresh);
    // All registers are dropped, which no marks tell.
    delete(store, Deletion::Drop { log });
    assert_eq!(changes(store, since(log, 1)), afresh(3));
    assert_eq!(changes(store, since(log, 2)), afresh(3));
    assert_eq!(changes(store, since(log, 3)), Registers { version: 3, ..Registers::default() });
    write(store, vec![Write::registers(log, [set(2, "c")])]);
    assert_eq!(told(&changes(store, since(log, 3))), [(2, 4, Some("c"))]);
    // Whoever knows nothing has nothing to forget.
    let answer = changes(store, since(log, 0));
    assert_eq!((told(&answer), answer.afresh), (vec![(2, 4, Some("c"))], false));
}
