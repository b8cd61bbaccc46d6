//! Pages of history by time and by bytes, and messages that are found by their ids.

mod engine_support;

use dunlin_core::request::Request;
use dunlin_core::store::contract::ask::{delete, write_one};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{DedupeKey, Deletion, EntryMeta, NewEntry, Write, Written};
use dunlin_protocol::wire::{self, ErrorCode, entry, frame::Body};
use dunlin_protocol::{ClientMessageId, LogId, UserId};
use engine_support::{Client, Server, text_of};
use proptest::prelude::*;
use prost::Message as _;

fn users() -> [UserId; 2] {
    [1, 2].map(|id| UserId::new(id).unwrap())
}

fn chat() -> LogId {
    LogId::direct(users()[0], users()[1])
}

/// What the first user has said at this time, straight into the store.
fn store_entry(store: &MemoryStore, seq: u64, time_ms: u64, content: &str) {
    let meta = EntryMeta { time_ms, sender: 1, counted: seq, sender_counted: seq };
    let client_message_id = ClientMessageId([seq as u8; 16]);
    let message = wire::Message {
        client_message_id: client_message_id.to_wire(),
        content: content.to_owned().into(),
        ..wire::Message::default()
    };
    let body = wire::Entry {
        seq,
        time_ms,
        sender: 1,
        counted: seq,
        sender_counted: seq,
        body: Some(entry::Body::Message(message)),
        ..wire::Entry::default()
    };
    let key = Some(DedupeKey { sender: users()[0], client_message_id });
    let body = body.encode_to_vec().into();
    let entry = NewEntry { seq, meta, key, digest: 0, body };
    let written = write_one(store, Write::entry(chat(), entry));
    assert!(matches!(written, Written::Stored { .. }), "{written:?}");
}

#[allow(clippy::needless_pass_by_value, reason = "it is made for it")]
fn page(client: &mut Client, history: wire::History) -> (Vec<u64>, bool) {
    let conversation_id = chat().to_wire();
    let request = Request::try_from(wire::History { conversation_id, ..history }).unwrap();
    match client.ask(request) {
        Body::HistoryPage(page) => {
            (page.entries.iter().map(|entry| entry.seq).collect(), page.more)
        }
        other => panic!("no page: {other:?}"),
    }
}

fn by_time(client: &mut Client, from_time_ms: u64, backwards: bool) -> Vec<u64> {
    let (seqs, more) = page(
        client,
        wire::History { from_time_ms, backwards, limit: 1000, ..wire::History::default() },
    );
    assert!(!more);
    seqs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Forwards and backwards a moment parts what there is in two, whatever has expired; and where times go
    /// back, what stands at the cut is on the right side of it all the same.
    #[test]
    fn a_moment_parts_a_conversation_in_two(
        times in prop::collection::vec(1_u64..60, 0..60),
        is_sorted in any::<bool>(),
        expired in 0_u64..60,
        moments in prop::collection::vec(1_u64..70, 6),
    ) {
        let mut times = times;
        if is_sorted {
            times.sort_unstable();
        }
        let mut server = Server::start(1);
        for (seq, time_ms) in (1..).zip(&times) {
            store_entry(&server.store, seq, *time_ms, "word");
        }
        let head = times.len() as u64;
        let first = expired.min(head) + 1;
        if first > 1 {
            delete(&*server.store, Deletion::Truncate { log: chat(), below: first });
        }
        let mut client = server.client(users()[1]);
        let time = |seq: u64| times[seq as usize - 1];
        for moment in moments {
            let later = by_time(&mut client, moment, false);
            let mut earlier = by_time(&mut client, moment, true);
            if let Some(seq) = earlier.first() {
                prop_assert!(time(*seq) < moment, "{} of {:?}", seq, times);
            }
            if let Some(seq) = later.first() {
                prop_assert!(time(*seq) >= moment, "{} of {:?}", seq, times);
            }
            if is_sorted {
                prop_assert!(earlier.iter().all(|seq| time(*seq) < moment));
                prop_assert!(later.iter().all(|seq| time(*seq) >= moment));
            }
            earlier.reverse();
            earlier.extend(later);
            prop_assert_eq!(earlier, (first..=head).collect::<Vec<_>>());
        }
        server.engine.stop();
    }
}

#[test]
fn a_page_by_time_has_its_other_end_and_its_limit() {
    let mut server = Server::start(1);
    (1..=9).for_each(|seq| store_entry(&server.store, seq, 10 * seq, "word"));
    let mut client = server.client(users()[0]);
    let at = |from_time_ms| wire::History { from_time_ms, ..wire::History::default() };
    assert_eq!(page(&mut client, wire::History { to_seq: 6, ..at(35) }), (vec![4, 5, 6], false));
    assert_eq!(page(&mut client, wire::History { limit: 2, ..at(40) }), (vec![4, 5], true));
    let back = wire::History { to_seq: 2, backwards: true, ..at(40) };
    assert_eq!(page(&mut client, back), (vec![3, 2], false));
    assert_eq!(page(&mut client, wire::History { to_seq: 2, ..at(40) }), (vec![], false));
    assert_eq!(page(&mut client, at(91)), (vec![], false));
    let conversation_id = chat().to_wire();
    let both = wire::History { conversation_id, from_seq: 1, ..at(5) };
    assert_eq!(Request::try_from(both).unwrap_err().field, "from_time_ms");
    server.engine.stop();
}

#[test]
fn a_page_has_no_more_bytes_than_were_asked_for_but_one_entry() {
    let mut server = Server::start(1);
    (1..=9).for_each(|seq| store_entry(&server.store, seq, seq, &"x".repeat(1000)));
    let mut client = server.client(users()[1]);
    let mut with = |bytes_max, backwards| {
        page(&mut client, wire::History { bytes_max, backwards, ..wire::History::default() })
    };
    assert_eq!(with(1, false), (vec![1], true));
    assert_eq!(with(1, true), (vec![9], true));
    assert_eq!(with(3_500, false), (vec![1, 2, 3], true));
    assert_eq!(with(3_500, true), (vec![9, 8, 7], true));
    assert_eq!(with(0, false), ((1..=9).collect(), false));
    assert_eq!(with(u32::MAX, false), ((1..=9).collect(), false));
    server.engine.stop();
}

#[test]
fn who_has_lost_an_answer_finds_the_message_and_nobody_elses() {
    let mut server = Server::start(2);
    let [ann, bob] = [1, 2].map(|id| server.account(id));
    let (mut phone, mut other) = (server.live(ann), server.live(bob));
    for id in 1..=3 {
        phone.send(bob, id, &format!("from Ann {id}"));
    }
    other.send(ann, 1, "from Bob");
    let find = |id: u8| {
        let (conversation_id, client_message_id) = (chat().to_wire(), vec![id; 16].into());
        Request::try_from(wire::FindMessage { conversation_id, client_message_id }).unwrap()
    };
    let found = |client: &mut Client, id| match client.ask(find(id)) {
        Body::FoundMessage(found) => {
            let entry = found.entry.unwrap();
            (entry.seq, text_of(&entry).to_owned())
        }
        other => panic!("not found: {other:?}"),
    };
    assert_eq!(found(&mut phone, 2), (2, "from Ann 2".into()));
    assert_eq!(found(&mut phone, 1), (1, "from Ann 1".into()));
    assert_eq!(found(&mut other, 1), (4, "from Bob".into()));
    assert_eq!(other.refused(find(2)), ErrorCode::NoSuchEntry);
    assert_eq!(phone.refused(find(9)), ErrorCode::NoSuchEntry);
    // Somebody else's conversation does not exist.
    let eve = server.account(3);
    assert_eq!(server.client(eve).refused(find(1)), ErrorCode::NoSuchConversation);
    delete(&*server.store, Deletion::Truncate { log: chat(), below: 3 });
    assert_eq!(phone.refused(find(2)), ErrorCode::NoSuchEntry, "it has expired");
    assert_eq!(found(&mut phone, 3), (3, "from Ann 3".into()));
    // What was refused holds no room back.
    for _ in 0..200 {
        assert_eq!(phone.refused(find(9)), ErrorCode::NoSuchEntry);
    }
    server.engine.stop();
}
