//! Nodes, clients, a store and a bus in one thread, under one clock and one source of chance.
//!
//! Everything that happens is an event at a time; events of one time happen in the order in which
//! they were made. So a seed leads to the same run each time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::bus::{Member, NodeId};
use dunlin_core::config::EngineConfig;
use dunlin_core::placement;
use dunlin_core::presence::{LocalPresence, Presence};
use dunlin_core::request::Command;
use dunlin_core::store::{StoreError, StoreRequest};
use dunlin_core::transport::{ConnId, Delivery, Outbound};
use dunlin_core::worker::cluster::ClusterNode;
use dunlin_core::worker::effect::{Effects, PresenceChange, Published, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::{self, DeviceKind};
use dunlin_protocol::{LogKind, UserId};

use super::chance::{Chance, SeededSource};
use super::client::Client;
use super::engine_support::create_account;
use super::profile::{Profile, Sabotage};
use super::store::SharedStore;

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
    pub(crate) store: SharedStore,
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

struct Node {
    id: NodeId,
    workers: Vec<Worker>,
    effects: Vec<Effects>,
    flushing: Vec<bool>,
    /// How its clock differs.
    clock_ms: u64,
    /// When the last append of each worker is carried out: they are done in their order.
    appends_at: Vec<u64>,
}

enum Event {
    Input { node: NodeId, worker: usize, input: Box<Input> },
    Envelope { from: NodeId, node: NodeId, worker: usize, envelope: Bytes },
    Flush { node: NodeId, worker: usize },
    Store { node: NodeId, worker: usize, ticket: Ticket, request: Box<StoreRequest> },
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
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> World {
        let mut chance = Chance::new(seed);
        let profile = Profile { sabotage, ..Profile::of_seed(&mut chance) };
        let store = SharedStore::new(sabotage, Chance::new(seed + 1));
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
            let event = self.pending.remove(&number).expect("each event happens once");
            self.happen(event);
        }
        self.now = end;
    }

    /// From now on everything works.
    fn heal(&mut self) {
        self.is_healed = true;
        self.store_is_down = false;
        self.apart.clear();
        self.views_change();
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

/// Nodes.
impl World {
    fn slot_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.id == id))
    }

    fn start_node(&mut self, slot: usize) {
        if self.nodes[slot].is_some() {
            return;
        }
        self.last_node += 1;
        // Random, as in earnest, so that homes are spread anew.
        let id = NodeId(self.chance.next() ^ self.last_node);
        let presence: Arc<dyn Presence> = Arc::clone(&self.presence) as _;
        let config = EngineConfig { workers: WORKERS, ..EngineConfig::default() };
        let shared = Arc::new(Shared {
            config,
            epoch: 1,
            random: Arc::new(SeededSource::new(self.last_node)),
            tokens: TokenKeys::new(&[1; 32], &[]),
            issuers: Issuers::new(&[]).unwrap(),
            cluster: Some(ClusterNode { node: id, presence }),
        });
        let workers = (0..WORKERS as u16).map(|index| Worker::new(index, Arc::clone(&shared)));
        self.nodes[slot] = Some(Node {
            id,
            workers: workers.collect(),
            effects: (0..WORKERS).map(|_| Effects::new()).collect(),
            flushing: vec![false; WORKERS],
            clock_ms: self.chance.below(1000),
            appends_at: vec![0; WORKERS],
        });
        self.view(id);
        self.soon(TICK_MS, Event::Tick { node: id });
        self.views_change();
    }

    /// Each node gets to know of a change in its own time.
    fn views_change(&mut self) {
        let ids: Vec<_> = self.nodes.iter().flatten().map(|node| node.id).collect();
        for node in ids {
            let within = if self.is_healed { 100 } else { self.profile.view_delay_ms };
            self.soon(within, Event::View { node });
        }
    }

    fn view(&mut self, id: NodeId) {
        let Some(slot) = self.slot_of(id) else { return };
        let seen = self.nodes.iter().enumerate().filter(|(other, _)| !self.is_apart(slot, *other));
        let seen = seen.filter_map(|(_, node)| node.as_ref());
        let members: Vec<_> =
            seen.map(|node| Member { node: node.id, workers: WORKERS as u16 }).collect();
        for worker in 0..WORKERS {
            self.input(id, worker, Input::Members(members.clone()));
        }
    }

    fn is_apart(&self, one: usize, other: usize) -> bool {
        self.apart.contains(&(one.min(other), one.max(other)))
    }

    fn input(&mut self, id: NodeId, worker: usize, input: Input) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(node) = &mut self.nodes[slot] else { return };
        let now = self.now + node.clock_ms;
        node.workers[worker].handle(now, input, &mut node.effects[worker]);
        if !std::mem::replace(&mut node.flushing[worker], true) {
            let flush_at = self.now + self.chance.below(3);
            self.at(flush_at, Event::Flush { node: id, worker });
        }
    }

    /// Carries out what a worker wants, in the order in which a driver does.
    fn flush(&mut self, id: NodeId, worker: usize) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(node) = &mut self.nodes[slot] else { return };
        node.flushing[worker] = false;
        let effects = &mut node.effects[worker];
        node.workers[worker].end_tick(effects);
        for change in effects.presence.drain(..) {
            match change {
                PresenceChange::Arrived(user) => self.presence.arrived(user, id),
                PresenceChange::Left(user) => self.presence.left(user, id),
            }
        }
        let store = std::mem::take(&mut effects.store);
        let is_append = |request: &StoreRequest| matches!(request, StoreRequest::Append(_));
        let (appends, mut reads): (Vec<_>, Vec<_>) =
            store.into_iter().partition(|(_, request)| is_append(request));
        let mut published = std::mem::take(&mut effects.bus);
        let mut told = Vec::new();
        effects.take_workers(|to, messages| told.push((to, messages)));
        let mut outbound: Vec<Outbound> = Vec::new();
        effects.take_outbound(|_, batch| outbound.extend(batch));
        // Tables of the worker have an order of their own in each process.
        published.sort_by_key(|published| (published.to, published.worker));
        outbound.sort_by_key(|out| out.conn);
        reads.sort_by_cached_key(|(_, request)| regardless_of_order(request));
        for (ticket, request) in reads.into_iter().chain(appends) {
            self.submit(slot, worker, ticket, request);
        }
        for (to, messages) in told {
            for message in messages {
                let input = Box::new(Input::Worker(message));
                self.at(self.now, Event::Input { node: id, worker: usize::from(to), input });
            }
        }
        published.into_iter().for_each(|published| self.publish(slot, published));
        outbound.into_iter().for_each(|out| self.send_to_client(out));
    }
}

/// Store and bus.
impl World {
    fn submit(&mut self, slot: usize, worker: usize, ticket: Ticket, request: StoreRequest) {
        let within = if self.is_healed { 5 } else { self.profile.store_delay_ms };
        let mut time = self.now + self.chance.between(1, within);
        if !self.is_healed && self.chance.permille(10) {
            time += self.chance.below(400);
        }
        let Some(node) = &mut self.nodes[slot] else { return };
        if matches!(request, StoreRequest::Append(_)) {
            time = time.max(node.appends_at[worker]);
            node.appends_at[worker] = time;
        }
        let (node, request) = (node.id, Box::new(request));
        self.at(time, Event::Store { node, worker, ticket, request });
    }

    /// A request has come to the store. If its node has crashed since, it was under way, or not.
    fn run_store(&mut self, node: NodeId, worker: usize, ticket: Ticket, request: StoreRequest) {
        if self.slot_of(node).is_none() {
            match self.chance.below(4) {
                0 | 1 => return,
                // Some land when everybody has forgotten the node: only whoever tries again finds
                // them. (Of a cursor that was moved so nobody would hear before the next change.)
                2 if !self.is_healed && carries_messages_only(&request) => {
                    let (time, request) = (self.chance.below(5_000), Box::new(request));
                    let event = Event::Store { node, worker, ticket, request };
                    return self.at(self.now + time, event);
                }
                _ => {}
            }
        }
        let unavailable = || Err(StoreError::Unavailable { reason: "simulated".into() });
        let trouble = !self.is_healed;
        let is_append = matches!(request, StoreRequest::Append(_));
        let is_refused =
            self.store_is_down || (trouble && self.chance.permille(self.profile.refused));
        let result = if is_refused {
            unavailable()
        } else {
            let done = self.store.run(request);
            let is_lost = trouble && is_append && self.chance.permille(self.profile.answer_lost);
            if is_lost { unavailable() } else { done }
        };
        let input = Box::new(Input::Store { ticket, result });
        self.soon(5, Event::Input { node, worker, input });
    }

    fn publish(&mut self, from: usize, published: Published) {
        let Published { to, worker, envelope } = published;
        let Some(slot) = self.slot_of(to) else { return };
        if self.is_apart(from, slot) || self.is_lost_on_the_bus() {
            self.counts.envelopes_lost += 1;
            return;
        }
        let from = self.nodes[from].as_ref().expect("it lives").id;
        self.arrive(from, to, worker, envelope.clone());
        if !self.is_healed && self.chance.permille(self.profile.doubled) {
            self.arrive(from, to, worker, envelope);
        }
    }

    fn is_lost_on_the_bus(&mut self) -> bool {
        !self.is_healed && self.chance.permille(self.profile.lost)
    }

    fn arrive(&mut self, from: NodeId, node: NodeId, worker: u16, envelope: Bytes) {
        let mut time = self.now + 1;
        if !self.is_healed {
            time += self.chance.below(self.profile.bus_delay_ms);
            if self.chance.permille(self.profile.late) {
                time += self.chance.below(3_000);
            }
        }
        self.at(time, Event::Envelope { from, node, worker: usize::from(worker), envelope });
    }

    /// If its node has crashed since, it may not have left it.
    fn take_envelope(&mut self, from: NodeId, node: NodeId, worker: usize, envelope: Bytes) {
        if self.slot_of(from).is_none() && self.chance.permille(700) {
            self.counts.envelopes_lost += 1;
            return;
        }
        self.input(node, worker, Input::Envelope(envelope));
    }
}

/// Clients.
impl World {
    fn connect(&mut self, client: usize) {
        if self.clients[client].link.is_some() {
            return;
        }
        let live: Vec<_> = (0..NODES).filter(|slot| self.nodes[*slot].is_some()).collect();
        let Some(&slot) = self.chance.pick(&live) else {
            return self.soon(500, Event::Connect { client });
        };
        let node = self.nodes[slot].as_ref().expect("it lives").id;
        self.last_conn += 1;
        let conn = ConnId { shard: client as u16, slot: self.last_conn, generation: 1 };
        self.clients[client].connected(self.now, slot, node, conn);
        let session = self.clients[client].link.as_ref().expect("connected").session;
        let worker = usize::from(placement::worker_of_user(session.user, WORKERS));
        let open = Input::OpenSession { conn, session, kind: DeviceKind::Phone };
        self.input(node, worker, open);
        self.submit_requests(client);
    }

    fn act(&mut self, client: usize) {
        if self.is_healed {
            self.clients[client].try_again(self.now);
        } else if self.chance.permille(15) {
            self.move_on(client);
        } else if self.chance.permille(15) {
            self.log_out_other_device(client);
        } else {
            self.clients[client].act(self.now, &mut self.chance);
        }
        self.submit_requests(client);
        self.check_waiting(client);
        let within = if self.is_healed { 500 } else { self.profile.client_every_ms * 2 };
        self.soon(within, Event::Act { client });
    }

    /// The client closes its connection, and comes back somewhere after a while.
    fn move_on(&mut self, client: usize) {
        let Some(link) = self.clients[client].disconnected() else { return };
        let (conn, session) = (link.conn, link.session);
        let worker = usize::from(placement::worker_of_user(session.user, WORKERS));
        let time = self.arrival(conn, true);
        let input = Box::new(Input::Disconnected { conn, session });
        self.at(time, Event::Input { node: link.node, worker, input });
        let away = if self.chance.permille(300) { 5_000 } else { 50 };
        self.soon(away, Event::Connect { client });
    }

    fn log_out_other_device(&mut self, client: usize) {
        let user = self.clients[client].user;
        let others = self.clients.iter().enumerate();
        let mut others = others.filter(|(other, of)| *other != client && of.user == user);
        let session = others.find_map(|(_, other)| Some(other.link.as_ref()?.session.session));
        if let Some(session) = session {
            self.clients[client].log_out(self.now, session);
        }
    }

    fn submit_requests(&mut self, client: usize) {
        let Some(link) = &mut self.clients[client].link else { return };
        let (node, conn, session) = (link.node, link.conn, Some(link.session));
        for (request_id, request) in std::mem::take(&mut link.out) {
            let command = Command { conn, session, request_id, request };
            let worker = usize::from(placement::worker_of_command(&command, WORKERS));
            let mut time = self.arrival(conn, true);
            match self.profile.sabotage {
                Some(Sabotage::UnorderedRequests) => time += self.chance.below(50),
                Some(Sabotage::LostRequests) if self.chance.permille(5) => continue,
                _ => {}
            }
            let input = Box::new(Input::Command(command));
            self.at(time, Event::Input { node, worker, input });
        }
    }

    /// When what is sent now, in or out, arrives at the other end of a connection.
    fn arrival(&mut self, conn: ConnId, is_request: bool) -> u64 {
        let time = self.now + self.chance.between(1, 8);
        let last = self.arrivals.entry((conn, is_request)).or_default();
        *last = time.max(*last);
        *last
    }

    fn send_to_client(&mut self, out: Outbound) {
        let Outbound { conn, delivery } = out;
        let time = self.arrival(conn, false);
        let (client, delivery) = (usize::from(conn.shard), Box::new(delivery));
        self.at(time, Event::Deliver { client, conn, delivery });
    }

    fn deliver(&mut self, client: usize, conn: ConnId, delivery: &Delivery) {
        if self.clients[client].link.as_ref().is_none_or(|link| link.conn != conn) {
            return;
        }
        if let Delivery::Close { .. } = delivery {
            self.clients[client].disconnected();
            return self.soon(100, Event::Connect { client });
        }
        self.clients[client].take(self.now, delivery);
        self.submit_requests(client);
        self.note(u64::from(conn.slot));
    }

    /// Nobody waits for ever.
    fn check_waiting(&mut self, client: usize) {
        let Some(link) = &self.clients[client].link else { return };
        let late = link.outstanding.values().find(|(_, since)| since + ANSWER_MS_MAX < self.now);
        if let Some((asked, _)) = late {
            self.violations.push(format!("client {client} waits for {asked:?}"));
        }
    }
}

/// Trouble.
impl World {
    fn is_over(&self, round: u64) -> bool {
        self.is_healed || round != self.round
    }

    fn crash(&mut self, round: u64) {
        if !self.is_over(round) {
            self.crash_one();
            self.soon(self.profile.crash_every_ms * 2, Event::Crash { round });
        }
    }

    /// All memory of a node is gone; it comes back as another one.
    fn crash_one(&mut self) {
        let slot = self.chance.below(NODES as u64) as usize;
        let Some(node) = self.nodes[slot].take() else { return };
        self.counts.crashes += 1;
        self.count(&node);
        self.soon(2_000, Event::PresenceExpires { node: node.id });
        for client in 0..self.clients.len() {
            let link = self.clients[client].link.as_ref();
            if let Some(conn) = link.filter(|link| link.slot == slot).map(|link| link.conn) {
                self.soon(300, Event::Lost { client, conn });
            }
        }
        self.soon(4_000, Event::Return { slot });
        self.views_change();
    }

    fn part(&mut self, round: u64) {
        if self.is_over(round) {
            return;
        }
        let lonely = self.chance.below(NODES as u64) as usize;
        let others = (0..NODES).filter(|slot| *slot != lonely);
        self.apart = others.map(|slot| (slot.min(lonely), slot.max(lonely))).collect();
        // Sometimes it is over before anybody has taken notice.
        if self.chance.permille(700) {
            self.views_change();
        }
        self.soon(3_000, Event::Join);
        self.soon(self.profile.partition_every_ms * 2, Event::Part { round });
    }

    fn outage(&mut self, round: u64, ends: bool) {
        if self.is_over(round) {
            return;
        }
        self.store_is_down = !ends;
        let within = if ends { self.profile.outage_every_ms * 2 } else { 1_500 };
        self.soon(within, Event::Outage { round, ends: !ends });
    }

    fn count(&mut self, node: &Node) {
        for effects in &node.effects {
            self.counts.forwarded += effects.counters.forwarded;
            self.counts.forwards_late += effects.counters.forwards_late;
            self.counts.gaps += effects.counters.gaps;
            self.counts.pushes += effects.counters.pushes;
        }
    }

    /// What a device is told that has nothing.
    pub(crate) fn new_device(&mut self, user: UserId) -> Option<wire::Synced> {
        let client = self.clients.len();
        self.clients.push(Client::new(client as u8, user, Vec::new()));
        self.connect(client);
        self.run_for(2_000);
        self.clients[client].first_synced.take()
    }

    /// Ends the run.
    pub(crate) fn end(&mut self) {
        self.clients.iter_mut().for_each(|client| drop(client.disconnected()));
        for node in std::mem::take(&mut self.nodes).into_iter().flatten() {
            self.count(&node);
        }
    }
}

/// What a request asks, whatever the order of the logs that it names.
fn regardless_of_order(request: &StoreRequest) -> Vec<u8> {
    let mut letters = format!("{request:?}").into_bytes();
    letters.sort_unstable();
    letters
}

fn carries_messages_only(request: &StoreRequest) -> bool {
    let StoreRequest::Append(items) = request else { return false };
    items.iter().all(|item| item.log.kind() == LogKind::Direct)
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
