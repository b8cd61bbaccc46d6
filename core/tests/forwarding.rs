//! What a worker forwards to other nodes, and what it does not.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::arrival::Arrival;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::bus::{Member, NodeId};
use dunlin_core::clock::Now;
use dunlin_core::cluster::ClusterNode;
use dunlin_core::config::EngineConfig;
use dunlin_core::limits::{CONVERSATION_QUEUE_MAX, FORWARD_TIMEOUT_MS, FORWARDED_MAX, TICK_MS};
use dunlin_core::placement;
use dunlin_core::presence::{LocalPresence, Nodes, Presence};
use dunlin_core::random::SystemSource;
use dunlin_core::request::{Command, Request};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{RegisterKey, Set, Store, StoreReply, StoreRequest, Write};
use dunlin_core::transport::{ConnId, Delivery, Session};
use dunlin_core::worker::effect::Effects;
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::{self, DeviceKind, ErrorCode, frame::Body};
use dunlin_protocol::{LogId, SessionId, UserId, frame};

const HERE: NodeId = NodeId(1);
const THERE: NodeId = NodeId(2);
const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };

fn member(node: NodeId) -> Member {
    Member { node, workers: 1 }
}

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

/// A worker, and the effects of what it was told.
struct Node {
    worker: Worker,
    effects: Effects,
    sent: u64,
}

impl Node {
    fn new(presence: Arc<dyn Presence>, members: &[Member]) -> Node {
        let shared = Shared {
            config: EngineConfig { workers: 1, ..EngineConfig::default() },
            epoch: 1,
            run: 1,
            random: Arc::new(SystemSource::new()),
            tokens: TokenKeys::new(&[1; 32], &[]),
            issuers: Issuers::new(&[]).unwrap(),
            cluster: Some(ClusterNode { node: HERE, presence }),
        };
        let worker = Worker::new(0, Arc::new(shared));
        let mut node = Node { worker, effects: Effects::new(), sent: 0 };
        node.input(Input::Members(members.to_vec()));
        let (session, kind) = (session(), DeviceKind::Phone);
        node.input(Input::OpenSession { conn: CONN, session, kind });
        node.end_tick();
        node.effects.bus.clear();
        node
    }

    fn input(&mut self, input: Input) {
        self.worker.handle(Now::steady(1_000), input, &mut self.effects);
    }

    fn end_tick(&mut self) {
        self.worker.end_tick(&mut self.effects);
    }

    fn send(&mut self, log: LogId) {
        self.sent += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.sent.to_be_bytes());
        let send = wire::Send {
            conversation_id: log.to_wire(),
            client_message_id: Bytes::copy_from_slice(&id),
            ..wire::Send::default()
        };
        let request = Request::try_from(send).unwrap();
        let (session, request_id) = (Some(session()), self.sent);
        self.input(Input::Command(Command {
            conn: CONN,
            session,
            request_id,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        }));
    }

    /// Does what the worker asks of the store, until it asks nothing more.
    fn run_store(&mut self, store: &MemoryStore) {
        self.end_tick();
        while !self.effects.store.is_empty() {
            for (ticket, request) in std::mem::take(&mut self.effects.store) {
                let (sender, receiver) = std::sync::mpsc::channel();
                store.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
                let result = receiver.try_recv().unwrap();
                self.input(Input::Store { ticket, result });
            }
            self.end_tick();
        }
    }

    fn responses(&mut self) -> Vec<(u64, Body)> {
        let mut responses = Vec::new();
        self.effects.take_outbound(|_, batch| {
            for out in batch {
                if let Delivery::Response(response) = out.delivery {
                    let frame = frame::decode(response.body()).unwrap();
                    responses.push((frame.request_id, frame.body.unwrap()));
                }
            }
        });
        responses
    }
}

fn session() -> Session {
    Session { user: user(1), session: SessionId::new(1).unwrap() }
}

/// Conversations of user 1 whose home is the other node.
fn at_home_there() -> impl Iterator<Item = LogId> {
    let members = [member(HERE), member(THERE)];
    let logs = (2..).map(|id| LogId::direct(user(1), user(id)));
    logs.filter(move |log| placement::home_of_log(*log, &members).unwrap().node == THERE)
}

fn with_accounts(logs: &[LogId]) -> MemoryStore {
    let store = MemoryStore::new(1);
    let users = logs.iter().flat_map(|log| <[UserId; 2]>::from(log.direct_members().unwrap()));
    for user in users.collect::<std::collections::BTreeSet<_>>() {
        let set = Set::always(RegisterKey::letter(b'a'), Bytes::new());
        let write = Write::registers(LogId::account(user), [set]);
        let done = |reply| assert!(matches!(reply, Ok(StoreReply::Written(_))));
        store.submit(StoreRequest::Write(vec![write]), Box::new(done));
    }
    store
}

#[test]
fn alone_nothing_is_forwarded_and_nobody_is_looked_up() {
    struct NeverAsked;
    impl Presence for NeverAsked {
        fn arrived(&self, _user: UserId, _node: NodeId) {}
        fn left(&self, _user: UserId, _node: NodeId) {}
        fn node_left(&self, _node: NodeId) {}
        fn nodes_of(&self, user: UserId) -> Nodes {
            panic!("{user:?} is looked up")
        }
    }
    let logs: Vec<_> = at_home_there().take(3).collect();
    let store = with_accounts(&logs);
    let mut node = Node::new(Arc::new(NeverAsked), &[member(HERE)]);
    logs.iter().for_each(|log| node.send(*log));
    node.run_store(&store);
    assert_eq!(node.responses().len(), 3);
    assert!(node.effects.bus.is_empty());
}

#[test]
fn a_conversation_is_refused_before_it_fills_the_memory() {
    let log = at_home_there().next().unwrap();
    let presence = Arc::new(LocalPresence::new());
    let mut node = Node::new(presence, &[member(HERE), member(THERE)]);
    (0..=CONVERSATION_QUEUE_MAX).for_each(|_| node.send(log));
    let responses = node.responses();
    assert!(matches!(
        &responses[..],
        [(id, Body::Error(error))]
            if *id == CONVERSATION_QUEUE_MAX as u64 + 1 && error.code() == ErrorCode::Overloaded
    ));
    assert_eq!(node.worker.forwarded(), CONVERSATION_QUEUE_MAX);
}

#[test]
fn what_is_too_much_to_forward_is_appended_here_in_its_order() {
    let per_log = CONVERSATION_QUEUE_MAX / 2;
    let logs: Vec<_> = at_home_there().take(FORWARDED_MAX / per_log).collect();
    let store = with_accounts(&logs);
    let presence = Arc::new(LocalPresence::new());
    let mut node = Node::new(presence, &[member(HERE), member(THERE)]);
    for log in &logs {
        (0..per_log).for_each(|_| node.send(*log));
    }
    assert_eq!(node.worker.forwarded(), FORWARDED_MAX);
    // A batch of each conversation is on the way now, and the rest waits behind it.
    node.end_tick();
    assert!(node.effects.store.is_empty() && !node.effects.bus.is_empty());
    node.send(logs[0]);
    assert_eq!(node.worker.forwarded(), FORWARDED_MAX - per_log);
    node.run_store(&store);
    let mut last = (0, 0);
    for (id, body) in node.responses() {
        let Body::Sent(sent) = body else { panic!("{body:?}") };
        assert!(id > last.0 && sent.seq == last.1 + 1);
        last = (id, sent.seq);
    }
    assert_eq!(last, (FORWARDED_MAX as u64 + 1, per_log as u64 + 1));
}

#[test]
fn a_silent_home_is_asked_once() {
    let logs: Vec<_> = at_home_there().take(2).collect();
    let store = with_accounts(&logs);
    let presence = Arc::new(LocalPresence::new());
    let mut node = Node::new(presence, &[member(HERE), member(THERE)]);
    node.send(logs[0]);
    node.run_store(&store);
    assert!(node.responses().is_empty());
    let ticks = FORWARD_TIMEOUT_MS.div_ceil(TICK_MS) + 2;
    (0..ticks).for_each(|_| node.input(Input::Tick));
    node.send(logs[1]);
    node.run_store(&store);
    assert_eq!(node.responses().len(), 2);
    assert_eq!(node.worker.forwarded(), 0);
}
