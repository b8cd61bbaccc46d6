//! The conversations that a worker owns: authorise, number, append, and only then acknowledge.
//!
//! - `pending`: a send and where its answer goes; `numbering`: the end of a log as it is known
//! - [`hearing`]: whether somebody wants to hear of a stranger
//! - [`signal`], [`history`], [`by_time`], [`find`]: what else clients do in a conversation; it needs no state
//!
//! Acknowledgements, pushes and joins are others' work: what is to be done is the answer to the
//! caller.

pub(crate) mod by_time;
pub(crate) mod find;
pub(crate) mod hearing;
pub(crate) mod history;
mod numbering;
pub(crate) mod pending;
pub(crate) mod signal;

use std::hash::Hash;

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::{OVERLOADED_RETRY_MS, RESPONSE_BYTES_MAX, STATE_IDLE_MS, TABLE_ROOM_MIN};
use crate::membership::other_member;
use crate::refusal::{INTERNAL, NO_SUCH_CONVERSATION, Refusal, STORE_UNAVAILABLE};
use crate::store::{Head, Page, Range, Write, Written};
use crate::worker::flow::{Answer, HeadsFlow, PagesFlow};
use crate::worker::turn::Turn;
use by_time::Searching;
use hearing::{Heard, Silent};
use history::Reader;
pub(crate) use numbering::Loaded;
pub(crate) use numbering::Outcome;
use numbering::{Conversation, Phase};
use pending::{Pending, ReplyTo, Stored};
use smallvec::SmallVec;

pub(crate) const MESSAGE_ID_CONFLICT: Refusal =
    Refusal::new(ErrorCode::MessageIdConflict, "this client_message_id was used for other content");

pub(crate) const QUEUE_FULL: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many messages wait in this conversation",
    OVERLOADED_RETRY_MS,
);

/// The conversations that are in use.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    in_use: HashMap<LogId, Conversation, RandomState>,
    /// Those whose heads are to be read.
    unknown_heads: Vec<LogId>,
    /// Those of which it is to be asked again who wants to hear.
    old_hearing: Vec<LogId>,
    /// Memory of the sends in all queues.
    waiting_bytes: usize,
}

/// What waits for a page.
#[derive(Debug)]
pub(crate) enum ConversationPage {
    /// A client, for what it wants to read, in which there is nothing below this sequence for the user.
    Asked(Reader, u64),
    /// A client, for where a time is in the log.
    Search(Box<Searching>),
    /// A message that was sent again, for the entry that it was the first time.
    Retried(LogId, ReplyTo, u64),
}

/// A send that is not done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) log: LogId,
    pub(crate) reply_to: ReplyTo,
    pub(crate) refusal: Refusal,
}

/// What a batch leaves behind of which nobody knows whether it was stored.
#[derive(Debug)]
pub(crate) struct BatchFailed {
    pub(crate) refused: Vec<Refused>,
    /// What it was to follow.
    pub(crate) unsure_after: u64,
}

impl Conversations {
    /// Conversations in memory.
    pub(crate) fn len(&self) -> usize {
        self.in_use.len()
    }

    /// Memory of all sends that are not answered, whether they are at the store or wait for it.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether something waits in a conversation that must not be overtaken.
    pub(crate) fn is_waiting(&self, log: LogId) -> bool {
        self.in_use.get(&log).is_some_and(Conversation::has_waiting)
    }

    /// Whether something of this user waits in a conversation.
    pub(crate) fn writes_to(&self, log: LogId, user: UserId) -> bool {
        self.in_use.get(&log).is_some_and(|conversation| conversation.has_waiting_of(user))
    }

    /// How many of the entries up to this one are from the other member and count, if that is the newest
    /// entry of a conversation in use: then nobody has to read it.
    pub(crate) fn others_counted_at(&self, log: LogId, seq: u64, user: UserId) -> Option<u64> {
        self.in_use.get(&log)?.others_counted_at(log, seq, user)
    }

    /// Takes a send of a user who was authenticated, here or on another node.
    #[inline]
    pub(crate) fn send(
        &mut self,
        mut pending: Pending,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        let log = pending.log;
        if other_member(log, pending.sender).is_none() {
            return Err(refused(&pending, NO_SUCH_CONVERSATION));
        }
        let conversation = self.in_use.entry(log).or_insert_with(|| {
            turn.agenda.sweep_later(log, turn.now.monotonic_ms);
            Conversation::new()
        });
        conversation.used_ms = turn.now.monotonic_ms;
        pending.since_ms = turn.now.monotonic_ms;
        let was_waiting = conversation.has_waiting();
        let bytes = pending.memory();
        conversation.enqueue(pending).map_err(|pending| refused(&pending, QUEUE_FULL))?;
        self.waiting_bytes += bytes;
        match conversation.phase {
            Phase::Unknown => {
                conversation.phase = Phase::Loading;
                self.unknown_heads.push(log);
            }
            Phase::Idle if !was_waiting => turn.agenda.number(log),
            Phase::Idle | Phase::Loading | Phase::Joining | Phase::Asking | Phase::Appending(_) => {
            }
        }
        if turn.others_append() && conversation.is_hearing_old(turn.now.monotonic_ms) {
            conversation.hearing_asked(turn.now.monotonic_ms);
            self.old_hearing.push(log);
        }
        Ok(())
    }

    /// At the end of a tick: reads the heads of those that have something to number, and what of others has
    /// become old.
    pub(crate) fn load(&mut self, turn: &mut Turn<'_>) {
        if !self.old_hearing.is_empty() {
            let logs = std::mem::take(&mut self.old_hearing);
            hearing::ask(logs.into_iter().flat_map(|log| self.silent(log, turn)).collect(), turn);
        }
        if !self.unknown_heads.is_empty() {
            let logs = std::mem::take(&mut self.unknown_heads);
            turn.ask_heads(logs.clone(), HeadsFlow::Load(logs));
        }
    }

    /// The head of a conversation was read. Before anything is numbered, its members may have to join, and that
    /// is to be [confirmed](Conversations::joined), or to be [asked](Conversations::heard) what they want.
    pub(crate) fn head_loaded(&mut self, log: LogId, head: &Head, turn: &mut Turn<'_>) -> Loaded {
        let Some(conversation) = self.in_use.get_mut(&log) else { return Loaded::Ready };
        let loaded = conversation.loaded(log, head);
        match loaded {
            Loaded::Ready => turn.agenda.number(log),
            Loaded::Joins | Loaded::Silent => {}
        }
        loaded
    }

    /// The members of a conversation who have said nothing yet, of whom it is asked now whether they want to
    /// hear.
    pub(crate) fn silent(&mut self, log: LogId, turn: &Turn<'_>) -> SmallVec<[Silent; 2]> {
        let Some(conversation) = self.in_use.get_mut(&log) else { return SmallVec::new() };
        conversation.hearing_asked(turn.now.monotonic_ms);
        conversation.silent(log).collect()
    }

    /// Whether a member wants to hear of a conversation now, if that is known here.
    pub(crate) fn hears(&self, log: LogId, user: UserId) -> Option<bool> {
        self.in_use.get(&log)?.hears(log, user)
    }

    /// It is known whether a member wants to hear. Gives back up to where there is something that the member
    /// wants to hear now, and was not told.
    pub(crate) fn heard(&mut self, heard: &Heard) -> Option<u64> {
        let conversation = self.in_use.get_mut(&heard.log)?;
        conversation.heard(heard).then(|| conversation.head_seq())
    }

    /// It is known of all silent members of a conversation.
    pub(crate) fn all_heard(&mut self, log: LogId, turn: &mut Turn<'_>) {
        let Some(conversation) = self.in_use.get_mut(&log) else { return };
        if conversation.phase == Phase::Asking {
            conversation.phase = Phase::Idle;
            turn.agenda.number(log);
        }
    }

    /// The members of a conversation have joined, or can't. Gives back the sends that are refused by
    /// it.
    pub(crate) fn joined(
        &mut self,
        log: LogId,
        result: Result<(), Refusal>,
        turn: &mut Turn<'_>,
    ) -> Vec<Refused> {
        let Some(conversation) = self.in_use.get_mut(&log) else { return Vec::new() };
        if conversation.phase != Phase::Joining {
            return Vec::new();
        }
        match result {
            Ok(()) => {
                conversation.phase = Phase::Idle;
                turn.agenda.number(log);
                Vec::new()
            }
            Err(refusal) => self.fail(log, refusal),
        }
    }

    /// Numbers what waits in a conversation at the end of a tick. Returns how many.
    pub(crate) fn number(&mut self, log: LogId, now_ms: u64, writes: &mut Vec<Write>) -> usize {
        match self.in_use.get_mut(&log) {
            Some(conversation) => conversation.number(log, now_ms, writes),
            None => 0,
        }
    }

    /// The store has answered for what was numbered: adds what became of it to `settled`, and gives
    /// back those of which nobody knows.
    pub(crate) fn appended(
        &mut self,
        log: LogId,
        results: &[Written],
        settled: &mut Vec<(Pending, Outcome)>,
        turn: &mut Turn<'_>,
    ) -> Option<BatchFailed> {
        let conversation = self.in_use.get_mut(&log)?;
        let before = settled.len();
        let unknown = conversation.settle(log, results, turn.now.monotonic_ms, settled);
        let settled = settled[before..].iter().map(|(pending, _)| pending);
        self.waiting_bytes -= settled.chain(&unknown).map(Pending::memory).sum::<usize>();
        self.go_on(log, &unknown, STORE_UNAVAILABLE, turn)
    }

    /// The store did not take the batch of a conversation. What waits behind it goes on, once the
    /// head was read again; but what has waited for it as long as anybody waits for the store is refused with it.
    pub(crate) fn batch_failed(
        &mut self,
        log: LogId,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) -> Option<BatchFailed> {
        let failed = self.in_use.get_mut(&log)?.fail_batch(turn.now.monotonic_ms);
        self.waiting_bytes -= failed.iter().map(Pending::memory).sum::<usize>();
        self.go_on(log, &failed, refusal, turn)
    }

    /// Takes the next step of a conversation whose batch was answered. Those of which nobody knows what
    /// became of them are refused.
    fn go_on(
        &mut self,
        log: LogId,
        unknown: &[Pending],
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) -> Option<BatchFailed> {
        let conversation = self.in_use.get_mut(&log)?;
        if conversation.has_waiting() {
            match conversation.phase {
                Phase::Unknown => {
                    conversation.phase = Phase::Loading;
                    self.unknown_heads.push(log);
                }
                Phase::Idle => turn.agenda.number(log),
                Phase::Loading | Phase::Joining | Phase::Asking | Phase::Appending(_) => {}
            }
        }
        let refused: Vec<_> = unknown.iter().map(|pending| refused(pending, refusal)).collect();
        let unsure_after = conversation.head_seq();
        (!refused.is_empty()).then_some(BatchFailed { refused, unsure_after })
    }

    /// Nothing can be appended to a conversation now, or ever. Gives back all of its sends.
    pub(crate) fn fail(&mut self, log: LogId, refusal: Refusal) -> Vec<Refused> {
        let failed = self.in_use.get_mut(&log).map(Conversation::fail_all);
        self.waiting_bytes -= failed.iter().flatten().map(Pending::memory).sum::<usize>();
        failed.iter().flatten().map(|pending| refused(pending, refusal)).collect()
    }

    /// Forgets a conversation that was not used for a while. False if it has to stay.
    pub(crate) fn forget_if_idle(&mut self, log: LogId, now_ms: u64) -> bool {
        let unused_since_ms = now_ms.saturating_sub(STATE_IDLE_MS);
        let idle = |kept: &Conversation| kept.is_idle() && kept.used_ms <= unused_since_ms;
        let forget = self.in_use.get(&log).is_none_or(idle);
        if forget {
            self.in_use.remove(&log);
        }
        forget
    }

    /// Gives back the room of what was forgotten.
    pub(crate) fn give_room_back(&mut self) {
        give_room_back(&mut self.in_use);
    }
}

fn refused(pending: &Pending, refusal: Refusal) -> Refused {
    Refused { log: pending.log, reply_to: pending.reply_to, refusal }
}

/// Asks when a message was stored that is sent again: the answer is the same as the first time,
/// and the time is in the entry.
pub(crate) fn ask_first_time(log: LogId, reply_to: ReplyTo, seq: u64, turn: &mut Turn<'_>) {
    let (entries_max, bytes_max) = (1, RESPONSE_BYTES_MAX);
    let range =
        Range { log, from: seq, to: seq, entries_max, bytes_max, backwards: false, since: None };
    turn.ask_pages(
        vec![range],
        PagesFlow::Conversation(ConversationPage::Retried(log, reply_to, seq)),
    );
}

/// Reads the answer to [`ask_first_time`].
pub(crate) fn first_time(seq: u64, answer: Answer<Page>) -> Result<Stored, Refusal> {
    let page = answer?;
    match page.entries.first() {
        Some(first) => Ok(Stored { seq: first.seq, time_ms: first.meta.time_ms }),
        // It has expired, and its time with it. That it was stored is known.
        None if seq < page.head.expired_below => Ok(Stored { seq, time_ms: 0 }),
        None => Err(INTERNAL),
    }
}

/// Shrinks a table that is nearly empty: the room of a busy hour would else stay for ever.
fn give_room_back<K: Eq + Hash, V>(table: &mut HashMap<K, V, RandomState>) {
    if table.capacity() > TABLE_ROOM_MIN && table.len() < table.capacity() / 8 {
        table.shrink_to((table.len() * 2).max(TABLE_ROOM_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::Arrival;

    #[test]
    fn of_a_message_that_has_expired_it_is_known_that_it_was_stored() {
        let page = |expired_below| {
            let head = Head { seq: 9, expired_below, ..Head::default() };
            Ok(Page { head, ..Page::default() })
        };
        let stored = first_time(4, page(5)).map(|Stored { seq, time_ms }| (seq, time_ms));
        assert_eq!(stored, Ok((4, 0)));
        // It was found a moment ago, and has not expired: where is it?
        assert_eq!(first_time(4, page(4)).err(), Some(INTERNAL));
    }

    #[test]
    fn a_table_gives_the_room_of_a_crowd_back_and_keeps_what_it_holds() {
        let mut table: HashMap<u64, u64, RandomState> = (0..100_000).map(|n| (n, n)).collect();
        let full = table.capacity();
        give_room_back(&mut table);
        assert_eq!(table.capacity(), full);
        table.retain(|&number, _| number % 100 == 0);
        give_room_back(&mut table);
        assert!(table.capacity() < full / 16, "{} of {full}", table.capacity());
        assert!((0..100_000).step_by(100).all(|number| table.get(&number) == Some(&number)));
        table.clear();
        give_room_back(&mut table);
        let least = table.capacity();
        give_room_back(&mut table);
        assert_eq!(table.capacity(), least);
    }

    mod machine {
        use bytes::Bytes;
        use dunlin_protocol::wire::Notice;
        use dunlin_protocol::{ClientMessageId, UserId};

        use super::*;
        use crate::clock::Now;
        use crate::limits::STORE_DEADLINE_MS;
        use crate::request::Message;
        use crate::store::StoreRequest;
        use crate::transport::ConnId;
        use crate::worker::turn::stage::Stage;

        const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };

        fn user(id: u64) -> UserId {
            UserId::new(id).unwrap()
        }

        fn log() -> LogId {
            LogId::direct(user(1), user(2))
        }

        fn send_of(sender: u64) -> Pending {
            let message = Message {
                client_message_id: ClientMessageId([7; 16]),
                content_type: String::new(),
                content: Bytes::new(),
                notice: Notice::Loud,
            };
            let reply_to = ReplyTo::Client { conn: CONN, request_id: 1, arrived: Arrival::UNKNOWN };
            Pending::new(reply_to, user(sender), CONN, log(), message)
        }

        /// One send waits for its members to join.
        fn joining(stage: &mut Stage) -> Conversations {
            let mut conversations = Conversations::default();
            conversations.send(send_of(1), &mut stage.turn()).unwrap();
            let loaded = conversations.head_loaded(log(), &Head::default(), &mut stage.turn());
            assert_eq!(loaded, Loaded::Joins);
            conversations
        }

        /// Whatever becomes of sends, their memory counts as long as they wait and no longer.
        #[test]
        fn what_waits_is_counted_in_bytes() {
            let mut stage = Stage::new();
            let head = Head { seq: 1, ..Head::default() };
            let taken = |stage: &mut Stage, count: usize| {
                let mut conversations = Conversations::default();
                for _ in 0..count {
                    conversations.send(send_of(1), &mut stage.turn()).unwrap();
                }
                conversations.head_loaded(log(), &head, &mut stage.turn());
                conversations.all_heard(log(), &mut stage.turn());
                let mut writes = Vec::new();
                assert_eq!(conversations.number(log(), 1, &mut writes), count);
                conversations
            };
            let bytes = send_of(1).memory();
            let mut conversations = taken(&mut stage, 3);
            assert_eq!(conversations.waiting_bytes(), 3 * bytes);
            let stored = Written::Stored { version: 0 };
            let verdicts = [stored, Written::Conflict { head }, Written::Unknown];
            let mut settled = Vec::new();
            conversations.appended(log(), &verdicts, &mut settled, &mut stage.turn());
            assert_eq!((settled.len(), conversations.waiting_bytes()), (1, bytes), "one is stale");
            conversations.fail(log(), STORE_UNAVAILABLE);
            assert_eq!(conversations.waiting_bytes(), 0);
            let mut conversations = taken(&mut stage, 2);
            conversations.batch_failed(log(), STORE_UNAVAILABLE, &mut stage.turn());
            assert_eq!(conversations.waiting_bytes(), 0);
        }

        #[test]
        fn the_first_message_waits_until_both_have_joined() {
            let mut stage = Stage::new();
            let mut conversations = joining(&mut stage);
            let refused = conversations.joined(log(), Ok(()), &mut stage.turn());
            assert!(refused.is_empty(), "{refused:?}");
            let mut writes = Vec::new();
            assert_eq!(conversations.number(log(), 1, &mut writes), 1);
            let seq = writes[0].entry.as_ref().map(|entry| entry.seq);
            assert_eq!((writes[0].log, seq), (log(), Some(1)));
        }

        #[test]
        fn if_one_of_them_cannot_join_the_send_is_refused() {
            let mut stage = Stage::new();
            let mut conversations = joining(&mut stage);
            let refused = conversations.joined(log(), Err(INTERNAL), &mut stage.turn());
            assert_eq!(refused.len(), 1);
            assert_eq!(refused[0].refusal, INTERNAL);
            assert!(!conversations.is_waiting(log()));
        }

        #[test]
        fn a_date_that_was_wrong_keeps_nothing_in_memory() {
            let (mut stage, mut conversations) = (Stage::new(), Conversations::default());
            let mut turn = stage.turn();
            turn.now = Now { unix_ms: u64::MAX / 2, monotonic_ms: 1_000 };
            conversations.send(send_of(1), &mut turn).unwrap();
            assert!(!conversations.forget_if_idle(log(), 1_000 + STATE_IDLE_MS), "it waits");
            assert_eq!(conversations.fail(log(), INTERNAL).len(), 1);
            assert!(!conversations.forget_if_idle(log(), 1_000 + STATE_IDLE_MS - 1));
            assert!(conversations.forget_if_idle(log(), 1_000 + STATE_IDLE_MS));
        }

        #[test]
        fn what_is_not_known_to_be_stored_is_refused_and_the_head_is_read_anew() {
            let mut stage = Stage::new();
            let mut conversations = Conversations::default();
            conversations.send(send_of(1), &mut stage.turn()).unwrap();
            let head = Head { seq: 7, ..Head::default() };
            let loaded = conversations.head_loaded(log(), &head, &mut stage.turn());
            assert_eq!(loaded, Loaded::Silent);
            conversations.all_heard(log(), &mut stage.turn());
            assert_eq!(conversations.number(log(), 1, &mut Vec::new()), 1);
            conversations.send(send_of(2), &mut stage.turn()).unwrap();
            conversations.load(&mut stage.turn());
            stage.asked();
            let mut settled = Vec::new();
            let results = [Written::Unknown];
            let failed =
                conversations.appended(log(), &results, &mut settled, &mut stage.turn()).unwrap();
            assert_eq!((failed.refused.len(), failed.unsure_after, settled.len()), (1, 7, 0));
            assert_eq!(failed.refused[0].refusal, STORE_UNAVAILABLE);
            conversations.load(&mut stage.turn());
            assert_eq!(stage.asked(), [StoreRequest::Heads(vec![log()])]);
        }

        /// It would else wait for the store once more, and be answered after twice the time.
        #[test]
        fn what_has_waited_for_a_batch_that_failed_as_long_as_the_batch_is_refused_with_it() {
            let at = |stage: &mut Stage, monotonic_ms, what: &mut dyn FnMut(&mut Turn<'_>)| {
                let mut turn = stage.turn();
                turn.now = Now { unix_ms: 1, monotonic_ms };
                what(&mut turn);
            };
            let mut stage = Stage::new();
            let mut conversations = Conversations::default();
            let head = Head { seq: 7, ..Head::default() };
            at(&mut stage, 1_000, &mut |turn| {
                conversations.send(send_of(1), turn).unwrap();
                conversations.head_loaded(log(), &head, turn);
                conversations.all_heard(log(), turn);
                assert_eq!(conversations.number(log(), 1, &mut Vec::new()), 1);
            });
            for sent_ms in [1_000, 1_500, 9_000] {
                at(&mut stage, sent_ms, &mut |turn| {
                    conversations.send(send_of(2), turn).unwrap();
                });
            }
            let mut refused = 0;
            at(&mut stage, 1_500 + STORE_DEADLINE_MS, &mut |turn| {
                let failed = conversations.batch_failed(log(), STORE_UNAVAILABLE, turn);
                refused = failed.map_or(0, |failed| failed.refused.len());
            });
            assert_eq!((refused, conversations.waiting_bytes()), (3, send_of(2).memory()));
            assert!(conversations.is_waiting(log()), "the last one has time");
        }

        #[test]
        fn a_stranger_is_refused_and_nothing_is_remembered() {
            let (mut stage, mut conversations) = (Stage::new(), Conversations::default());
            let refused = conversations.send(send_of(3), &mut stage.turn()).unwrap_err();
            assert_eq!(refused.refusal, NO_SUCH_CONVERSATION);
            assert_eq!(conversations.len(), 0);
        }
    }
}
