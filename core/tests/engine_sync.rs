//! Sync brings a device up to date in one round trip, whatever it had.

mod engine_support;

use dunlin_protocol::wire::{self, entry};
use dunlin_protocol::{LogId, UserId};
use engine_support::{Server, text_of};

fn position(log: LogId, seq: u64) -> wire::LogPosition {
    wire::LogPosition { conversation_id: log.to_wire(), seq, peer_read_seq: 0 }
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
    assert_eq!(first.account_head, 3);
    assert_eq!(first.account_entries.len(), 3);
    assert_eq!(first.conversations.len(), 2);
    let with_bob = LogId::direct(ann, bob);
    let state = first.conversations.iter().find(|c| c.conversation_id == with_bob.to_wire());
    let state = state.unwrap();
    assert_eq!(state.head, 5);
    assert_eq!(state.entries.iter().map(text_of).collect::<Vec<_>>(), ["b4", "b5"]);

    phone.send(bob, 6, "b6");
    let positions = vec![position(with_bob, 5), position(LogId::direct(ann, cid), 1)];
    let next = wire::Sync { epoch: first.epoch, account_seq: 3, positions, ..Default::default() };
    let second = laptop.sync(next.clone());
    assert!(second.account_entries.is_empty() && !second.more);
    assert_eq!(second.conversations.len(), 1);
    assert_eq!(text_of(&second.conversations[0].entries[0]), "b6");

    // History was restored since: what the client has means nothing.
    let third = laptop.sync(wire::Sync { epoch: first.epoch + 1, ..next });
    assert_eq!((third.account_entries.len(), third.conversations.len()), (3, 2));
    server.engine.stop();
}

#[test]
fn an_account_with_a_long_log_syncs_from_its_snapshot() {
    let mut server = Server::start(1);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    for id in 1..=200 {
        phone.send(bob, id, "x");
        phone.mark_read(log, u64::from(id));
    }
    let mut other = server.live(bob);
    for id in 1..=100 {
        other.send(ann, id, "x");
        phone.mark_read(log, 200 + u64::from(id));
    }
    let synced = server.client(ann).sync(wire::Sync::default());
    let snapshot = &synced.account_entries[0];
    let Some(entry::Body::AccountSnapshot(body)) = &snapshot.body else { panic!("{snapshot:?}") };
    assert_eq!(body.username, "user1");
    assert_eq!(body.conversations.len(), 1);
    assert!(snapshot.seq > 250 && synced.account_entries.len() < 60);
    assert_eq!((synced.conversations[0].read_seq, synced.conversations[0].unread), (300, 0));
    assert_eq!(synced.account_head, synced.account_entries.last().unwrap().seq);
    server.engine.stop();
}

#[test]
fn more_than_fits_comes_in_several_rounds() {
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
    let mut laptop = server.client(ann);
    let (mut positions, mut rounds) = (Vec::new(), 0);
    loop {
        let request = wire::Sync { positions: positions.clone(), ..wire::Sync::default() };
        let synced = laptop.sync(request);
        assert!(!synced.conversations.is_empty());
        for state in &synced.conversations {
            assert_eq!((state.head, state.entries.last().unwrap().seq), (3, 3));
            let log = LogId::from_wire(&state.conversation_id).unwrap();
            positions.push(position(log, state.head));
        }
        rounds += 1;
        if !synced.more {
            break;
        }
    }
    assert_eq!(positions.len(), friends.len());
    assert!(rounds > 1);
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
