//! Nodes, clients, a store and a bus in one thread, under one clock and one source of chance.
//!
//! Everything that happens is an event at a time; events of one time happen in the order in which
//! they were made. So a seed leads to the same run each time.

mod nodes;
mod people;
mod trouble;
mod wires;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::bus::NodeId;
use dunlin_core::presence::{LocalPresence, Presence};
use dunlin_core::store::contract::wrapper::{Deed, Rate};
use dunlin_core::store::{Store, StoreError, StoreReply, StoreRequest};
use dunlin_core::transport::{ConnId, Delivery};
use dunlin_core::worker::Worker;
use dunlin_core::worker::effect::{Effects, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_protocol::{LogId, UserId};
use parking_lot::Mutex;

use super::chance::Chance;
use super::client::Client;
use super::engine_support::create_account;
use super::profile::{Between, Profile, Sabotage};
use super::store::{Clockwork, SharedStore, over};

pub(crate) const NODES: usize = 3;
const WORKERS: usize = 2;
pub(crate) const USERS: u64 = 4;
const START_MS: u64 = 1_700_000_000_000;
const TICK_MS: u64 = 250;

/// No request may wait longer while its node lives: a send waits for its home, then for the store.
const ANSWER_MS_MAX: u64 = 20_000;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) profile: Profile,
    pub(crate) chance: Chance,
    pub(crate) store: Arc<SharedStore>,
    /// What the nodes ask: the store, with what is between.
    asked: Arc<dyn Store>,
    clock: Arc<Clockwork>,
    /// How often items fail, or answers are lost.
    rate: Rate,
    answers: Arc<Mutex<Vec<StoreAnswer>>>,
    pub(crate) clients: Vec<Client>,
    pub(crate) violations: Vec<String>,
    /// What happened, in one number.
    pub(crate) trace: u64,
    pub(crate) counts: Counts,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// The events, by the number in the queue.
    pending: BTreeMap<usize, Event>,
    made: usize,
    presence: Arc<LocalPresence>,
    nodes: Vec<Option<Node>>,
    last_node: u64,
    last_conn: u32,
    /// Which nodes can't hear each other.
    apart: Vec<(usize, usize)>,
    store_is_down: bool,
    is_healed: bool,
    round: u64,
    /// Per connection: when its last request or delivery arrives. They don't overtake each other.
    arrivals: BTreeMap<(ConnId, bool), u64>,
}

/// What happened in a run, to show that it was one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) crashes: u64,
    pub(crate) envelopes_lost: u64,
    pub(crate) forwarded: u64,
    pub(crate) forwards_late: u64,
    pub(crate) gaps: u64,
    pub(crate) pushes: u64,
}

/// An answer on its way to whoever asked.
struct StoreAnswer {
    node: NodeId,
    worker: usize,
    ticket: Ticket,
    result: Result<StoreReply, StoreError>,
}

struct Node {
    id: NodeId,
    workers: Vec<Worker>,
    effects: Vec<Effects>,
    flushing: Vec<bool>,
    /// How its clock differs.
    clock_ms: u64,
    /// When the last write of each worker to each log arrives: those of one log are done in their order.
    writes_at: Vec<BTreeMap<LogId, u64>>,
}

enum Event {
    Input { node: NodeId, worker: usize, input: Box<Input> },
    Envelope { from: NodeId, node: NodeId, worker: usize, envelope: Bytes },
    Flush { node: NodeId, worker: usize },
    Store { node: NodeId, worker: usize, ticket: Ticket, request: Box<StoreRequest> },
    Deed(Deed),
    Tick { node: NodeId },
    View { node: NodeId },
    PresenceExpires { node: NodeId },
    Deliver { client: usize, conn: ConnId, delivery: Box<Delivery> },
    Act { client: usize },
    Lost { client: usize, conn: ConnId },
    Connect { client: usize },
    Crash { round: u64 },
    Return { slot: usize },
    Part { round: u64 },
    Join,
    Outage { round: u64, ends: bool },
}

impl World {
    pub(crate) fn new(seed: u64, between: Between, sabotage: Option<Sabotage>) -> World {
        let mut chance = Chance::new(seed);
        let profile = Profile { sabotage, between, ..Profile::of_seed(&mut chance) };
        let store = Arc::new(SharedStore::new(sabotage, Chance::new(seed + 1)));
        let (clock, rate) = (Arc::new(Clockwork::default()), Rate::default());
        let asked = over(Arc::clone(&store) as _, between, &clock, &rate, seed);
        let users: Vec<_> = (1..=USERS).map(|id| UserId::new(id).unwrap()).collect();
        users.iter().for_each(|user| create_account(store.memory(), *user));
        // The first two users have two devices.
        let owners = users.iter().chain(&users[..2]);
        let clients = (0..).zip(owners).map(|(number, user)| {
            let mut client = Client::new(number, *user, users.clone());
            client.is_deaf = sabotage == Some(Sabotage::DeafClients);
            client
        });
        let mut world = World {
            now: START_MS,
            clients: clients.collect(),
            profile,
            chance,
            store,
            asked,
            clock,
            rate,
            answers: Arc::default(),
            violations: Vec::new(),
            trace: seed,
            counts: Counts::default(),
            events: BinaryHeap::new(),
            pending: BTreeMap::new(),
            made: 0,
            presence: Arc::new(LocalPresence::new()),
            nodes: (0..NODES).map(|_| None).collect(),
            last_node: 0,
            last_conn: 0,
            apart: Vec::new(),
            store_is_down: false,
            is_healed: false,
            round: 0,
            arrivals: BTreeMap::new(),
        };
        (0..NODES).for_each(|slot| world.start_node(slot));
        for client in 0..world.clients.len() {
            world.soon(100, Event::Connect { client });
            world.soon(200, Event::Act { client });
        }
        world
    }

    /// A time of trouble, after which everything heals.
    pub(crate) fn trouble(&mut self) {
        self.round += 1;
        self.is_healed = false;
        self.rate.set(self.profile.between.permille());
        let (round, profile) = (self.round, self.profile.clone());
        let troubles = [
            (profile.crash_every_ms, Event::Crash { round }),
            (profile.partition_every_ms, Event::Part { round }),
            (profile.outage_every_ms, Event::Outage { round, ends: false }),
        ];
        for (every_ms, event) in troubles {
            if every_ms > 0 {
                self.soon(every_ms, event);
            }
        }
        self.run_for(profile.trouble_ms);
        if self.chance.permille(profile.last_crash) {
            self.crash_one();
        }
        self.heal();
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(&Reverse((at, _, number))) = self.events.peek() {
            if at > end {
                break;
            }
            self.events.pop();
            self.now = at;
            self.clock.set(at);
            let event = self.pending.remove(&number).expect("each event happens once");
            self.happen(event);
            self.hear_of_the_store();
        }
        self.now = end;
    }

    /// From now on everything works.
    fn heal(&mut self) {
        self.is_healed = true;
        self.store_is_down = false;
        self.rate.set(0);
        self.apart.clear();
        self.views_change();
    }

    /// How often items have failed, or answers were lost.
    pub(crate) fn struck(&self) -> u64 {
        self.rate.struck()
    }

    fn at(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.pending.insert(self.made, event);
        self.events.push(Reverse((time, self.made as u64, self.made)));
    }

    fn soon(&mut self, within_ms: u64, event: Event) {
        let time = self.now + self.chance.between(1, within_ms.max(1));
        self.at(time, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { node, worker, input } => self.input(node, worker, *input),
            Event::Envelope { from, node, worker, envelope } => {
                self.take_envelope(from, node, worker, envelope);
            }
            Event::Flush { node, worker } => self.flush(node, worker),
            Event::Store { node, worker, ticket, request } => {
                self.run_store(node, worker, ticket, *request);
            }
            Event::Deed(deed) => deed(),
            Event::Tick { node } => {
                (0..WORKERS).for_each(|worker| self.input(node, worker, Input::Tick));
                if self.slot_of(node).is_some() {
                    self.at(self.now + TICK_MS, Event::Tick { node });
                }
            }
            Event::View { node } => self.view(node),
            Event::PresenceExpires { node } => self.presence.node_left(node),
            Event::Deliver { client, conn, delivery } => self.deliver(client, conn, &delivery),
            Event::Act { client } => self.act(client),
            Event::Lost { client, conn } => {
                if self.clients[client].link.as_ref().is_some_and(|link| link.conn == conn) {
                    self.clients[client].disconnected();
                    self.soon(100, Event::Connect { client });
                }
            }
            Event::Connect { client } => self.connect(client),
            Event::Crash { round } => self.crash(round),
            Event::Return { slot } => self.start_node(slot),
            Event::Part { round } => self.part(round),
            Event::Join => {
                self.apart.clear();
                self.views_change();
            }
            Event::Outage { round, ends } => self.outage(round, ends),
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = Chance::new(self.trace ^ what ^ self.now).next();
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.crashes += other.crashes;
        self.envelopes_lost += other.envelopes_lost;
        self.forwarded += other.forwarded;
        self.forwards_late += other.forwards_late;
        self.gaps += other.gaps;
        self.pushes += other.pushes;
    }
}
