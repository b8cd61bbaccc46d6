//! Sending a message: authorise, number, append, and only then acknowledge and push.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};

use crate::audience::push::LogPush;
use crate::entry::EncodedEntry;
use crate::limits::{OVERLOADED_RETRY_MS, RESPONSE_BYTES_MAX, STATE_IDLE_MS};
use crate::membership::{other_member, users_of};
use crate::refusal::{INTERNAL, NO_SUCH_CONVERSATION, Refusal, store_refusal};
use crate::request::Message;
use crate::store::{Append, Appended, Range, StoreReply, StoreRequest};
use crate::worker::batch::Owner;
use crate::worker::conversation::{Conversation, Outcome, Pending, Phase};
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use crate::worker::message::{Join, Joined, WorkerMessage};
use crate::worker::reply::ReplyTo;
use crate::worker::{Client, Worker};

const MESSAGE_ID_CONFLICT: Refusal =
    Refusal::new(ErrorCode::MessageIdConflict, "this client_message_id was used for other content");

pub(in crate::worker) const QUEUE_FULL: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many messages wait in this conversation",
    OVERLOADED_RETRY_MS,
);

impl Worker {
    pub(in crate::worker) fn take_send(
        &mut self,
        client: Client,
        log: LogId,
        message: Message,
        effects: &mut Effects,
    ) {
        let Client { conn, user, request_id } = client;
        let pending = Pending::new(ReplyTo::Client { conn, request_id }, user, conn, log, message);
        self.route_send(pending, effects);
    }

    /// Takes a send of a user who was authenticated, here or on another node.
    pub(in crate::worker) fn append_message(&mut self, pending: Pending, effects: &mut Effects) {
        let log = pending.log;
        if other_member(log, pending.sender).is_none() {
            self.refuse_send(&pending, NO_SUCH_CONVERSATION, effects);
            return;
        }
        let conversation = self.conversations.entry(log).or_insert_with(|| {
            self.sweep.push_back((self.now_ms + STATE_IDLE_MS, Owner::Conversation(log)));
            Conversation::new()
        });
        conversation.used_ms = self.now_ms;
        let was_waiting = conversation.has_waiting();
        if let Err(pending) = conversation.enqueue(pending) {
            self.refuse_send(&pending, QUEUE_FULL, effects);
            return;
        }
        match conversation.phase {
            Phase::Unknown => {
                conversation.phase = Phase::Loading;
                self.unknown_heads.push(log);
            }
            Phase::Idle if !was_waiting => self.ready.push(Owner::Conversation(log)),
            Phase::Idle | Phase::Loading | Phase::Joining { .. } | Phase::Appending(_) => {}
        }
    }

    /// The heads of conversations were read: their messages can be numbered, or their members join.
    pub(in crate::worker) fn heads_loaded(
        &mut self,
        logs: &[LogId],
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let heads = match result {
            Ok(StoreReply::Heads(heads)) if heads.len() == logs.len() => heads,
            Ok(_) => return self.heads_failed(logs, INTERNAL, effects),
            Err(error) => return self.heads_failed(logs, store_refusal(&error), effects),
        };
        for (&log, head) in logs.iter().zip(&heads) {
            let Some(conversation) = self.conversations.get_mut(&log) else { continue };
            if conversation.loaded(log, head) {
                self.join_members(log, effects);
            } else {
                self.ready.push(Owner::Conversation(log));
            }
        }
    }

    fn heads_failed(&mut self, logs: &[LogId], refusal: Refusal, effects: &mut Effects) {
        logs.iter().for_each(|&log| self.fail_conversation(log, refusal, effects));
    }

    fn join_members(&mut self, log: LogId, effects: &mut Effects) {
        let Some((lower, higher)) = log.direct_members() else { return };
        let Some(conversation) = self.conversations.get_mut(&log) else { return };
        let missing = if lower == higher { 1 } else { 2 };
        conversation.phase = Phase::Joining { missing, refused: None };
        let members = [lower, higher];
        for &user in &members[..usize::from(missing)] {
            let join = WorkerMessage::Join(Join { user, conversation: log });
            self.tell_worker(self.worker_of_user(user), join, effects);
        }
    }

    /// A member has joined, or can't.
    pub(in crate::worker) fn take_joined(&mut self, joined: Joined, effects: &mut Effects) {
        let log = joined.conversation;
        let Some(conversation) = self.conversations.get_mut(&log) else { return };
        let Phase::Joining { missing, refused } = &mut conversation.phase else { return };
        *missing -= 1;
        if let Err(refusal) = joined.result {
            *refused = Some(refusal);
        }
        match (*missing, *refused) {
            (0, None) => {
                conversation.phase = Phase::Idle;
                self.ready.push(Owner::Conversation(log));
            }
            (0, Some(refusal)) => self.fail_conversation(log, refusal, effects),
            _ => {}
        }
    }

    pub(in crate::worker) fn number_conversation(
        &mut self,
        log: LogId,
        appends: &mut Vec<Append>,
    ) -> usize {
        let now_ms = self.now_ms;
        match self.conversations.get_mut(&log) {
            Some(conversation) => conversation.number(log, now_ms, appends),
            None => 0,
        }
    }

    /// A batch is durable: answers and pushes.
    pub(in crate::worker) fn conversation_appended(
        &mut self,
        log: LogId,
        results: &[Appended],
        effects: &mut Effects,
    ) {
        let Some(conversation) = self.conversations.get_mut(&log) else { return };
        let mut settled = std::mem::take(&mut self.settled);
        conversation.settle(log, results, &mut settled);
        if conversation.has_waiting() {
            self.ready.push(Owner::Conversation(log));
        }
        for (pending, outcome) in settled.drain(..) {
            self.send_settled(pending, outcome, effects);
        }
        self.settled = settled;
    }

    fn send_settled(&mut self, pending: Pending, outcome: Outcome, effects: &mut Effects) {
        match outcome {
            Outcome::Stored { seq, time_ms, entry } => {
                self.answer_send(&pending, seq, time_ms, effects);
                self.push_message(&pending, seq, &entry, effects);
            }
            // The answer is the same as the first time: the time is in the entry. Whoever stored
            // it may have come to an end before it told anybody.
            Outcome::Retried { seq } => {
                let log = pending.log;
                self.push_behind(&users_of(log), log, seq, effects);
                let (entries_max, bytes_max) = (1, RESPONSE_BYTES_MAX);
                let range =
                    Range { log, from: seq, to: seq, entries_max, bytes_max, backwards: false };
                let flow = Flow::Retried(Box::new(pending));
                self.ask_store(StoreRequest::Range(range), flow, effects);
            }
            Outcome::Conflict => self.refuse_send(&pending, MESSAGE_ID_CONFLICT, effects),
        }
    }

    /// The entry of a message that was sent before was read.
    pub(in crate::worker) fn retried_entry_read(
        &mut self,
        pending: &Pending,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        match result {
            Ok(StoreReply::Page(page)) if !page.entries.is_empty() => {
                let first = &page.entries[0];
                self.answer_send(pending, first.seq, first.meta.time_ms, effects);
            }
            Ok(_) => self.refuse_send(pending, INTERNAL, effects),
            Err(error) => self.refuse_send(pending, store_refusal(&error), effects),
        }
    }

    fn push_message(
        &mut self,
        pending: &Pending,
        seq: u64,
        entry: &EncodedEntry,
        effects: &mut Effects,
    ) {
        let log = pending.log;
        let push = LogPush { log, head: seq, frame: entry.frame.clone() };
        let knower = pending.reply_to.knower(pending.conn);
        self.push_to_users(&users_of(log), &push, Some(knower), effects);
    }

    pub(in crate::worker) fn answer_send(
        &mut self,
        pending: &Pending,
        seq: u64,
        time_ms: u64,
        effects: &mut Effects,
    ) {
        match pending.reply_to {
            ReplyTo::Client { conn, request_id } => {
                effects.respond(conn, request_id, Body::Sent(wire::Sent { seq, time_ms }));
            }
            ReplyTo::Node { from, batch, index } => {
                let Some(cluster) = &mut self.cluster else { return };
                let log = pending.log;
                cluster.answer_forwarded(log, from, (batch, index), Ok((seq, time_ms)), effects);
            }
        }
    }

    pub(in crate::worker) fn refuse_send(
        &mut self,
        pending: &Pending,
        refusal: Refusal,
        effects: &mut Effects,
    ) {
        match pending.reply_to {
            ReplyTo::Client { conn, request_id } => effects.refuse(conn, request_id, refusal),
            ReplyTo::Node { from, batch, index } => {
                let Some(cluster) = &mut self.cluster else { return };
                let log = pending.log;
                cluster.answer_forwarded(log, from, (batch, index), Err(refusal), effects);
            }
        }
    }

    /// The store did not take the batch of a conversation. What waits behind it goes on, once the
    /// head was read again.
    pub(in crate::worker) fn conversation_failed(
        &mut self,
        log: LogId,
        refusal: Refusal,
        effects: &mut Effects,
    ) {
        let Some(conversation) = self.conversations.get_mut(&log) else { return };
        let (failed, head) = (conversation.fail_batch(), conversation.head_seq());
        if conversation.has_waiting() {
            conversation.phase = Phase::Loading;
            self.unknown_heads.push(log);
        }
        self.is_unsure_after(log, head);
        failed.iter().for_each(|pending| self.refuse_send(pending, refusal, effects));
    }

    /// Nothing can be appended to a conversation now, or ever.
    fn fail_conversation(&mut self, log: LogId, refusal: Refusal, effects: &mut Effects) {
        let Some(conversation) = self.conversations.get_mut(&log) else { return };
        let failed = conversation.fail_all();
        failed.iter().for_each(|pending| self.refuse_send(pending, refusal, effects));
    }
}
