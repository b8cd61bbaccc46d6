//! Registers: fences, rules, versions, and that a write is done as a whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use dunlin_protocol::LogId;
use smallvec::SmallVec;

use super::ask::{ask, heads, ranges, register, registers, write, write_one};
use super::sample::{all, all_registers, chat, entry, key, read, set, set_if, user};
use crate::store::register::{REGISTER_KEY_BYTES_MAX, REGISTER_VALUE_BYTES_MAX};
use crate::store::write::SETS_MAX;
use crate::store::{
    Fence, Malformed, Register, RegisterKey, RegisterRange, Rule, Set, Store, StoreError,
    StoreRequest, Write, Written,
};

fn stored(version: u64) -> Written {
    Written::Stored { version }
}

/// What the registers of a log hold: number, version, text.
fn held(store: &dyn Store, range: RegisterRange) -> (Vec<(u64, u64, String)>, bool) {
    let answer = registers(store, range);
    assert!(!answer.afresh, "only changes are answered afresh");
    let text = |register| {
        let (number, version, text) = read(register);
        (number, version, text.expect("what was removed is left out").to_owned())
    };
    (answer.registers.iter().map(text).collect(), answer.more)
}

pub(super) fn versions_count_up_and_are_shared_by_a_write(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    assert_eq!(write_one(store, Write::registers(log, [set(1, "a"), set(2, "b")])), stored(1));
    assert_eq!(write_one(store, Write::registers(log, [set(2, "c")])), stored(2));
    assert_eq!(write_one(store, Write::registers(other, [set(2, "x")])), stored(1));
    // An entry alone leaves the version; with registers it shares theirs.
    assert_eq!(write_one(store, entry(log, 1, 0)), stored(2));
    let mut both = entry(log, 2, 0);
    both.sets.extend([set(3, "d"), Set::removal(key(1))]);
    assert_eq!(write_one(store, both), stored(3));
    let expected = vec![(2, 2, "c".into()), (3, 3, "d".into())];
    assert_eq!(held(store, all_registers(log)), (expected, false));
    assert_eq!(registers(store, all_registers(log)).version, 3);
    let head = heads(store, vec![log])[0];
    assert_eq!((head.seq, head.version), (2, 3));
    assert_eq!(ranges(store, vec![all(log)])[0].head, head);
}

pub(super) fn a_register_is_read_by_its_name(store: &dyn Store) {
    let log = chat(1, 2);
    let never = Register { key: key(1), version: 0, value: None };
    assert_eq!(register(store, log, key(1)), never);
    write(store, vec![Write::registers(log, [set(1, "a"), set(3, "")])]);
    assert_eq!(read(&register(store, log, key(1))), (1, 1, Some("a")));
    assert_eq!(read(&register(store, log, key(3))), (3, 1, Some("")));
    assert_eq!(read(&register(store, log, key(2))), (2, 0, None));
    write(store, vec![Write::registers(log, [Set::removal(key(1))])]);
    assert_eq!(read(&register(store, log, key(1))), (1, 2, None));
    // The longest of everything.
    let long = RegisterKey::new(&[0xff; REGISTER_KEY_BYTES_MAX]).expect("not too long");
    let value = Bytes::from(vec![7; REGISTER_VALUE_BYTES_MAX]);
    write(store, vec![Write::registers(log, [Set::always(long.clone(), value.clone())])]);
    let large = Register { key: long.clone(), version: 3, value: Some(value) };
    assert_eq!(register(store, log, long), large);
}

pub(super) fn fences_are_kept(store: &dyn Store) {
    let log = chat(1, 2);
    let mut first = entry(log, 1, 0);
    first.sets.push(set(1, "a"));
    assert_eq!(write_one(store, first), stored(1));
    let fenced = |head, version, number| Write {
        fence: Fence { head, version },
        ..Write::registers(log, [set(number, "b")])
    };
    let head = heads(store, vec![log])[0];
    for (seq, version) in [(Some(0), None), (Some(2), None), (None, Some(0)), (None, Some(2))] {
        let refused = write_one(store, fenced(seq, version, 2));
        assert_eq!(refused, Written::Conflict { head }, "{seq:?}, {version:?}");
    }
    // Both must hold, and the fence comes before the rules.
    let mut both = fenced(Some(1), Some(9), 2);
    both.sets[0].rule = Rule::IfVersion(9);
    assert_eq!(write_one(store, both), Written::Conflict { head });
    assert_eq!(write_one(store, fenced(Some(1), Some(1), 2)), stored(2));
    // An entry has the fence of its sequence, and may have another.
    let mut stale = entry(log, 2, 0);
    stale.fence.version = Some(1);
    assert!(
        matches!(write_one(store, stale.clone()), Written::Conflict { head } if head.version == 2)
    );
    stale.fence.version = Some(2);
    assert_eq!(write_one(store, stale), stored(2));
    // Within a batch each sees what those before it have done.
    let batch = vec![fenced(None, Some(2), 4), fenced(None, Some(2), 5), fenced(None, Some(3), 6)];
    let answers = write(store, batch);
    assert!(matches!(answers[1], Written::Conflict { head } if head.version == 3), "{answers:?}");
    assert_eq!((&answers[0], &answers[2]), (&stored(3), &stored(4)));
}

pub(super) fn rules_are_kept(store: &dyn Store) {
    let log = chat(1, 2);
    let one =
        |number, text, rule| write_one(store, Write::registers(log, [set_if(number, text, rule)]));
    let unmet = |number, version, value: Option<&'static str>| Written::Unmet {
        set: 0,
        found: Register {
            key: key(number),
            version,
            value: value.map(|text| Bytes::from_static(text.as_bytes())),
        },
    };
    assert_eq!(one(1, "a", Rule::IfVersion(1)), unmet(1, 0, None));
    assert_eq!(one(1, "a", Rule::IfVersion(0)), stored(1));
    assert_eq!(one(1, "b", Rule::IfVersion(0)), unmet(1, 1, Some("a")));
    assert_eq!(one(1, "b", Rule::IfVersion(1)), stored(2));
    assert_eq!(one(1, "c", Rule::IfAbsent), unmet(1, 2, Some("b")));
    assert_eq!(one(2, "c", Rule::IfAbsent), stored(3));
    for less in ["b", "a", "", "aaaa"] {
        assert_eq!(one(1, less, Rule::IfGreater), unmet(1, 2, Some("b")));
    }
    assert_eq!(one(1, "ba", Rule::IfGreater), stored(4));
    assert_eq!(one(3, "", Rule::IfGreater), stored(5));
    let mut removal = Set { rule: Rule::IfGreater, ..Set::removal(key(1)) };
    let removed = |set: &Set| write_one(store, Write::registers(log, [set.clone()]));
    assert_eq!(removed(&removal), unmet(1, 4, Some("ba")));
    removal.rule = Rule::IfVersion(4);
    assert_eq!(removed(&removal), stored(6));
    // What was removed is absent, and its removal has a version.
    assert_eq!(one(1, "d", Rule::IfVersion(0)), unmet(1, 6, None));
    assert_eq!(one(1, "d", Rule::IfAbsent), stored(7));
    assert_eq!(read(&register(store, log, key(1))), (1, 7, Some("d")));
}

pub(super) fn a_refused_write_does_nothing(store: &dyn Store) {
    let log = chat(1, 2);
    write(store, vec![Write::registers(log, [set(1, "a")])]);
    let mut refused = entry(log, 1, 0);
    refused.sets.extend([
        set(2, "b"),
        set_if(1, "c", Rule::IfAbsent),
        set_if(3, "d", Rule::Always),
    ]);
    match write_one(store, refused.clone()) {
        Written::Unmet { set: 1, found } => assert_eq!(read(&found), (1, 1, Some("a"))),
        other => panic!("the second rule does not hold: {other:?}"),
    }
    refused.sets[1].rule = Rule::Always;
    refused.fence.version = Some(0);
    assert!(matches!(write_one(store, refused.clone()), Written::Conflict { .. }));
    let head = heads(store, vec![log])[0];
    assert_eq!((head.seq, head.version), (0, 1));
    assert_eq!(held(store, all_registers(log)).0, [(1, 1, "a".into())]);
    // Not even its key is used up.
    refused.fence.version = Some(1);
    assert_eq!(write_one(store, refused), stored(2));
}

/// While one thread sets two registers and appends an entry, again and again, whoever reads one log
/// finds them of the same write.
pub(super) fn a_write_is_seen_as_a_whole(store: &dyn Store) {
    const WRITES: u64 = 200;
    let log = chat(1, 2);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let answer = registers(store, all_registers(log));
                let both: Vec<_> = answer.registers.iter().map(read).collect();
                if let [(1, version, one), (2, other_version, other)] = both[..] {
                    assert_eq!((version, one), (other_version, other));
                    assert_eq!(version, answer.version);
                } else {
                    assert_eq!((&both[..], answer.version), (&[][..], 0));
                }
                let head = ranges(store, vec![all(log)])[0].head;
                assert_eq!(head.seq, head.version, "the entry or its registers are missing");
            }
        });
        for number in 1..=WRITES {
            let text = number.to_string();
            let mut write = entry(log, number, 0);
            write.sets.extend([set(1, &text), set(2, &text)]);
            assert_eq!(write_one(store, write), stored(number));
        }
        done.store(true, Ordering::Relaxed);
    });
}

pub(super) fn registers_are_listed_by_their_keys(store: &dyn Store) {
    let log = LogId::account(user(1));
    let keyed = |bytes: &[u8]| RegisterKey::new(bytes).expect("a key");
    let names: [&[u8]; 7] = [b"a", b"k", b"kA", b"kB", b"kBx", b"kC", b"l\xff"];
    for name in names.iter().rev() {
        let set = Set::always(keyed(name), Bytes::copy_from_slice(name));
        assert!(matches!(write_one(store, Write::registers(log, [set])), Written::Stored { .. }));
    }
    write(store, vec![Write::registers(log, [Set::removal(keyed(b"kC"))])]);
    let listed = |prefix: &[u8], after: Option<&[u8]>, registers_max, bytes_max| {
        let (prefix, after) = (SmallVec::from_slice(prefix), after.map(keyed));
        let range = RegisterRange { log, prefix, after, registers_max, bytes_max };
        let answer = registers(store, range);
        assert_eq!((answer.version, answer.afresh), (8, false));
        let keys = answer.registers.iter().map(|register| register.key.as_bytes().to_vec());
        (keys.collect::<Vec<_>>(), answer.more)
    };
    let (max, of) = (usize::MAX, |names: &[&[u8]]| -> Vec<Vec<u8>> {
        names.iter().map(|name| name.to_vec()).collect()
    });
    assert_eq!(
        listed(b"", None, 9, max),
        (of(&[b"a", b"k", b"kA", b"kB", b"kBx", b"l\xff"]), false)
    );
    assert_eq!(listed(b"k", None, 9, max), (of(&[b"k", b"kA", b"kB", b"kBx"]), false));
    assert_eq!(listed(b"kB", None, 9, max), (of(&[b"kB", b"kBx"]), false));
    assert_eq!(listed(b"kC", None, 9, max), (of(&[]), false));
    // Where to go on, whether or not it is there, and whatever begins how.
    assert_eq!(listed(b"k", Some(b"kA"), 9, max), (of(&[b"kB", b"kBx"]), false));
    assert_eq!(listed(b"k", Some(b"kAz"), 9, max), (of(&[b"kB", b"kBx"]), false));
    assert_eq!(listed(b"k", Some(b"a"), 9, max), (of(&[b"k", b"kA", b"kB", b"kBx"]), false));
    assert_eq!(listed(b"k", Some(b"A"), 9, max), (of(&[b"k", b"kA", b"kB", b"kBx"]), false));
    assert_eq!(listed(b"k", Some(b"k"), 9, max), (of(&[b"kA", b"kB", b"kBx"]), false));
    assert_eq!(listed(b"k", Some(b"l"), 9, max), (of(&[]), false));
    // How much.
    assert_eq!(listed(b"k", None, 2, max), (of(&[b"k", b"kA"]), true));
    assert_eq!(listed(b"k", Some(b"kA"), 2, max), (of(&[b"kB", b"kBx"]), false));
    assert_eq!(listed(b"k", None, 9, 0), (of(&[b"k"]), true));
    assert_eq!(listed(b"k", None, 9, 6), (of(&[b"k", b"kA"]), true));
    assert_eq!(listed(b"k", None, 9, 5), (of(&[b"k"]), true));
}

pub(super) fn what_no_store_takes_is_named(store: &dyn Store) {
    let log = chat(1, 2);
    let malformed = |write, expected| {
        // Nothing of the whole batch is done.
        let request = StoreRequest::Write(vec![Write::registers(log, [set(1, "a")]), write]);
        assert_eq!(ask(store, request), Err(StoreError::Malformed(expected)));
    };
    malformed(Write::registers(log, []), Malformed::Empty);
    malformed(Write::registers(log, [set(1, "a"), set(1, "b")]), Malformed::Twice);
    let many = (0..=SETS_MAX as u64).map(|number| set(number, "a"));
    malformed(Write::registers(log, many), Malformed::Sets { sets: SETS_MAX + 1 });
    let bytes = REGISTER_VALUE_BYTES_MAX + 1;
    let large = Set::always(key(1), Bytes::from(vec![0; bytes]));
    malformed(Write::registers(log, [large]), Malformed::Value { bytes });
    assert_eq!(heads(store, vec![log])[0].version, 0);
    let most = (0..SETS_MAX as u64).map(|number| set(number, "a"));
    assert_eq!(write_one(store, Write::registers(log, most)), stored(1));
}
