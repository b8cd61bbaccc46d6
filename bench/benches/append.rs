//! Appending to the embedded store, one request after the other: each is one batch with one
//! fsync, so the time of an iteration is that of a durable batch, and the throughput is messages
//! per second when so many share an fsync.
//!
//! The limit is the disk: one write and fdatasync of a preallocated file, here as `fsync`, takes
//! 0.1 to 0.5 ms. The store should add little to it, so messages per second should grow nearly
//! as fast as the batch, to some 100,000 at 16 and 600,000 at 256.
#![forbid(unsafe_code)]

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{
    DedupeKey, EntryMeta, NewEntry, Store, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::{ClientMessageId, LogId, UserId};

const LOGS: u64 = 500;

/// The body of an entry with 200 B of content, about.
static BODY: [u8; 256] = [b'x'; 256];

/// Makes appends without end: to each log in turn, the next sequence, a new key.
#[derive(Default)]
struct Source {
    made: u64,
}

impl Source {
    fn batch(&mut self, appends: u64) -> Vec<Write> {
        (0..appends).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Write {
        let (turn, place) = (self.made / LOGS, self.made % LOGS);
        self.made += 1;
        let user = |id| UserId::new(id).expect("a user id of the benchmark is in range");
        let (sender, other) = (user(2 * place + 1), user(2 * place + 2));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.made.to_be_bytes());
        let entry = NewEntry {
            seq: turn + 1,
            meta: EntryMeta { time_ms: turn, sender: sender.get(), ..EntryMeta::default() },
            key: Some(DedupeKey { sender, client_message_id: ClientMessageId(id) }),
            digest: self.made,
            body: Bytes::from_static(&BODY),
        };
        Write::entry(LogId::direct(sender, other), entry)
    }
}

/// Appends a batch and waits until it is durable; how long that took.
fn append(store: &EmbeddedStore, writes: Vec<Write>) -> Duration {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let start = Instant::now();
    let done = move |reply| sender.send(reply).expect("the receiver waits");
    store.submit(StoreRequest::Write(writes), Box::new(done));
    let reply = receiver.recv().expect("the store answers");
    let elapsed = start.elapsed();
    let stored = matches!(&reply, Ok(StoreReply::Written(all))
        if all.iter().all(|one| matches!(one, Written::Stored { .. })));
    assert!(stored, "{reply:?}");
    elapsed
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.sample_size(20);
    let folder = tempfile::tempdir().expect("a folder for the store");
    for batch in [1, 16, 256, 1024] {
        group.throughput(Throughput::Elements(batch));
        let path = folder.path().join(batch.to_string());
        let store = EmbeddedStore::open(&path, EmbeddedConfig::default());
        let store = store.expect("the store opens");
        // One store for warming up and measuring: the second segment, which is made in the
        // background after the first append, is there when it matters.
        let mut source = Source::default();
        group.bench_function(format!("batch of {batch}"), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations).map(|_| append(&store, source.batch(batch))).sum()
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("fsync", |bencher| {
        let file = tempfile::tempfile_in(folder.path()).expect("a file");
        file.write_all_at(&[0; 1 << 20], 0).and_then(|()| file.sync_all()).expect("room for it");
        let mut at = 0;
        bencher.iter(|| {
            at = (at + 4096) % (1 << 20);
            file.write_all_at(&[1; 4096], at).and_then(|()| file.sync_data()).expect("an fsync");
        });
    });
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
