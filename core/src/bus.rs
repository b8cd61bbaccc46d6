//! How nodes talk to each other: the trait, and a bus within one process.
//!
//! A bus is a transport, not a store: it may lose, double, delay and reorder envelopes. What was
//! lost is found by the numbers on the envelopes, and made good from the log. What is in an envelope
//! is the business of [`cluster`](crate::cluster).

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// A node: a random number of its process, so that a node that was restarted is another one and
/// nothing that was meant for the old one is taken for the new one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A node that is believed to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// How many workers it has: an envelope is addressed to one of them.
    pub workers: u16,
}

/// What a bus brings to a node.
pub trait BusReceiver: Send + Sync + 'static {
    /// An envelope for a worker of this node.
    fn receive(&self, worker: u16, envelope: Bytes);

    /// The nodes that are believed to live, this one included, whenever that changes.
    fn members(&self, members: Vec<Member>);
}

/// The way between nodes. Neither method blocks.
pub trait Bus: Send + Sync + 'static {
    /// Announces a node and begins to bring it what is for it, beginning with the members.
    fn join(&self, member: Member, receiver: Arc<dyn BusReceiver>);

    /// Takes the node off the bus.
    fn leave(&self, node: NodeId);

    /// Sends an envelope to a worker of a node, as well as it can.
    fn publish(&self, to: NodeId, worker: u16, envelope: Bytes);
}

/// A bus for nodes of one process. It loses nothing.
#[derive(Default)]
pub struct LocalBus {
    nodes: Mutex<Vec<(Member, Arc<dyn BusReceiver>)>>,
}

impl std::fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBus").field("members", &members(&self.nodes.lock())).finish()
    }
}

impl LocalBus {
    /// A bus without nodes.
    pub fn new() -> LocalBus {
        LocalBus::default()
    }
}

fn members(nodes: &[(Member, Arc<dyn BusReceiver>)]) -> Vec<Member> {
    nodes.iter().map(|(member, _)| *member).collect()
}

fn announce(nodes: &[(Member, Arc<dyn BusReceiver>)]) {
    nodes.iter().for_each(|(_, receiver)| receiver.members(members(nodes)));
}

impl Bus for LocalBus {
    fn join(&self, member: Member, receiver: Arc<dyn BusReceiver>) {
        let mut nodes = self.nodes.lock();
        nodes.push((member, receiver));
        announce(&nodes);
    }

    fn leave(&self, node: NodeId) {
        let mut nodes = self.nodes.lock();
        nodes.retain(|(member, _)| member.node != node);
        announce(&nodes);
    }

    fn publish(&self, to: NodeId, worker: u16, envelope: Bytes) {
        let receiver = {
            let nodes = self.nodes.lock();
            nodes.iter().find(|(member, _)| member.node == to).map(|(_, node)| Arc::clone(node))
        };
        if let Some(receiver) = receiver {
            receiver.receive(worker, envelope);
        }
    }
}
