//! The worked example of docs/storage-format.md, byte by byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use dunlin_core::random::Random;
use dunlin_core::store::contract::ask::append;
use dunlin_core::store::contract::sample::{chat, user};
use dunlin_core::store::embedded::disk::Folder;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::{Append, Appended, CursorMove, DedupeKey, EntryMeta};
use dunlin_protocol::ClientMessageId;
use dunlin_protocol::wire::{self, entry};
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
fn message() -> Append {
    let meta = EntryMeta { time_ms: 1_700_000_000_000, sender: 1, counted: 1, sender_counted: 1 };
    let client_message_id = ClientMessageId([0xaa; 16]);
    let message = wire::Message {
        client_message_id: client_message_id.to_wire(),
        content_type: String::new(),
        content: "hi".into(),
    };
    Append {
        log: chat(1, 2),
        seq: 1,
        meta,
        key: Some(DedupeKey { sender: user(1), client_message_id }),
        digest: (2 << 32) | u64::from(crc32c::crc32c(b"\0hi")),
        cursor: Some(CursorMove { conversation: chat(1, 2), user: user(1), seq: 1 }),
        body: body(1, meta, entry::Body::Message(message)),
    }
}

fn body(seq: u64, meta: EntryMeta, body: entry::Body) -> bytes::Bytes {
    let EntryMeta { time_ms, sender, counted, sender_counted } = meta;
    let body = Some(body);
    wire::Entry { seq, time_ms, sender, counted, sender_counted, body }.encode_to_vec().into()
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
    let answers = append(&store, vec![message()]);
    assert_eq!(answers, [Appended::Stored]);
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
