//! Requests about conversations. The way of a send: to its home, and what follows when it is stored or
//! refused.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{LogId, UserId};
use smallvec::SmallVec;

use super::flow::{self, Answer, Answers};
use super::message::WorkerMessage;
use super::router::Router;
use super::turn::Turn;
use crate::account::join;
use crate::audience::push::{LogPush, SignalPush};
use crate::cluster::forward::{Forwarded, Route};
use crate::conversation::hearing::{self, Heard, Silent};
use crate::conversation::pending::{Pending, ReplyTo, Stored};
use crate::conversation::signal::{self, Signalling, Told};
use crate::conversation::{
    BatchFailed, ConversationPage, Loaded, MESSAGE_ID_CONFLICT, Outcome, Refused, ask_first_time,
    by_time, first_time, history,
};
use crate::membership::users_of;
use crate::refusal::{DATA_CORRUPT, Refusal};
use crate::request::{Client, ConversationRequest, Message, Signal};
use crate::store::{Head, Page, Register, Written};

impl Router {
    #[inline]
    pub(super) fn take_conversation_request(
        &mut self,
        client: Client,
        log: LogId,
        request: ConversationRequest,
        turn: &mut Turn<'_>,
    ) {
        match request {
            ConversationRequest::Send(message) => self.take_send(client, log, message, turn),
            ConversationRequest::Signal(signal) => self.take_signal(client, log, &signal, turn),
            ConversationRequest::History(history) => self.take_history(client, log, history, turn),
            ConversationRequest::Find(id) => self.take_find(client, log, id, turn),
        }
    }

    pub(super) fn conversation_page_read(
        &mut self,
        page: ConversationPage,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        match page {
            ConversationPage::Asked(reader, floor) => {
                self.room.was_read(reader.client.user);
                history::page_read(reader, floor, answer, turn);
            }
            ConversationPage::Search(searching) => {
                let user = searching.page.reader.client.user;
                if !by_time::searched(*searching, answer, turn) {
                    self.room.was_read(user);
                }
            }
            ConversationPage::Retried(log, reply_to, seq) => {
                self.retries -= 1;
                self.answer_send(log, reply_to, first_time(seq, answer), turn);
            }
        }
    }

    /// Takes a send of a client of this node: it is appended by its home.
    #[inline(never)] // Its frame is large, and a signal takes the same way up to here.
    fn take_send(&mut self, client: Client, log: LogId, message: Message, turn: &mut Turn<'_>) {
        let Client { conn, user, request_id, arrived, .. } = client;
        let reply_to = ReplyTo::Client { conn, request_id, arrived };
        let pending = Pending::new(reply_to, user, conn, log, message);
        match self.route_of(log) {
            Route::Here => self.append_here(pending, turn),
            Route::Behind | Route::Elsewhere => self.forward(pending, turn),
        }
    }

    fn route_of(&self, log: LogId) -> Route {
        let Some(cluster) = &self.cluster else { return Route::Here };
        match cluster.route_of(log) {
            // What waits here must not be overtaken.
            Route::Elsewhere if self.conversations.is_waiting(log) => Route::Here,
            route => route,
        }
    }

    fn forward(&mut self, pending: Pending, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        match cluster.forward(pending) {
            Forwarded::Taken => {}
            Forwarded::Refused(refused) => self.refuse_send(refused, turn),
            Forwarded::TooMany(pending) => {
                self.append_rest_here(pending.log, turn);
                self.append_here(pending, turn);
            }
        }
    }

    /// Everything of a conversation that waits for another node is appended here instead.
    pub(super) fn append_rest_here(&mut self, log: LogId, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        for pending in cluster.take_rest(log) {
            self.append_here(pending, turn);
        }
    }

    /// Appends a send on this node, wherever its home is.
    #[inline]
    pub(super) fn append_here(&mut self, pending: Pending, turn: &mut Turn<'_>) {
        if let Err(refused) = self.conversations.send(pending, turn) {
            self.refuse_send(refused, turn);
        }
    }

    pub(super) fn heads_loaded(
        &mut self,
        logs: Vec<LogId>,
        answers: Answers<Head>,
        turn: &mut Turn<'_>,
    ) {
        let (mut joining, mut silent) = (Vec::new(), Vec::new());
        for (log, answer) in flow::each(logs, answers) {
            match answer.map(|head| self.conversations.head_loaded(log, &head, turn)) {
                Ok(Loaded::Ready) => {}
                Ok(Loaded::Joins) => joining.push(log),
                Ok(Loaded::Silent) => silent.extend(self.conversations.silent(log, turn)),
                Err(refusal) => {
                    let refused = self.conversations.fail(log, refusal);
                    self.refuse_sends(refused, turn);
                }
            }
        }
        if !joining.is_empty() {
            join::ask(joining, turn);
        }
        if !silent.is_empty() {
            hearing::ask(silent, turn);
        }
    }

    /// It is known what members want to hear who have said nothing.
    pub(super) fn silent_heard(
        &mut self,
        silent: Vec<Silent>,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let all = hearing::heard(silent, answers);
        all.iter().for_each(|heard| self.member_heard(heard, turn));
        all.iter().for_each(|heard| self.conversations.all_heard(heard.log, turn));
    }

    /// What was said while a member did not want to hear it, that member can fetch now.
    pub(super) fn member_heard(&mut self, heard: &Heard, turn: &mut Turn<'_>) {
        self.listeners.forget(heard.log, heard.user);
        if let Some(head) = self.conversations.heard(heard) {
            self.push_behind(&[heard.user], heard.log, head, turn);
        }
    }

    /// A member has decided whether to hear of a conversation that had this head.
    pub(super) fn tell_heard(&mut self, heard: Heard, head: u64, turn: &mut Turn<'_>) {
        if !heard.ignored {
            self.push_behind(&[heard.user], heard.log, head, turn);
        }
        let worker = turn.worker_of_log(heard.log);
        if worker == turn.index {
            self.member_heard(&heard, turn);
        } else {
            turn.effects.tell_worker(worker, WorkerMessage::Heard(heard));
        }
    }

    pub(super) fn conversation_appended(
        &mut self,
        log: LogId,
        results: &[Written],
        turn: &mut Turn<'_>,
    ) {
        let mut settled = std::mem::take(&mut self.settled);
        let unknown = self.conversations.appended(log, results, &mut settled, turn);
        for (pending, outcome) in settled.drain(..) {
            self.send_settled(&pending, outcome, turn);
        }
        self.settled = settled;
        self.batch_unknown(log, unknown, turn);
    }

    #[inline]
    fn send_settled(&mut self, pending: &Pending, outcome: Outcome, turn: &mut Turn<'_>) {
        let Pending { log, reply_to, .. } = *pending;
        match outcome {
            Outcome::Stored { seq, time_ms, entry, unheard_by } => {
                self.answer_send(log, reply_to, Ok(Stored { seq, time_ms }), turn);
                let (arrived, frame) = (pending.arrived(), entry.frame);
                let push = LogPush { log, head: seq, frame, arrived };
                let users = listeners(log, unheard_by);
                self.push_to_users(&users, &push, Some(pending.knower()), turn);
            }
            // Whoever stored it may have come to an end before it told anybody.
            Outcome::Retried { seq, unheard_by } => {
                self.push_behind(&listeners(log, unheard_by), log, seq, turn);
                self.retries += 1;
                ask_first_time(log, reply_to, seq, turn);
            }
            Outcome::Conflict => self.answer_send(log, reply_to, Err(MESSAGE_ID_CONFLICT), turn),
            Outcome::Corrupt => self.answer_send(log, reply_to, Err(DATA_CORRUPT), turn),
        }
    }

    pub(super) fn conversation_failed(
        &mut self,
        log: LogId,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        let failed = self.conversations.batch_failed(log, refusal, turn);
        self.batch_unknown(log, failed, turn);
    }

    /// Nobody knows what became of a batch, or of the end of it.
    fn batch_unknown(&mut self, log: LogId, failed: Option<BatchFailed>, turn: &mut Turn<'_>) {
        if let Some(BatchFailed { refused, unsure_after }) = failed {
            self.unsure.after(log, unsure_after);
            self.refuse_sends(refused, turn);
        }
    }

    #[inline]
    pub(super) fn answer_send(
        &mut self,
        log: LogId,
        reply_to: ReplyTo,
        outcome: Result<Stored, Refusal>,
        turn: &mut Turn<'_>,
    ) {
        match reply_to {
            ReplyTo::Client { conn, request_id, arrived } => match outcome {
                Ok(Stored { seq, time_ms }) => {
                    let sent = wire::Sent { seq, time_ms };
                    turn.effects.acknowledge(arrived, conn, request_id, sent);
                }
                Err(refusal) => turn.effects.refuse(conn, request_id, refusal),
            },
            ReplyTo::Node { from, batch, index } => {
                let Some(cluster) = &mut self.cluster else { return };
                cluster.answer_forwarded(log, from, (batch, index), outcome, turn);
            }
        }
    }

    pub(super) fn refuse_sends(&mut self, refused: Vec<Refused>, turn: &mut Turn<'_>) {
        refused.into_iter().for_each(|refused| self.refuse_send(refused, turn));
    }

    fn refuse_send(&mut self, refused: Refused, turn: &mut Turn<'_>) {
        let Refused { log, reply_to, refusal } = refused;
        self.answer_send(log, reply_to, Err(refusal), turn);
    }

    /// The heads of logs were read, of which a batch had failed.
    pub(super) fn unsure_heads_read(
        &mut self,
        asked: Vec<(LogId, u64)>,
        answers: Answers<Head>,
        turn: &mut Turn<'_>,
    ) {
        for (log, head) in self.unsure.heads_read(asked, answers) {
            self.push_behind(&users_of(log), log, head, turn);
        }
    }

    fn take_signal(&mut self, client: Client, log: LogId, signal: &Signal, turn: &mut Turn<'_>) {
        let Client { conn, request_id, .. } = client;
        match signal::push_of(client, log, signal) {
            Ok(push) => {
                turn.effects.respond(conn, request_id, Body::Done(wire::Done {}));
                self.signal(log, push, turn);
            }
            Err(refusal) => turn.effects.refuse(conn, request_id, refusal),
        }
    }

    /// Tells somebody who wants to hear it. Nobody is told, nor learns it, if too many wait for that.
    fn signal(&mut self, log: LogId, push: SignalPush, turn: &mut Turn<'_>) {
        let (user, now_ms) = (push.user, turn.now.monotonic_ms);
        let hears = self.conversations.hears(log, user);
        match hears.or_else(|| self.listeners.hears(log, user, now_ms)) {
            Some(true) => self.signal_to_user(push, turn),
            Some(false) => {}
            None => {
                if self.listeners.begin_to_ask() {
                    signal::ask(log, push, turn);
                }
            }
        }
    }

    pub(super) fn signal_register_read(
        &mut self,
        signalling: Box<Signalling>,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        if let Some(told) = signal::register_read(signalling, answers, turn) {
            self.signal_told(told, turn);
        }
    }

    pub(super) fn signal_head_read(
        &mut self,
        signalling: Signalling,
        answers: Answers<Head>,
        turn: &mut Turn<'_>,
    ) {
        self.signal_told(signal::head_read(signalling, answers), turn);
    }

    fn signal_told(&mut self, told: Told, turn: &mut Turn<'_>) {
        if let Some(push) = self.listeners.learn(told, turn.now.monotonic_ms) {
            self.signal_to_user(push, turn);
        }
    }
}

/// The members who hear what is said.
#[inline]
fn listeners(log: LogId, unheard_by: Option<UserId>) -> SmallVec<[UserId; 2]> {
    let mut users = users_of(log);
    if unheard_by.is_some() {
        users.retain(|user| Some(*user) != unheard_by);
    }
    users
}
