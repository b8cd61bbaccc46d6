//! A server is made of parts, which can be others than those of one node: here two servers share a
//! store, signing keys, a bus and a presence, and are one service.

mod support;

use std::sync::Arc;

use dunlin_core::bus::LocalBus;
use dunlin_core::presence::LocalPresence;
use dunlin_core::store::Store;
use dunlin_core::store::memory::MemoryStore;
use dunlin_gateway::node::{Parts, SigningKeys};
use dunlin_protocol::wire::frame::Body;
use support::Node;
use support::messages::message;

#[test]
fn what_is_sent_to_one_node_is_pushed_by_the_other() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (bus, presence) = (Arc::new(LocalBus::new()), Arc::new(LocalPresence::new()));
    let keys = SigningKeys { current: [7; 32], retired: Vec::new() };
    let node = || {
        let parts = Parts::new(Arc::clone(&store), keys.clone());
        let parts = parts.beside(None, bus.clone(), presence.clone());
        // The bus within a process brings what it gets on the thread of whoever sends it.
        Node::of_parts(parts, |config| config.engine.worker_threads = true)
    };
    let (one, other) = (node(), node());
    let (mut ada, mut bob) = (one.user("ada"), other.user("bob"));
    for number in ["1", "2"] {
        let to = ada.with(&bob);
        assert!(matches!(ada.request(message(to, number, "hello")), Body::Sent(_)));
    }
    bob.wait_for(|frame| match &frame.body {
        Some(Body::Push(push)) => push.entry.as_ref().filter(|entry| entry.seq == 2).map(drop),
        _ => None,
    });
    drop((ada, bob));
    one.settle();
    other.settle();
}
