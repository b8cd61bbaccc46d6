//! The feed, and who reads it.

use dunlin_protocol::LogId;

use super::ask::{ask, consumer, consumers, delete, feed, write};
use super::sample::{chat, entry, from, key, set};
use crate::store::feed::{ConsumerName, FeedFrom, FeedItem, FeedPosition, FeedWhat};
use crate::store::{
    ConsumerChange, Deletion, FeedPage, FeedRange, Malformed, Set, Store, StoreError, StoreRequest,
    Write,
};

fn name(name: &str) -> ConsumerName {
    ConsumerName::new(name).expect("a name")
}

fn passed(store: &dyn Store, who: &str, position: &FeedPosition) {
    let position = position.clone();
    consumer(store, ConsumerChange::Passed { name: name(who), position });
}

/// The position at the beginning or the end, without reading anything.
fn position(store: &dyn Store, from: FeedFrom) -> FeedPosition {
    let page = feed(store, FeedRange { from, items_max: 0, bytes_max: 0 });
    assert_eq!(page.items, []);
    page.position
}

/// What a page says of one log, in short.
fn said(page: &FeedPage, log: LogId) -> Vec<String> {
    let of_log = page.items.iter().filter(|item| item.log == log);
    of_log.map(in_short).collect()
}

fn in_short(item: &FeedItem) -> String {
    match &item.what {
        FeedWhat::Entry(entry) if entry.erased => format!("erased entry {}", entry.seq),
        FeedWhat::Entry(entry) => format!("entry {} of {} bytes", entry.seq, entry.body.len()),
        FeedWhat::Register(register) => {
            let key = register.key.as_bytes();
            let text = register.value.as_deref().map(String::from_utf8_lossy);
            format!("{} at {}: {text:?}", key[key.len() - 1], register.version)
        }
        FeedWhat::Truncated { below } => format!("truncated below {below}"),
        FeedWhat::Erased { seq } => format!("erased {seq}"),
        FeedWhat::Dropped => "dropped".into(),
    }
}

/// Whoever is registered before hears of all of it, for each log in the order in which it was done.
pub(super) fn the_feed_has_all_that_was_written(store: &dyn Store) {
    let (log, other) = (chat(1, 2), chat(1, 3));
    passed(store, "push", &position(store, FeedFrom::Beginning));
    let mut both = entry(log, 2, 0);
    both.sets.extend([set(2, "b"), set(1, "a")]);
    let refused = entry(log, 9, 0);
    write(store, vec![entry(log, 1, 0), entry(other, 1, 0), both, refused]);
    write(store, vec![Write::registers(log, [set(1, "c")])]);
    write(store, vec![Write::registers(log, [Set::removal(key(1))])]);
    delete(store, Deletion::Erase { log, seq: 2 });
    delete(store, Deletion::Truncate { log, below: 2 });
    delete(store, Deletion::Truncate { log, below: 1 });
    delete(store, Deletion::Drop { log });
    write(store, vec![entry(log, 3, 0)]);
    let page = feed(store, from(FeedFrom::Beginning));
    assert!(!page.more);
    let length = |log, seq| entry(log, seq, 0).entry.expect("it writes an entry").body.len();
    let expected = [
        format!("entry 1 of {} bytes", length(log, 1)),
        "erased entry 2".into(),
        "2 at 1: Some(\"b\")".into(),
        "1 at 1: Some(\"a\")".into(),
        "1 at 2: Some(\"c\")".into(),
        "1 at 3: None".into(),
        "erased 2".into(),
        "truncated below 2".into(),
        "dropped".into(),
        format!("entry 3 of {} bytes", length(log, 3)),
    ];
    let mut said_of_log = said(&page, log);
    // The registers of one write are one step, in whatever order.
    said_of_log[2..4].sort_by(|one, other| other.cmp(one));
    assert_eq!(said_of_log, expected);
    assert_eq!(said(&page, other), [format!("entry 1 of {} bytes", length(other, 1))]);
    assert_eq!(page.items.len(), 11);
}

pub(super) fn the_feed_goes_on_where_it_was(store: &dyn Store) {
    let log = chat(1, 2);
    let empty = feed(store, from(FeedFrom::Beginning));
    assert_eq!((&empty.items[..], empty.more), (&[][..], false));
    write(store, (1..=7).map(|seq| entry(log, seq, 0)).collect());
    let body = |seq| entry(log, seq, 0).entry.expect("it writes an entry").body.len();
    let mut heard = Vec::new();
    let mut after = empty.position;
    for (items_max, bytes_max, items) in [(2, usize::MAX, 2), (9, body(3) + body(4), 2), (9, 0, 1)]
    {
        let page = feed(store, FeedRange { from: FeedFrom::After(after), items_max, bytes_max });
        assert_eq!((page.items.len(), page.more), (items, true));
        heard.extend(said(&page, log));
        after = page.position;
    }
    let rest = feed(store, from(FeedFrom::After(after.clone())));
    assert_eq!((rest.items.len(), rest.more), (2, false));
    // A position is good more than once.
    assert_eq!(feed(store, from(FeedFrom::After(after))), rest);
    heard.extend(said(&rest, log));
    assert_eq!(heard, said(&feed(store, from(FeedFrom::Beginning)), log));
    let nothing = feed(store, from(FeedFrom::After(rest.position)));
    assert_eq!((&nothing.items[..], nothing.more), (&[][..], false));
    // From its end only what comes from now on.
    let end = feed(store, from(FeedFrom::End));
    assert_eq!((&end.items[..], end.more), (&[][..], false));
    write(store, vec![entry(log, 8, 0)]);
    for position in [end.position, nothing.position] {
        let page = feed(store, from(FeedFrom::After(position)));
        assert_eq!(said(&page, log), [format!("entry 8 of {} bytes", body(8))]);
    }
    for foreign in [&b""[..], b"no position", &[0xff; 8]] {
        let from = from(FeedFrom::After(FeedPosition(bytes::Bytes::from_static(foreign))));
        let malformed = Err(StoreError::Malformed(Malformed::Position));
        assert_eq!(ask(store, StoreRequest::Feed(from)), malformed);
    }
}

pub(super) fn what_no_consumer_has_passed_is_kept(store: &dyn Store) {
    let log = chat(1, 2);
    let start = position(store, FeedFrom::Beginning);
    passed(store, "search", &start);
    passed(store, "push", &start);
    for text in ["a", "b", "c"] {
        write(store, vec![Write::registers(log, [set(1, text)])]);
    }
    write(store, vec![entry(log, 1, 0)]);
    delete(store, Deletion::Truncate { log, below: 2 });
    let all = feed(store, from(FeedFrom::Beginning));
    assert_eq!(all.items.len(), 5, "{:?}", said(&all, log));
    // One has read all; the other has not, so all of it is there.
    passed(store, "push", &all.position);
    let again = feed(store, from(FeedFrom::After(start)));
    assert_eq!(said(&again, log), said(&all, log));
    // What lives is there in any case, also for one that begins later.
    passed(store, "search", &all.position);
    let later = said(&feed(store, from(FeedFrom::Beginning)), log);
    assert!(later.contains(&"1 at 3: Some(\"c\")".to_owned()), "{later:?}");
    let nothing = feed(store, from(FeedFrom::After(all.position)));
    assert_eq!((&nothing.items[..], nothing.more), (&[][..], false));
}

pub(super) fn consumers_are_known_by_name(store: &dyn Store) {
    let log = chat(1, 2);
    assert_eq!(consumers(store), []);
    let start = position(store, FeedFrom::Beginning);
    passed(store, "search", &start);
    write(store, vec![entry(log, 1, 0)]);
    let end = position(store, FeedFrom::End);
    passed(store, "push", &end);
    let known = || {
        let known = consumers(store);
        known
            .into_iter()
            .map(|known| (known.name.as_str().to_owned(), known.position))
            .collect::<Vec<_>>()
    };
    let both: Vec<_> = vec![("push".to_owned(), end.clone()), ("search".to_owned(), start.clone())];
    assert_eq!(known(), both);
    let behind: Vec<_> = consumers(store).iter().map(|known| known.behind_bytes).collect();
    assert!(behind[0] == 0 && behind[1] > 0, "{behind:?}");
    // It never goes back.
    passed(store, "push", &start);
    assert_eq!(known(), both);
    passed(store, "search", &end);
    assert_eq!(known()[1].1, end);
    for _ in 0..2 {
        consumer(store, ConsumerChange::Removed { name: name("search") });
        assert_eq!(known(), both[..1]);
    }
    // They are no part of what was written.
    assert_eq!(feed(store, from(FeedFrom::Beginning)).items.len(), 1);
    let foreign = FeedPosition(bytes::Bytes::from_static(b"no position"));
    let change = ConsumerChange::Passed { name: name("push"), position: foreign };
    let malformed = Err(StoreError::Malformed(Malformed::Position));
    assert_eq!(ask(store, StoreRequest::Consumer(change)), malformed);
}
