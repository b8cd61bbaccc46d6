//! A worker: the state machine that owns the conversations and users that hash to it.
//!
//! It does no I/O and reads no clock: [`Worker::handle`] takes one [`Input`] and adds to the
//! [`Effects`]; [`Worker::end_tick`] adds what was collected for batches. A driver (a thread, or
//! a simulation) carries the effects out.
//!
//! - [`input`], [`effect`], [`message`]: what goes in, what comes out, what workers tell each other
//! - `flow`: how a piece of work waits for the store; `batch`: what a tick appends
//! - `session`: who is connected; `push`: what they are told; `sync`: catching up
//! - `conversation`: messages, signals, history; `entry`: how an entry is written
//! - `account`: what a user has, how far it is read, and how it changes
//! - `login`: who somebody is, and what is done to the credentials and sessions of a user
//! - [`cluster`]: other nodes; `reply`: answers to them

mod account;
mod batch;
pub mod cluster;
mod conversation;
pub mod effect;
mod flow;
pub mod input;
mod login;
pub mod message;
mod push;
mod reply;
mod sync;

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use account::find::Find;
use account::log::AccountLog;
use batch::{Batch, Owner, Run};
use cluster::{Cluster, ClusterNode};
use conversation::unsure::Unsure;
use conversation::{Conversation, Outcome, Pending};
use effect::{Effects, Ticket};
use flow::{Flow, PasswordResult, StoreResult};
use input::Input;
use login::listing::Listings;
use login::operation::Operations;
use message::WorkerMessage;
use sync::{Sync, SyncRequest};

use crate::audience::session::{OpenSession, Sessions};
use crate::auth::issuer::Issuers;
use crate::auth::password::PasswordJob;
use crate::auth::throttle::Throttle;
use crate::auth::token::TokenKeys;
use crate::config::EngineConfig;
use crate::dense_map::DenseMap;
use crate::limits::{STATE_IDLE_MS, STATE_SWEEP_MAX, TABLE_ROOM_MIN};
use crate::placement;
use crate::random::Random;
use crate::refusal::{INTERNAL, NEEDS_CONNECTION, NOT_LOGGED_IN, Refusal, store_refusal};
use crate::request::{AccountRequest, Command, ConversationRequest, Request};
use crate::statistics::WorkerStatistics;
use crate::store::{Appended, StoreReply, StoreRequest};
use crate::transport::{ConnId, Session};

/// What all workers of a node have in common.
pub struct Shared {
    /// Settings.
    pub config: EngineConfig,
    /// The epoch of the store.
    pub epoch: u64,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// What signs and verifies the tokens of this server.
    pub tokens: TokenKeys,
    /// Whose tokens are believed as well.
    pub issuers: Issuers,
    /// Who this node is among others; `None` if there are no others.
    pub cluster: Option<ClusterNode>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    index: u16,
    shared: Arc<Shared>,
    now_ms: u64,
    cluster: Option<Cluster>,
    sessions: Sessions,
    operations: Operations,
    throttle: Throttle,
    conversations: HashMap<LogId, Conversation, RandomState>,
    accounts: DenseMap<UserId, AccountLog>,
    /// Each conversation and account in memory once, with the time at which to look whether it is
    /// idle; the earliest first.
    sweep: VecDeque<(u64, Owner)>,
    /// What has something to number at the end of the tick, each once.
    ready: Vec<Owner>,
    /// Conversations whose heads are to be read.
    unknown_heads: Vec<LogId>,
    /// Scratch space, kept for its capacity.
    settled: Vec<(Pending, Outcome)>,
    /// Pieces of work that wait for several answers at a time, by their number.
    syncs: HashMap<u64, Box<Sync>, RandomState>,
    finds: HashMap<u64, Find, RandomState>,
    listings: Listings,
    last_work: u64,
    /// Syncs that were begun and not answered yet, and those that were not begun.
    syncs_running: usize,
    syncs_waiting: VecDeque<Box<SyncRequest>>,
    unsure: Unsure,
    flows: HashMap<Ticket, Flow, RandomState>,
    next_ticket: u64,
    /// Bytes of the appends that are at the store.
    append_bytes: usize,
}

impl Worker {
    /// The worker of this index; the number of workers is in the configuration.
    pub fn new(index: u16, shared: Arc<Shared>) -> Worker {
        let workers = shared.config.workers;
        let place = shared.cluster.clone();
        Worker {
            index,
            shared,
            now_ms: 0,
            cluster: place.map(|place| Cluster::new(place, index, workers)),
            sessions: Sessions::default(),
            operations: Operations::default(),
            throttle: Throttle::default(),
            conversations: HashMap::default(),
            accounts: DenseMap::default(),
            sweep: VecDeque::new(),
            ready: Vec::new(),
            unknown_heads: Vec::new(),
            settled: Vec::new(),
            syncs: HashMap::default(),
            finds: HashMap::default(),
            listings: Listings::default(),
            last_work: 0,
            syncs_running: 0,
            syncs_waiting: VecDeque::new(),
            unsure: Unsure::default(),
            flows: HashMap::default(),
            next_ticket: 0,
            append_bytes: 0,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now_ms: u64, input: Input, effects: &mut Effects) {
        self.now_ms = now_ms;
        match input {
            Input::Command(command) => self.take_command(command, effects),
            Input::Disconnected { conn, session } => {
                self.close_session(session.user, conn, effects);
            }
            Input::Store { ticket, result } => self.store_answered(ticket, result, effects),
            Input::Password { ticket, result } => self.password_answered(ticket, result, effects),
            Input::Call { call, user, request } => self.take_call(call, user, request, effects),
            Input::Admin { call, request } => self.take_admin(call, request, effects),
            Input::OpenSession { conn, session, kind } => {
                self.announce(session.user, effects);
                // Each session counts as a device of its own.
                let device = session.session.get() as u32;
                let open = OpenSession::new(session.session, conn, kind, device, now_ms);
                self.sessions.open(session.user, open);
            }
            Input::Worker(message) => self.take_message(message, effects),
            Input::Members(members) => self.take_members(&members, effects),
            Input::Envelope(envelope) => self.take_envelope(envelope, effects),
            Input::Tick => {
                self.sweep();
                self.tick_unsure(effects);
                self.tick_cluster(effects);
            }
        }
    }

    /// Ends a tick: what was collected for the store is submitted as one batch. To be called
    /// before the effects are carried out.
    pub fn end_tick(&mut self, effects: &mut Effects) {
        self.send_forwards(effects);
        if !self.unknown_heads.is_empty() {
            let logs = std::mem::take(&mut self.unknown_heads);
            self.ask_store(StoreRequest::Heads(logs.clone()), Flow::LoadHeads(logs), effects);
        }
        let mut batch = Batch::default();
        for owner in std::mem::take(&mut self.ready) {
            let count = match owner {
                Owner::Conversation(log) => self.number_conversation(log, &mut batch.appends),
                Owner::Account(user) => self.number_account(user, &mut batch.appends, effects),
            };
            if count > 0 {
                batch.runs.push(Run { owner, count });
            }
        }
        if !batch.runs.is_empty() {
            let bytes: usize = batch.appends.iter().map(|append| append.body.len()).sum();
            self.append_bytes += bytes;
            effects.counters.count_batch(batch.appends.len());
            let flow = Flow::Batch { runs: batch.runs, bytes };
            self.ask_store(StoreRequest::Append(batch.appends), flow, effects);
        }
        self.flush_envelopes(effects);
    }

    /// Requests to the store that are not answered yet.
    pub fn outstanding(&self) -> usize {
        self.flows.len()
    }

    /// Bytes of appends that are not answered yet, by the store or by another node.
    pub fn outstanding_bytes(&self) -> usize {
        self.append_bytes + self.cluster.as_ref().map_or(0, |cluster| cluster.forwarded().1)
    }

    /// Sends that wait for another node.
    pub fn forwarded(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| cluster.forwarded().0)
    }

    /// Adds what the worker holds now to the statistics.
    pub fn count(&self, statistics: &mut WorkerStatistics) {
        statistics.sessions = self.sessions.open_count() as u64;
        statistics.conversations = self.conversations.len() as u64;
        statistics.accounts = self.accounts.len() as u64;
        statistics.store_outstanding = self.flows.len() as u64;
    }

    fn take_command(&mut self, command: Command, effects: &mut Effects) {
        effects.counters.commands += 1;
        let Command { conn, session, request_id, request } = command;
        match (request, session) {
            (Request::Credential(request), _) => {
                self.take_credential_request(conn, request_id, request, effects);
            }
            (Request::Identity(request), Some(session)) => {
                self.take_identity_request(conn, session, request_id, request, effects);
            }
            (Request::Conversation(log, request), Some(Session { user, .. })) => {
                let client = Client { conn, user, request_id };
                self.take_conversation_request(client, log, request, effects);
            }
            (Request::Account(request), Some(Session { user, .. })) => {
                self.take_account_request(Client { conn, user, request_id }, request, effects);
            }
            (Request::Sync(sync), Some(Session { user, .. })) => {
                self.take_sync(Client { conn, user, request_id }, sync, effects);
            }
            (
                Request::Identity(_)
                | Request::Conversation(..)
                | Request::Account(_)
                | Request::Sync(_),
                None,
            ) => effects.refuse(conn, request_id, NOT_LOGGED_IN),
        }
    }

    /// A program at the door, which has no session and gets a response to whatever it asks.
    fn take_call(&mut self, call: u64, user: UserId, request: Request, effects: &mut Effects) {
        effects.counters.commands += 1;
        let client = Client { conn: ConnId::of_call(call), user, request_id: 1 };
        match request {
            Request::Conversation(log, request) => {
                self.take_conversation_request(client, log, request, effects);
            }
            Request::Account(request) => self.take_account_request(client, request, effects),
            Request::Sync(sync) => self.take_sync(client, sync, effects),
            Request::Credential(_) | Request::Identity(_) => {
                effects.refuse(client.conn, client.request_id, NEEDS_CONNECTION);
            }
        }
    }

    fn take_conversation_request(
        &mut self,
        client: Client,
        log: LogId,
        request: ConversationRequest,
        effects: &mut Effects,
    ) {
        match request {
            ConversationRequest::Send(message) => self.take_send(client, log, message, effects),
            ConversationRequest::Signal(signal) => self.take_signal(client, log, &signal, effects),
            ConversationRequest::History(history) => {
                self.take_history(client, log, history, effects);
            }
        }
    }

    fn take_account_request(
        &mut self,
        client: Client,
        request: AccountRequest,
        effects: &mut Effects,
    ) {
        match request {
            AccountRequest::MarkRead { conversation, seq } => {
                self.take_mark_read(client, conversation, seq, effects);
            }
            AccountRequest::FindUsers { usernames, user_ids } => {
                self.take_find_users(client, &usernames, &user_ids, effects);
            }
        }
    }

    fn take_message(&mut self, message: WorkerMessage, effects: &mut Effects) {
        match message {
            WorkerMessage::Push(push) => self.sessions.push(&push, effects),
            WorkerMessage::Signal(signal) => self.sessions.signal(signal, effects),
            WorkerMessage::Join(join) => self.take_join(join, effects),
            WorkerMessage::Joined(joined) => self.take_joined(joined, effects),
            WorkerMessage::Login(message) => self.take_login_message(message, effects),
        }
    }

    /// Asks the store; the answer continues the flow.
    fn ask_store(&mut self, request: StoreRequest, flow: Flow, effects: &mut Effects) {
        let ticket = self.keep(flow);
        effects.store.push((ticket, request));
    }

    /// Asks the password threads; the answer continues the flow.
    fn ask_passwords(&mut self, job: PasswordJob, flow: Flow, effects: &mut Effects) {
        let ticket = self.keep(flow);
        effects.passwords.push((ticket, job));
    }

    fn next_work(&mut self) -> u64 {
        self.last_work += 1;
        self.last_work
    }

    fn keep(&mut self, flow: Flow) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.flows.insert(ticket, flow);
        ticket
    }

    fn password_answered(&mut self, ticket: Ticket, result: PasswordResult, effects: &mut Effects) {
        match self.flows.remove(&ticket) {
            Some(Flow::Login(flow)) => self.login_password_answered(flow, result, effects),
            Some(Flow::Admin(flow)) => self.admin_password_answered(flow, result, effects),
            // A ticket of the worker before a restart, or of another kind of question.
            Some(_) | None => {}
        }
    }

    fn store_answered(&mut self, ticket: Ticket, result: StoreResult, effects: &mut Effects) {
        let Some(flow) = self.flows.remove(&ticket) else { return };
        match flow {
            Flow::Batch { runs, bytes } => {
                self.append_bytes -= bytes;
                self.batch_answered(&runs, result, effects);
            }
            Flow::LoadHeads(logs) => self.heads_loaded(&logs, result, effects),
            Flow::LoadAccount(user) => self.account_page_read(user, &result, effects),
            Flow::History(client) => self.history_read(client, result, effects),
            Flow::MarkRead(mark) => self.read_entry_known(mark, result, effects),
            Flow::Find(find, read) => self.find_read(find, read, result, effects),
            Flow::Sync(sync, read) => self.sync_read(sync, read, result, effects),
            Flow::Login(flow) => self.login_store_answered(flow, result, effects),
            Flow::Admin(flow) => self.admin_store_answered(flow, result, effects),
            Flow::Unsure(asked) => self.unsure_heads_read(&asked, result, effects),
            Flow::Retried(pending) => self.retried_entry_read(&pending, result, effects),
        }
    }

    fn batch_answered(&mut self, runs: &[Run], result: StoreResult, effects: &mut Effects) {
        match result {
            Ok(StoreReply::Appended(results)) => {
                let mut rest = &results[..];
                for run in runs {
                    let (of_run, behind) = rest.split_at(run.count.min(rest.len()));
                    rest = behind;
                    self.run_appended(run.owner, of_run, effects);
                }
            }
            Ok(_) => self.batch_failed(runs, INTERNAL, effects),
            Err(error) => self.batch_failed(runs, store_refusal(&error), effects),
        }
    }

    fn run_appended(&mut self, owner: Owner, results: &[Appended], effects: &mut Effects) {
        match owner {
            Owner::Conversation(log) => self.conversation_appended(log, results, effects),
            Owner::Account(user) => self.account_appended(user, results, effects),
        }
    }

    fn batch_failed(&mut self, runs: &[Run], refusal: Refusal, effects: &mut Effects) {
        for run in runs {
            match run.owner {
                Owner::Conversation(log) => self.conversation_failed(log, refusal, effects),
                Owner::Account(user) => self.account_failed(user, refusal, effects),
            }
        }
    }

    /// Forgets the session of a connection.
    fn close_session(&mut self, user: UserId, conn: ConnId, effects: &mut Effects) {
        if self.sessions.close(user, conn) {
            self.announce_absence(user, effects);
        }
    }

    /// Whether other nodes may append to the logs that this worker owns. As long as it sees no
    /// others, it can't know that there are none: they may only not hear each other.
    fn others_append(&self) -> bool {
        self.cluster.is_some()
    }

    fn worker_of_user(&self, user: UserId) -> u16 {
        placement::worker_of_user(user, self.shared.config.workers)
    }

    fn worker_of_log(&self, log: LogId) -> u16 {
        placement::worker_of_log(log, self.shared.config.workers)
    }

    /// Tells a worker of this node, which may be this one.
    fn tell_worker(&mut self, worker: u16, message: WorkerMessage, effects: &mut Effects) {
        if worker == self.index {
            self.take_message(message, effects);
        } else {
            effects.tell_worker(worker, message);
        }
    }

    /// Looks after what was put into memory a while ago, and forgets what is idle.
    fn sweep(&mut self) {
        self.forget_idle();
        give_room_back(&mut self.conversations);
        // As long as what it lists, and forgotten with it.
        if self.sweep.capacity() > TABLE_ROOM_MIN && self.sweep.len() < self.sweep.capacity() / 8 {
            self.sweep.shrink_to((self.sweep.len() * 2).max(TABLE_ROOM_MIN));
        }
    }

    fn forget_idle(&mut self) {
        for _ in 0..STATE_SWEEP_MAX {
            let Some(&(due_ms, owner)) = self.sweep.front() else { return };
            if due_ms > self.now_ms {
                return;
            }
            self.sweep.pop_front();
            if !self.forget_if_idle(owner) {
                self.sweep.push_back((self.now_ms + STATE_IDLE_MS, owner));
            }
        }
    }

    fn forget_if_idle(&mut self, owner: Owner) -> bool {
        let unused_since_ms = self.now_ms.saturating_sub(STATE_IDLE_MS);
        match owner {
            Owner::Conversation(log) => {
                let idle = |kept: &Conversation| kept.is_idle() && kept.used_ms <= unused_since_ms;
                let forget = self.conversations.get(&log).is_none_or(idle);
                if forget {
                    self.conversations.remove(&log);
                }
                forget
            }
            Owner::Account(user) => {
                let idle = |kept: &AccountLog| kept.is_idle() && kept.used_ms <= unused_since_ms;
                let forget = self.accounts.get(&user).is_none_or(idle);
                if forget {
                    self.accounts.remove(&user);
                }
                forget
            }
        }
    }
}

/// Shrinks a table that is nearly empty: the room of a busy hour would else stay for ever.
fn give_room_back<K: Eq + Hash, V>(table: &mut HashMap<K, V, RandomState>) {
    if table.capacity() > TABLE_ROOM_MIN && table.len() < table.capacity() / 8 {
        table.shrink_to((table.len() * 2).max(TABLE_ROOM_MIN));
    }
}

/// Who asks on this node, and what for the response needs.
#[derive(Debug, Clone, Copy)]
struct Client {
    conn: ConnId,
    user: UserId,
    request_id: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
