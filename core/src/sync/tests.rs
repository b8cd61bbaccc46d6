//! Syncs against a store in memory: a client that does what the protocol says has what the store has.

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

const EPOCH: u64 = 5;

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn chat(id: u64) -> LogId {
    LogId::direct(user(1), user(id))
}

fn client(id: u64) -> Client {
    let conn = ConnId { shard: 0, slot: id as u32, generation: 0 };
    Client { conn, user: user(id), request_id: 1, may_deflate: false }
}

/// Of a device that has nothing.
fn from_nothing() -> SyncFrom {
    SyncFrom {
        epoch: 0,
        token: Box::default(),
        positions: Vec::new(),
        entries_per_conversation: 3,
        bytes_max: 1 << 18,
    }
}

fn from_token(synced: &wire::Synced) -> SyncFrom {
    SyncFrom { epoch: EPOCH, token: synced.token[..].into(), ..from_nothing() }
}

/// Numbers of no obvious order, the same for one seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }
}

/// A store with the conversations of user 1.
struct World {
    store: MemoryStore,
    now_ms: u64,
}

impl World {
    fn new() -> World {
        World { store: MemoryStore::new(EPOCH), now_ms: 1000 }
    }

    /// One in which something was said in so many conversations.
    fn of(conversations: u64) -> World {
        let mut world = World::new();
        (2..conversations + 2).for_each(|id| world.say(id, id));
        world
    }

    fn ask<Q: Question>(&self, question: Q) -> Result<Q::Answer, StoreError>
    where
        Q::Answer: Send,
    {
        let (sender, receiver) = std::sync::mpsc::channel();
        question::ask(&self.store, question, move |answer| sender.send(answer).unwrap());
        receiver.try_recv().expect("a store in memory answers at once")
    }

    fn write(&self, writes: Vec<Write>) -> bool {
        let all = self.ask(writes).unwrap();
        all.iter().all(|written| matches!(written, Written::Stored { .. }))
    }

    fn head(&self, log: LogId) -> Head {
        self.ask(Heads(vec![log])).unwrap().remove(0).unwrap()
    }

    fn register(&self, log: LogId, key: RegisterKey) -> Register {
        self.ask(vec![(log, key)]).unwrap().remove(0).unwrap()
    }

    /// All members of a new conversation join before the first word.
    fn join(&self, id: u64) {
        let log = chat(id);
        for (member, is_request) in [(user(1), true), (user(id), false)] {
            let register = self.register(LogId::account(member), Membership::key(log));
            if register.version == 0 {
                self.write(vec![Membership::new(5, is_request).write(member, log, Rule::Always)]);
            }
        }
        if self.register(LogId::account(user(id)), account_key()).version == 0 {
            let account = stored::Account { username: format!("u{id}"), ..Default::default() };
            self.write(vec![crate::account::register::creation(user(id), &account)]);
        }
    }

    fn say(&mut self, id: u64, sender: u64) {
        self.join(id);
        let head = self.head(chat(id));
        self.now_ms += 1;
        let mine = u64::from(head.meta.sender == sender);
        let sender_counted = if mine == 1 {
            head.meta.sender_counted
        } else {
            head.meta.counted - head.meta.sender_counted
        };
        let meta = EntryMeta {
            time_ms: self.now_ms,
            sender,
            counted: head.meta.counted + 1,
            sender_counted: sender_counted + 1,
        };
        let seq = head.seq + 1;
        let message = wire::Message { content: format!("{seq}").into(), ..Default::default() };
        let entry = wire::Entry {
            seq,
            time_ms: meta.time_ms,
            sender,
            counted: meta.counted,
            sender_counted: meta.sender_counted,
            body: Some(wire::entry::Body::Message(message)),
            ..Default::default()
        };
        let body = entry.encode_to_vec().into();
        let entry = NewEntry { seq, meta, key: None, digest: 0, body };
        assert!(self.write(vec![Write::entry(chat(id), entry)]));
    }

    /// A member reads everything.
    fn read(&self, id: u64, reader: u64) {
        let head = self.head(chat(id));
        let own = crate::entry::own_counted(head.meta, user(reader));
        let cursor = ReadCursor::public(head.seq, head.meta.counted - own);
        self.write(vec![cursor.write(chat(id), user(reader), Rule::IfGreater)]);
    }

    /// The user hides a conversation.
    fn hide(&self, id: u64) {
        let register = self.register(LogId::account(user(1)), Membership::key(chat(id)));
        let Some(mut membership) = Membership::of(&register).unwrap() else { return };
        membership.hidden_up_to = self.head(chat(id)).seq;
        self.write(vec![membership.write(user(1), chat(id), Rule::Always)]);
    }

    fn set(&self, name: u64, value: &str) {
        let key = RegisterKey::new(format!("ssetting {name}").as_bytes()).unwrap();
        let value =
            Some(Bytes::copy_from_slice(value.as_bytes())).filter(|value| !value.is_empty());
        let set = Set { key, value, rule: Rule::Always };
        self.write(vec![Write::registers(LogId::account(user(1)), [set])]);
    }

    /// What a sync is answered; `between` is done between two questions to the store.
    fn sync_between(
        &mut self,
        lists: &mut Lists,
        from: SyncFrom,
        between: &mut dyn FnMut(&mut World),
    ) -> (wire::Synced, u64) {
        let mut sync = Sync::new(client(1), from, EPOCH);
        let mut step = sync.begin(lists);
        loop {
            between(self);
            step = match step {
                Step::Done => break,
                Step::Wait => panic!("there is an answer for each question"),
                step => self.answer(&mut sync, step, lists).unwrap(),
            };
        }
        let ahead = sync.ahead();
        (sync.synced(EPOCH, 0), ahead)
    }

    fn answer(&self, sync: &mut Sync, step: Step, lists: &mut Lists) -> Result<Step, Refusal> {
        let told = |error: StoreError| store_refusal(&error);
        match step {
            Step::Done | Step::Wait => Ok(step),
            Step::List(range) => {
                let page = self.ask(vec![range]).unwrap().remove(0).map_err(told)?;
                sync.registers_read(page, lists)
            }
            Step::Changes(range) => {
                let page = self.ask(vec![range]).unwrap().remove(0).map_err(told)?;
                sync.registers_read(page, lists)
            }
            Step::Compare { logs, since, again } => {
                let changed = |since| self.ask(Changed { logs: logs.clone(), since }).map_err(told);
                let everything = sync.changed_known(Since::Everything, changed(since), lists);
                match again {
                    None => everything,
                    Some(_) => {
                        assert_eq!(everything, Ok(Step::Wait));
                        sync.changed_known(Since::LastAnswer, changed(again), lists)
                    }
                }
            }
            Step::Heads(logs) => {
                let heads = self.ask(Heads(logs)).unwrap().into_iter();
                sync.heads_read(heads.map(|head| head.map_err(told)).collect())
            }
            Step::Detail(names) => {
                let registers = self.ask(names).unwrap().into_iter();
                sync.details_read(registers.map(|register| register.map_err(told)).collect())
            }
            Step::Read(ranges) => {
                let pages = self.ask(ranges).unwrap().into_iter();
                sync.pages_read(pages.map(|page| page.map_err(told)).collect())
            }
        }
    }

    fn sync(&mut self, lists: &mut Lists, from: SyncFrom) -> wire::Synced {
        self.sync_between(lists, from, &mut |_| {}).0
    }

    /// What is true now, of user 1.
    fn truth(&self) -> BTreeMap<LogId, Known> {
        let mut truth = BTreeMap::new();
        for id in 2..200 {
            let head = self.head(chat(id));
            if head.seq == 0 {
                continue;
            }
            let cursor = |reader| {
                let register = self.register(chat(id), ReadCursor::key(user(reader)));
                ReadCursor::of(&register).unwrap()
            };
            let register = self.register(LogId::account(user(1)), Membership::key(chat(id)));
            let membership = Membership::of(&register).unwrap().unwrap();
            let known = Known {
                head: head.seq,
                read_seq: cursor(1).seq,
                peer_read_seq: cursor(id).receipt_seq,
                unread: unread(&head, cursor(1).others_counted, user(1)),
                hidden_up_to: membership.hidden_up_to,
                peer: format!("u{id}"),
            };
            truth.insert(chat(id), known);
        }
        truth
    }

    fn settings(&self) -> BTreeMap<String, Bytes> {
        let range = RegisterRange {
            log: LogId::account(user(1)),
            prefix: smallvec::SmallVec::from_slice(b"s"),
            after: None,
            registers_max: 1000,
            bytes_max: 1 << 20,
        };
        let registers = self.ask(vec![range]).unwrap().remove(0).unwrap().registers;
        let setting = |register: Register| {
            let name = String::from_utf8(register.key.as_bytes()[1..].to_vec()).unwrap();
            (name, register.value.unwrap())
        };
        registers.into_iter().map(setting).collect()
    }
}

/// What a client shows of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Known {
    head: u64,
    read_seq: u64,
    peer_read_seq: u64,
    unread: u64,
    hidden_up_to: u64,
    peer: String,
}

/// A client that keeps what it is told, and nothing else.
#[derive(Default)]
struct Device {
    token: Box<[u8]>,
    known: BTreeMap<LogId, Known>,
    settings: BTreeMap<String, Bytes>,
    /// What was named since it is told everything.
    named: Option<(BTreeSet<LogId>, BTreeSet<String>)>,
    told: usize,
}

impl Device {
    fn take(&mut self, synced: &wire::Synced) {
        if synced.afresh {
            self.named = Some(Default::default());
        }
        for state in &synced.conversations {
            let log = LogId::from_wire(&state.conversation_id).unwrap();
            let known = self.known.entry(log).or_default();
            if let Some(peer) = &state.peer {
                known.peer = peer.username.clone();
            }
            known.head = state.head;
            known.read_seq = state.read_seq;
            known.peer_read_seq = state.peer_read_seq;
            known.unread = state.unread;
            known.hidden_up_to =
                state.membership.as_ref().map_or(0, |membership| membership.hidden_up_to);
            if let Some(last) = state.entries.last() {
                assert_eq!(last.seq, state.head);
                let seqs = state.entries.iter().map(|entry| entry.seq);
                assert!(seqs.rev().zip((0..=state.head).rev()).all(|(is, right)| is == right));
            }
            if let Some((named, _)) = &mut self.named {
                named.insert(log);
            }
            self.told += 1;
        }
        for setting in &synced.settings {
            if setting.value.is_empty() {
                self.settings.remove(&setting.key);
            } else {
                self.settings.insert(setting.key.clone(), setting.value.clone());
            }
            if let Some((_, named)) = &mut self.named {
                named.insert(setting.key.clone());
            }
        }
        if !synced.more
            && let Some((logs, settings)) = self.named.take()
        {
            self.known.retain(|log, _| logs.contains(log));
            self.settings.retain(|key, _| settings.contains(key));
        }
        self.token = synced.token[..].into();
    }

    /// Asks who they are of whom it was not told: of a conversation that had begun with nothing in it. How many
    /// those were.
    fn find_names(&mut self) -> usize {
        let lacking = self.known.iter_mut().filter(|(_, known)| known.peer.is_empty());
        let find = |(log, known): (&LogId, &mut Known)| {
            known.peer = format!("u{}", log.direct_members().unwrap().1.get());
        };
        lacking.map(find).count()
    }

    /// Some of what it knows, named in the next question.
    fn from(&self, chance: &mut Chance, bytes_max: u32) -> SyncFrom {
        let named = self.known.iter().filter(|_| chance.below(3) == 0);
        let positions = named.map(|(log, known)| Position {
            conversation: *log,
            seq: known.head,
            peer_read_seq: known.peer_read_seq,
            read_seq: known.read_seq,
        });
        let positions = positions.collect();
        let token = self.token.clone();
        SyncFrom { epoch: EPOCH, token, positions, bytes_max, ..from_nothing() }
    }
}

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
    let position = Position { conversation: chat(2), seq: 6, peer_read_seq: 0, read_seq: 0 };
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
            let position = Position { conversation: chat(3), seq, peer_read_seq, read_seq };
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
        let position = Position { conversation, seq: 3, peer_read_seq: 0, read_seq: 0 };
        let from = SyncFrom { positions: vec![position], ..from_token(&synced) };
        let answer = world.sync(&mut lists, from);
        let told = answer.conversations.first().map(|state| (state.head, state.forget));
        assert_eq!(told, is_known.then_some((0, true)));
    }
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

/// The accounts that were asked for.
fn listed(stage: &mut Stage) -> Vec<LogId> {
    let asked = stage.asked();
    asked
        .iter()
        .map(|request| match request {
            StoreRequest::Registers(ranges) => ranges[0].log,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Room for the answer of a user.
fn claim(id: u64) -> Claim {
    let mut room = Room::new(1 << 20);
    let Client { user, conn, .. } = client(id);
    room.want(user, conn, Wanted { least: 1, most: 1 }, ());
    room.next().unwrap().1
}

/// Takes a sync that is the first of its connection.
fn take_first(syncs: &mut Syncs, id: u64, stage: &mut Stage) -> SyncId {
    match syncs.take(client(id), from_nothing(), &mut stage.turn()) {
        Taken::Waits(sync) => sync,
        other @ (Taken::Behind | Taken::Refused) => panic!("{other:?}"),
    }
}

#[test]
fn one_of_a_connection_runs_at_a_time_and_its_end_begins_the_next() {
    let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
    let first = take_first(&mut syncs, 1, &mut stage);
    for _ in 0..3 {
        let taken = syncs.take(client(1), from_nothing(), &mut stage.turn());
        assert_eq!(taken, Taken::Behind);
    }
    let other = take_first(&mut syncs, 2, &mut stage);
    assert_eq!(listed(&mut stage), [], "there is no room yet");
    syncs.begin(first, claim(1), &mut stage.turn());
    syncs.begin(other, claim(2), &mut stage.turn());
    let both = [1, 2].map(|id| LogId::account(client(id).user));
    assert_eq!(listed(&mut stage), both);
    let refused = syncs.registers_read(first, Err(STORE_UNAVAILABLE), &mut stage.turn());
    let Progress::Ended { next: Some(_), synced: false, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(syncs.behind(), 2);
    syncs.forget_behind(client(1).conn);
    assert_eq!((syncs.behind(), syncs.taken.len()), (0, 2));
}

#[test]
fn what_waits_may_name_so_many_conversations() {
    let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
    let position = |id| Position { conversation: chat(id), seq: 1, peer_read_seq: 0, read_seq: 0 };
    let positions: Vec<_> = (2..10_002).map(position).collect();
    let large = || SyncFrom { positions: positions.clone(), ..from_nothing() };
    let taken: Vec<_> = (1..1000)
        .map(|id| syncs.take(client(id), large(), &mut stage.turn()))
        .take_while(|taken| *taken != Taken::Refused)
        .collect();
    assert!((20..100).contains(&taken.len()), "{}", taken.len());
    assert!(syncs.positions_bytes <= SYNC_POSITIONS_BYTES_MAX);
    // Who names few is heard all the same, once.
    let few = syncs.take(client(5000), from_nothing(), &mut stage.turn());
    assert!(matches!(few, Taken::Waits(_)));
    for taken in taken {
        let Taken::Waits(sync) = taken else { panic!("{taken:?}") };
        syncs.forget(sync);
    }
    let left: usize = syncs.taken.values().map(|sync| sync.positions_bytes()).sum();
    assert_eq!(syncs.positions_bytes, left);
}

#[test]
fn one_that_was_refused_hears_the_rest_of_its_answers_in_vain() {
    let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
    let id = take_first(&mut syncs, 1, &mut stage);
    syncs.begin(id, claim(1), &mut stage.turn());
    let refused = syncs.registers_read(id, Err(STORE_UNAVAILABLE), &mut stage.turn());
    assert!(matches!(refused, Progress::Ended { synced: false, .. }));
    let late = syncs.details_read(id, Ok(Vec::new()), &mut stage.turn());
    assert!(matches!(late, Progress::Waits));
    // One that goes on with a token asks since two moments, and one of the answers may be refused.
    let moment = |byte| Moment::from_bytes(&[byte]);
    let listing = token::Listing {
        settings_version: 0,
        version: 0,
        now: moment(2).unwrap(),
        told: None,
        forget: false,
    };
    let token = Token { version: 0, since: moment(1), listing: Some(listing) };
    let token = token.encode(client(2).user, 1);
    let from = SyncFrom { epoch: 1, token: token[..].into(), ..from_nothing() };
    let taken = syncs.take(client(2), from, &mut stage.turn());
    let Taken::Waits(id) = taken else { panic!("{taken:?}") };
    syncs.begin(id, claim(2), &mut stage.turn());
    for _ in 0..2 {
        let page = Ok(Registers::default());
        let waits = syncs.registers_read(id, page, &mut stage.turn());
        assert!(matches!(waits, Progress::Waits));
    }
    let asked = stage.asked();
    let asked = &asked[asked.len() - 2..];
    assert!(asked.iter().all(|request| matches!(request, StoreRequest::Changed { .. })));
    let failed = Err(STORE_UNAVAILABLE);
    let refused = syncs.changed_known(id, Since::LastAnswer, failed, &mut stage.turn());
    assert!(matches!(refused, Progress::Ended { synced: false, .. }));
    let late = syncs.changed_known(id, Since::Everything, failed_again(), &mut stage.turn());
    assert!(matches!(late, Progress::Waits));
}

fn failed_again() -> Answer<ChangedLogs> {
    Err(STORE_UNAVAILABLE)
}
