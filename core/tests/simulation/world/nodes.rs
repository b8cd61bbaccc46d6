//! Nodes: how they begin, whom they see, and what their workers want done.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::bus::{Member, NodeId};
use dunlin_core::clock::Now;
use dunlin_core::cluster::ClusterNode;
use dunlin_core::config::EngineConfig;
use dunlin_core::presence::Presence;
use dunlin_core::store::StoreRequest;
use dunlin_core::transport::Outbound;
use dunlin_core::worker::effect::{Effects, PresenceChange};
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};

use super::super::chance::SeededSource;
use super::wires::is_write;
use super::{Event, Node, TICK_MS, WORKERS, World};

impl World {
    pub(super) fn slot_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.id == id))
    }

    pub(super) fn start_node(&mut self, slot: usize) {
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
            run: 1,
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
            writes_at: vec![BTreeMap::new(); WORKERS],
        });
        self.view(id);
        self.soon(TICK_MS, Event::Tick { node: id });
        self.views_change();
    }

    /// Each node gets to know of a change in its own time.
    pub(super) fn views_change(&mut self) {
        let ids: Vec<_> = self.nodes.iter().flatten().map(|node| node.id).collect();
        for node in ids {
            let within = if self.is_healed { 100 } else { self.profile.view_delay_ms };
            self.soon(within, Event::View { node });
        }
    }

    pub(super) fn view(&mut self, id: NodeId) {
        let Some(slot) = self.slot_of(id) else { return };
        let seen = self.nodes.iter().enumerate().filter(|(other, _)| !self.is_apart(slot, *other));
        let seen = seen.filter_map(|(_, node)| node.as_ref());
        let members: Vec<_> =
            seen.map(|node| Member { node: node.id, workers: WORKERS as u16 }).collect();
        for worker in 0..WORKERS {
            self.input(id, worker, Input::Members(members.clone()));
        }
    }

    pub(super) fn is_apart(&self, one: usize, other: usize) -> bool {
        self.apart.contains(&(one.min(other), one.max(other)))
    }

    pub(super) fn input(&mut self, id: NodeId, worker: usize, input: Input) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(node) = &mut self.nodes[slot] else { return };
        let now = Now { unix_ms: self.now + node.clock_ms, monotonic_ms: self.now };
        node.workers[worker].handle(now, input, &mut node.effects[worker]);
        if !std::mem::replace(&mut node.flushing[worker], true) {
            let flush_at = self.now + self.chance.below(3);
            self.at(flush_at, Event::Flush { node: id, worker });
        }
    }

    /// Carries out what a worker wants, in the order in which a driver does.
    pub(super) fn flush(&mut self, id: NodeId, worker: usize) {
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
        let (writes, mut reads): (Vec<_>, Vec<_>) =
            store.into_iter().partition(|(_, request)| is_write(request));
        let mut published = std::mem::take(&mut effects.bus);
        let mut told = Vec::new();
        effects.take_workers(|to, messages| told.push((to, messages)));
        let mut outbound: Vec<Outbound> = Vec::new();
        effects.take_outbound(|_, batch| outbound.extend(batch));
        // Tables of the worker have an order of their own in each process.
        published.sort_by_key(|published| (published.to, published.worker));
        outbound.sort_by_key(|out| out.conn);
        reads.sort_by_cached_key(|(_, request)| regardless_of_order(request));
        for (ticket, request) in reads.into_iter().chain(writes) {
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

/// What a request asks, whatever the order of the logs that it names.
fn regardless_of_order(request: &StoreRequest) -> Vec<u8> {
    let mut letters = format!("{request:?}").into_bytes();
    letters.sort_unstable();
    letters
}
