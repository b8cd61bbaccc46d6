//! The embedded store keeps the contract, and what it acknowledged outlives it.

mod store_contract;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{Append, Appended, Store};
use store_contract::{all, append, chat, cursors, heads, item, range, user};

fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 256 * 1024, readers: 2, ..EmbeddedConfig::default() }
}

#[test]
fn it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    store_contract::check(&|| {
        let name = number.fetch_add(1, Ordering::Relaxed).to_string();
        Arc::new(EmbeddedStore::open(&folder.path().join(name), small()).unwrap())
    });
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (log, other) = (chat(1, 2), chat(1, 3));
    let mut epochs = Vec::new();
    for round in 0..5_u64 {
        let store = EmbeddedStore::open(folder.path(), small()).unwrap();
        assert!(!store.recovery().history_lost);
        epochs.push(store.epoch());
        // Some 400 KB a round: several segments.
        let bodies = (1..=200).map(|number| {
            let seq = round * 200 + number;
            Append { body: vec![seq as u8; 2000].into(), ..item(log, seq, 0) }
        });
        assert!(append(&store, bodies.collect()).iter().all(|answer| *answer == Appended::Stored));
        append(&store, vec![item(other, round + 1, 0)]);
        let digest = item(log, 7, 0).digest;
        let duplicate = Appended::Duplicate { seq: 7, digest };
        assert_eq!(append(&store, vec![item(log, 7, 0)]), [duplicate]);
    }
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]));
    let store = EmbeddedStore::open(folder.path(), small()).unwrap();
    let found = heads(&store, vec![log, other, chat(8, 9)]);
    assert_eq!(found.iter().map(|head| head.seq).collect::<Vec<_>>(), [1000, 5, 0]);
    assert_eq!(cursors(&store, vec![(log, user(1))]), [0]);
    let page = range(&store, all(log));
    assert_eq!(page.entries.len(), 1000);
    assert!(page.entries.iter().all(|entry| entry.body[..] == [entry.seq as u8; 2000]));
}
