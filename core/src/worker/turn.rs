//! What a machine works with while the worker takes one input: a view of the worker that can do
//! nothing but ask, tell and remember.
//!
//! A machine gets `&mut Turn` with each call and keeps nothing of it. It asks the store and the
//! password threads under a flow, which says where the answer goes; it adds to the effects; and it
//! notes on the agenda what the worker has to come back to. What concerns another machine it
//! returns to its caller, the [`Router`](super::router::Router).

use dunlin_protocol::{LogId, LogKind, UserId};

use super::Shared;
use super::agenda::Agenda;
use super::effect::Effects;
use super::flow::{
    ChangedFlow, DeleteFlow, HeadsFlow, KeysFlow, LogsFlow, PagesFlow, RegisterFlow, RegistersFlow,
    StoreFlow, WriteFlow,
};
use super::tickets::Tickets;
use crate::auth::password::PasswordJob;
use crate::clock::{Dates, Now};
use crate::credential::PasswordFlow;
use crate::placement;
use crate::retention::RetentionFlow;
use crate::store::{
    ChangeRange, DedupeKey, Deletion, Moment, Range, RegisterKey, RegisterRange, StoreRequest,
    Write,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    /// Of the worker, on its node.
    pub(crate) index: u16,
    pub(crate) now: Now,
    /// By which tokens and sessions end, and are revoked.
    pub(crate) dates: Dates,
    pub(crate) shared: &'a Shared,
    pub(crate) agenda: &'a mut Agenda,
    pub(crate) effects: &'a mut Effects,
    pub(super) tickets: &'a mut Tickets,
}

impl Turn<'_> {
    /// Writes these; the verdicts, one each, continue the flow.
    pub(crate) fn write(&mut self, writes: Vec<Write>, flow: WriteFlow) {
        self.ask_store(StoreRequest::Write(writes), StoreFlow::Written(flow));
    }

    /// Reads entries of several logs.
    pub(crate) fn ask_pages(&mut self, ranges: Vec<Range>, flow: PagesFlow) {
        self.ask_store(StoreRequest::Ranges(ranges), StoreFlow::Pages(flow));
    }

    /// Looks entries up by their keys.
    pub(crate) fn ask_keys(&mut self, keys: Vec<(LogId, DedupeKey)>, flow: KeysFlow) {
        self.ask_store(StoreRequest::Keys(keys), StoreFlow::Keys(flow));
    }

    /// Reads these registers.
    pub(crate) fn ask_register(
        &mut self,
        registers: Vec<(LogId, RegisterKey)>,
        flow: RegisterFlow,
    ) {
        self.ask_store(StoreRequest::Register(registers), StoreFlow::Register(flow));
    }

    /// Reads registers of logs by prefix.
    pub(crate) fn ask_registers(&mut self, ranges: Vec<RegisterRange>, flow: RegistersFlow) {
        self.ask_store(StoreRequest::Registers(ranges), StoreFlow::Registers(flow));
    }
}

impl Turn<'_> {
    /// Reads the heads of these logs.
    pub(crate) fn ask_heads(&mut self, logs: Vec<LogId>, flow: HeadsFlow) {
        self.ask_store(StoreRequest::Heads(logs), StoreFlow::Heads(flow));
    }

    /// Reads what has changed of registers.
    pub(crate) fn ask_changes(&mut self, ranges: Vec<ChangeRange>, flow: RegistersFlow) {
        self.ask_store(StoreRequest::Changes(ranges), StoreFlow::Registers(flow));
    }

    /// Asks which of these logs have changed.
    pub(crate) fn ask_changed(
        &mut self,
        logs: Vec<LogId>,
        since: Option<Moment>,
        flow: ChangedFlow,
    ) {
        self.ask_store(StoreRequest::Changed { logs, since }, StoreFlow::Changed(flow));
    }

    /// Lists logs of a kind.
    pub(crate) fn ask_logs(
        &mut self,
        kind: LogKind,
        after: Option<LogId>,
        limit: usize,
        flow: LogsFlow,
    ) {
        self.ask_store(StoreRequest::Logs { kind, after, limit }, StoreFlow::Logs(flow));
    }

    /// Deletes these; the verdicts, one each, continue the flow.
    pub(crate) fn delete(&mut self, deletions: Vec<Deletion>, flow: DeleteFlow) {
        self.ask_store(StoreRequest::Delete(deletions), StoreFlow::Deleted(flow));
    }

    /// Asks something for the retention.
    pub(crate) fn ask_retention(&mut self, request: StoreRequest, flow: RetentionFlow) {
        self.ask_store(request, StoreFlow::Retention(flow));
    }

    /// Gives the password threads something to do.
    pub(crate) fn ask_passwords(&mut self, job: PasswordJob, flow: PasswordFlow) {
        let ticket = self.tickets.keep_password(flow);
        self.effects.passwords.push((ticket, job));
    }

    fn ask_store(&mut self, request: StoreRequest, flow: StoreFlow) {
        let ticket = self.tickets.keep(flow, request.items());
        if self.tickets.may_ask(ticket) {
            self.effects.store.push((ticket, request));
        }
    }

    /// Whether other nodes may append to the logs that this worker owns. As long as it sees no
    /// others, it can't know that there are none: they may only not hear each other.
    pub(crate) fn others_append(&self) -> bool {
        self.shared.cluster.is_some()
    }

    /// The worker of this node that owns a user.
    pub(crate) fn worker_of_user(&self, user: UserId) -> u16 {
        placement::worker_of_user(user, self.shared.config.workers)
    }

    /// The worker of this node that owns a log.
    pub(crate) fn worker_of_log(&self, log: LogId) -> u16 {
        placement::worker_of_log(log, self.shared.config.workers)
    }
}

/// What a machine stands on when it is tested alone.
#[cfg(test)]
pub(crate) mod stage {
    use std::sync::Arc;

    use super::{Agenda, Dates, Effects, Now, Shared, Tickets, Turn};
    use crate::auth::issuer::Issuers;
    use crate::auth::token::TokenKeys;
    use crate::config::EngineConfig;
    use crate::random::SystemSource;
    use crate::store::StoreRequest;

    pub(crate) struct Stage {
        pub(crate) effects: Effects,
        shared: Shared,
        agenda: Agenda,
        tickets: Tickets,
    }

    impl Stage {
        pub(crate) fn new() -> Stage {
            let shared = Shared {
                config: EngineConfig { workers: 1, ..EngineConfig::default() },
                epoch: 1,
                run: 1,
                random: Arc::new(SystemSource::new()),
                tokens: TokenKeys::new(&[7; 32], &[]),
                issuers: Issuers::new(&[]).unwrap(),
                cluster: None,
            };
            let (agenda, tickets) = (Agenda::default(), Tickets::default());
            Stage { effects: Effects::new(), shared, agenda, tickets }
        }

        pub(crate) fn turn(&mut self) -> Turn<'_> {
            let Stage { effects, shared, agenda, tickets } = self;
            Turn {
                index: 0,
                now: Now::steady(1000),
                dates: Dates::steady(1000),
                shared,
                agenda,
                effects,
                tickets,
            }
        }

        /// What was asked of the store since it was taken last.
        pub(crate) fn asked(&mut self) -> Vec<StoreRequest> {
            self.effects.store.drain(..).map(|(_, request)| request).collect()
        }
    }
}
