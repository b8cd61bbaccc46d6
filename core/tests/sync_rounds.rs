//! How often a sync asks the store, one question after the other's answer: over a network each of these
//! rounds is waited for.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::arrival::Arrival;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::clock::Now;
use dunlin_core::config::EngineConfig;
use dunlin_core::limits::{SYNC_FILLED_MAX, SYNC_TOLD_MAX};
use dunlin_core::random::SystemSource;
use dunlin_core::request::{Command, Request};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{
    EntryMeta, NewEntry, RegisterKey, Set, Store, StoreReply, StoreRequest, Write, Written,
};
use dunlin_core::transport::{ConnId, Delivery, Session};
use dunlin_core::worker::effect::Effects;
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::{self, DeviceKind, entry, frame::Body};
use dunlin_protocol::{LogId, SessionId, UserId, frame};
use prost::Message as _;

const CONVERSATIONS: u64 = 10_000;
const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn ask(store: &MemoryStore, request: StoreRequest) -> StoreReply {
    let (sender, receiver) = std::sync::mpsc::channel();
    store.submit(request, Box::new(move |reply| sender.send(reply).unwrap()));
    receiver.try_recv().unwrap().unwrap()
}

/// User 1 is in as many conversations, in each of which something was said.
fn store() -> MemoryStore {
    let store = MemoryStore::new(1);
    let writes = (0..CONVERSATIONS).flat_map(|number| {
        let log = LogId::direct(user(1), user(number + 2));
        let key = RegisterKey::of(b'c', log.as_bytes());
        let join = Write::registers(LogId::account(user(1)), [Set::always(key, Bytes::new())]);
        let (sender, counted, sender_counted) = (number + 2, 1, 1);
        let meta = EntryMeta { time_ms: number, sender, counted, sender_counted };
        let body = Some(entry::Body::Message(wire::Message::default()));
        let entry = wire::Entry {
            seq: 1,
            time_ms: number,
            sender,
            counted,
            sender_counted,
            body,
            ..wire::Entry::default()
        };
        let body = entry.encode_to_vec().into();
        [join, Write::entry(log, NewEntry { seq: 1, meta, key: None, digest: 0, body })]
    });
    match ask(&store, StoreRequest::Write(writes.collect())) {
        StoreReply::Written(all) => {
            assert!(all.iter().all(|one| matches!(one, Written::Stored { .. })));
        }
        other => panic!("{other:?}"),
    }
    store
}

struct Node {
    worker: Worker,
    effects: Effects,
    session: Session,
    requests: u64,
}

impl Node {
    fn new() -> Node {
        let shared = Shared {
            config: EngineConfig { workers: 1, ..EngineConfig::default() },
            epoch: 1,
            run: 1,
            random: Arc::new(SystemSource::new()),
            tokens: TokenKeys::new(&[1; 32], &[]),
            issuers: Issuers::new(&[]).unwrap(),
            cluster: None,
        };
        let mut worker = Worker::new(0, Arc::new(shared));
        let mut effects = Effects::new();
        let session = Session { user: user(1), session: SessionId::new(1).unwrap() };
        let open = Input::OpenSession { conn: CONN, session, kind: DeviceKind::Phone };
        worker.handle(Now::steady(1), open, &mut effects);
        Node { worker, effects, session, requests: 0 }
    }

    /// A sync, and in how many rounds it was answered.
    fn sync(&mut self, store: &MemoryStore, sync: wire::Sync) -> (wire::Synced, usize) {
        self.requests += 1;
        let request = Request::try_from(sync).unwrap();
        let (session, request_id) = (Some(self.session), self.requests);
        let command = Command {
            conn: CONN,
            session,
            request_id,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        };
        self.worker.handle(Now::steady(1), Input::Command(command), &mut self.effects);
        let mut rounds = 0;
        loop {
            self.worker.end_tick(&mut self.effects);
            if self.effects.store.is_empty() {
                break;
            }
            rounds += 1;
            for (ticket, request) in std::mem::take(&mut self.effects.store) {
                let result = Ok(ask(store, request));
                self.worker.handle(
                    Now::steady(1),
                    Input::Store { ticket, result },
                    &mut self.effects,
                );
            }
        }
        let mut synced = None;
        self.effects.take_outbound(|_, batch| {
            for out in batch {
                let Delivery::Response(response) = out.delivery else { continue };
                match frame::decode(response.body()).unwrap().body {
                    Some(Body::Synced(answer)) => synced = Some(answer),
                    other => panic!("{other:?}"),
                }
            }
        });
        (synced.unwrap(), rounds)
    }
}

#[test]
fn a_new_device_with_ten_thousand_conversations_has_them_all_in_few_rounds() {
    let (store, mut node) = (store(), Node::new());
    let sync = wire::Sync { bytes_max: 1 << 20, ..wire::Sync::default() };
    let (first, rounds) = node.sync(&store, sync);
    assert!(first.more && first.afresh);
    assert_eq!(first.conversations.len(), SYNC_TOLD_MAX);
    assert!(first.conversations.iter().all(|state| state.head == 1 && state.unread == 1));
    let filled = first.conversations.iter().filter(|state| !state.entries.is_empty()).count();
    // The settings; three pages of conversations, each with what has changed; the numbers, a thousand
    // conversations at a time; then entries, of as many at a time as have room if each should be as large as can be.
    assert_eq!((filled, rounds), (SYNC_FILLED_MAX, 32));
    let newest = CONVERSATIONS + 1;
    let log = LogId::direct(user(1), user(newest));
    assert_eq!(first.conversations[0].conversation_id, log.to_wire());

    let sync = |token| wire::Sync { epoch: 1, token, ..wire::Sync::default() };
    let (second, _) = node.sync(&store, sync(first.token));
    assert_eq!(second.conversations.len(), CONVERSATIONS as usize - SYNC_TOLD_MAX);
    assert!(!second.more && !second.afresh);
    // Whether the account has changed, and which of the conversations, which the worker remembers.
    let (third, rounds) = node.sync(&store, sync(second.token));
    assert_eq!((third.conversations.len(), rounds), (0, 4));
}
