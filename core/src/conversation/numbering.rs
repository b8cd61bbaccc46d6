//! The end of a conversation's log as its worker knows it, and the sends that wait for it.
//!
//! ```text
//!             head read   first entry: both members joined
//!  Unknown ──► Loading ───────► Joining ───────► Idle ◄──► Appending
//!     ▲            ├──────────────────────────────▲            │
//!     │            └──────────► Asking ───────────┘            │
//!     │                 a member was always silent             │
//!     └────────────────────────────────────────────────────────┘ the store did not answer
//! ```
//!
//! At most one batch of a conversation is at the store. What arrives meanwhile is the next batch:
//! group commit loses nothing by it, and when somebody else has appended in between, nothing that
//! was numbered with the old head can be stored behind it.

use std::collections::VecDeque;

use dunlin_protocol::wire::Notice;
use dunlin_protocol::{LogId, UserId};

use super::hearing::{self, Heard, Hearing, Silent};
use super::pending::Pending;
use crate::entry::{EncodedEntry, digest, encode_message};
use crate::limits::{CONVERSATION_BATCH_MAX, CONVERSATION_QUEUE_MAX, ENTRY_AHEAD_MS_MAX};
use crate::store::{DedupeKey, EntryMeta, Head, NewEntry, Write, Written};

/// A direct conversation that is in use.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) phase: Phase,
    /// What is durable, as far as known.
    head: DirectHead,
    /// In the order of arrival; the first ones are at the store while appending.
    queue: VecDeque<Pending>,
    hearing: Hearing,
    /// When somebody last sent something, by the clock that is never set.
    pub(super) used_ms: u64,
}

/// What a conversation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The head must be read before anything is appended.
    Unknown,
    /// It is being read.
    Loading,
    /// The log is empty: its members join.
    Joining,
    /// Some members have never said anything: it is being asked whether they want to hear.
    Asking,
    /// Ready to append.
    Idle,
    /// So many sends, the first ones of the queue, are at the store.
    Appending(usize),
}

/// How a conversation goes on whose head was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// It is ready to append.
    Ready,
    /// Its log is empty: the members must join before the first entry.
    Joins,
    /// Some members have never said anything: it is to be asked whether they want to hear.
    Silent,
}

/// What became of a send.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is durable.
    Stored { seq: u64, time_ms: u64, entry: EncodedEntry, unheard_by: Option<UserId> },
    /// It was before, under this sequence.
    Retried { seq: u64, unheard_by: Option<UserId> },
    /// The id was used for something else.
    Conflict,
    /// What may have been stored under the id is damaged.
    Corrupt,
}

/// The newest entry of a direct conversation, with the counts of both members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct DirectHead {
    seq: u64,
    time_ms: u64,
    /// Entries that count as unread: of the lower member and of the higher one.
    counted: [u64; 2],
}

/// The members who have said nothing in a conversation with this head.
pub(super) fn silent_in(log: LogId, head: &Head) -> impl Iterator<Item = Silent> + use<> {
    hearing::silent(log, DirectHead::from_store(log, head).counted)
}

impl DirectHead {
    fn from_store(log: LogId, head: &Head) -> DirectHead {
        let mut counted = [head.meta.counted.saturating_sub(head.meta.sender_counted); 2];
        counted[member_index(log, head.meta.sender)] = head.meta.sender_counted;
        DirectHead { seq: head.seq, time_ms: head.meta.time_ms, counted }
    }

    /// The time of the next entry. It does not go back by the little that clocks of several nodes differ;
    /// but a time that is further ahead was given by a clock that was wrong, and is not passed on.
    fn next_time_ms(&self, now_ms: u64) -> u64 {
        if self.time_ms > now_ms.saturating_add(ENTRY_AHEAD_MS_MAX) {
            return now_ms;
        }
        now_ms.max(self.time_ms)
    }

    /// The numbers of the next entry, if it is a message of this member now.
    fn next(
        &self,
        log: LogId,
        sender: UserId,
        notice: Notice,
        now_ms: u64,
    ) -> (DirectHead, EntryMeta) {
        let member = member_index(log, sender.get());
        let time_ms = self.next_time_ms(now_ms);
        let mut next = DirectHead { seq: self.seq + 1, time_ms, ..*self };
        next.counted[member] += u64::from(notice.counts());
        let meta = EntryMeta {
            time_ms: next.time_ms,
            sender: sender.get(),
            counted: next.counted[0] + next.counted[1],
            sender_counted: next.counted[member],
        };
        (next, meta)
    }
}

/// 0 for the lower member, 1 for the higher one; 0 in a conversation with oneself.
fn member_index(log: LogId, user: u64) -> usize {
    usize::from(log.direct_members().is_some_and(|(lower, _)| lower.get() != user))
}

impl Conversation {
    pub(super) fn new() -> Conversation {
        Conversation {
            phase: Phase::Unknown,
            head: DirectHead::default(),
            queue: VecDeque::new(),
            hearing: Hearing::default(),
            used_ms: 0,
        }
    }

    /// Takes a send; gives it back if too many wait already.
    #[inline]
    #[allow(clippy::result_large_err, reason = "a box would be an allocation for each send")]
    pub(super) fn enqueue(&mut self, pending: Pending) -> Result<(), Pending> {
        if self.queue.len() >= CONVERSATION_QUEUE_MAX {
            return Err(pending);
        }
        self.queue.push_back(pending);
        Ok(())
    }

    /// Whether there is something that only waits to be numbered.
    pub(super) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether something of this user is among it.
    pub(super) fn has_waiting_of(&self, user: UserId) -> bool {
        self.queue.iter().any(|pending| pending.sender == user)
    }

    /// See [`Conversations::others_counted_at`](super::Conversations::others_counted_at). An entry never
    /// changes its numbers, so it does not matter whether others have appended since.
    pub(super) fn others_counted_at(&self, log: LogId, seq: u64, user: UserId) -> Option<u64> {
        let is_known = matches!(self.phase, Phase::Idle | Phase::Appending(_));
        let others = self.head.counted[1 - member_index(log, user.get())];
        (is_known && seq == self.head.seq).then_some(others)
    }

    /// Whether it may be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && matches!(self.phase, Phase::Idle | Phase::Unknown)
    }

    /// The head was read.
    pub(super) fn loaded(&mut self, log: LogId, head: &Head) -> Loaded {
        self.head = DirectHead::from_store(log, head);
        let (phase, loaded) = match (head.seq, self.silent(log).next()) {
            (0, _) => (Phase::Joining, Loaded::Joins),
            (_, Some(_)) => (Phase::Asking, Loaded::Silent),
            (_, None) => (Phase::Idle, Loaded::Ready),
        };
        self.phase = phase;
        loaded
    }

    /// The members who have said nothing yet.
    pub(super) fn silent(&self, log: LogId) -> impl Iterator<Item = Silent> + use<> {
        hearing::silent(log, self.head.counted)
    }

    /// Whether a member wants to hear now, if that is known.
    pub(super) fn hears(&self, log: LogId, user: UserId) -> Option<bool> {
        match self.phase {
            Phase::Idle | Phase::Appending(_) => {
                Some(self.hearing.unheard_by(log, self.head.counted) != Some(user))
            }
            Phase::Unknown | Phase::Loading | Phase::Joining | Phase::Asking => None,
        }
    }

    /// Whether members were silent when it was asked what they want to hear, and that was a while ago.
    #[inline]
    pub(super) fn is_hearing_old(&self, now_ms: u64) -> bool {
        self.head.counted.contains(&0) && self.hearing.is_old(now_ms)
    }

    /// It is asked whether they want to hear.
    pub(super) fn hearing_asked(&mut self, now_ms: u64) {
        self.hearing.asked(now_ms);
    }

    /// What a member wants to hear. True if that is to hear again what it did not.
    pub(super) fn heard(&mut self, heard: &Heard) -> bool {
        self.hearing.set(member_index(heard.log, heard.user.get()), heard.ignored)
    }

    /// Numbers what waits, up to a batch, and adds it to `writes`. Returns how many.
    pub(super) fn number(&mut self, log: LogId, now_ms: u64, writes: &mut Vec<Write>) -> usize {
        debug_assert_eq!(self.phase, Phase::Idle, "one batch at a time");
        let count = self.queue.len().min(CONVERSATION_BATCH_MAX);
        let mut head = self.head;
        for pending in self.queue.iter_mut().take(count) {
            let (next, meta) = head.next(log, pending.sender, pending.message.notice, now_ms);
            head = next;
            let entry = encode_message(log, head.seq, &meta, &pending.message);
            let client_message_id = pending.message.client_message_id;
            let new = NewEntry {
                seq: head.seq,
                meta,
                key: Some(DedupeKey { sender: pending.sender, client_message_id }),
                digest: digest(&pending.message),
                body: entry.body.clone(),
            };
            writes.push(Write::entry(log, new));
            pending.encoded = Some((entry, head.time_ms));
        }
        self.phase = Phase::Appending(count);
        count
    }

    /// The store has answered for the batch. What was refused for a stale head stays in front of
    /// the queue, in its order; the rest is added to `settled`. Gives back those of which nobody knows
    /// whether they were stored, and with them what must not be stored behind them; then the head must
    /// be read anew.
    pub(super) fn settle(
        &mut self,
        log: LogId,
        results: &[Written],
        now_ms: u64,
        settled: &mut Vec<(Pending, Outcome)>,
    ) -> Vec<Pending> {
        debug_assert_eq!(self.phase, Phase::Appending(results.len()));
        self.phase = Phase::Idle;
        // What stands before one that was stored was stored as well, or that would be a conflict.
        let is_stored = |result: &Written| matches!(result, Written::Stored { .. });
        let stored = results.iter().rposition(is_stored).map_or(0, |last| last + 1);
        let (mut stale, mut unknown) = (VecDeque::new(), Vec::new());
        for (place, result) in results.iter().enumerate() {
            let mut pending = self.queue.pop_front().expect("the batch is the front of the queue");
            let (entry, time_ms) = pending.encoded.take().expect("the batch was numbered");
            match *result {
                Written::Duplicate { seq, digest: first } if first == digest(&pending.message) => {
                    let unheard_by = self.hearing.unheard_by(log, self.head.counted);
                    settled.push((pending, Outcome::Retried { seq, unheard_by }));
                }
                Written::Duplicate { .. } => settled.push((pending, Outcome::Conflict)),
                Written::Corrupt => settled.push((pending, Outcome::Corrupt)),
                Written::Stored { .. } | Written::Unknown if place < stored => {
                    let notice = pending.message.notice;
                    self.head = self.head.next(log, pending.sender, notice, time_ms).0;
                    let seq = self.head.seq;
                    let unheard_by = self.hearing.unheard_by(log, self.head.counted);
                    settled.push((pending, Outcome::Stored { seq, time_ms, entry, unheard_by }));
                }
                Written::Conflict { head } if unknown.is_empty() => {
                    self.head = DirectHead::from_store(log, &head);
                    stale.push_back(pending);
                }
                // A conflict behind it may be one with it.
                Written::Unknown
                | Written::Conflict { .. }
                | Written::Stored { .. }
                | Written::Unmet { .. } => unknown.push(pending),
            }
        }
        if !unknown.is_empty() {
            self.phase = Phase::Unknown;
            self.take_overdue_with(&mut unknown, now_ms);
        }
        while let Some(pending) = stale.pop_back() {
            self.queue.push_front(pending);
        }
        unknown
    }

    /// The newest sequence that is known to be durable.
    pub(super) fn head_seq(&self) -> u64 {
        self.head.seq
    }

    /// The batch at the store failed: nobody knows what of it is stored. Gives back its sends; the
    /// head must be read anew.
    pub(super) fn fail_batch(&mut self, now_ms: u64) -> Vec<Pending> {
        let Phase::Appending(count) = self.phase else { return Vec::new() };
        self.phase = Phase::Unknown;
        let mut failed: Vec<_> = self.queue.drain(..count).collect();
        self.take_overdue_with(&mut failed, now_ms);
        failed
    }

    /// What stands behind those that are refused and has waited as long as they have is refused with them, or it
    /// would wait for the store as long again.
    fn take_overdue_with(&mut self, refused: &mut Vec<Pending>, now_ms: u64) {
        let overdue = self.queue.iter().take_while(|pending| pending.is_overdue(now_ms)).count();
        refused.extend(self.queue.drain(..overdue));
        self.take_forwarded_with(refused);
    }

    /// If the last of those that are refused came from another node, the rest of what came with it is
    /// refused too: that node counts on it that nothing is stored behind a send that was refused.
    fn take_forwarded_with(&mut self, refused: &mut Vec<Pending>) {
        let forwarded = refused.last().and_then(Pending::forwarded_in);
        if forwarded.is_some() {
            // They came together, so they stand together.
            let with_it =
                self.queue.iter().take_while(|pending| pending.forwarded_in() == forwarded);
            let with_it = with_it.count();
            refused.extend(self.queue.drain(..with_it));
        }
    }

    /// Nothing can be appended: gives back all sends.
    pub(super) fn fail_all(&mut self) -> Vec<Pending> {
        self.phase = Phase::Unknown;
        self.queue.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::ClientMessageId;

    use super::*;
    use crate::arrival::Arrival;
    use crate::bus::NodeId;
    use crate::conversation::pending::ReplyTo;
    use crate::entry::others_counted;
    use crate::placement::Origin;
    use crate::request::Message;
    use crate::transport::ConnId;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn log() -> LogId {
        LogId::direct(user(1), user(2))
    }

    /// The send of this number, of a batch of another node or, if that is 0, of a client.
    fn pending(number: u16, batch: u64) -> Pending {
        let conn = ConnId { shard: 0, slot: 1, generation: 1 };
        let from = Origin { node: NodeId(9), worker: 0 };
        let reply_to = match batch {
            0 => ReplyTo::Client { conn, request_id: 1, arrived: Arrival::UNKNOWN },
            batch => ReplyTo::Node { from, batch, index: number },
        };
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let message = Message {
            client_message_id: ClientMessageId(id),
            content_type: String::new(),
            content: Bytes::new(),
            notice: Notice::Loud,
        };
        Pending::new(reply_to, user(1), conn, log(), message)
    }

    /// What a cursor at the head counts is the same whether it is known or read.
    #[test]
    fn the_counts_of_the_head_are_those_of_its_entry() {
        let oneself = LogId::direct(user(1), user(1));
        for (log, sender) in [(log(), 1), (log(), 2), (oneself, 1)] {
            let sender_counted = if log == oneself { 9 } else { 4 };
            let meta = EntryMeta { time_ms: 1, sender, counted: 9, sender_counted };
            let head = Head { seq: 12, meta, ..Head::default() };
            let mut conversation = Conversation::new();
            assert_eq!(conversation.others_counted_at(log, 0, user(1)), None, "not read yet");
            assert_eq!(conversation.loaded(log, &head), Loaded::Ready);
            for member in [1, if log == oneself { 1 } else { 2 }].map(user) {
                let expected = Some(others_counted(meta, member));
                assert_eq!(conversation.others_counted_at(log, 12, member), expected);
                assert_eq!(conversation.others_counted_at(log, 11, member), None);
                assert_eq!(conversation.others_counted_at(log, 13, member), None);
            }
        }
    }

    #[test]
    fn what_does_not_count_leaves_the_counts_of_its_sender() {
        let before = DirectHead { counted: [4, 5], ..DirectHead::default() };
        let meta = |sender, notice| before.next(log(), user(sender), notice, 1);
        for (notice, counted) in [(Notice::Loud, 10), (Notice::Silent, 10), (Notice::Uncounted, 9)]
        {
            let (next, first) = meta(1, notice);
            assert_eq!((first.counted, first.sender_counted), (counted, counted - 5));
            assert_eq!((next.seq, next.counted), (1, [counted - 5, 5]));
            assert_eq!(meta(2, notice).1.sender_counted, counted - 4);
        }
    }

    #[test]
    fn a_time_of_the_future_is_not_passed_on() {
        let head = |time_ms| DirectHead { time_ms, ..DirectHead::default() };
        let (week_ms, now_ms) = (7 * 86_400_000, 1_700_000_000_000);
        let next = |before_ms, now_ms| head(before_ms).next(log(), user(1), Notice::Loud, now_ms).0;
        let next_ms = |before_ms| next(before_ms, now_ms).time_ms;
        assert_eq!(next_ms(now_ms - 5), now_ms);
        assert_eq!(next_ms(now_ms + 5), now_ms + 5, "by the clock of another node");
        assert_eq!(next_ms(now_ms + ENTRY_AHEAD_MS_MAX), now_ms + ENTRY_AHEAD_MS_MAX);
        assert_eq!(next_ms(now_ms + ENTRY_AHEAD_MS_MAX + 1), now_ms);
        assert_eq!(next_ms(now_ms + week_ms), now_ms);
        // Once it is stored, it is counted again by its own time.
        for before_ms in [now_ms - 5, now_ms + 5, now_ms + week_ms] {
            let stored = next(before_ms, now_ms);
            assert_eq!(next(before_ms, stored.time_ms), stored);
        }
    }

    fn loaded(sends: impl IntoIterator<Item = Pending>) -> Conversation {
        let mut conversation = Conversation::new();
        assert_eq!(conversation.loaded(log(), &Head::default()), Loaded::Joins);
        conversation.phase = Phase::Idle;
        sends.into_iter().for_each(|pending| conversation.enqueue(pending).unwrap());
        conversation
    }

    #[test]
    fn with_a_refused_send_goes_the_rest_of_its_forwarded_batch() {
        let count = CONVERSATION_BATCH_MAX as u16;
        let first = (0..10).map(|number| pending(number, 0));
        let forwarded = (10..count + 10).map(|number| pending(number, 1));
        let behind = (0..2).map(|number| pending(5000 + number, 2));
        let mut conversation = loaded(first.chain(forwarded).chain(behind));
        assert_eq!(conversation.number(log(), 1, &mut Vec::new()), CONVERSATION_BATCH_MAX);
        assert_eq!(conversation.fail_batch(0).len(), usize::from(count) + 10);
        assert_eq!(conversation.fail_all().len(), 2);
    }

    #[test]
    fn sends_of_clients_are_refused_alone() {
        let count = CONVERSATION_BATCH_MAX as u16;
        let mut conversation = loaded((0..count + 10).map(|number| pending(number, 0)));
        conversation.number(log(), 1, &mut Vec::new());
        assert_eq!(conversation.fail_batch(0).len(), CONVERSATION_BATCH_MAX);
        assert_eq!(conversation.fail_all().len(), 10);
    }

    #[test]
    fn what_was_refused_for_a_stale_head_stays_in_front() {
        let mut conversation = loaded((0..4).map(|number| pending(number, 0)));
        conversation.number(log(), 1, &mut Vec::new());
        conversation.enqueue(pending(4, 0)).unwrap();
        let head = Head { seq: 7, ..Head::default() };
        let conflict = Written::Conflict { head };
        let duplicate = Written::Duplicate { seq: 6, digest: digest(&pending(2, 0).message) };
        let mut settled = Vec::new();
        let results = [STORED, conflict.clone(), duplicate, conflict];
        assert!(conversation.settle(log(), &results, 0, &mut settled).is_empty());
        assert!(matches!(settled[0].1, Outcome::Stored { seq: 1, .. }));
        assert!(matches!(settled[1].1, Outcome::Retried { seq: 6, .. }));
        assert_eq!(conversation.head_seq(), 7);
        assert_eq!(conversation.phase, Phase::Idle);
        assert_eq!(numbers(&conversation.fail_all()), [1, 3, 4]);
    }

    const STORED: Written = Written::Stored { version: 0 };

    fn numbers(pending: &[Pending]) -> Vec<u8> {
        pending.iter().map(|pending| pending.message.client_message_id.0[1]).collect()
    }

    #[test]
    fn what_stands_before_a_stored_one_was_stored() {
        let mut conversation = loaded((0..3).map(|number| pending(number, 0)));
        conversation.number(log(), 1, &mut Vec::new());
        let mut settled = Vec::new();
        let results = [Written::Unknown, STORED, Written::Unknown];
        let unknown = conversation.settle(log(), &results, 0, &mut settled);
        assert!(matches!(settled[0].1, Outcome::Stored { seq: 1, .. }));
        assert!(matches!(settled[1].1, Outcome::Stored { seq: 2, .. }));
        assert_eq!((numbers(&unknown), conversation.head_seq()), (vec![2], 2));
        assert_eq!(conversation.phase, Phase::Unknown, "the head must be read anew");
    }

    #[test]
    fn behind_an_unknown_one_nothing_of_its_batch_goes_on() {
        let mut conversation = loaded((0..5).map(|number| pending(number, 1)));
        conversation.enqueue(pending(5, 2)).unwrap();
        let mut writes = Vec::new();
        conversation.number(log(), 1, &mut writes);
        let head = Head { seq: 3, ..Head::default() };
        let conflict = Written::Conflict { head };
        let results = [
            STORED,
            Written::Unknown,
            conflict.clone(),
            Written::Unknown,
            conflict.clone(),
            conflict,
        ];
        let unknown = conversation.settle(log(), &results, 0, &mut Vec::new());
        assert_eq!(numbers(&unknown), [1, 2, 3, 4, 5]);
        assert!(!conversation.has_waiting());
    }

    #[test]
    fn before_an_unknown_one_a_stale_one_waits_for_the_head() {
        let mut conversation = loaded((0..2).map(|number| pending(number, 0)));
        conversation.number(log(), 1, &mut Vec::new());
        conversation.enqueue(pending(2, 0)).unwrap();
        let results = [Written::Conflict { head: Head::default() }, Written::Unknown];
        let unknown = conversation.settle(log(), &results, 0, &mut Vec::new());
        assert_eq!((numbers(&unknown), conversation.phase), (vec![1], Phase::Unknown));
        assert_eq!(numbers(&conversation.fail_all()), [0, 2]);
    }
}
