//! The state machine alone: commands in, effects out, on one thread without any I/O. Its store
//! answers from memory and keeps nothing, so all that is measured is the worker.
//!
//! A durable message is one Send, its place in a batch, the store's answer, the acknowledgement
//! and the push to the other member. The limit is the processor time that the whole server has for
//! a message: twice the relay's 0.64 us for signals, eight times for durable ones. The worker
//! should be a fifth of it.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dunlin_core::arrival::Arrival;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::clock::Now;
use dunlin_core::config::EngineConfig;
use dunlin_core::random::SystemSource;
use dunlin_core::request::{Command, Message, Request, Signal};
use dunlin_core::store::{
    ChangedLogs, EntryMeta, Head, Moment, Registers, StoreReply, StoreRequest, Write, Written,
};
use dunlin_core::transport::{ConnId, Session};
use dunlin_core::worker::effect::Effects;
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::{self, DeviceKind, Notice};
use dunlin_protocol::{ClientMessageId, LogId, SessionId, UserId};

const PAIRS: u64 = 500;
const NOW_MS: u64 = 1_800_000_000_000;

struct Bench {
    worker: Worker,
    effects: Effects,
    messages: u64,
}

impl Bench {
    /// A worker with 500 pairs of users who are connected, live, and have written before.
    fn new() -> Bench {
        let config = EngineConfig { workers: 1, ..EngineConfig::default() };
        let shared = Shared {
            config,
            epoch: 1,
            run: 1,
            random: Arc::new(SystemSource::new()),
            tokens: TokenKeys::new(&[7; 32], &[]),
            issuers: Issuers::new(&[]).expect("no issuers are good ones"),
            cluster: None,
        };
        let worker = Worker::new(0, Arc::new(shared));
        let mut bench = Bench { worker, effects: Effects::new(), messages: 0 };
        for user in 1..=PAIRS * 2 {
            let (conn, session) = (conn(user), session(user));
            let kind = DeviceKind::Phone;
            bench.worker.handle(
                Now::steady(NOW_MS),
                Input::OpenSession { conn, session, kind },
                &mut bench.effects,
            );
            let sync = wire::Sync::default().try_into().expect("an empty Sync is a good one");
            bench.tick([command(user, 1, sync)]);
        }
        let sends = (0..PAIRS).map(|_| bench.send()).collect::<Vec<_>>();
        bench.tick(sends);
        let delivered = bench.effects.counters.pushes;
        assert_eq!(delivered, PAIRS, "every first message was pushed");
        bench
    }

    /// The next message: from one of each pair in turn.
    fn send(&mut self) -> Command {
        self.messages += 1;
        let user = self.messages % PAIRS * 2 + 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.messages.to_be_bytes());
        let message = Message {
            client_message_id: ClientMessageId(id),
            content_type: "x-load".to_owned(),
            content: Bytes::from_static(&[b'x'; 200]),
            notice: Notice::Loud,
        };
        command(user, self.messages, message.to(conversation(user)))
    }

    fn signal(&mut self) -> Command {
        self.messages += 1;
        let user = self.messages % PAIRS * 2 + 1;
        let payload = Bytes::from_static(&[b'x'; 200]);
        let signal = Signal { kind: "load".to_owned(), payload };
        command(user, self.messages, signal.to(conversation(user)))
    }

    /// One tick, and as many more as the answers of the store need.
    fn tick(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.worker.handle(Now::steady(NOW_MS), Input::Command(command), &mut self.effects);
        }
        loop {
            self.worker.end_tick(&mut self.effects);
            self.effects.take_outbound(|_, batch| drop(black_box(batch)));
            if self.effects.store.is_empty() {
                return;
            }
            for (ticket, request) in std::mem::take(&mut self.effects.store) {
                let result = Ok(answer(request));
                self.worker.handle(
                    Now::steady(NOW_MS),
                    Input::Store { ticket, result },
                    &mut self.effects,
                );
            }
        }
    }
}

/// A store in which every conversation has one entry, a message that was there before, and every
/// write succeeds.
fn answer(request: StoreRequest) -> StoreReply {
    let head = Head {
        seq: 1,
        meta: EntryMeta { time_ms: 1, sender: 1, ..EntryMeta::default() },
        ..Head::default()
    };
    match request {
        StoreRequest::Write(writes) => {
            let stored = |_: &Write| Written::Stored { version: 0 };
            StoreReply::Written(writes.iter().map(stored).collect())
        }
        StoreRequest::Heads(logs) => StoreReply::Heads(logs.iter().map(|_| Ok(head)).collect()),
        StoreRequest::Registers(ranges) => {
            StoreReply::Registers(ranges.iter().map(|_| Ok(Registers::default())).collect())
        }
        StoreRequest::Changed { .. } => {
            let now = Moment::from_bytes(&[]).expect("it is short enough");
            StoreReply::Changed(ChangedLogs { heads: Vec::new(), now })
        }
        _ => StoreReply::Logs(Vec::new()),
    }
}

fn user(id: u64) -> UserId {
    UserId::new(id).expect("a user id of the benchmark is in range")
}

/// Users 1 and 2 are a pair, and so on.
fn conversation(of: u64) -> LogId {
    LogId::direct(user(of), user(of + 1))
}

fn conn(of: u64) -> ConnId {
    ConnId { shard: 0, slot: of as u32, generation: 1 }
}

fn session(of: u64) -> Session {
    let session = SessionId::new(of).expect("a session id of the benchmark is in range");
    Session { user: user(of), session }
}

fn command(of: u64, request_id: u64, request: Request) -> Command {
    Command {
        conn: conn(of),
        session: Some(session(of)),
        request_id,
        may_deflate: false,
        arrived: Arrival::UNKNOWN,
        request,
    }
}

fn worker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("worker");
    type Make = fn(&mut Bench) -> Command;
    for (name, make) in [("durable", Bench::send as Make), ("signal", Bench::signal as Make)] {
        for batch in [1, 16, 256] {
            group.throughput(Throughput::Elements(batch));
            group.bench_function(format!("{name}/batch of {batch}"), |bencher| {
                let bench = std::cell::RefCell::new(Bench::new());
                let commands = || -> Vec<Command> {
                    (0..batch).map(|_| make(&mut bench.borrow_mut())).collect()
                };
                let tick = |commands| bench.borrow_mut().tick(commands);
                bencher.iter_batched(commands, tick, BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, worker);
criterion_main!(benches);
