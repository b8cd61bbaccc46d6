//! Syncs against a store in memory: a client that does what the protocol says has what the store has.

mod device;
mod waiting;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_protocol::{LogId, UserId, wire};
use prost::Message as _;

use super::lists::Lists;
use super::rounds::{Step, Sync};
use super::token::Token;
use super::*;
use crate::account::cursor::ReadCursor;
use crate::account::membership::Membership;
use crate::account::register::account_key;
use crate::entry::unread;
use crate::limits::{RESPONSE_BYTES_MAX, SYNC_LIST_LEAST, SYNC_TOLD_MAX};
use crate::refusal::{DATA_CORRUPT, INTERNAL, STORE_UNAVAILABLE, store_refusal};
use crate::request::Position;
use crate::room::{Room, Wanted};
use crate::store::memory::MemoryStore;
use crate::store::question::{self, Changed, Heads, Question};
use crate::store::{
    EntryMeta, Head, Moment, NewEntry, RegisterKey, RegisterRange, Rule, Set, StoreError,
    StoreRequest, Write, Written,
};
use crate::stored;
use crate::worker::turn::stage::Stage;
use device::{Device, Known};
use world::*;

/// Something happens.
fn happen(world: &mut World, chance: &mut Chance, begins_empty: bool) {
    let id = 2 + chance.below(40);
    match chance.below(12) {
        0..=3 => world.say(id, id),
        4 | 5 => world.say(id, 1),
        6 => world.read(id, 1),
        7 => world.read(id, id),
        8 => world.hide(id),
        9 => world.set(id, &"x".repeat(chance.below(900) as usize)),
        10 if begins_empty => world.join(id),
        _ => {}
    }
}

#[test]
fn who_was_told_everything_has_what_there_is_whatever_happens_meanwhile() {
    let (mut pages, mut listings) = (0, 0);
    for seed in 0..60 {
        // Whether members join long before anything is said.
        let begins_empty = seed % 2 == 0;
        let (mut world, mut lists, mut chance) = (World::new(), Lists::default(), Chance(seed));
        let mut devices = [Device::default(), Device::default(), Device::default()];
        for _ in 0..25 {
            let happens =
                |world: &mut World, chance: &mut Chance| happen(world, chance, begins_empty);
            (0..chance.below(60)).for_each(|_| happens(&mut world, &mut chance));
            if chance.below(5) == 0 {
                lists.forget(user(1));
            }
            if chance.below(12) == 0 {
                world.store.forget_marks();
            }
            let device = &mut devices[chance.below(3) as usize];
            if chance.below(20) == 0 {
                device.token = Box::default();
            }
            // Most answers have little room, and often something happens while they are made. In the end
            // there is one that tells what is left, by its token alone.
            for round in 0.. {
                let bytes_max = if chance.below(3) == 0 { 1 << 18 } else { 4096 };
                let from = device.from(&mut chance, bytes_max);
                let before = Token::decode(&from.token, user(1), EPOCH);
                listings += usize::from(before.is_some_and(|token| token.listing.is_some()));
                let mut between = |world: &mut World| {
                    if round < 6 && chance.below(3) == 0 {
                        happens(world, &mut chance);
                    }
                };
                let (synced, ahead) = world.sync_between(&mut lists, from, &mut between);
                assert_eq!(ahead, 0);
                assert!(synced.encoded_len() <= bytes_max as usize + 1300, "a setting more");
                device.take(&synced);
                pages += 1;
                if round >= 7 && !synced.more {
                    break;
                }
                assert!(round < 60, "it comes to an end");
            }
            let unknown = device.find_names();
            assert!(unknown == 0 || begins_empty, "seed {seed}: {unknown} names are missing");
            assert_eq!(device.known, world.truth(), "seed {seed}");
            assert_eq!(device.settings, world.settings(), "seed {seed}");
        }
    }
    assert!(pages > 5000 && listings > 500, "{pages} answers, {listings} of them went on");
}

#[test]
fn nothing_new_costs_two_questions_and_nothing_is_told() {
    for conversations in [0, 1, SYNC_LIST_LEAST as u64, 100] {
        let (mut world, mut lists) = (World::of(conversations), Lists::default());
        let first = world.sync(&mut lists, from_nothing());
        assert!(first.afresh && !first.more);
        assert_eq!(first.conversations.len() as u64, conversations);
        let mut questions = 0;
        let mut count = |_: &mut World| questions += 1;
        let (second, _) = world.sync_between(&mut lists, from_token(&first), &mut count);
        assert!(!second.afresh && !second.more && second.conversations.is_empty());
        assert_eq!(second.token, first.token);
        // The last call is after the last answer. What is not remembered is listed.
        let listed = u64::from(conversations < SYNC_LIST_LEAST as u64);
        assert_eq!(questions - 1, 2 + listed);
    }
}

#[test]
fn what_is_told_once_is_not_told_again_and_comes_newest_first() {
    let (mut world, mut lists) = (World::of(150), Lists::default());
    let mut from = SyncFrom { bytes_max: 4096, ..from_nothing() };
    let mut told = Vec::new();
    loop {
        let synced = world.sync(&mut lists, from);
        assert_eq!(synced.afresh, told.is_empty());
        told.extend(synced.conversations.iter().map(|state| state.conversation_id.clone()));
        from = SyncFrom { bytes_max: 4096, ..from_token(&synced) };
        if !synced.more {
            break;
        }
    }
    let right: Vec<_> = (2..152).rev().map(|id| chat(id).to_wire()).collect();
    assert_eq!(told, right);
}

#[test]
fn entries_are_those_since_the_token_or_after_the_position() {
    let (mut world, mut lists) = (World::new(), Lists::default());
    (0..5).for_each(|_| world.say(2, 2));
    let first = world.sync(&mut lists, from_nothing());
    let seqs = |synced: &wire::Synced| {
        let entries = synced.conversations.first().map(|state| state.entries.clone());
        entries.unwrap_or_default().iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&first), [3, 4, 5]);
    (0..2).for_each(|_| world.say(2, 2));
    let second = world.sync(&mut lists, from_token(&first));
    assert_eq!(seqs(&second), [6, 7]);
    assert_eq!(second.conversations[0].peer, None, "it is known");
    // The first of them came as a push.
    let position = Position { seq: 6, ..at(chat(2)) };
    let known = SyncFrom { positions: vec![position], ..from_token(&first) };
    assert_eq!(seqs(&world.sync(&mut lists, known)), [7]);
    // All of them did: nothing is told.
    let position = Position { seq: 7, ..position };
    let known = SyncFrom { positions: vec![position], ..from_token(&first) };
    assert!(world.sync(&mut lists, known).conversations.is_empty());
    // A cursor alone is news without entries.
    world.read(2, 1);
    let third = world.sync(&mut lists, from_token(&second));
    assert_eq!((seqs(&third), third.conversations[0].read_seq), (Vec::new(), 7));
    assert_eq!(third.conversations[0].unread, 0);
}

#[test]
fn a_token_of_anybody_else_is_none() {
    let (mut world, mut lists) = (World::of(3), Lists::default());
    let synced = world.sync(&mut lists, from_nothing());
    let token = Token::decode(&synced.token, user(1), EPOCH).unwrap();
    for token in [&b"garbage"[..], b"", &token.encode(user(2), EPOCH), &token.encode(user(1), 6)] {
        let from = SyncFrom { token: token.into(), ..from_token(&synced) };
        let (answer, ahead) = world.sync_between(&mut lists, from, &mut |_| {});
        assert!(answer.afresh && answer.conversations.len() == 3 && ahead == 0);
        assert!(answer.conversations.iter().all(|state| !state.forget));
    }
    // The epoch that the client names counts as well.
    let from = SyncFrom { epoch: EPOCH + 1, ..from_token(&synced) };
    assert!(world.sync(&mut lists, from).afresh);
}

#[test]
fn who_has_seen_what_the_store_has_not_forgets_everything() {
    let mut older = World::of(150);
    let mut newer = World::of(151);
    let synced = newer.sync(&mut Lists::default(), from_nothing());
    // By the moment, in any of the answers that it takes.
    let mut lists = Lists::default();
    let from = SyncFrom { bytes_max: 4096, ..from_token(&synced) };
    let (mut answer, ahead) = older.sync_between(&mut lists, from, &mut |_| {});
    assert!(answer.afresh && answer.more && ahead == 1);
    let mut told = 0;
    loop {
        assert!(answer.conversations.iter().all(|state| state.forget));
        told += answer.conversations.len();
        if !answer.more {
            break;
        }
        let from = SyncFrom { bytes_max: 4096, ..from_token(&answer) };
        let ahead;
        (answer, ahead) = older.sync_between(&mut lists, from, &mut |_| {});
        assert!(ahead == 0 && !answer.afresh);
    }
    assert_eq!(told, 150);
    // By the account alone, though the moment is known.
    let token = Token { version: 1 << 40, ..Token::decode(&answer.token, user(1), EPOCH).unwrap() };
    let token = token.encode(user(1), EPOCH);
    let from = SyncFrom { token: token[..].into(), ..from_token(&answer) };
    let (answer, ahead) = older.sync_between(&mut lists, from, &mut |_| {});
    assert!(answer.afresh && ahead == 1 && answer.conversations[0].forget);
    // While an answer goes on.
    let from = SyncFrom { bytes_max: 4096, ..from_nothing() };
    let first = newer.sync(&mut Lists::default(), from);
    assert!(first.more);
    let (answer, ahead) =
        older.sync_between(&mut Lists::default(), from_token(&first), &mut |_| {});
    assert!(answer.afresh && ahead == 1 && answer.conversations[0].forget);
}

#[test]
fn who_is_ahead_of_one_conversation_forgets_that_one() {
    let (mut world, mut lists) = (World::of(3), Lists::default());
    let synced = world.sync(&mut lists, from_nothing());
    for (seq, peer_read_seq, read_seq) in [(2, 0, 0), (1, 2, 0), (1, 0, 2)] {
        for from in [from_token(&synced), from_nothing()] {
            let position = Position { seq, peer_read_seq, read_seq, ..at(chat(3)) };
            let is_afresh = from.token.is_empty();
            let from = SyncFrom { positions: vec![position], ..from };
            let (answer, ahead) = world.sync_between(&mut lists, from, &mut |_| {});
            assert_eq!(ahead, 1);
            assert_eq!(answer.conversations.len(), if is_afresh { 3 } else { 1 });
            let mut forgotten = answer.conversations.iter().filter(|state| state.forget);
            let state = forgotten.next().unwrap();
            assert_eq!(state.conversation_id, chat(3).to_wire());
            assert_eq!(state.entries.len(), 1, "from its beginning");
            assert_eq!(forgotten.count(), 0);
        }
    }
    // A conversation that is gone with the copy, or is nobody's.
    world.join(9);
    for (id, is_known) in [(9, true), (77, false)] {
        let conversation = chat(id);
        let position = Position { seq: 3, ..at(conversation) };
        let from = SyncFrom { positions: vec![position], ..from_token(&synced) };
        let answer = world.sync(&mut lists, from);
        let told = answer.conversations.first().map(|state| (state.head, state.forget));
        assert_eq!(told, is_known.then_some((0, true)));
    }
}

#[test]
fn who_has_another_entry_than_there_is_forgets_the_conversation() {
    let (mut world, mut lists) = (World::of(3), Lists::default());
    let synced = world.sync(&mut lists, from_nothing());
    // These were heard of by pushes. An older copy was put back, and what it lacked was filled up again.
    (0..2).for_each(|_| world.say(3, 3));
    let pushed = world.sync(&mut lists, from_token(&synced)).conversations.remove(0).entries;
    let asks = |seq: u64, time_ms| {
        let position = Position { seq, time_ms, ..at(chat(3)) };
        SyncFrom { positions: vec![position], ..from_token(&synced) }
    };
    let [second, third] = &pushed[..] else { panic!("{pushed:?}") };
    for (entry, lacks) in [(second, &[3][..]), (third, &[])] {
        for (time_ms, is_known) in [(entry.time_ms, true), (0, true), (entry.time_ms - 1, false)] {
            let from = asks(entry.seq, time_ms);
            let (answer, ahead) = world.sync_between(&mut lists, from, &mut |_| {});
            assert_eq!(ahead, u64::from(!is_known));
            if is_known && lacks.is_empty() {
                assert_eq!(answer.conversations, []);
                continue;
            }
            let [state] = &answer.conversations[..] else { panic!("{answer:?}") };
            assert_eq!(state.forget, !is_known);
            let seqs: Vec<_> = state.entries.iter().map(|entry| entry.seq).collect();
            // Whoever forgets is told as one that has nothing; but for what was not read.
            assert!(if is_known { seqs == lacks } else { seqs.ends_with(&[2, 3]) }, "{seqs:?}");
        }
    }
    // What is further back than an answer reaches is not looked at.
    (0..5).for_each(|_| world.say(3, 3));
    let (answer, ahead) = world.sync_between(&mut lists, asks(2, 1), &mut |_| {});
    assert!(ahead == 0 && !answer.conversations[0].forget);
}

#[test]
fn settings_come_in_pages_beside_conversations() {
    let (mut world, mut lists) = (World::of(100), Lists::default());
    (0..20).for_each(|name| world.set(name, &"x".repeat(700)));
    let mut device = Device::default();
    let mut chance = Chance(1);
    for page in 0.. {
        let synced = world.sync(&mut lists, device.from(&mut chance, 4096));
        assert!(synced.encoded_len() <= 4096);
        assert!(page > 0 || (!synced.settings.is_empty() && !synced.conversations.is_empty()));
        device.take(&synced);
        if !synced.more {
            assert!(page > 4);
            break;
        }
    }
    assert_eq!(device.settings, world.settings());
    assert_eq!((device.settings.len(), device.known.len()), (20, 100));
}

#[test]
fn one_answer_tells_of_so_many_at_most_and_the_next_goes_on() {
    // As large as an answer may be.
    let mut world = World::new();
    let count = SYNC_TOLD_MAX as u64 + 900;
    for id in 2..count + 2 {
        let set = Membership::new(1, false).write(user(1), chat(id), Rule::Always);
        let meta = EntryMeta { time_ms: id % 100, sender: 1, counted: 1, sender_counted: 1 };
        let entry = NewEntry { seq: 1, meta, key: None, digest: 0, body: Bytes::new() };
        assert!(world.write(vec![set, Write::entry(chat(id), entry)]));
    }
    let (mut lists, mut device, mut chance) = (Lists::default(), Device::default(), Chance(1));
    let from = SyncFrom { entries_per_conversation: 0, ..device.from(&mut chance, u32::MAX) };
    let first = world.sync(&mut lists, from);
    assert_eq!(first.conversations.len(), SYNC_TOLD_MAX);
    assert!(first.more && first.encoded_len() <= RESPONSE_BYTES_MAX);
    device.take(&first);
    let second = world.sync(&mut lists, device.from(&mut chance, u32::MAX));
    device.take(&second);
    assert!(!second.more);
    assert_eq!((device.told as u64, device.known.len() as u64), (count, count));
}

#[test]
fn what_is_damaged_holds_nothing_else_up() {
    let (mut world, mut lists) = (World::of(2), Lists::default());
    let mut sync = Sync::new(client(1), from_nothing(), EPOCH);
    let mut step = sync.begin(&mut lists);
    let mut moment = None;
    loop {
        step = match step {
            Step::Done => break,
            Step::Compare { logs, since, again } => {
                let mut changed = world.ask(Changed { logs, since }).unwrap();
                moment = Some(changed.now);
                let log = chat(3);
                changed.heads[1].1 = Err(StoreError::Corrupt { log, seq: 1 });
                assert_eq!(again, None);
                sync.changed_known(Since::Everything, Ok(changed), &mut lists).unwrap()
            }
            Step::Detail(names) => {
                assert_eq!(names.len(), 4, "the damaged one is not told");
                sync.details_read(vec![Err(DATA_CORRUPT); 4]).unwrap()
            }
            Step::Read(ranges) => sync.pages_read(vec![Err(DATA_CORRUPT); ranges.len()]).unwrap(),
            step => world.answer(&mut sync, step, &mut lists).unwrap(),
        };
    }
    assert!(moment.is_some());
    let synced = sync.synced(EPOCH, 0);
    let state = &synced.conversations[0];
    assert_eq!((state.head, state.unread, state.read_seq), (1, 1, 0));
    let peer = state.peer.as_ref().map(|peer| (peer.user_id, peer.username.as_str()));
    assert_eq!(peer, Some((2, "")));
    // The next one is as it was.
    assert!(world.sync(&mut lists, from_token(&synced)).conversations.is_empty());
}

#[test]
fn answers_for_others_are_refused() {
    let (world, mut lists) = (World::of(1), Lists::default());
    let fresh = |lists: &mut Lists| {
        let mut sync = Sync::new(client(1), from_nothing(), EPOCH);
        let step = sync.begin(lists);
        (sync, step)
    };
    let (mut sync, _) = fresh(&mut lists);
    assert_eq!(sync.heads_read(Vec::new()), Err(INTERNAL));
    assert_eq!(sync.pages_read(Vec::new()), Err(INTERNAL));
    assert_eq!(sync.details_read(Vec::new()), Err(INTERNAL));
    let now = Moment::from_bytes(&[]).unwrap();
    let changed = |heads| Ok(ChangedLogs { heads, now });
    let early = sync.changed_known(Since::Everything, changed(Vec::new()), &mut lists);
    assert_eq!(early, Err(INTERNAL));
    let (mut sync, settings) = fresh(&mut lists);
    let list = world.answer(&mut sync, settings, &mut lists).unwrap();
    let compare = world.answer(&mut sync, list, &mut lists).unwrap();
    assert!(matches!(compare, Step::Compare { .. }));
    let registers = sync.registers_read(Registers::default(), &mut lists);
    assert_eq!(registers, Err(INTERNAL));
    let beyond = changed(vec![(1, Ok(Head::default()))]);
    let beyond = sync.changed_known(Since::Everything, beyond, &mut lists);
    assert_eq!(beyond, Err(INTERNAL));
    // A store that knows no moment, when it was not asked since any.
    let (mut sync, settings) = fresh(&mut lists);
    let list = world.answer(&mut sync, settings, &mut lists).unwrap();
    world.answer(&mut sync, list, &mut lists).unwrap();
    let unknown = Err(store_refusal(&StoreError::MomentUnknown));
    let unknown = sync.changed_known(Since::Everything, unknown, &mut lists);
    assert_eq!(unknown, Err(INTERNAL));
}
