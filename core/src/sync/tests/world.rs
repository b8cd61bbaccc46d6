//! A store with conversations, and what a sync is told of it.

use super::*;
use crate::arrival::Arrival;

pub(super) const EPOCH: u64 = 5;

pub(super) fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

pub(super) fn chat(id: u64) -> LogId {
    LogId::direct(user(1), user(id))
}

pub(super) fn client(id: u64) -> Client {
    let conn = ConnId { shard: 0, slot: id as u32, generation: 0 };
    Client { conn, user: user(id), request_id: 1, may_deflate: false, arrived: Arrival::UNKNOWN }
}

/// Nothing of a conversation.
pub(super) fn at(conversation: LogId) -> Position {
    Position { conversation, seq: 0, peer_read_seq: 0, read_seq: 0, time_ms: 0 }
}

/// Of a device that has nothing.
pub(super) fn from_nothing() -> SyncFrom {
    SyncFrom {
        epoch: 0,
        token: Box::default(),
        positions: Vec::new(),
        entries_per_conversation: 3,
        bytes_max: 1 << 18,
    }
}

pub(super) fn from_token(synced: &wire::Synced) -> SyncFrom {
    SyncFrom { epoch: EPOCH, token: synced.token[..].into(), ..from_nothing() }
}

/// Numbers of no obvious order, the same for one seed.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }
}

/// A store with the conversations of user 1.
pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) now_ms: u64,
}

impl World {
    pub(super) fn new() -> World {
        World { store: MemoryStore::new(EPOCH), now_ms: 1000 }
    }

    /// One in which something was said in so many conversations.
    pub(super) fn of(conversations: u64) -> World {
        let mut world = World::new();
        (2..conversations + 2).for_each(|id| world.say(id, id));
        world
    }

    pub(super) fn ask<Q: Question>(&self, question: Q) -> Result<Q::Answer, StoreError>
    where
        Q::Answer: Send,
    {
        let (sender, receiver) = std::sync::mpsc::channel();
        question::ask(&self.store, question, move |answer| sender.send(answer).unwrap());
        receiver.try_recv().expect("a store in memory answers at once")
    }

    pub(super) fn write(&self, writes: Vec<Write>) -> bool {
        let all = self.ask(writes).unwrap();
        all.iter().all(|written| matches!(written, Written::Stored { .. }))
    }

    pub(super) fn head(&self, log: LogId) -> Head {
        self.ask(Heads(vec![log])).unwrap().remove(0).unwrap()
    }

    pub(super) fn register(&self, log: LogId, key: RegisterKey) -> Register {
        self.ask(vec![(log, key)]).unwrap().remove(0).unwrap()
    }

    /// All members of a new conversation join before the first word.
    pub(super) fn join(&self, id: u64) {
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

    pub(super) fn say(&mut self, id: u64, sender: u64) {
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
    pub(super) fn read(&self, id: u64, reader: u64) {
        let head = self.head(chat(id));
        let own = crate::entry::own_counted(head.meta, user(reader));
        let cursor = ReadCursor::public(head.seq, head.meta.counted - own);
        self.write(vec![cursor.write(chat(id), user(reader), Rule::IfGreater)]);
    }

    /// The user hides a conversation.
    pub(super) fn hide(&self, id: u64) {
        let register = self.register(LogId::account(user(1)), Membership::key(chat(id)));
        let Some(mut membership) = Membership::of(&register).unwrap() else { return };
        membership.hidden_up_to = self.head(chat(id)).seq;
        self.write(vec![membership.write(user(1), chat(id), Rule::Always)]);
    }

    pub(super) fn set(&self, name: u64, value: &str) {
        let key = RegisterKey::new(format!("ssetting {name}").as_bytes()).unwrap();
        let value =
            Some(Bytes::copy_from_slice(value.as_bytes())).filter(|value| !value.is_empty());
        let set = Set { key, value, rule: Rule::Always };
        self.write(vec![Write::registers(LogId::account(user(1)), [set])]);
    }

    /// What a sync is answered; `between` is done between two questions to the store.
    pub(super) fn sync_between(
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

    pub(super) fn answer(
        &self,
        sync: &mut Sync,
        step: Step,
        lists: &mut Lists,
    ) -> Result<Step, Refusal> {
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

    pub(super) fn sync(&mut self, lists: &mut Lists, from: SyncFrom) -> wire::Synced {
        self.sync_between(lists, from, &mut |_| {}).0
    }

    /// What is true now, of user 1.
    pub(super) fn truth(&self) -> BTreeMap<LogId, Known> {
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

    pub(super) fn settings(&self) -> BTreeMap<String, Bytes> {
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
