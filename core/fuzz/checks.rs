// What must hold whatever a client says after its login. The fuzz target calls this, and so does
// `tests/fuzz_corpus.rs`, which replays the corpus with a stable compiler. It panics if a promise is broken.
#![allow(dead_code, reason = "the fuzz target calls one of two functions")]

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::password::Hasher;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::clock::Now;
use dunlin_core::config::{EngineConfig, PasswordConfig};
use dunlin_core::connection::{Connection, ConnectionContext, Received};
use dunlin_core::random::Random;
use dunlin_core::request::Command;
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{RegisterKey, Set, Store, StoreRequest, Write};
use dunlin_core::transport::{ConnId, Delivery, Outbound, Session};
use dunlin_core::worker::effect::Effects;
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::limits::{FRAME_BYTES_MAX, SYNC_TOKEN_BYTES_MAX};
use dunlin_protocol::wire::{DeviceKind, ErrorCode, Frame, Sync, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId, frame};

/// Who speaks, and with whom: those of the golden frames, with which fuzzing begins, and their epoch.
const ME: u64 = 1001;
const PEER: u64 = 8_000_000_000_000_000;
const EPOCH: u64 = 18_369_614_221_190_020_847;

/// Rounds of questions and answers until everything must be answered.
const ROUNDS_MAX: usize = 10_000;

/// The input is bodies of frames, each behind its length in two bytes, as one client says them one after the
/// other; the last one may be cut. Every request is answered once, nothing that is said is too large, and
/// after all that the client can still sync.
pub(crate) fn requests(input: &[u8]) {
    let mut host = Host::new();
    let mut rest = input;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (body, behind) = behind.split_at(length);
        rest = behind;
        if !host.take(Bytes::copy_from_slice(body)) {
            break;
        }
    }
    host.assert_answered();
    let token = host.token.clone();
    let again = Sync { epoch: EPOCH, token, ..Sync::default() };
    for sync in [Sync::default(), again] {
        host.ask(EncodedFrame::response(u64::MAX, Body::Sync(sync)).body());
        host.assert_answered();
        assert!(matches!(host.last, Some(Body::Synced(_))), "{:?}", host.last);
    }
}

/// Whether a connection goes on after this.
pub(crate) fn goes_on(body: &[u8]) -> bool {
    Host::new().take(Bytes::copy_from_slice(body))
}

/// A node with one worker, and one client that is logged in.
struct Host {
    worker: Worker,
    effects: Effects,
    store: MemoryStore,
    hasher: Hasher,
    connection: Connection,
    context: ConnectionContext,
    now_ms: u64,
    /// How many answers are missing to each request.
    asked: BTreeMap<u64, usize>,
    last: Option<Body>,
    /// Of the last Synced.
    token: Bytes,
}

/// The same in each run.
#[derive(Debug)]
struct Constant;

impl Random for Constant {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn conn() -> ConnId {
    ConnId { shard: 0, slot: 1, generation: 1 }
}

fn user(number: u64) -> UserId {
    UserId::new(number).expect("the numbers are those of users")
}

impl Host {
    fn new() -> Host {
        let store = MemoryStore::new(EPOCH);
        [ME, PEER].into_iter().for_each(|number| create_account(&store, user(number)));
        // As cheap as a hash can be.
        let passwords = PasswordConfig { memory_kib: 8, iterations: 1, ..Default::default() };
        let shared = Arc::new(Shared {
            config: EngineConfig { workers: 1, passwords: passwords.clone(), ..Default::default() },
            epoch: EPOCH,
            run: 1,
            random: Arc::new(Constant),
            tokens: TokenKeys::new(&[1; 32], &[]),
            issuers: Issuers::new(&[]).expect("none is good"),
            cluster: None,
        });
        let session = SessionId::new(9).expect("it is small");
        let session = Session { user: user(ME), session };
        let mut connection = Connection::new();
        connection.logged_in(session);
        let mut host = Host {
            worker: Worker::new(0, shared),
            effects: Effects::new(),
            store,
            hasher: Hasher::new(&passwords, Arc::new(Constant)).expect("there is memory"),
            connection,
            context: ConnectionContext::new("a server that is fuzzed"),
            now_ms: 1_700_000_000_000,
            asked: BTreeMap::new(),
            last: None,
            token: Bytes::new(),
        };
        host.input(Input::OpenSession { conn: conn(), session, kind: DeviceKind::Phone });
        host.settle();
        host
    }

    /// Takes a frame of the client. False if the connection is closed by it.
    fn take(&mut self, body: Bytes) -> bool {
        let body = match frame::decode(body.clone()) {
            Ok(frame) => self.with_token(frame).unwrap_or(body),
            Err(_) => body,
        };
        self.ask(body)
    }

    /// A token of one or two bytes stands for the last one, of which it says which bit to turn: no chance
    /// finds the checksum of one.
    fn with_token(&self, frame: Frame) -> Option<Bytes> {
        let Some(Body::Sync(sync)) = frame.body else { return None };
        let turned: &[u8] = match &sync.token[..] {
            [_] => &[],
            [place, bit] if !self.token.is_empty() => &[*place, *bit],
            _ => return None,
        };
        let mut token = self.token.to_vec();
        if let [place, bit] = turned {
            let length = token.len();
            token[usize::from(*place) % length] ^= 1 << (bit % 8);
        }
        let sync = Sync { token: token.into(), ..sync };
        Some(EncodedFrame::response(frame.request_id, Body::Sync(sync)).body())
    }

    fn ask(&mut self, body: Bytes) -> bool {
        match self.connection.receive(&self.context, conn(), self.now_ms, body) {
            Received::Nothing => {}
            Received::Respond(frame) => assert!(frame.wire().len() < FRAME_BYTES_MAX as usize),
            Received::Close(_) => return false,
            Received::Submit(command) => self.submit(command),
        }
        true
    }

    fn submit(&mut self, command: Command) {
        if command.request_id != 0 {
            *self.asked.entry(command.request_id).or_default() += 1;
        }
        self.input(Input::Command(command));
        self.settle();
    }

    fn input(&mut self, input: Input) {
        self.now_ms += 1;
        let now = Now { unix_ms: self.now_ms, monotonic_ms: self.now_ms };
        self.worker.handle(now, input, &mut self.effects);
    }

    /// Carries out what the worker wants, until it wants nothing more.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.worker.end_tick(&mut self.effects);
            let mut outbound = Vec::new();
            self.effects.take_outbound(|_, batch| outbound.extend(batch));
            outbound.into_iter().for_each(|out| self.deliver(&out));
            self.effects.presence.clear();
            let asked = std::mem::take(&mut self.effects.store);
            let hashed = std::mem::take(&mut self.effects.passwords);
            if asked.is_empty() && hashed.is_empty() {
                return;
            }
            for (ticket, request) in asked {
                let (done, answer) = mpsc::channel();
                let done = move |result| done.send(result).expect("it is waited for");
                self.store.submit(request, Box::new(done));
                let result = answer.try_recv().expect("it is answered at once");
                self.input(Input::Store { ticket, result });
            }
            for (ticket, job) in hashed {
                let result = self.hasher.run(&job);
                self.input(Input::Password { ticket, result });
            }
        }
        panic!("the worker does not come to rest");
    }

    fn deliver(&mut self, out: &Outbound) {
        let Some(encoded) = out.delivery.frame() else { return };
        assert!(encoded.body().len() <= FRAME_BYTES_MAX as usize, "{:?}", out.delivery);
        let frame = frame::decode(encoded.body()).expect("a server says good frames");
        if let Delivery::Response(_) = out.delivery {
            let missing = self.asked.get_mut(&frame.request_id);
            let missing = missing.unwrap_or_else(|| panic!("nobody asked: {frame:?}"));
            *missing = missing.checked_sub(1).unwrap_or_else(|| panic!("once more: {frame:?}"));
            self.last = frame.body.clone();
        }
        match frame.body {
            Some(Body::Synced(synced)) => {
                assert!(synced.token.len() <= SYNC_TOKEN_BYTES_MAX);
                self.token = synced.token;
            }
            Some(Body::Error(error)) => {
                assert_ne!(error.code(), ErrorCode::Internal, "{error:?}");
                assert_ne!(error.code(), ErrorCode::DataCorrupt, "{error:?}");
            }
            _ => {}
        }
    }

    fn assert_answered(&self) {
        let missing: Vec<_> = self.asked.iter().filter(|(_, missing)| **missing > 0).collect();
        assert!(missing.is_empty(), "no answer to {missing:?}");
    }
}

/// The register that says that there is such a user: fields 1 and 2 of `dunlin.store.v1.Account`.
fn create_account(store: &MemoryStore, user: UserId) {
    let name = format!("user{user}");
    let mut account = Vec::new();
    for tag in [0x0a, 0x12] {
        account.extend([tag, name.len() as u8]);
        account.extend(name.as_bytes());
    }
    let set = Set::always(RegisterKey::letter(b'a'), account.into());
    let write = Write::registers(LogId::account(user), [set]);
    store.submit(StoreRequest::Write(vec![write]), Box::new(|done| drop(done.expect("written"))));
}
