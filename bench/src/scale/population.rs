//! Who is in a store of a given size, and what they have written: the same for the same numbers, so that
//! whoever looks something up knows what must be there.
//!
//! Each user has a name, a password, a session and conversations with the users behind it. Conversations are
//! visited in turn, in no order that the disk would like; at each visit its members write a burst of
//! messages to each other, and one of the two reads all of them.

use bytes::Bytes;
use clap::Args;
use dunlin_core::auth::names;
use dunlin_core::store::{DedupeKey, EntryMeta, NewEntry, RegisterKey, Rule, Set, Write};
use dunlin_protocol::{ClientMessageId, LogId, UserId};
use serde::{Deserialize, Serialize};

/// Odd, so that its multiples are all different in any power of two.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A prime: steps of it meet all conversations, whatever their number below it.
const STEP: u64 = 2_654_435_761;

/// Products of a conversation's number and a step are numbers of 64 bits.
const CONVERSATIONS_MAX: u64 = 1 << 31;
const _: () = assert!(CONVERSATIONS_MAX < STEP && CONVERSATIONS_MAX.checked_mul(STEP).is_some());

/// When all began: Unix time in milliseconds.
const BEGAN_MS: u64 = 1_790_000_000_000;

/// A password hash is so long, with its parameters.
static PASSWORD_HASH: [u8; 97] = [b'h'; 97];

/// The most bytes of a body.
pub(super) const BODY_BYTES_MAX: usize = 4096;

static BODY: [u8; BODY_BYTES_MAX] = [b'x'; BODY_BYTES_MAX];

/// How many there are of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(super) struct Population {
    /// Messages; as many more as make the last burst a whole one.
    #[arg(long, default_value_t = 1_000_000)]
    pub(super) messages: u64,
    /// Conversations that they are in.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) conversations: u64,
    /// Users, at least 4.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(4..))]
    pub(super) users: u64,
    /// Messages that are written to a conversation in a row.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) burst: u64,
    /// Bytes of what is stored of a message: some 47, and its text.
    #[arg(long, default_value_t = 64, value_parser = body_bytes)]
    pub(super) body_bytes: usize,
}

fn body_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes <= BODY_BYTES_MAX);
    bytes.ok_or_else(|| format!("0 to {BODY_BYTES_MAX} are expected"))
}

/// A message that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of its conversation.
    pub(super) conversation: u64,
    /// Its sequence.
    pub(super) seq: u64,
}

impl Population {
    /// What is wrong with these numbers.
    pub(super) fn problem(&self) -> Option<&'static str> {
        // Pairs of users that are less than half of the circle apart are all different.
        let pairs = self.users.saturating_mul((self.users / 2).saturating_sub(1));
        if self.conversations > pairs.min(CONVERSATIONS_MAX) {
            return Some("there are not so many pairs of users");
        }
        (self.messages == 0).then_some("without messages there is nothing to look up")
    }

    /// How often conversations are visited.
    pub(super) fn visits(&self) -> u64 {
        self.messages.div_ceil(self.burst)
    }

    /// Messages, in whole bursts.
    pub(super) fn stored_messages(&self) -> u64 {
        self.visits() * self.burst
    }

    /// The nth user.
    pub(super) fn user(&self, number: u64) -> UserId {
        // The lowest bits of odd multiples are as different as the numbers.
        UserId::from_random((number + 1).wrapping_mul(SPREAD))
    }

    /// The members of the nth conversation.
    fn members(&self, conversation: u64) -> [UserId; 2] {
        let (round, first) = (conversation / self.users, conversation % self.users);
        [self.user(first), self.user((first + 1 + round) % self.users)]
    }

    /// The log of the nth conversation.
    pub(super) fn conversation(&self, number: u64) -> LogId {
        let [one, other] = self.members(number);
        LogId::direct(one, other)
    }

    /// The name of the nth user.
    pub(super) fn name(&self, user: u64) -> String {
        format!("user{user}")
    }

    /// The register of that name.
    pub(super) fn name_register(&self, user: u64) -> (LogId, RegisterKey) {
        (names::log_of(&self.name(user)), RegisterKey::letter(b'n'))
    }

    /// The register of the read cursor that the burst of a message has moved.
    pub(super) fn cursor_register(&self, message: Place) -> (LogId, RegisterKey) {
        let turn = (message.seq - 1) / self.burst;
        let reader = self.members(message.conversation)[turn as usize % 2];
        let key = RegisterKey::numbered(b'r', reader.get());
        (self.conversation(message.conversation), key)
    }

    /// The account of the nth user, with its name, its password and a session, as they are written when
    /// somebody registers and logs in.
    pub(super) fn account(&self, number: u64) -> [Write; 4] {
        let (user, name) = (self.user(number), self.name(number));
        let identity = LogId::identity(user);
        let (name_log, name_key) = self.name_register(number);
        let named = Fields::default().bytes(1, name.as_bytes()).bytes(2, name.as_bytes());
        let session = Fields::default()
            .bytes(1, &mixed(number).to_be_bytes().repeat(2))
            .number(2, 1)
            .bytes(3, b"phone")
            .number(4, 1)
            .number(5, BEGAN_MS)
            .number(7, BEGAN_MS);
        [
            if_absent(LogId::account(user), RegisterKey::letter(b'a'), named.number(3, BEGAN_MS)),
            if_absent(
                identity,
                RegisterKey::letter(b'u'),
                Fields::default().bytes(1, &PASSWORD_HASH),
            ),
            if_absent(
                name_log,
                name_key,
                Fields::default().fixed(1, user.get()).bytes(2, name.as_bytes()),
            ),
            if_absent(
                identity,
                RegisterKey::numbered(b's', UserId::from_random(mixed(number)).get()),
                session,
            ),
        ]
    }

    /// What is written at the nth visit: the first one of a conversation makes its users members.
    pub(super) fn visit(&self, number: u64, mut write: impl FnMut(Write)) {
        let Place { conversation, seq } = self.place(number * self.burst);
        let (log, members) = (self.conversation(conversation), self.members(conversation));
        if seq == 1 {
            for user in members {
                let key = RegisterKey::of(b'c', log.as_bytes());
                let joined = Fields::default().number(1, BEGAN_MS);
                write(if_absent(LogId::account(user), key, joined));
            }
        }
        for seq in seq..seq + self.burst {
            write(self.message(log, Place { conversation, seq }));
        }
        let last = seq + self.burst - 1;
        let (_, key) = self.cursor_register(Place { conversation, seq: last });
        let value = [last.to_be_bytes(), (last / 2).to_be_bytes()].concat();
        let set = Set { key, value: Some(value.into()), rule: Rule::IfGreater };
        write(Write::registers(log, [set]));
    }

    /// Where the nth message is.
    pub(super) fn place(&self, message: u64) -> Place {
        let (visit, within) = (message / self.burst, message % self.burst);
        let turn = visit / self.conversations;
        let conversation = visit % self.conversations * STEP % self.conversations;
        Place { conversation, seq: turn * self.burst + within + 1 }
    }

    /// How many conversations have been written to.
    pub(super) fn begun(&self) -> u64 {
        self.visits().min(self.conversations)
    }

    /// The newest message of one of the [begun](Population::begun) conversations, by the number of the
    /// visits since.
    pub(super) fn newest(&self, visits_since: u64) -> Place {
        let visit = self.visits() - 1 - visits_since % self.begun();
        self.place((visit + 1) * self.burst - 1)
    }

    /// The key of a message: unique as its place.
    pub(super) fn key(&self, place: Place) -> DedupeKey {
        let sender = self.members(place.conversation)[place.seq as usize % 2];
        let mut id = [0; 16];
        id[..8].copy_from_slice(&mixed(place.conversation).to_be_bytes());
        id[8..].copy_from_slice(&mixed(place.seq).to_be_bytes());
        DedupeKey { sender, client_message_id: ClientMessageId(id) }
    }

    /// A message as it is written there.
    pub(super) fn message(&self, log: LogId, place: Place) -> Write {
        let key = self.key(place);
        let meta = EntryMeta {
            time_ms: BEGAN_MS + place.seq,
            sender: key.sender.get(),
            counted: place.seq,
            sender_counted: place.seq.div_ceil(2),
        };
        let body = Bytes::from_static(&BODY[..self.body_bytes]);
        Write::entry(log, NewEntry { seq: place.seq, meta, key: Some(key), digest: 1, body })
    }
}

fn if_absent(log: LogId, key: RegisterKey, fields: Fields) -> Write {
    let set = Set { key, value: Some(fields.0.into()), rule: Rule::IfAbsent };
    Write::registers(log, [set])
}

/// A number that looks as if it were drawn, another one for each: two halves that go through each other.
pub(super) fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A message of protobuf, field by field: a server reads these.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(mut self, field: u64, number: u64) -> Fields {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    fn fixed(mut self, field: u64, number: u64) -> Fields {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Fields {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use dunlin_core::store::memory::MemoryStore;
    use dunlin_core::store::{Store, StoreReply, StoreRequest, Written};

    use super::*;

    const SMALL: Population =
        Population { messages: 1_500, conversations: 70, users: 20, burst: 4, body_bytes: 64 };

    #[test]
    fn every_conversation_has_other_members() {
        assert_eq!(SMALL.problem(), None);
        let logs: HashSet<_> = (0..SMALL.conversations).map(|at| SMALL.conversation(at)).collect();
        assert_eq!(logs.len() as u64, SMALL.conversations);
        assert!(Population { conversations: 181, ..SMALL }.problem().is_some());
        assert!(Population { messages: 0, ..SMALL }.problem().is_some());
    }

    #[test]
    fn the_newest_messages_are_the_last_of_each_conversation() {
        let mut last = BTreeMap::new();
        for message in 0..SMALL.stored_messages() {
            let Place { conversation, seq } = SMALL.place(message);
            assert_eq!(last.insert(conversation, seq).unwrap_or(0), seq - 1);
        }
        assert_eq!(last.len() as u64, SMALL.begun());
        for visits_since in 0..SMALL.begun() {
            let Place { conversation, seq } = SMALL.newest(visits_since);
            assert_eq!(last.remove(&conversation), Some(seq));
        }
    }

    /// The store takes all of it: no number, name or rule is in the way of another one.
    #[test]
    fn a_store_takes_everybody() {
        let store = MemoryStore::default();
        let mut writes: Vec<Write> = (0..SMALL.users).flat_map(|at| SMALL.account(at)).collect();
        (0..SMALL.visits()).for_each(|visit| SMALL.visit(visit, |write| writes.push(write)));
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = move |reply| sender.send(reply).expect("the test waits");
        store.submit(StoreRequest::Write(writes), Box::new(done));
        let Ok(Ok(StoreReply::Written(all))) = receiver.recv() else { panic!("not written") };
        let is_stored = |one: &Written| matches!(one, Written::Stored { .. });
        assert!(all.iter().all(is_stored), "{:?}", all.iter().find(|one| !is_stored(one)));
        assert!(all.len() as u64 > SMALL.stored_messages());
    }
}
