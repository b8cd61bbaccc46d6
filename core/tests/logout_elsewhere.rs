//! A login on one node while the user logs out everywhere on another, in the worst order.

use std::sync::Arc;

use dunlin_core::arrival::Arrival;
use dunlin_core::attempt::Attempt;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::{Claims, TokenKeys, TokenKind};
use dunlin_core::bus::{Member, NodeId};
use dunlin_core::clock::Now;
use dunlin_core::cluster::ClusterNode;
use dunlin_core::config::EngineConfig;
use dunlin_core::presence::{LocalPresence, Presence};
use dunlin_core::random::SystemSource;
use dunlin_core::request::{
    Command, CredentialRequest, Device, IdentityRequest, Login, Logout, Purpose, Request, Source,
};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Store, StoreError, StoreReply};
use dunlin_core::transport::{ConnId, Delivery, Session};
use dunlin_core::worker::effect::{Effects, PresenceChange, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{CloseReason, DeviceKind};
use dunlin_protocol::{DeviceId, SessionId, UserId};

const HERE: NodeId = NodeId(1);
const THERE: NodeId = NodeId(2);
const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };
const NOW_MS: u64 = 1_000_000;
const KEY: [u8; 32] = [1; 32];

type Answer = (Ticket, Result<StoreReply, StoreError>);

/// A node with one worker. What the store answers is kept until the test passes it on.
struct Node {
    id: NodeId,
    worker: Worker,
    effects: Effects,
    store: Arc<MemoryStore>,
    presence: Arc<LocalPresence>,
    answers: Vec<Answer>,
}

impl Node {
    fn new(id: NodeId, store: &Arc<MemoryStore>, presence: &Arc<LocalPresence>) -> Node {
        let place = ClusterNode { node: id, presence: Arc::clone(presence) as _ };
        let shared = Shared {
            config: EngineConfig { workers: 1, ..EngineConfig::default() },
            epoch: 1,
            run: 1,
            random: Arc::new(SystemSource::new()),
            tokens: TokenKeys::new(&KEY, &[]),
            issuers: Issuers::new(&[]).unwrap(),
            cluster: Some(place),
        };
        let mut node = Node {
            id,
            worker: Worker::new(0, Arc::new(shared)),
            effects: Effects::new(),
            store: Arc::clone(store),
            presence: Arc::clone(presence),
            answers: Vec::new(),
        };
        let member = |node| Member { node, workers: 1 };
        node.input(Input::Members(vec![member(HERE), member(THERE)]));
        node
    }

    /// Takes an input, and does what follows from it but for the answers of the store.
    fn input(&mut self, input: Input) {
        self.worker.handle(Now::steady(NOW_MS), input, &mut self.effects);
        self.worker.end_tick(&mut self.effects);
        for change in self.effects.presence.drain(..) {
            match change {
                PresenceChange::Arrived(user) => self.presence.arrived(user, self.id),
                PresenceChange::Left(user) => self.presence.left(user, self.id),
            }
        }
        for (ticket, request) in self.effects.store.drain(..) {
            let (sender, receiver) = std::sync::mpsc::channel();
            self.store.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
            self.answers.push((ticket, receiver.try_recv().unwrap()));
        }
    }

    /// Passes answers of the store on until there are none.
    fn take_answers(&mut self) {
        while !self.answers.is_empty() {
            let (ticket, result) = self.answers.remove(0);
            self.input(Input::Store { ticket, result });
        }
    }

    fn request(&mut self, session: Option<Session>, request: Request) {
        self.input(Input::Command(Command {
            conn: CONN,
            session,
            request_id: 1,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        }));
    }

    fn deliveries(&mut self) -> Vec<Delivery> {
        let mut all = Vec::new();
        self.effects
            .take_outbound(|_, batch| all.extend(batch.into_iter().map(|out| out.delivery)));
        all
    }
}

fn session(number: u64) -> Session {
    Session { user: UserId::new(7).unwrap(), session: SessionId::new(number).unwrap() }
}

/// A login with a token of this server.
fn login(attempt: Attempt) -> Request {
    let Session { user, session } = session(2);
    let device = DeviceId([2; 16]);
    let claims = Claims {
        user,
        username: "ann".into(),
        session,
        device,
        device_kind: DeviceKind::Phone,
        recorded: false,
        generation: 0,
        issued_ms: NOW_MS - 1000,
        expires_ms: NOW_MS + 1000,
    };
    let token = TokenKeys::new(&KEY, &[]).sign(TokenKind::Resume, &claims);
    let device = Device { id: device, kind: DeviceKind::Phone, name: String::new() };
    let credential = Credential::ResumeToken(token.into());
    CredentialRequest::Login(Login {
        credential,
        device,
        attempt,
        purpose: Purpose::Live,
        source: Source::default(),
    })
    .into()
}

#[test]
fn a_login_that_has_read_too_early_is_closed() {
    let (store, presence) = (Arc::new(MemoryStore::new(1)), Arc::new(LocalPresence::new()));
    let mut here = Node::new(HERE, &store, &presence);
    let mut there = Node::new(THERE, &store, &presence);
    here.input(Input::OpenSession { conn: CONN, session: session(1), kind: DeviceKind::Phone });

    // There, the identity is read for a login: all is well still. The answer takes its time.
    there.request(None, login(Attempt::default()));
    assert_eq!(there.answers.len(), 1);

    // Here, the user logs out everywhere, and the other node is told.
    here.request(Some(session(1)), IdentityRequest::Logout(Logout::All).into());
    here.take_answers();
    let here_told = here.deliveries();
    assert!(matches!(here_told[..], [Delivery::Response(_), Delivery::Close { .. }]));
    let word = here.effects.bus.pop().expect("the other node is told").envelope;
    there.input(Input::Envelope(word));

    // The login succeeds with what it has read, and is looked at again at once.
    there.take_answers();
    let there_told = there.deliveries();
    assert!(
        matches!(
            there_told[..],
            [Delivery::LoggedIn { .. }, Delivery::Close { reason: CloseReason::LoggedOut, .. }]
        ),
        "{there_told:?}"
    );
    assert!(presence.nodes_of(session(1).user).is_empty());
}

#[test]
fn a_login_that_fails_leaves_no_presence() {
    let (store, presence) = (Arc::new(MemoryStore::new(1)), Arc::new(LocalPresence::new()));
    let mut here = Node::new(HERE, &store, &presence);
    let mut there = Node::new(THERE, &store, &presence);
    here.input(Input::OpenSession { conn: CONN, session: session(1), kind: DeviceKind::Phone });
    here.request(Some(session(1)), IdentityRequest::Logout(Logout::All).into());
    here.take_answers();
    there.request(None, login(Attempt::default()));
    assert_eq!(presence.nodes_of(session(1).user)[..], [THERE]);
    there.take_answers();
    assert!(matches!(there.deliveries()[..], [Delivery::LoginPostponed(_)]));
    assert!(presence.nodes_of(session(1).user).is_empty());
}

#[test]
fn a_login_that_was_abandoned_leaves_no_presence() {
    let (store, presence) = (Arc::new(MemoryStore::new(1)), Arc::new(LocalPresence::new()));
    let mut there = Node::new(THERE, &store, &presence);
    let (waiting, attempt) = Attempt::begin();
    there.request(None, login(attempt));
    assert_eq!(presence.nodes_of(session(1).user)[..], [THERE]);
    drop(waiting);
    there.take_answers();
    assert!(matches!(there.deliveries()[..], [Delivery::LoginPostponed(_)]));
    assert!(presence.nodes_of(session(1).user).is_empty());
}
