//! On which nodes a user is connected: the trait, and an implementation within one process.
//!
//! Presence only says where a push may be wanted. A wrong answer costs a push, never a message.

use std::collections::BTreeSet;

use dunlin_protocol::UserId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::bus::NodeId;

/// Nodes of one user; most have one or two devices.
pub type Nodes = SmallVec<[NodeId; 2]>;

/// Where users are connected. Asked once per user and message, so an implementation answers from
/// memory and never blocks; one over a network keeps what it has learnt.
pub trait Presence: Send + Sync + 'static {
    /// The user has a session on this node, or will have one in a moment. When this returns, pushes of other nodes must find it;
    /// or else the implementation must have the node's bus announce a gap once they do.
    fn arrived(&self, user: UserId, node: NodeId);

    /// The user has no session on this node any more.
    fn left(&self, user: UserId, node: NodeId);

    /// The node is gone with all its sessions. Said by the node itself when it stops; of one that has
    /// crashed the implementation finds out by itself (a lease that is not renewed). The other nodes
    /// do not say it, since they may be wrong.
    fn node_left(&self, node: NodeId);

    /// The nodes where the user has sessions.
    fn nodes_of(&self, user: UserId) -> Nodes;

    /// The nodes that have, or lately had, sessions: each is listed for a second at least, and until
    /// it has left. So a node gets to know of others that share its store but that it can't hear on
    /// the bus; when such a one goes, it may have stored what it could tell nobody. An implementation
    /// that can't tell leaves that to the next message, or the next sync.
    fn nodes(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

/// Presence for nodes of one process.
#[derive(Debug, Default)]
pub struct LocalPresence {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, Nodes, RandomState>,
    nodes: BTreeSet<NodeId>,
}

impl LocalPresence {
    /// Nobody is connected.
    pub fn new() -> LocalPresence {
        LocalPresence::default()
    }
}

impl Presence for LocalPresence {
    fn arrived(&self, user: UserId, node: NodeId) {
        let mut state = self.state.lock();
        state.nodes.insert(node);
        let nodes = state.users.entry(user).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    fn left(&self, user: UserId, node: NodeId) {
        let mut state = self.state.lock();
        if let Some(nodes) = state.users.get_mut(&user) {
            nodes.retain(|of| *of != node);
            if nodes.is_empty() {
                state.users.remove(&user);
            }
        }
    }

    fn node_left(&self, node: NodeId) {
        let mut state = self.state.lock();
        state.nodes.remove(&node);
        state.users.retain(|_, nodes| {
            nodes.retain(|of| *of != node);
            !nodes.is_empty()
        });
    }

    fn nodes_of(&self, user: UserId) -> Nodes {
        self.state.lock().users.get(&user).cloned().unwrap_or_default()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.state.lock().nodes.iter().copied().collect()
    }
}
