//! What the store alone costs: a durable message, a read cursor that moves, and a message that sets a register
//! with it (how many messages of its sender there are, say), in turns within one run.
//!
//! `cargo bench -p dunlin-bench --bench store` prints processor time and time for each, for several sizes
//! of a batch, the lowest of some rounds, and the ratios to a message. A cursor move should cost at most
//! half of a message: it has no body, no dedupe key, and an overwritten register in its place.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{
    DedupeKey, EntryMeta, NewEntry, RegisterKey, Rule, Set, Store, StoreReply, StoreRequest, Write,
    Written,
};
use dunlin_protocol::{ClientMessageId, LogId, UserId};
use rustix::time::{ClockId, clock_gettime};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Conversations that are written to in turn.
const LOGS: u64 = 500;
/// Writes of a round: a few segments.
const WRITES: u64 = 100_000;
/// The lowest of so many rounds counts.
const ROUNDS: u64 = 5;

/// The body of an entry with 200 B of content, about.
static BODY: [u8; 256] = [b'x'; 256];

/// Makes writes without end, the next number each time.
type Make = fn(u64) -> Write;

fn user(number: u64) -> UserId {
    UserId::new(number).expect("a user id of the benchmark is in range")
}

fn conversation(place: u64) -> LogId {
    LogId::direct(user(2 * place + 1), user(2 * place + 2))
}

/// To each conversation in turn, the next sequence, a new key.
fn message(number: u64) -> Write {
    let (turn, place) = (number / LOGS, number % LOGS);
    let sender = user(2 * place + 1);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let entry = NewEntry {
        seq: turn + 1,
        meta: EntryMeta { time_ms: turn, sender: sender.get(), ..EntryMeta::default() },
        key: Some(DedupeKey { sender, client_message_id: ClientMessageId(id) }),
        digest: number,
        body: Bytes::from_static(&BODY),
    };
    Write::entry(conversation(place), entry)
}

/// The cursor of the receiver, in the same conversations.
fn cursor_move(number: u64) -> Write {
    let (turn, place) = (number / LOGS, number % LOGS);
    let key = RegisterKey::numbered(b'r', 2 * place + 2);
    let value = [(turn + 1).to_be_bytes(), turn.to_be_bytes()].concat();
    let set = Set { key, value: Some(value.into()), rule: Rule::IfGreater };
    Write::registers(conversation(place), [set])
}

/// A message, and with it a register of its sender.
fn counted_message(number: u64) -> Write {
    let (turn, place) = (number / LOGS, number % LOGS);
    let key = RegisterKey::numbered(b'o', 2 * place + 1);
    let value = [(turn + 1).to_be_bytes(), turn.to_be_bytes()].concat();
    let mut write = message(number);
    write.sets.push(Set::always(key, value.into()));
    write
}

/// Writes a batch and waits until it is durable.
fn write(store: &EmbeddedStore, writes: Vec<Write>) {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let done = move |reply| sender.send(reply).expect("the receiver waits");
    store.submit(StoreRequest::Write(writes), Box::new(done));
    let reply = receiver.recv().expect("the store answers");
    let stored = matches!(&reply, Ok(StoreReply::Written(all))
        if all.iter().all(|one| matches!(one, Written::Stored { .. })));
    assert!(stored, "{reply:?}");
}

/// What all threads of this process have used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time and time of a write, in nanoseconds.
type Cost = (u64, u64);

/// What a round of writes costs: with the making of its writes, and with what is done in the background
/// meanwhile.
fn round(store: &EmbeddedStore, make: Make, made: &mut u64, batch: u64) -> Cost {
    let writes = WRITES.min(batch * 400);
    let (processor, start) = (processor_time(), Instant::now());
    for _ in 0..writes / batch {
        let numbers = *made..*made + batch;
        *made += batch;
        write(store, numbers.map(make).collect());
    }
    let per_write = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / writes;
    (per_write(processor_time() - processor), per_write(start.elapsed()))
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let open = |name: String| {
        let store = EmbeddedStore::open(&folder.path().join(name), EmbeddedConfig::default());
        store.expect("the store opens")
    };
    println!(
        "batch  message: cpu ns, ns    cursor move: cpu ns, ns    cpu ratio    \
         with a register: cpu ns, ns    cpu ratio"
    );
    for batch in [1, 16, 256, 1024] {
        let stores = ["messages", "moves", "counted"].map(|name| open(format!("{name}-{batch}")));
        let (mut made, mut lowest) = ([0; 3], [(u64::MAX, u64::MAX); 3]);
        for _ in 0..ROUNDS {
            for (which, make) in
                [message as Make, cursor_move, counted_message].into_iter().enumerate()
            {
                let (processor, time) = round(&stores[which], make, &mut made[which], batch);
                lowest[which] = (lowest[which].0.min(processor), lowest[which].1.min(time));
            }
        }
        let [message, moved, counted] = lowest;
        let ratio = |other: Cost| other.0 as f64 / message.0 as f64;
        println!(
            "{batch:5}  {:15} {:6}  {:18} {:6}  {:12.2}  {:25} {:6}  {:12.2}",
            message.0,
            message.1,
            moved.0,
            moved.1,
            ratio(moved),
            counted.0,
            counted.1,
            ratio(counted)
        );
    }
}
