//! A store that never answers makes nobody wait for ever.

use std::sync::Arc;

use dunlin_core::arrival::Arrival;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::clock::Now;
use dunlin_core::config::EngineConfig;
use dunlin_core::limits::{STORE_ABANDONED_MAX, STORE_DEADLINE_MS, TICK_MS};
use dunlin_core::random::SystemSource;
use dunlin_core::request::{AccountRequest, Command, History, Request};
use dunlin_core::store::StoreError;
use dunlin_core::transport::{ConnId, Session};
use dunlin_core::worker::effect::{Effects, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::{self, DeviceKind, ErrorCode};
use dunlin_protocol::{LogId, SessionId, UserId, frame};

const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };
const DEADLINE_TICKS: u64 = STORE_DEADLINE_MS / TICK_MS;

/// A worker over a store that listens only.
struct Node {
    worker: Worker,
    effects: Effects,
    session: Session,
    requests: u64,
}

impl Node {
    fn start() -> Node {
        let shared = Shared {
            config: EngineConfig { workers: 1, ..EngineConfig::default() },
            epoch: 1,
            run: 1,
            random: Arc::new(SystemSource::new()),
            tokens: TokenKeys::new(&[7; 32], &[]),
            issuers: Issuers::new(&[]).unwrap(),
            cluster: None,
        };
        let session =
            Session { user: UserId::new(1).unwrap(), session: SessionId::new(1).unwrap() };
        let worker = Worker::new(0, Arc::new(shared));
        let mut node = Node { worker, effects: Effects::new(), session, requests: 0 };
        node.take(Input::OpenSession { conn: CONN, session, kind: DeviceKind::Phone });
        node
    }

    /// Time stands still for all but ticks: the deadline does not depend on a clock.
    fn take(&mut self, input: Input) {
        self.worker.handle(Now::steady(1000), input, &mut self.effects);
        self.worker.end_tick(&mut self.effects);
    }

    /// Asks for the history of a conversation, which is one question for the store. (Of one user few of
    /// them are asked at a time.)
    fn ask(&mut self) -> u64 {
        let range = History {
            from: 1,
            to: 9,
            limit: 9,
            backwards: false,
            from_time_ms: None,
            bytes_max: 1 << 20,
        };
        let log = LogId::direct(self.session.user, UserId::new(2).unwrap());
        self.request(range.of(log))
    }

    /// Looks a user up: another question, of which any number is asked.
    fn look_up(&mut self) -> u64 {
        let user_ids = vec![UserId::new(2).unwrap()];
        self.request(AccountRequest::FindUsers { usernames: Vec::new(), user_ids }.into())
    }

    fn request(&mut self, request: Request) -> u64 {
        self.requests += 1;
        let (session, request_id) = (Some(self.session), self.requests);
        self.take(Input::Command(Command {
            conn: CONN,
            session,
            request_id,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        }));
        request_id
    }

    fn asked(&mut self) -> Vec<Ticket> {
        self.effects.store.drain(..).map(|(ticket, _)| ticket).collect()
    }

    fn ticks(&mut self, ticks: u64) {
        (0..ticks).for_each(|_| self.take(Input::Tick));
    }

    /// The requests that were refused because the store does not work.
    fn refused(&mut self) -> Vec<u64> {
        let mut delivered = Vec::new();
        self.effects.take_outbound(|_, batch| delivered.extend(batch));
        let refused = delivered.iter().map(|out| {
            let frame = frame::decode(out.delivery.frame().unwrap().body()).unwrap();
            match frame.body {
                Some(Body::Error(error)) => assert_eq!(error.code(), ErrorCode::StoreUnavailable),
                other => panic!("not refused: {other:?}"),
            }
            frame.request_id
        });
        refused.collect()
    }
}

#[test]
fn whoever_waits_for_a_silent_store_is_answered_in_time() {
    let mut node = Node::start();
    let first = node.ask();
    let asked = node.asked();
    assert_eq!(asked.len(), 1);
    node.ticks(DEADLINE_TICKS);
    assert!(node.refused().is_empty());
    let second = node.ask();
    node.ticks(1);
    assert_eq!((node.refused(), node.worker.outstanding()), (vec![first], 1));
    assert_eq!(node.effects.counters.store_overdue, 1);
    // The answer comes after all: nobody waits for it any more.
    let result = Err(StoreError::Unavailable { reason: "late".into() });
    node.take(Input::Store { ticket: asked[0], result });
    assert!(node.refused().is_empty());
    node.ticks(DEADLINE_TICKS);
    assert_eq!((node.refused(), node.worker.outstanding()), (vec![second], 0));
}

#[test]
fn whoever_waits_behind_reads_that_are_not_answered_is_answered_with_them() {
    let mut node = Node::start();
    let pages: Vec<_> = (0..100).map(|_| node.ask()).collect();
    let sync = || Request::try_from(wire::Sync::default()).unwrap();
    let syncs: Vec<_> = (0..3).map(|_| node.request(sync())).collect();
    assert!(node.asked().len() < pages.len(), "of one user few are read at a time");
    node.ticks(DEADLINE_TICKS);
    assert!(node.refused().is_empty());
    let later = node.ask();
    node.ticks(1);
    let mut refused = node.refused();
    refused.sort_unstable();
    assert_eq!(refused, [pages, syncs].concat());
    assert_eq!(node.worker.outstanding() + node.worker.waiting(), 1);
    // It was asked then.
    node.ticks(DEADLINE_TICKS + 1);
    assert_eq!(node.refused(), [later]);
    assert_eq!(node.worker.outstanding() + node.worker.waiting(), 0);
}

#[test]
fn a_store_that_has_lost_too_much_is_left_alone() {
    let mut node = Node::start();
    let lost: Vec<_> = (0..STORE_ABANDONED_MAX).map(|_| node.look_up()).collect();
    assert_eq!(node.asked().len(), lost.len());
    node.ticks(DEADLINE_TICKS + 1);
    assert_eq!(node.refused(), lost);
    // Nothing more goes there, and whoever asks hears so at the next tick.
    let refused = node.look_up();
    assert!(node.asked().is_empty());
    node.ticks(1);
    assert_eq!(node.refused(), [refused]);
}
