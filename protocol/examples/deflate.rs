//! What deflating a large sync saves and costs, by level: the figures of docs/benchmarks/diary.md.
//!
//! ```sh
//! cargo run --release -p dunlin-protocol --example deflate
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_protocol::compressed::{Deflater, inflate};
use dunlin_protocol::wire::{
    ConversationState, Entry, Frame, HistoryPage, Message, Synced, entry, frame::Body,
};
use dunlin_protocol::{EncodedFrame, LogId, UserId, frame};
use flate2::{Compress, Compression, FlushCompress};

const CONVERSATIONS: usize = 5000;
/// As many as a Synced has.
const ENTRIES: usize = 1000;
const ENTRIES_OF_EACH: usize = 20;
const ROUNDS: usize = 50;

/// Words of which sentences are made by chance: deflated like speech, to about half.
const WORDS: [&str; 40] = [
    "and", "the", "we", "you", "are", "coming", "later", "tomorrow", "train", "at", "nine", "is",
    "it", "not", "tea", "where", "there", "house", "garden", "rain", "again", "who", "has", "seen",
    "my", "keys", "on", "table", "thanks", "good", "night", "see", "soon", "yes", "no", "maybe",
    "ask", "her", "about", "Sunday",
];

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 31)
    }

    fn user(&mut self) -> UserId {
        UserId::from_random(self.next())
    }

    fn entry(&mut self, seq: u64, sender: UserId) -> Entry {
        let words = 3 + self.next() % 12;
        let text: Vec<&str> =
            (0..words).map(|_| WORDS[self.next() as usize % WORDS.len()]).collect();
        let id = [self.next().to_be_bytes(), self.next().to_be_bytes()].concat();
        Entry {
            seq,
            time_ms: 1_790_000_000_000 + 1000 * seq + self.next() % 1000,
            sender: sender.get(),
            counted: seq,
            sender_counted: seq / 2,
            body: Some(entry::Body::Message(Message {
                client_message_id: id.into(),
                content: Bytes::from(text.join(" ")),
                ..Message::default()
            })),
            ..Entry::default()
        }
    }
}

/// Of a new device.
fn synced(chance: &mut Chance) -> Body {
    let me = chance.user();
    let conversation = |index: usize| {
        let peer = chance.user();
        let head = 20 + chance.next() % 500;
        let with_entries = index < ENTRIES / ENTRIES_OF_EACH;
        let first = head - ENTRIES_OF_EACH as u64 + 1;
        let entries = (first..=head).filter(|_| with_entries);
        ConversationState {
            conversation_id: LogId::direct(me, peer).to_wire(),
            head,
            read_seq: head,
            peer_read_seq: head - chance.next() % 3,
            entries: entries
                .map(|seq| chance.entry(seq, if seq % 2 == 0 { me } else { peer }))
                .collect(),
            ..ConversationState::default()
        }
    };
    let conversations = (0..CONVERSATIONS).map(conversation).collect();
    Body::Synced(Synced { epoch: 7, conversations, ..Synced::default() })
}

fn page(chance: &mut Chance) -> Body {
    let (me, peer) = (chance.user(), chance.user());
    let entries =
        (1..=100).map(|seq| chance.entry(seq, if seq % 2 == 0 { me } else { peer })).collect();
    Body::HistoryPage(HistoryPage { entries, head: 100, epoch: 7, ..HistoryPage::default() })
}

fn lowest(mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    (0..ROUNDS).map(once).min().unwrap_or_default()
}

fn compare(name: &str, body: Body) {
    let whole = EncodedFrame::response(1, body.clone());
    let bytes = whole.body().len();
    let frame = Frame { request_id: 1, body: Some(body) };
    let encoding = lowest(|| drop(EncodedFrame::new(&frame)));
    println!("{name}: {bytes} bytes, encoded in {encoding:?}");
    let mut output = vec![0; bytes];
    for level in 1..=9 {
        let mut tables = Compress::new(Compression::new(level), false);
        let mut left = 0;
        let took = lowest(|| {
            tables.reset();
            let done = tables.compress(&whole.body(), &mut output, FlushCompress::Finish);
            assert!(done.is_ok());
            left = tables.total_out() as usize;
        });
        let share = 100.0 * left as f64 / bytes as f64;
        println!("  level {level}: {left} bytes ({share:.1} %) in {took:?}");
    }
    let mut deflater = Deflater::new();
    let mut smaller = None;
    let took = lowest(|| smaller = deflater.deflate(1, &whole));
    let Some(smaller) = smaller else { return println!("  it is not worth it") };
    let Ok(Some(Body::Compressed(compressed))) = frame::decode(smaller.body()).map(|it| it.body)
    else {
        return;
    };
    let back = lowest(|| assert!(inflate(1, &compressed).is_ok()));
    let left = smaller.body().len();
    println!("  as the server does it: {left} bytes in {took:?}, inflated in {back:?}");
}

fn main() {
    let mut chance = Chance(1);
    compare("Synced of 5,000 conversations for a new device", synced(&mut chance));
    compare("HistoryPage of 100 messages", page(&mut chance));
}
