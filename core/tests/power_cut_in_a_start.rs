//! A start writes some things in their places: headers, the last batch, `EXTENT`, `LIFE`. The power may fail at
//! each of its calls, and a disk writes no more than a sector whole. Whatever that leaves, the next start opens
//! without a word, has everything, and begins no other epoch.
//!
//! What a store is before such a start: killed, killed and given a new epoch, restored from a backup, stopped.

mod simulated_disk;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use dunlin_core::store::Written;
use dunlin_core::store::contract::ask::{range, write};
use dunlin_core::store::contract::sample::{all, chat, entry, with_body};
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore, begin_epoch, restore};
use simulated_disk::{SeededRandom, SimulatedDisk};

/// Entries: more than fit into one segment.
const ENTRIES: u64 = 120;

fn config() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 16 * 1024, readers: 1, ..EmbeddedConfig::default() }
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, config()).unwrap()
}

fn open_on(disk: &SimulatedDisk, seed: u64) -> EmbeddedStore {
    EmbeddedStore::open_on(Arc::new(disk.clone()), config(), &SeededRandom::new(seed)).unwrap()
}

fn fill(store: &EmbeddedStore) {
    for seq in 1..=ENTRIES {
        let said = with_body(entry(chat(1, 2), seq, 0), vec![seq as u8; 200]);
        assert_eq!(write(store, vec![said]), [Written::Stored { version: 0 }]);
    }
}

fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    // What is being made in the background may get its name meanwhile.
    let named = |entry: std::fs::DirEntry| match std::fs::read(entry.path()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        content => Some((entry.file_name().into_string().unwrap(), content.unwrap())),
    };
    let kept = |(name, _): &(String, Vec<u8>)| name != "LOCK" && !name.ends_with(".tmp");
    entries.filter_map(named).filter(kept).collect()
}

/// Cuts the power at each call of a start, and looks what the next one makes of what that leaves.
fn cut_everywhere(path: &Path) {
    let disk = SimulatedDisk::new(1);
    contents(path).iter().for_each(|(name, content)| disk.put(name, content));
    disk.record();
    drop(open_on(&disk, 1));
    let mut tried = HashSet::new();
    for (at, moment) in disk.moments().iter().enumerate() {
        for cut in moment.power_cuts() {
            if tried.insert(cut.fingerprint()) {
                let store = open_on(&cut, 2);
                let report = store.recovery();
                assert_eq!(report.damage, [], "before call {at}");
                assert!(!report.history_lost, "before call {at}");
                let entries = range(&store, all(chat(1, 2))).entries;
                assert_eq!(entries.len() as u64, ENTRIES, "before call {at}");
                assert!(entries.iter().all(|entry| entry.body == vec![entry.seq as u8; 200]));
            }
        }
    }
    assert!(tried.len() > 5, "{}", tried.len());
}

#[test]
fn a_start_is_cut_after_an_orderly_stop() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    drop(store);
    cut_everywhere(folder.path());
}

/// What a killed process has left.
fn killed() -> tempfile::TempDir {
    let (folder, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path());
    fill(&store);
    for (name, content) in contents(folder.path()) {
        std::fs::write(left.path().join(name), content).unwrap();
    }
    drop(store);
    left
}

#[test]
fn a_start_is_cut_after_a_kill() {
    cut_everywhere(killed().path());
}

#[test]
fn a_start_is_cut_after_a_new_epoch() {
    let folder = killed();
    begin_epoch(folder.path()).unwrap();
    cut_everywhere(folder.path());
}

#[test]
fn a_start_is_cut_after_a_restore() {
    let (backup, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = killed();
    open(folder.path()).backup(backup.path()).unwrap();
    restore(backup.path(), target.path()).unwrap();
    cut_everywhere(target.path());
}
