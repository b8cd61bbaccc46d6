//! Which machine an input, a request or an answer is for, and what follows from what it says.
//!
//! It holds what concerns all machines: who is connected. What follows from the answers of one
//! machine for the others is in a file of that machine's name beside this one.

use dunlin_protocol::wire::DeviceKind;
use dunlin_protocol::{LogId, UserId};

use super::Shared;
use super::agenda::{Batch, Run};
use super::effect::Ticket;
use super::flow::{
    self, Answer, Answers, ChangedFlow, DeleteFlow, HeadsFlow, KeysFlow, LogsFlow, PagesFlow,
    PasswordResult, RegisterFlow, RegistersFlow, StoreFlow, StoreResult, WriteFlow,
};
use super::input::Input;
use super::message::WorkerMessage;
use super::reads::Reading;
use super::turn::Turn;
use super::unsure::Unsure;
use crate::account::changes::{self, Changes};
use crate::account::find::Finds;
use crate::account::read::Marks;
use crate::admin::AdminRequest;
use crate::arrival::Arrival;
use crate::audience::session::{OpenSession, Sessions};
use crate::clock::{ClockWatch, Jump};
use crate::cluster::Cluster;
use crate::conversation::pending::Pending;
use crate::conversation::signal::Listeners;
use crate::conversation::{Conversations, Outcome};
use crate::credential::{self, Credentials};
use crate::identity::{self, Identities};
use crate::limits::{HISTORY_ROOM_LEAST, STATE_SWEEP_MAX};
use crate::refusal::{INTERNAL, NEEDS_CONNECTION, NOT_LOGGED_IN, Refusal};
use crate::request::{Client, Command, Request};
use crate::retention::{self, Retention};
use crate::room::Room;
use crate::statistics::WorkerStatistics;
use crate::store::{Head, Page, Register, Registers, StoreError, Written};
use crate::sync::Syncs;
use crate::transport::{ConnId, Session};

/// See the module.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) sessions: Sessions,
    pub(super) conversations: Conversations,
    pub(super) marks: Marks,
    pub(super) finds: Finds,
    pub(super) changes: Changes,
    pub(super) credentials: Credentials,
    pub(super) identities: Identities,
    pub(super) syncs: Syncs,
    pub(super) cluster: Option<Cluster>,
    pub(super) unsure: Unsure,
    retention: Retention,
    clock_watch: ClockWatch,
    /// Where large answers wait before they are read.
    pub(super) room: Room<Reading>,
    /// Messages that were sent again and whose entries are read.
    pub(super) retries: usize,
    pub(super) listeners: Listeners,
    /// Scratch space, kept for its capacity.
    pub(super) settled: Vec<(Pending, Outcome)>,
}

impl Router {
    pub(super) fn new(index: u16, shared: &Shared) -> Router {
        let workers = shared.config.workers;
        let place = shared.cluster.clone();
        Router {
            sessions: Sessions::default(),
            conversations: Conversations::default(),
            marks: Marks::default(),
            finds: Finds::default(),
            changes: Changes::default(),
            credentials: Credentials::default(),
            identities: Identities::default(),
            syncs: Syncs::default(),
            cluster: place.map(|place| Cluster::new(place, index, workers)),
            unsure: Unsure::default(),
            retention: Retention::default(),
            clock_watch: ClockWatch::after(shared.config.known_ms),
            room: Room::new(shared.config.answer_bytes_of_worker()),
            retries: 0,
            listeners: Listeners::default(),
            settled: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        match input {
            Input::Command(command) => self.take_command(command, turn),
            Input::Disconnected { conn, session } => self.close_session(session.user, conn, turn),
            Input::Store { ticket, result } => self.store_answered(ticket, result, turn),
            Input::Password { ticket, result } => self.password_answered(ticket, result, turn),
            Input::Call { call, user, request } => self.take_call(call, user, request, turn),
            Input::Admin { call, request: AdminRequest::Retention(request) } => {
                retention::take_admin(call, request, turn);
            }
            Input::Admin { call, request } => self.credentials.take_admin(call, request, turn),
            Input::OpenSession { conn, session, kind } => {
                self.open_session(conn, session, kind, turn);
            }
            Input::Worker(message) => self.take_message(message, turn),
            Input::Members(members) => self.take_members(&members, turn),
            Input::Envelope(envelope) => self.take_envelope(envelope, turn),
            // What it is for is done at the end of each tick.
            Input::Room => {}
            Input::Tick => {
                self.room.sweep();
                self.room.tick();
                self.watch_clock(turn);
                self.give_up_overdue(turn);
                self.retention.tick(turn);
                self.sweep(turn);
                self.unsure.ask(turn);
                self.tick_cluster(turn);
            }
        }
    }

    pub(super) fn end_tick(&mut self, turn: &mut Turn<'_>) {
        self.send_forwards(turn);
        self.begin_reads(turn);
        self.conversations.load(turn);
        self.marks.end_tick(turn);
        self.append_batch(turn);
        self.flush_envelopes(turn);
    }

    pub(super) fn outstanding_bytes(&self) -> usize {
        let forwarded = self.cluster.as_ref().map_or(0, |cluster| cluster.forwarded().1);
        self.conversations.waiting_bytes() + self.retries * HISTORY_ROOM_LEAST + forwarded
    }

    pub(super) fn waiting(&self) -> usize {
        self.room.waiting() + self.syncs.behind()
    }

    pub(super) fn forwarded(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| cluster.forwarded().0)
    }

    pub(super) fn count(&self, statistics: &mut WorkerStatistics) {
        statistics.sessions = self.sessions.open_count() as u64;
        statistics.conversations = self.conversations.len() as u64;
        statistics.message_bytes = self.outstanding_bytes() as u64;
        statistics.answer_bytes = self.room.taken() as u64;
        statistics.answers_waiting = self.waiting() as u64;
    }
}

/// Requests and messages.
impl Router {
    fn take_command(&mut self, command: Command, turn: &mut Turn<'_>) {
        turn.effects.counters.count_request(&command.request);
        let Command { conn, session, request_id, may_deflate, arrived, request } = command;
        // Matched where it lies: in a pair with the session it would be moved once more, and moving is
        // most of what a signal costs.
        match request {
            Request::Credential(request) => {
                let operation = self.credentials.take_request(conn, request_id, request, turn);
                self.operate(operation, turn);
            }
            Request::Identity(request) => {
                let Some(session) = session else { return refuse_stranger(conn, request_id, turn) };
                let operation = self
                    .credentials
                    .take_identity_request(conn, session, request_id, request, turn);
                self.operate(operation, turn);
            }
            Request::Conversation(log, request) => {
                let Some(session) = session else { return refuse_stranger(conn, request_id, turn) };
                let user = session.user;
                let client = Client { conn, user, request_id, may_deflate, arrived };
                self.take_conversation_request(client, log, request, turn);
            }
            Request::Account(request) => {
                let Some(session) = session else { return refuse_stranger(conn, request_id, turn) };
                let user = session.user;
                let client = Client { conn, user, request_id, may_deflate, arrived };
                self.take_account_request(client, request, turn);
            }
            Request::Sync(from) => {
                let Some(session) = session else { return refuse_stranger(conn, request_id, turn) };
                self.take_sync(
                    Client { conn, user: session.user, request_id, may_deflate, arrived },
                    from,
                    turn,
                );
            }
        }
    }

    /// A program at the door, which has no session and gets a response to whatever it asks.
    fn take_call(&mut self, call: u64, user: UserId, request: Request, turn: &mut Turn<'_>) {
        turn.effects.counters.count_request(&request);
        let (conn, arrived) = (ConnId::of_call(call), Arrival::UNKNOWN);
        let client = Client { conn, user, request_id: 1, may_deflate: false, arrived };
        match request {
            Request::Conversation(log, request) => {
                self.take_conversation_request(client, log, request, turn);
            }
            Request::Account(request) => self.take_account_request(client, request, turn),
            Request::Sync(from) => self.take_sync(client, from, turn),
            Request::Credential(_) | Request::Identity(_) => {
                turn.effects.refuse(client.conn, client.request_id, NEEDS_CONNECTION);
            }
        }
    }

    pub(super) fn take_message(&mut self, message: WorkerMessage, turn: &mut Turn<'_>) {
        match message {
            WorkerMessage::Push(push) => self.sessions.push(&push, turn.effects),
            WorkerMessage::Signal(signal) => self.sessions.signal(signal, turn.effects),
            WorkerMessage::Heard(heard) => self.member_heard(&heard, turn),
            WorkerMessage::PasswordLogin(login) => {
                self.credentials.take_password_login(login, turn);
            }
            WorkerMessage::Operation(operation) => self.take_operation(*operation, turn),
        }
    }
}

/// Answers of the store and of the password threads.
impl Router {
    fn store_answered(&mut self, ticket: Ticket, mut result: StoreResult, turn: &mut Turn<'_>) {
        match turn.tickets.take(ticket, &mut result) {
            Some(StoreFlow::Written(flow)) => self.written(flow, flow::answer(result), turn),
            Some(StoreFlow::Pages(flow)) => self.pages_read(flow, flow::answers(result), turn),
            Some(StoreFlow::Keys(KeysFlow::Find(finding))) => {
                self.key_found(*finding, flow::answers(result), turn);
            }
            Some(StoreFlow::Register(flow)) => {
                self.register_read(flow, flow::answers(result), turn);
            }
            Some(StoreFlow::Registers(flow)) => {
                self.registers_read(flow, flow::answers(result), turn);
            }
            Some(StoreFlow::Heads(flow)) => self.heads_read(flow, flow::answers(result), turn),
            Some(StoreFlow::Changed(ChangedFlow::Sync(sync, since))) => {
                let progress = self.syncs.changed_known(sync, since, flow::answer(result), turn);
                self.sync_goes_on(progress, turn);
            }
            Some(StoreFlow::Logs(flow)) => self.logs_listed(flow, flow::answer(result), turn),
            Some(StoreFlow::Deleted(DeleteFlow::Identity(running))) => {
                let answer = flow::answer(result);
                let finished = identity::dropped(*running, answer, &self.sessions, turn);
                self.operation_finished(finished, turn);
            }
            Some(StoreFlow::Retention(flow)) => self.retention.answered(flow, result, turn),
            // Of the worker before a restart.
            None => {}
        }
    }

    /// What the store has not answered in time it will not be asked to answer any more.
    fn give_up_overdue(&mut self, turn: &mut Turn<'_>) {
        let reading = self.room.reading();
        for ticket in turn.tickets.tick() {
            turn.effects.counters.store_overdue += 1;
            let reason = "it does not answer in time".into();
            self.store_answered(ticket, Err(StoreError::Unavailable { reason }), turn);
        }
        if self.room.reading() < reading {
            self.refuse_late_reads(turn);
        }
    }

    fn password_answered(&mut self, ticket: Ticket, result: PasswordResult, turn: &mut Turn<'_>) {
        // Of the worker before a restart, if there is none.
        let Some(flow) = turn.tickets.take_password(ticket) else { return };
        let operation = self.credentials.password_answered(flow, result, turn);
        self.operate(operation, turn);
    }

    fn written(&mut self, flow: WriteFlow, answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
        match flow {
            WriteFlow::Batch(runs) => self.batch_answered(&runs, answer, turn),
            WriteFlow::Joins(logs) => self.joins_written(logs, answer, turn),
            WriteFlow::Cursors(known) => self.cursors_written(known, answer, turn),
            WriteFlow::Change(writing) => {
                let finished = changes::written(*writing, &answer, turn);
                self.change_finished(finished, turn);
            }
            WriteFlow::Credential(flow) => {
                let operation = credential::written(flow, answer, turn);
                self.operate(operation, turn);
            }
            WriteFlow::Identity(writing) => {
                let finished = identity::written(*writing, answer, &self.sessions, turn);
                self.operation_finished(finished, turn);
            }
        }
    }

    fn pages_read(&mut self, flow: PagesFlow, answers: Answers<Page>, turn: &mut Turn<'_>) {
        match flow {
            PagesFlow::Conversation(page) => {
                self.conversation_page_read(page, flow::single(answers), turn);
            }
            PagesFlow::MarkRead(asked) => self.marks.entries_read(asked, answers, turn),
            PagesFlow::Change(running) => {
                let finished = changes::page_read(*running, answers, turn);
                self.change_finished(finished, turn);
            }
            PagesFlow::Sync(sync) => {
                let progress = self.syncs.pages_read(sync, answers, turn);
                self.sync_goes_on(progress, turn);
            }
        }
    }

    fn register_read(
        &mut self,
        flow: RegisterFlow,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        match flow {
            RegisterFlow::Members(logs) => self.members_known(logs, answers, turn),
            RegisterFlow::Silent(silent) => self.silent_heard(silent, answers, turn),
            RegisterFlow::Signal(signalling) => {
                self.signal_register_read(signalling, answers, turn);
            }
            RegisterFlow::Floor(page) => self.floor_read(*page, answers, turn),
            RegisterFlow::FindNames(find, names) => {
                self.finds.names_read(find, &names, answers, turn);
            }
            RegisterFlow::FindAccounts(find, users) => {
                self.finds.accounts_read(find, &users, answers, turn);
            }
            RegisterFlow::MarkRead(unmoved) => self.marks.cursors_read(unmoved, answers, turn),
            RegisterFlow::Change(running) => {
                let finished = changes::registers_read(*running, answers, turn);
                self.change_finished(finished, turn);
            }
            RegisterFlow::Sync(sync) => {
                let progress = self.syncs.details_read(sync, answers, turn);
                self.sync_goes_on(progress, turn);
            }
            RegisterFlow::Credential(flow) => {
                let operation = self.credentials.register_read(flow, answers, turn);
                self.operate(operation, turn);
            }
        }
    }

    fn registers_read(
        &mut self,
        flow: RegistersFlow,
        answers: Answers<Registers>,
        turn: &mut Turn<'_>,
    ) {
        match flow {
            RegistersFlow::Sync(sync) => {
                let progress = self.syncs.registers_read(sync, flow::single(answers), turn);
                self.sync_goes_on(progress, turn);
            }
            RegistersFlow::Identity(running) => {
                let finished = identity::identity_read(*running, answers, &self.sessions, turn);
                self.operation_finished(finished, turn);
            }
            RegistersFlow::List(call) => self.credentials.identities_read(call, answers, turn),
            RegistersFlow::Invitations(call) => {
                credential::invitation::listed(call, answers, turn);
            }
        }
    }

    fn heads_read(&mut self, flow: HeadsFlow, answers: Answers<Head>, turn: &mut Turn<'_>) {
        match flow {
            HeadsFlow::Load(logs) => self.heads_loaded(logs, answers, turn),
            HeadsFlow::Signal(signalling) => self.signal_head_read(*signalling, answers, turn),
            HeadsFlow::Unsure(asked) => self.unsure_heads_read(asked, answers, turn),
            HeadsFlow::Change(running) => {
                let finished = changes::head_read(*running, answers, turn);
                self.change_finished(finished, turn);
            }
            HeadsFlow::Sync(sync) => {
                let progress = self.syncs.heads_read(sync, answers, turn);
                self.sync_goes_on(progress, turn);
            }
        }
    }

    fn logs_listed(&mut self, flow: LogsFlow, answer: Answer<Vec<LogId>>, turn: &mut Turn<'_>) {
        let LogsFlow::List { call, limit } = flow;
        self.credentials.logs_listed(call, limit, answer, turn);
    }
}

/// The appends of a tick.
impl Router {
    fn append_batch(&mut self, turn: &mut Turn<'_>) {
        let mut batch = Batch::default();
        for log in turn.agenda.take_ready() {
            let count = self.conversations.number(log, turn.now.unix_ms, &mut batch.writes);
            if count > 0 {
                batch.runs.push(Run { log, count });
            }
        }
        if batch.runs.is_empty() {
            return;
        }
        let Batch { writes, runs } = batch;
        turn.effects.counters.count_batch(writes.len());
        turn.write(writes, WriteFlow::Batch(runs));
    }

    fn batch_answered(&mut self, runs: &[Run], answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
        let results = match answer {
            Ok(results) => results,
            Err(refusal) => return self.batch_failed(runs, refusal, turn),
        };
        let mut rest = &results[..];
        for run in runs {
            let (of_run, behind) = rest.split_at(run.count.min(rest.len()));
            rest = behind;
            if of_run.len() == run.count {
                self.conversation_appended(run.log, of_run, turn);
            } else {
                self.conversation_failed(run.log, INTERNAL, turn);
            }
        }
    }

    fn batch_failed(&mut self, runs: &[Run], refusal: Refusal, turn: &mut Turn<'_>) {
        for run in runs {
            self.conversation_failed(run.log, refusal, turn);
        }
    }
}

/// Who is connected.
impl Router {
    fn open_session(
        &mut self,
        conn: ConnId,
        session: Session,
        kind: DeviceKind,
        turn: &mut Turn<'_>,
    ) {
        self.sessions.announce(session.user, turn);
        // Each session counts as a device of its own.
        let device = session.session.get() as u32;
        let open = OpenSession::new(session.session, conn, kind, device, turn.now.unix_ms);
        self.sessions.open(session.user, open);
    }

    /// Forgets the session of a connection.
    pub(super) fn close_session(&mut self, user: UserId, conn: ConnId, turn: &mut Turn<'_>) {
        self.forget_reads(user, conn);
        if self.sessions.close(user, conn) {
            self.announce_absence(user, turn);
        }
    }
}

/// The time, and what is in memory for how long.
impl Router {
    /// Tells the operator that somebody has set the clock: one worker of a node does.
    fn watch_clock(&mut self, turn: &mut Turn<'_>) {
        if turn.index != 0 {
            return;
        }
        let Some(jump) = self.clock_watch.look(turn.now) else { return };
        turn.effects.counters.clock_jumps += 1;
        match jump {
            Jump::Ahead { ms } => {
                self.retention.clock_jumped(turn);
                tracing::warn!(
                    by_ms = ms,
                    "the clock of this machine was set ahead, or the machine was asleep: if the clock is \
                     wrong now, messages get times of the future. Messages and sessions expire by it \
                     in an hour at the earliest"
                );
            }
            Jump::Back { ms } => tracing::warn!(
                by_ms = ms,
                "the clock of this machine was set back: if it is right now, what was stored while it was \
                 ahead has times of the future and expires late, and what is stored from now on has the right time"
            ),
        }
    }

    /// Looks after what was put into memory a while ago, and forgets what is idle.
    fn sweep(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..STATE_SWEEP_MAX {
            let Some(log) = turn.agenda.take_due(turn.now.monotonic_ms) else { break };
            if !self.conversations.forget_if_idle(log, turn.now.monotonic_ms) {
                turn.agenda.sweep_later(log, turn.now.monotonic_ms);
            }
        }
        self.conversations.give_room_back();
        turn.agenda.give_room_back();
    }
}

/// What is asked needs a session.
fn refuse_stranger(conn: ConnId, request_id: u64, turn: &mut Turn<'_>) {
    turn.effects.refuse(conn, request_id, NOT_LOGGED_IN);
}
