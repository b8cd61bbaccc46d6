//! A server with an index file of which a block is damaged says so in one line, with the name of the
//! file, however much is looked up in it; and the file heals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_core::store::contract::ask::{ask, write};
use dunlin_core::store::contract::sample::{all, chat, entry, with_body};
use dunlin_core::store::embedded::{DamageKind, EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{StoreReply, StoreRequest, Written};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const LOGS: u64 = 50;

static ERRORS: parking_lot::Mutex<Vec<String>> = parking_lot::Mutex::new(Vec::new());

/// Keeps the errors.
struct Errors {
    spans: AtomicU64,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1 + self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        ERRORS.lock().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn config() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 64 * 1024, readers: 2, ..EmbeddedConfig::default() }
}

/// Reads the newest entries of all logs; returns how many logs were refused.
fn refused(store: &EmbeddedStore) -> usize {
    let ranges = (0..LOGS).map(|other| all(chat(1, other + 2))).collect();
    let StoreReply::Pages(pages) = ask(store, StoreRequest::Ranges(ranges)).unwrap() else {
        panic!("an answer of another kind");
    };
    pages.iter().filter(|page| page.is_err()).count()
}

#[test]
fn a_damaged_index_file_is_told_once_and_heals() {
    let errors = Errors { spans: AtomicU64::new(0) };
    tracing::subscriber::set_global_default(errors).expect("nobody else has set one");
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), config()).unwrap();
    for seq in 1..=30 {
        let batch = (0..LOGS).map(|o| with_body(entry(chat(1, o + 2), seq, o), vec![7; 100]));
        let stored = write(&store, batch.collect());
        assert!(stored.iter().all(|answer| matches!(answer, Written::Stored { .. })));
    }
    drop(store);
    let names = std::fs::read_dir(folder.path()).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let index = names.find(|name| name.ends_with(".idx")).expect("all sealed segments are indexed");
    let path = folder.path().join(&index);
    let good = std::fs::read(&path).unwrap();
    let mut content = good.clone();
    // A byte in every block but those that are read when it is opened: the header, the filter and
    // the guide.
    for block in content[4096..].chunks_mut(4096).take(3) {
        block[100] ^= 1;
    }
    std::fs::write(&path, content).unwrap();
    let store = EmbeddedStore::open(folder.path(), config()).unwrap();
    let report = store.verify().unwrap();
    let said: Vec<_> = report.damage.iter().map(|damage| (&*damage.file, damage.kind)).collect();
    assert_eq!(said, [(&*index, DamageKind::Index)]);
    assert_eq!((report.entries, report.logs), (30 * LOGS, LOGS as usize));
    wait_until_whole(&store);
    let errors = std::mem::take(&mut *ERRORS.lock());
    assert!(errors.len() == 1 && errors[0].contains(&index), "{errors:?}");

    // The same of one that is cut while it is open: the largest now. One of a row of segments is made again as
    // one file for each.
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name().to_str().unwrap().ends_with(".idx"));
    let path = files.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().path();
    let index = path.file_name().unwrap().to_str().unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4096 + 100).unwrap();
    assert!(refused(&store) > 0, "what is cut off is asked for");
    wait_until_whole(&store);
    let errors = ERRORS.lock();
    assert!(errors.len() == 1 && errors[0].contains(index), "{errors:?}");
}

fn wait_until_whole(store: &EmbeddedStore) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while refused(store) > 0 || !store.verify().unwrap().damage.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", ERRORS.lock());
        std::thread::yield_now();
    }
}
