//! A worker: the state machine that owns the conversations and users that hash to it.
//!
//! It does no I/O and reads no clock: [`Worker::handle`] takes one [`Input`] and adds to the
//! [`Effects`]; [`Worker::end_tick`] adds what was collected for batches. A driver (a thread, or
//! a simulation) carries the effects out.
//!
//! The work is done by machines with state of their own, each in a folder of its own, that know
//! nothing of each other. The `router` calls them, and carries on what they answer:
//!
//! ```text
//!           input                          questions, effects, agenda
//!  driver ────────► Worker ─► Router ─┬─► Conversations ─┐
//!                                ▲    ├─► Accounts       │
//!                                │    ├─► Credentials    │  &mut Turn
//!                                │    ├─► Identities     ├────────────► Effects ─► driver
//!                                │    ├─► Syncs          │
//!                                │    └─► Cluster        ┘
//!                                └─ closed enums: what concerns others
//! ```
//!
//! - [`input`], [`effect`], [`message`]: what goes in, what comes out, what workers tell each other
//! - `turn`: what a machine works with; `flow`: who waits for which answer; `tickets`: until when;
//!   `agenda`: what is to be
//!   numbered and swept
//! - `router`: which machine an input is for; `conversations`, `accounts`, `identities`, `syncs`,
//!   `nodes`, `push`, `reads`: what follows from the answers of machines; `unsure`: what the store left open
//!
//! Why it is built so: docs/decisions/0060.

mod accounts;
pub(crate) mod agenda;
mod conversations;
pub mod effect;
pub(crate) mod flow;
mod identities;
pub mod input;
pub mod message;
mod nodes;
mod push;
mod reads;
mod router;
mod syncs;
mod tickets;
pub(crate) mod turn;
mod unsure;

use std::sync::Arc;

use agenda::Agenda;
use effect::Effects;
use input::Input;
use router::Router;
use tickets::Tickets;
use turn::Turn;

use crate::auth::issuer::Issuers;
use crate::auth::token::TokenKeys;
use crate::clock::{Calendar, Dates, Now};
use crate::cluster::ClusterNode;
use crate::config::EngineConfig;
use crate::random::Random;
use crate::statistics::WorkerStatistics;

/// What all workers of a node have in common.
pub struct Shared {
    /// Settings.
    pub config: EngineConfig,
    /// The epoch of the store.
    pub epoch: u64,
    /// A number of this run of the engine alone.
    pub run: u64,
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
    /// Of the last input.
    now: Now,
    calendar: Calendar,
    dates: Dates,
    tickets: Tickets,
    agenda: Agenda,
    router: Router,
}

impl Worker {
    /// The worker of this index; the number of workers is in the configuration.
    pub fn new(index: u16, shared: Arc<Shared>) -> Worker {
        let router = Router::new(index, &shared);
        let (tickets, agenda) = (Tickets::default(), Agenda::default());
        let (now, dates) = Default::default();
        let calendar = Calendar::after(shared.config.known_ms);
        Worker { index, shared, now, calendar, dates, tickets, agenda, router }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Effects) {
        let (router, mut turn) = self.turn(now, effects);
        router.take(input, &mut turn);
    }

    /// Ends a tick: what was collected for the store is submitted as one batch. To be called
    /// before the effects are carried out.
    pub fn end_tick(&mut self, effects: &mut Effects) {
        // Time stands still since the last input.
        let (router, mut turn) = self.turn(self.now, effects);
        router.end_tick(&mut turn);
    }

    fn turn<'a>(&'a mut self, now: Now, effects: &'a mut Effects) -> (&'a mut Router, Turn<'a>) {
        // All inputs of a tick come at one moment.
        if now != self.now {
            self.now = now;
            self.dates = self.calendar.at(now);
        }
        let Worker { index, shared, dates, tickets, agenda, router, .. } = self;
        let turn = Turn { index: *index, now, dates: *dates, shared, tickets, agenda, effects };
        (router, turn)
    }

    /// Requests to the store that are not answered yet.
    pub fn outstanding(&self) -> usize {
        self.tickets.len()
    }

    /// The same without writes, and with what password threads were asked.
    pub fn questions(&self) -> usize {
        self.tickets.questions()
    }

    /// Bytes of appends that are not answered yet, by the store or by another node.
    pub fn outstanding_bytes(&self) -> usize {
        self.router.outstanding_bytes()
    }

    /// Requests that wait for room for their answer. They are under way, though the store has not been
    /// asked.
    pub fn waiting(&self) -> usize {
        self.router.waiting()
    }

    /// What is called, on any thread, when there may be room for answers that wait: the worker is to get
    /// [`Input::Room`] then. Without it, it looks at its next tick.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.router.room.wake_by(Box::new(wake));
    }

    /// Sends that wait for another node.
    pub fn forwarded(&self) -> usize {
        self.router.forwarded()
    }

    /// Adds what the worker holds now to the statistics.
    pub fn count(&self, statistics: &mut WorkerStatistics) {
        self.router.count(statistics);
        statistics.store_outstanding = self.tickets.len() as u64;
    }
}
