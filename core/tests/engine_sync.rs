//! Sync brings a device up to date in one round trip, whatever it had.

mod engine_support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dunlin_protocol::wire;
use dunlin_protocol::{LogId, UserId};
use engine_support::{Server, text_of};

fn position(log: LogId, seq: u64) -> wire::LogPosition {
    wire::LogPosition { conversation_id: log.to_wire(), seq, ..wire::LogPosition::default() }
}

/// The next question after an answer.
fn after(synced: &wire::Synced) -> wire::Sync {
    let (epoch, token) = (synced.epoch, synced.token.clone());
    wire::Sync { epoch, token, ..wire::Sync::default() }
}

#[test]
fn a_device_gets_what_it_lacks_and_nothing_else() {
    let mut server = Server::start(2);
    let (ann, bob, cid) = (server.account(1), server.account(2), server.account(3));
    let mut phone = server.live(ann);
    for id in 1..=5 {
        phone.send(bob, id, &format!("b{id}"));
    }
    phone.send(cid, 1, "c1");
    let mut laptop = server.client(ann);
    let first = laptop.sync(wire::Sync { entries_per_conversation: 2, ..wire::Sync::default() });
    assert_eq!(first.conversations.len(), 2);
    let with_bob = LogId::direct(ann, bob);
    let state = first.conversations.iter().find(|c| c.conversation_id == with_bob.to_wire());
    let state = state.unwrap();
    assert_eq!(state.head, 5);
    assert_eq!(state.entries.iter().map(text_of).collect::<Vec<_>>(), ["b4", "b5"]);

    assert!(first.afresh && !first.more);
    let peers = first.conversations.iter().map(|state| state.peer.as_ref().unwrap().user_id);
    assert_eq!(peers.collect::<BTreeSet<_>>(), BTreeSet::from([bob.get(), cid.get()]));

    phone.send(bob, 6, "b6");
    let second = laptop.sync(after(&first));
    assert!(!second.more && !second.afresh);
    assert_eq!(second.conversations.len(), 1);
    assert_eq!(text_of(&second.conversations[0].entries[0]), "b6");
    assert_eq!(second.conversations[0].peer, None, "it is known who it is");
    assert!(laptop.sync(after(&second)).conversations.is_empty());

    // Somebody new writes.
    let mut dan = server.live(server.account(4));
    dan.send(ann, 1, "d1");
    let third = laptop.sync(after(&second));
    assert_eq!(third.conversations.len(), 1);
    let peer = third.conversations[0].peer.as_ref();
    assert_eq!(peer.map(|peer| peer.username.as_str()), Some("user4"));

    // History was restored since: what the client has means nothing.
    let fourth = laptop.sync(wire::Sync { epoch: first.epoch + 1, ..after(&third) });
    assert!(fourth.afresh && fourth.conversations.len() == 3);
    // So does a client that has forgotten even the epoch.
    let forgetful = laptop.sync(wire::Sync { epoch: 0, ..after(&third) });
    assert!(forgetful.afresh && forgetful.conversations.len() == 3);
    // Nor does a token of somebody else.
    let of_other = dan.sync(wire::Sync { positions: Vec::new(), ..after(&third) });
    assert!(of_other.afresh && of_other.conversations.len() == 1);
    server.engine.stop();
}

#[test]
fn a_cursor_that_moved_elsewhere_is_news() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, mut other) = (server.live(ann), server.live(bob));
    let log = LogId::direct(ann, bob);
    for id in 1..=5 {
        other.send(ann, id, "x");
    }
    let mut laptop = server.client(ann);
    let before = laptop.sync(wire::Sync::default());
    phone.mark_read(log, 3);
    let moved = laptop.sync(after(&before));
    other.mark_read(log, 4);
    let mut ask = |since: &wire::Synced, read_seq, peer_read_seq| {
        let known = wire::LogPosition { read_seq, peer_read_seq, ..position(log, 5) };
        let synced = laptop.sync(wire::Sync { positions: vec![known], ..after(since) });
        let state = synced.conversations.first();
        state.map(|state| (state.read_seq, state.unread, state.peer_read_seq, state.forget))
    };
    let numbers = |state: &wire::ConversationState| (state.read_seq, state.unread);
    assert_eq!(moved.conversations.iter().map(numbers).collect::<Vec<_>>(), [(3, 2)]);
    // Of what the client has heard by receipts nothing is told.
    assert_eq!(ask(&moved, 3, 4), None);
    assert_eq!(ask(&moved, 3, 0), Some((3, 2, 4, false)));
    assert_eq!(ask(&before, 2, 4), Some((3, 2, 4, false)));
    server.engine.stop();
}

#[test]
fn who_is_ahead_of_a_log_is_told_to_forget_it() {
    let mut server = Server::start(1);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    for id in 1..=5 {
        phone.send(bob, id, &format!("b{id}"));
    }
    let positions = vec![position(log, 6)];
    let ahead = wire::Sync { positions, entries_per_conversation: 2, ..wire::Sync::default() };
    let synced = server.client(ann).sync(ahead);
    let state = &synced.conversations[0];
    assert!(state.forget);
    assert_eq!(state.entries.iter().map(text_of).collect::<Vec<_>>(), ["b4", "b5"]);
    // It is published a few times a second.
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.engine.statistics().total().clients_ahead != 1 {
        assert!(Instant::now() < deadline, "nobody has counted it");
        std::thread::yield_now();
    }
    server.engine.stop();
}

#[test]
fn what_has_no_room_for_entries_comes_in_numbers() {
    let mut server = Server::start(2);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    let friends: Vec<UserId> = (2..=20).map(|id| server.account(id)).collect();
    let large = "x".repeat(60_000);
    for friend in &friends {
        for id in 1..=3 {
            phone.send(*friend, id, &large);
        }
    }
    let synced = server.client(ann).sync(wire::Sync { bytes_max: 1 << 20, ..Default::default() });
    assert!(!synced.more);
    assert_eq!(synced.conversations.len(), friends.len());
    let (with, without): (Vec<_>, Vec<_>) =
        synced.conversations.iter().partition(|state| !state.entries.is_empty());
    assert!(with.len() > 3 && without.len() > 3, "{} and {}", with.len(), without.len());
    assert!(with.iter().all(|state| state.entries.last().unwrap().seq == 3));
    assert!(without.iter().all(|state| state.head == 3 && state.unread == 0));
    server.engine.stop();
}

#[test]
fn pushes_follow_the_synced_that_they_belong_behind() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    let mut laptop = server.client(bob);
    let mut next = wire::Sync::default();
    for round in 0..20_u8 {
        let request = phone.submit(engine_support::send(log, round, "x"));
        let synced = laptop.sync(next);
        next = after(&synced);
        phone.response(request);
        // In the answer or pushed behind it, and not lost between the two.
        let head = u64::from(round) + 1;
        match synced.conversations.first().map(|state| state.head) {
            Some(synced) if synced == head => {}
            _ => assert_eq!(laptop.pushed(log).seq, head),
        }
        server.inbox.drain(laptop.conn);
    }
    server.engine.stop();
}
