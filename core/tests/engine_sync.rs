//! Sync brings a device up to date in one round trip, whatever it had.

mod engine_support;

use std::time::{Duration, Instant};

use dunlin_protocol::wire;
use dunlin_protocol::{LogId, UserId};
use engine_support::{Server, text_of};

fn position(log: LogId, seq: u64) -> wire::LogPosition {
    wire::LogPosition { conversation_id: log.to_wire(), seq, ..wire::LogPosition::default() }
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

    phone.send(bob, 6, "b6");
    let positions = vec![position(with_bob, 5), position(LogId::direct(ann, cid), 1)];
    let next = wire::Sync { epoch: first.epoch, positions, ..wire::Sync::default() };
    let second = laptop.sync(next.clone());
    assert!(!second.more);
    assert_eq!(second.conversations.len(), 1);
    assert_eq!(text_of(&second.conversations[0].entries[0]), "b6");

    // History was restored since: what the client has means nothing.
    let third = laptop.sync(wire::Sync { epoch: first.epoch + 1, ..next });
    assert_eq!(third.conversations.len(), 2);
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
    phone.mark_read(log, 3);
    other.mark_read(log, 4);
    let mut laptop = server.client(ann);
    let mut ask = |read_seq, peer_read_seq| {
        let known = wire::LogPosition { read_seq, peer_read_seq, ..position(log, 5) };
        let synced = laptop.sync(wire::Sync { positions: vec![known], ..wire::Sync::default() });
        let state = synced.conversations.first();
        state.map(|state| (state.read_seq, state.unread, state.peer_read_seq, state.forget))
    };
    assert_eq!(ask(3, 4), None);
    assert_eq!(ask(2, 4), Some((3, 2, 4, false)));
    assert_eq!(ask(3, 2), Some((3, 2, 4, false)));
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
    let synced = server.client(ann).sync(wire::Sync::default());
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
    let mut seen = 0;
    for round in 0..20_u8 {
        let request = phone.submit(engine_support::send(log, round, "x"));
        let positions = vec![position(log, seen)];
        let synced = laptop.sync(wire::Sync { positions, ..wire::Sync::default() });
        phone.response(request);
        // In the answer or pushed behind it, and not lost between the two.
        let head = u64::from(round) + 1;
        match synced.conversations.first().map(|state| state.head) {
            Some(synced) if synced == head => {}
            _ => assert_eq!(laptop.pushed(log).seq, head),
        }
        seen = head;
        server.inbox.drain(laptop.conn);
    }
    server.engine.stop();
}
