//! Engines on one bus, over one store.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::bus::{Bus, BusReceiver, LocalBus, Member, NodeId};
use dunlin_core::placement;
use dunlin_core::presence::{LocalPresence, Presence};
use dunlin_core::store::memory::MemoryStore;
use dunlin_protocol::{LogId, UserId};
use parking_lot::Mutex;

use super::engine_support::{Client, Server, create_account};
use super::user;

const WORKERS: usize = 2;

/// A bus that loses what is for some nodes, when it is told to.
#[derive(Debug, Default)]
pub(crate) struct DeafBus {
    bus: LocalBus,
    deaf: Mutex<Vec<NodeId>>,
}

impl DeafBus {
    /// From now on the node gets nothing.
    pub(crate) fn silence(&self, node: NodeId) {
        self.deaf.lock().push(node);
    }

    pub(crate) fn hear_all(&self) {
        self.deaf.lock().clear();
    }
}

impl Bus for DeafBus {
    fn join(&self, member: Member, receiver: Arc<dyn BusReceiver>) {
        self.bus.join(member, receiver);
    }

    fn leave(&self, node: NodeId) {
        self.bus.leave(node);
    }

    fn publish(&self, to: NodeId, worker: u16, envelope: Bytes) {
        if !self.deaf.lock().contains(&to) {
            self.bus.publish(to, worker, envelope);
        }
    }
}

pub(crate) struct Nodes {
    pub(crate) servers: Vec<Server>,
    pub(crate) bus: Arc<DeafBus>,
    store: Arc<MemoryStore>,
    presence: Arc<LocalPresence>,
    last_friend: u64,
}

impl Nodes {
    pub(crate) fn start(count: u64) -> Nodes {
        let store = Arc::new(MemoryStore::new(1));
        let bus = Arc::new(DeafBus::default());
        let presence = Arc::new(LocalPresence::new());
        let start = |number: u64| {
            Server::with(WORKERS, Arc::clone(&store), |builder| {
                let (bus, presence) = (Arc::clone(&bus) as _, Arc::clone(&presence) as _);
                // Names that are not random, so that homes are the same in each run.
                let node = Some(NodeId(number));
                builder.signing_key([7; 32]).cluster(node, bus, presence)
            })
        };
        let servers = (1..=count).map(start).collect();
        Nodes { servers, bus, store, presence, last_friend: 1000 }
    }

    pub(crate) fn id(&self, node: usize) -> NodeId {
        self.servers[node].engine.node().expect("it is one of several")
    }

    pub(crate) fn account(&self, id: u64) -> UserId {
        create_account(&*self.store, user(id));
        user(id)
    }

    pub(crate) fn live(&mut self, node: usize, of: UserId) -> Client {
        self.servers[node].live(of)
    }

    /// Somebody with an account, whose conversation with `with` has its home on this node.
    pub(crate) fn friend_with_home(&mut self, with: UserId, node: usize) -> UserId {
        let member = |node| Member { node, workers: WORKERS as u16 };
        let members: Vec<_> = (0..self.servers.len()).map(|node| member(self.id(node))).collect();
        loop {
            self.last_friend += 1;
            let log = LogId::direct(with, user(self.last_friend));
            if placement::home_of_log(log, &members).unwrap().node == self.id(node) {
                return self.account(self.last_friend);
            }
        }
    }

    /// Sends that went over the bus. Statistics are published a few times a second.
    pub(crate) fn forwarded(&self) -> u64 {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let workers = self.servers.iter().flat_map(|server| server.engine.statistics().workers);
            let forwarded = workers.map(|worker| worker.forwarded).sum();
            if forwarded > 0 || std::time::Instant::now() >= deadline {
                return forwarded;
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn stop_one(&mut self, node: usize) {
        self.servers.remove(node).engine.stop();
    }

    /// Stops all of them; nobody is present any more.
    pub(crate) fn stop(self) {
        self.servers.into_iter().for_each(|server| server.engine.stop());
        assert_eq!(self.presence.nodes(), []);
    }
}
