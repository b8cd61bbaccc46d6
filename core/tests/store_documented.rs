//! The worked example of docs/storage-format.md, byte by byte, and a reader that was written from it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use dunlin_core::random::Random;
use dunlin_core::store::contract::ask::{self, write};
use dunlin_core::store::contract::sample::{self, chat, user};
use dunlin_core::store::embedded::disk::Folder;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{
    DedupeKey, Deletion, EntryMeta, NewEntry, RegisterKey, Set, Write, Written,
};
use dunlin_protocol::wire::{self, entry};
use dunlin_protocol::{ClientMessageId, LogId};
use prost::Message as _;

const DOCUMENT: &str = include_str!("../../docs/storage-format.md");

/// Bytes 00, 01, 02 and so on, so that a reader sees where they went.
#[derive(Default)]
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}

/// User 1 has said "hi" to user 2, and so has read up to there.
fn message() -> Write {
    let meta = EntryMeta { time_ms: 1_700_000_000_000, sender: 1, counted: 1, sender_counted: 1 };
    let client_message_id = ClientMessageId([0xaa; 16]);
    let message = wire::Message {
        client_message_id: client_message_id.to_wire(),
        content_type: String::new(),
        content: "hi".into(),
    };
    let entry = NewEntry {
        seq: 1,
        meta,
        key: Some(DedupeKey { sender: user(1), client_message_id }),
        digest: (2 << 32) | u64::from(crc32c::crc32c(b"\0hi")),
        body: body(1, meta, entry::Body::Message(message)),
    };
    let cursor = [1_u64.to_be_bytes(), 0_u64.to_be_bytes()].concat();
    let cursor = Set::always(RegisterKey::numbered(b'r', 1), cursor.into());
    Write { sets: [cursor].into_iter().collect(), ..Write::entry(chat(1, 2), entry) }
}

fn body(seq: u64, meta: EntryMeta, body: entry::Body) -> bytes::Bytes {
    let EntryMeta { time_ms, sender, counted, sender_counted } = meta;
    let body = Some(body);
    let entry =
        wire::Entry { seq, time_ms, sender, counted, sender_counted, body, ..Default::default() };
    entry.encode_to_vec().into()
}

/// The bytes of the lines `offset  bytes` below a heading that names a file.
fn documented(file: &str) -> BTreeMap<usize, u8> {
    let (_, rest) = DOCUMENT.split_once(&format!("`{file}` of the example")).expect(file);
    let (_, block) = rest.split_once("```text\n").expect("a block of bytes");
    let (block, _) = block.split_once("```").expect("its end");
    let mut bytes = BTreeMap::new();
    for line in block.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let offset = usize::from_str_radix(words.next().expect(line), 16).expect(line);
        // What does not look like a byte is a remark.
        let values = words.map_while(|word| {
            (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten()
        });
        bytes.extend((offset..).zip(values));
    }
    bytes
}

fn dump(content: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in content.chunks(16).enumerate().filter(|(_, b)| b.iter().any(|b| *b != 0)) {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{:04x}  {}\n", line * 16, bytes.join(" ")));
    }
    text
}

#[test]
fn the_example_in_the_document_is_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Folder::open(folder.path()).unwrap());
    let config = EmbeddedConfig { segment_bytes: 16 * 1024, ..EmbeddedConfig::default() };
    let store = EmbeddedStore::open_on(disk, config, &Counting::default()).unwrap();
    assert_eq!(write(&store, vec![message()]), [Written::Stored { version: 1 }]);
    drop(store);
    for (file, bytes) in [("STORE", 64), ("00000001.log", 16 * 1024)] {
        let content = std::fs::read(folder.path().join(file)).unwrap();
        assert_eq!(content.len(), bytes);
        let documented = documented(file);
        for (at, byte) in content.iter().enumerate() {
            // What is not shown is zero.
            let shown = documented.get(&at).copied().unwrap_or(0);
            assert_eq!(shown, *byte, "byte {at:04x} of {file}, which is\n{}", dump(&content));
        }
    }
}

/// docs/examples/python/store.py knows nothing but the document.
#[test]
fn a_reader_of_the_document_lists_what_the_store_holds() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { segment_bytes: 32 * 1024, ..EmbeddedConfig::default() };
    let store = EmbeddedStore::open(folder.path(), config).unwrap();
    let logs: Vec<LogId> = (2..6).map(|other| chat(1, other)).collect();
    for seq in 1..=60 {
        let of_log = |(place, &log): (usize, &LogId)| {
            let mut write = sample::entry(log, seq, place as u64);
            write.sets.push(Set::always(
                RegisterKey::numbered(b'k', seq % 7),
                vec![seq as u8; 40].into(),
            ));
            write
        };
        let stored = ask::write(&store, logs.iter().enumerate().map(of_log).collect());
        assert!(stored.iter().all(|one| matches!(one, Written::Stored { .. })));
    }
    ask::write(
        &store,
        vec![Write::registers(logs[0], [Set::removal(RegisterKey::numbered(b'k', 3))])],
    );
    ask::delete(&store, Deletion::Truncate { log: logs[0], below: 11 });
    ask::delete(&store, Deletion::Erase { log: logs[1], seq: 30 });
    ask::delete(&store, Deletion::Drop { log: logs[2] });
    let listed = logs.iter().map(|&log| listing(&store, log)).collect::<String>();
    drop(store);

    let python = std::env::var_os("DUNLIN_PYTHON").unwrap_or_else(|| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/python/store.py");
    let output = Command::new(python).arg(script).arg(folder.path()).arg("--all").output();
    let output = output.expect("Python 3 is there: as `python3`, or where DUNLIN_PYTHON says");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), listed);
}

/// What the reader must say of a log.
fn listing(store: &EmbeddedStore, log: LogId) -> String {
    let page = ask::range(store, sample::all(log));
    let registers = ask::registers(store, sample::all_registers(log)).registers;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut text = format!(
        "log {} seq {} version {} entries {} registers {}\n",
        hex(log.as_bytes()),
        page.head.seq,
        page.head.version,
        page.entries.len(),
        registers.len()
    );
    for entry in page.entries {
        let EntryMeta { time_ms, sender, .. } = entry.meta;
        let body = if entry.erased { "erased".to_owned() } else { hex(&entry.body) };
        text.push_str(&format!("  entry {} time {time_ms} sender {sender} {body}\n", entry.seq));
    }
    for register in registers {
        let value = hex(&register.value.unwrap_or_default());
        let (key, version) = (hex(register.key.as_bytes()), register.version);
        text.push_str(&format!("  register {key} version {version} {value}\n"));
    }
    text
}
