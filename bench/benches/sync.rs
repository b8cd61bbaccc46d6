//! What a sync costs, by the state machine over the server's store: of a client for which nothing is new, and of a
//! device that has nothing.
//!
//! `cargo bench -p dunlin-bench --bench sync` prints the bytes up and down, and the lowest and the median of the
//! processor time of the whole process for one sync, the threads of the store with it; sockets are not in it. The goals: nothing
//! new costs at most 128 bytes up, 20 us with 50 conversations and 2 ms with 10,000; a usable list of 5,000
//! conversations at most 300 KB.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;
use dunlin_core::arrival::Arrival;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::clock::Now;
use dunlin_core::config::EngineConfig;
use dunlin_core::random::SystemSource;
use dunlin_core::request::{Command, Request};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::question;
use dunlin_core::store::{
    EntryMeta, NewEntry, RegisterKey, Set, Store, StoreError, StoreReply, Write, Written,
};
use dunlin_core::transport::{ConnId, Delivery, Session};
use dunlin_core::worker::effect::{Effects, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::{self, DeviceKind, entry, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId, frame};
use prost::Message as _;
use rustix::time::{ClockId, clock_gettime};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW_MS: u64 = 1_800_000_000_000;
const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };
/// The lowest and the median of so many count.
const ROUNDS: usize = 101;
/// Writes that are made durable together.
const BATCH: usize = 1000;
const SETTINGS: u64 = 20;

type Answered = (Ticket, Result<StoreReply, StoreError>);

fn user(number: u64) -> UserId {
    UserId::new(number).expect("a user id of the benchmark is in range")
}

fn write(store: &EmbeddedStore, writes: &[Write]) {
    for writes in writes.chunks(BATCH) {
        let (sender, receiver) = mpsc::sync_channel(1);
        question::ask(store, writes.to_vec(), move |answer| {
            sender.send(answer).expect("it is waited for");
        });
        let verdicts = receiver.recv().expect("the store answers").expect("the store can do it");
        let stored = |verdict: &Written| matches!(verdict, Written::Stored { .. });
        assert!(verdicts.iter().all(stored), "{:?}", verdicts.first());
    }
}

/// What somebody has said to the user, and all that is written before it.
fn conversation(me: UserId, number: u64) -> [Write; 3] {
    let other = user(1_000_000 + number);
    let log = LogId::direct(me, other);
    let key = RegisterKey::of(b'c', log.as_bytes());
    // Joined then, and answered: no request.
    let join =
        Write::registers(LogId::account(me), [Set::always(key, Bytes::from_static(b"\x08\x01"))]);
    let (name, shown) = (format!("user.{number:06}"), format!("Somebody {number}"));
    let account =
        [&[10, name.len() as u8], name.as_bytes(), &[18, shown.len() as u8], shown.as_bytes()];
    let account = Set::always(RegisterKey::letter(b'a'), account.concat().into());
    let account = Write::registers(LogId::account(other), [account]);
    let meta =
        EntryMeta { time_ms: NOW_MS + number, sender: other.get(), counted: 1, sender_counted: 1 };
    let message = wire::Message { content: vec![b'x'; 100].into(), ..wire::Message::default() };
    let entry = wire::Entry {
        seq: 1,
        time_ms: meta.time_ms,
        sender: meta.sender,
        counted: 1,
        sender_counted: 1,
        body: Some(entry::Body::Message(message)),
        ..wire::Entry::default()
    };
    let body = entry.encode_to_vec().into();
    [join, account, Write::entry(log, NewEntry { seq: 1, meta, key: None, digest: 0, body })]
}

fn setting(me: UserId, number: u64) -> Write {
    let key = RegisterKey::new(format!("ssetting.{number}").as_bytes()).expect("it is short");
    Write::registers(LogId::account(me), [Set::always(key, vec![b'x'; 100].into())])
}

struct Node {
    worker: Worker,
    effects: Effects,
    store: EmbeddedStore,
    session: Session,
    requests: u64,
    answers: (Sender<Answered>, Receiver<Answered>),
}

impl Node {
    fn new(store: EmbeddedStore) -> Node {
        let shared = Shared {
            config: EngineConfig { workers: 1, ..EngineConfig::default() },
            epoch: store.epoch(),
            run: 1,
            random: Arc::new(SystemSource::new()),
            tokens: TokenKeys::new(&[7; 32], &[]),
            issuers: Issuers::new(&[]).expect("no issuers are good ones"),
            cluster: None,
        };
        let worker = Worker::new(0, Arc::new(shared));
        let session = Session { user: user(1), session: SessionId::new(1).expect("it is 1") };
        let (effects, answers) = (Effects::new(), mpsc::channel());
        Node { worker, effects, store, session, requests: 0, answers }
    }

    fn of(&mut self, me: UserId) {
        self.session.user = me;
        let (session, kind) = (self.session, DeviceKind::Phone);
        let open = Input::OpenSession { conn: CONN, session, kind };
        self.worker.handle(Now::steady(NOW_MS), open, &mut self.effects);
    }

    /// The response to a sync, as it is on the wire.
    fn sync(&mut self, sync: &wire::Sync, may_deflate: bool) -> EncodedFrame {
        self.requests += 1;
        let request = Request::try_from(sync.clone()).expect("it is a good one");
        let (session, request_id) = (Some(self.session), self.requests);
        let command = Command {
            conn: CONN,
            session,
            request_id,
            may_deflate,
            arrived: Arrival::UNKNOWN,
            request,
        };
        self.worker.handle(Now::steady(NOW_MS), Input::Command(command), &mut self.effects);
        let mut outstanding = 0;
        loop {
            self.worker.end_tick(&mut self.effects);
            for (ticket, request) in std::mem::take(&mut self.effects.store) {
                outstanding += 1;
                let sender = self.answers.0.clone();
                let done = move |result| sender.send((ticket, result)).expect("it is waited for");
                self.store.submit(request, Box::new(done));
            }
            if outstanding == 0 {
                break;
            }
            outstanding -= 1;
            let (ticket, result) = self.answers.1.recv().expect("the store answers");
            let answer = Input::Store { ticket, result };
            self.worker.handle(Now::steady(NOW_MS), answer, &mut self.effects);
        }
        let mut responses = VecDeque::new();
        self.effects.take_outbound(|_, batch| {
            responses.extend(batch.into_iter().filter_map(|outbound| match outbound.delivery {
                Delivery::Response(response) => Some(response),
                Delivery::Push { .. } | Delivery::Notice(_) | Delivery::Signal(_) => None,
                other => panic!("{other:?}"),
            }));
        });
        responses.pop_front().expect("it is answered")
    }
}

fn synced(response: &EncodedFrame) -> wire::Synced {
    match frame::decode(response.body()).expect("it is a frame").body {
        Some(Body::Synced(synced)) => synced,
        other => panic!("{other:?}"),
    }
}

fn processor_us() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// The lowest and the median processor time of a sync.
fn timed(node: &mut Node, sync: &wire::Sync) -> (f64, f64) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let before = processor_us();
            node.sync(sync, false);
            processor_us() - before
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    (times[0], times[ROUNDS / 2])
}

fn after(synced: &wire::Synced) -> wire::Sync {
    let (epoch, token) = (synced.epoch, synced.token.clone());
    wire::Sync { epoch, token, ..wire::Sync::default() }
}

fn told(what: &str, up: usize, down: usize, deflated: usize, (lowest, median): (f64, f64)) {
    println!("{what:44} {up:6} {down:9} {deflated:9} {lowest:10.1} {median:10.1}");
}

/// A user with so many conversations.
fn measure(node: &mut Node, me: UserId, conversations: u64) {
    let writes: Vec<Write> = (0..conversations)
        .flat_map(|number| conversation(me, me.get() * 100_000 + number))
        .chain((0..SETTINGS).map(|number| setting(me, number)))
        .collect();
    write(&node.store, &writes);
    node.of(me);
    let up = |sync: &wire::Sync| {
        let (request_id, body) = (1, Some(Body::Sync(sync.clone())));
        EncodedFrame::new(&wire::Frame { request_id, body }).wire().len()
    };
    let mut sync = wire::Sync::default();
    let (mut answers, mut listed) = (0, 0);
    loop {
        let response = node.sync(&sync, false);
        let deflated = node.sync(&sync, true);
        let answer = synced(&response);
        listed += answer.conversations.len();
        answers += 1;
        if answers == 1 {
            let what = format!("a new device, the first {listed} of {conversations}");
            let (down, deflated) = (response.wire().len(), deflated.wire().len());
            told(&what, up(&sync), down, deflated, timed(node, &sync));
        }
        sync = after(&answer);
        if !answer.more {
            break;
        }
    }
    println!("{:44} {answers} answers for {listed} conversations", "");
    let response = node.sync(&sync, false);
    assert!(synced(&response).conversations.is_empty());
    let down = response.wire().len();
    let what = format!("nothing new, of {conversations}");
    told(&what, up(&sync), down, down, timed(node, &sync));
    // A hundredth has changed.
    let changed = (0..conversations.div_ceil(100)).map(|number| {
        let other = user(1_000_000 + me.get() * 100_000 + number * 97 % conversations);
        let meta =
            EntryMeta { time_ms: NOW_MS * 2, sender: other.get(), counted: 2, sender_counted: 2 };
        let body = wire::Entry { seq: 2, ..wire::Entry::default() }.encode_to_vec().into();
        let entry = NewEntry { seq: 2, meta, key: None, digest: 0, body };
        Write::entry(LogId::direct(me, other), entry)
    });
    write(&node.store, &changed.collect::<Vec<_>>());
    let response = node.sync(&sync, false);
    let what = format!("{} new, of {conversations}", synced(&response).conversations.len());
    let down = response.wire().len();
    told(&what, up(&sync), down, down, timed(node, &sync));
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let store = EmbeddedStore::open(&folder.path().join("store"), EmbeddedConfig::default())
        .expect("the store opens");
    let mut node = Node::new(store);
    println!(
        "{:44} {:>6} {:>9} {:>9} {:>10} {:>10}",
        "", "up B", "down B", "deflated", "lowest us", "median us"
    );
    for (me, conversations) in [(1, 50), (2, 5000), (3, 10_000)] {
        measure(&mut node, user(me), conversations);
    }
}
