//! While the store does not answer, the server takes in only so much; nothing is dropped, and all is
//! answered afterwards. While it fails, it says so, and what needs no append goes on.

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dunlin_core::store::memory::{AppendFailure, MemoryStore};
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};
use support::messages::{history, message, sync};
use support::store::HeldStore;
use support::{Client, Node, eventually};

/// Sends a first message, so that both members have joined.
fn begin(client: &mut Client, log: LogId) {
    assert!(matches!(client.request(message(log, "first", "x")), Body::Sent(_)));
}

/// Messages of this size, written in the background until the socket takes no more.
fn flood(client: &mut Client, log: LogId, count: usize, size: usize) -> Flood {
    let frames: Vec<(u64, EncodedFrame)> =
        (0..count).map(|id| client.encode(message(log, &id.to_string(), vec![1; size]))).collect();
    let ids = frames.iter().map(|(id, _)| *id).collect();
    let mut socket = client.stream.socket().try_clone().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let thread = std::thread::spawn(move || {
        for (_, frame) in frames {
            socket.write_all(frame.wire()).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    Flood { ids, written, thread }
}

struct Flood {
    ids: Vec<u64>,
    written: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

#[test]
fn one_connection_has_so_many_requests_outstanding_and_the_rest_stays_in_its_socket() {
    const OUTSTANDING: usize = 16;
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |config| {
        config.protocol.requests_outstanding_max = OUTSTANDING as u32;
    });
    let mut ada = node.user("ada");
    let mut bob = node.user("bob");
    let log = ada.with(&ada);
    begin(&mut ada, log);
    store.hold();
    let flood = flood(&mut ada, log, 1000, 30_000);
    eventually("the store has some", || store.waiting() > 0);
    // Another connection is answered; so often that the flood had every chance to get further.
    for _ in 0..200 {
        assert!(matches!(bob.request(sync()), Body::Synced(_)));
    }
    assert!(store.waiting() <= OUTSTANDING, "{} of {OUTSTANDING}", store.waiting());
    assert!(flood.written.load(Ordering::SeqCst) < 1000, "the sockets take no more");
    store.release();
    for (request_id, seq) in flood.ids.into_iter().zip(2..) {
        assert!(matches!(ada.answer(request_id), Body::Sent(sent) if sent.seq == seq));
    }
    flood.thread.join().unwrap();
    drop((ada, bob));
    node.settle();
}

#[test]
fn large_messages_of_a_connection_count_by_their_bytes() {
    const MESSAGE: usize = 60_000;
    const SENDS: usize = 200;
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |config| {
        config.limits.request_bytes_max = 4 * MESSAGE;
    });
    let mut ada = node.user("ada");
    let mut bob = node.user("bob");
    let log = ada.with(&ada);
    begin(&mut ada, log);
    store.hold();
    let flood = flood(&mut ada, log, SENDS, MESSAGE);
    let counted = || node.server.engine().statistics().total();
    eventually("some of it is taken", || counted().message_bytes as usize > 2 * MESSAGE);
    for _ in 0..200 {
        assert!(matches!(bob.request(sync()), Body::Synced(_)));
    }
    // As it came and as it is stored, and one more than fits.
    let (bytes, bytes_max) = (counted().message_bytes as usize, 5 * (2 * MESSAGE + 1024));
    assert!(bytes <= bytes_max, "{bytes} of {bytes_max}");
    store.release();
    for (request_id, seq) in flood.ids.into_iter().zip(2..) {
        assert!(matches!(ada.answer(request_id), Body::Sent(sent) if sent.seq == seq));
    }
    flood.thread.join().unwrap();
    eventually("nothing is under way", || {
        let counted = counted();
        (counted.message_bytes, counted.command_bytes) == (0, 0)
    });
    drop((ada, bob));
    node.settle();
}

#[test]
fn over_tls_as_well() {
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |config| config.protocol.requests_outstanding_max = 4);
    let mut ada = node.user_over_tls("ada");
    let log = ada.with(&ada);
    begin(&mut ada, log);
    store.hold();
    // Less than the sockets hold, so that one thread can write it all.
    let sends: Vec<u64> =
        (0..200).map(|id| ada.send(message(log, &id.to_string(), vec![1; 1000]))).collect();
    eventually("the store has some", || store.waiting() > 0);
    assert!(store.waiting() <= 4);
    store.release();
    for (request_id, seq) in sends.into_iter().zip(2..) {
        assert!(matches!(ada.answer(request_id), Body::Sent(sent) if sent.seq == seq));
    }
    drop(ada);
    node.settle();
}

#[test]
fn many_connections_fill_the_queues_and_all_are_answered() {
    const CLIENTS: usize = 12;
    const SENDS: usize = 400;
    let store = HeldStore::new();
    // The smallest queues there can be: the shards feel at once that a worker is behind.
    let node = Node::over(store.clone(), |config| config.engine.worker_queue_batches = 1);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|id| node.user(&format!("user{id}"))).collect();
    for client in &mut clients {
        let log = client.with(client);
        begin(client, log);
    }
    store.hold();
    let floods: Vec<Flood> = clients
        .iter_mut()
        .map(|client| {
            let log = client.with(client);
            flood(client, log, SENDS, 2000)
        })
        .collect();
    eventually("the store has some", || store.waiting() > CLIENTS);
    store.release();
    for (client, flood) in clients.iter_mut().zip(floods) {
        for (request_id, seq) in flood.ids.into_iter().zip(2..) {
            assert!(matches!(client.answer(request_id), Body::Sent(sent) if sent.seq == seq));
        }
        flood.thread.join().unwrap();
    }
    drop(clients);
    node.settle();
}

#[test]
fn a_store_that_fails_is_said_so_and_writes_resume() {
    for failure in [AppendFailure::NotStored, AppendFailure::AnswerLost] {
        let store = Arc::new(MemoryStore::default());
        let node = Node::over(store.clone(), |_| {});
        let [mut ada, mut bob] = ["ada", "bob"].map(|name| node.user(name));
        let log = ada.with(&bob);
        begin(&mut ada, log);
        store.fail_appends(10_000, failure);
        // The first try of an append whose answer is lost stores it; the client does not know.
        for round in 0..5 {
            let error = ada.refused(message(log, "second", "x"));
            assert_eq!(error.code(), ErrorCode::StoreUnavailable, "{round}");
            assert!(error.retry_after_ms > 0);
            assert!(matches!(bob.request(history(log, 0)), Body::HistoryPage(_)));
            assert!(matches!(bob.request(sync()), Body::Synced(_)));
        }
        store.heal();
        let Body::Sent(sent) = ada.request(message(log, "second", "x")) else { panic!("not sent") };
        assert_eq!(sent.seq, 2);
        let Body::Sent(sent) = bob.request(message(log, "third", "x")) else { panic!("not sent") };
        assert_eq!(sent.seq, 3);
        drop((ada, bob));
        node.settle();
    }
}
