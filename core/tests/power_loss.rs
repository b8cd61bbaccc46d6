//! Whatever the disk does to what was not fsynced: what was acknowledged is there, once, in its
//! place, and nothing is there that nobody sent.
//!
//! Each seed runs a store on a simulated disk through some lives. In each, several requests are
//! under way at a time, the disk fails now and then, and at a random call the power is cut: while
//! it serves, and while it recovers from the last time. The threads of the store are real, so a
//! seed narrows a failure down rather than repeat it exactly. `POWER_LOSS_SEEDS=1000..2000` runs
//! others.

mod lives;
mod simulated_disk;

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::store::contract::ask::{heads, range, register, write};
use dunlin_core::store::contract::sample::{all, chat, entry_of, user};
use dunlin_core::store::embedded::{EmbeddedStore, OpenError};
use dunlin_core::store::{
    DedupeKey, EntryMeta, NewEntry, RegisterKey, Rule, Set, Store, StoreError, StoreReply,
    StoreRequest, Write, Written,
};
use dunlin_protocol::{ClientMessageId, LogId};
use lives::{Seeds, cut_while_opening, next_life};
use simulated_disk::{Dice, Faults, SeededRandom, SimulatedDisk};

const LOGS: u64 = 5;

/// What the clients of the store know.
#[derive(Default)]
struct Witness {
    /// Everything that was ever sent: by log and sequence, the numbers of the messages.
    sent: HashMap<(LogId, u64), Vec<u64>>,
    /// What was acknowledged.
    acknowledged: BTreeMap<(LogId, u64), u64>,
    /// What was sent and may or may not be there, to be retried.
    open: Vec<(LogId, u64)>,
    next_message: u64,
    /// The cursors that were acknowledged.
    cursors: HashMap<LogId, u64>,
    coverage: Coverage,
}

fn log(number: u64) -> LogId {
    chat(1, 2 + number)
}

/// A message: everything in it follows from its number, but where it is put.
fn message(log: LogId, seq: u64, number: u64) -> Write {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let key = DedupeKey { sender: user(1), client_message_id: ClientMessageId(id) };
    let body = Bytes::from(vec![number as u8; 1 + (number * 37 % 700) as usize]);
    let meta = EntryMeta { time_ms: number, sender: 1, counted: seq, sender_counted: seq };
    let mut write = Write::entry(log, NewEntry { seq, meta, key: Some(key), digest: number, body });
    // The read cursor moves with it.
    let cursor = Set::always(cursor_key(), Bytes::copy_from_slice(&seq.to_be_bytes()));
    write.sets.push(Set { rule: Rule::IfGreater, ..cursor });
    write
}

fn cursor_key() -> RegisterKey {
    RegisterKey::numbered(b'r', 9)
}

type Answer = (Vec<(LogId, u64, u64)>, Result<StoreReply, StoreError>);

/// How often the seeds met what they are there to meet.
#[derive(Debug, Default, Clone, Copy)]
struct Coverage {
    cut_while_serving: u64,
    cut_while_recovering: u64,
    unfinished_batches: u64,
    refused: u64,
    duplicates: u64,
    conflicts: u64,
    segments: u64,
    index_files: u64,
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Coverage) {
        self.cut_while_serving += other.cut_while_serving;
        self.cut_while_recovering += other.cut_while_recovering;
        self.unfinished_batches += other.unfinished_batches;
        self.refused += other.refused;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.segments += other.segments;
        self.index_files += other.index_files;
    }
}

/// A client with several requests under way.
struct Client<'a> {
    store: &'a EmbeddedStore,
    witness: &'a mut Witness,
    dice: &'a mut Dice,
    heads: HashMap<LogId, u64>,
    answers: mpsc::Receiver<Answer>,
    sender: mpsc::Sender<Answer>,
    under_way: usize,
}

impl Client<'_> {
    fn run(&mut self, requests: u64) {
        for _ in 0..requests {
            self.send();
            while self.under_way > self.dice.below(6) as usize {
                self.hear();
            }
        }
        while self.under_way > 0 {
            self.hear();
        }
    }

    fn send(&mut self) {
        let mut items = Vec::new();
        for _ in 0..1 + self.dice.below(6) {
            let retry = !self.witness.open.is_empty() && self.dice.chance(30);
            let (log, number) = if retry {
                let at = self.dice.below(self.witness.open.len() as u64) as usize;
                self.witness.open[at]
            } else {
                self.witness.next_message += 1;
                (log(self.dice.below(LOGS)), self.witness.next_message)
            };
            let head = self.heads.entry(log).or_default();
            *head += 1;
            self.witness.sent.entry((log, *head)).or_default().push(number);
            items.push(message(log, *head, number));
        }
        let sent = |write: &Write| (write.log, entry_of(write).seq, entry_of(write).digest);
        let sent = items.iter().map(sent).collect();
        let sender = self.sender.clone();
        // Nobody listens any more when a check has failed meanwhile.
        let done = Box::new(move |reply| drop(sender.send((sent, reply))));
        self.store.submit(StoreRequest::Write(items), done);
        self.under_way += 1;
    }

    fn hear(&mut self) {
        let answer = self.answers.recv_timeout(Duration::from_secs(60));
        let (sent, reply) = answer.expect("the store answers every request");
        self.under_way -= 1;
        let Ok(StoreReply::Written(answers)) = reply else {
            self.witness.coverage.refused += 1;
            for (log, _, number) in sent {
                self.witness.open.push((log, number));
                self.heads.insert(log, 0);
            }
            return self.reload();
        };
        for ((log, seq, number), answer) in sent.into_iter().zip(answers) {
            match answer {
                Written::Stored { .. } => self.acknowledged(log, seq, number),
                Written::Duplicate { seq, digest } => {
                    assert_eq!(digest, number, "a duplicate of another message");
                    self.witness.coverage.duplicates += 1;
                    self.acknowledged(log, seq, number);
                    self.reload();
                }
                Written::Conflict { .. } => {
                    self.witness.coverage.conflicts += 1;
                    self.witness.open.push((log, number));
                    self.reload();
                }
                Written::Unknown => {
                    self.witness.coverage.refused += 1;
                    self.witness.open.push((log, number));
                    self.reload();
                }
                Written::Corrupt => panic!("nothing is damaged on a whole medium"),
                Written::Unmet { .. } => panic!("the cursor was ahead of the log"),
            }
        }
    }

    fn acknowledged(&mut self, log: LogId, seq: u64, number: u64) {
        let before = self.witness.acknowledged.insert((log, seq), number);
        assert!(before.is_none_or(|before| before == number), "{seq} was given twice");
        let cursor = self.witness.cursors.entry(log).or_default();
        *cursor = seq.max(*cursor);
    }

    /// Looks where the logs end. (Requests under way may make it wrong again: conflicts.)
    fn reload(&mut self) {
        let names: Vec<LogId> = (0..LOGS).map(log).collect();
        let found = heads(self.store, names.clone());
        self.heads = names.into_iter().zip(found.iter().map(|head| head.seq)).collect();
    }
}

impl Witness {
    /// Compares the store with what is known. What it serves is from now on acknowledged, too:
    /// somebody has seen it.
    fn check(&mut self, store: &EmbeddedStore) {
        for log in (0..LOGS).map(log) {
            let page = range(store, all(log));
            assert!(!page.more);
            assert_eq!(page.entries.len() as u64, page.head.seq, "the log is dense");
            let mut seen = HashMap::new();
            for (seq, entry) in (1..).zip(&page.entries) {
                let number = entry.meta.time_ms;
                assert_eq!(entry.seq, seq);
                let sent = self.sent.get(&(log, seq)).is_some_and(|sent| sent.contains(&number));
                assert!(sent, "nobody sent {number} as {seq}");
                let original = message(log, seq, number);
                let original = entry_of(&original);
                assert_eq!((&entry.body, entry.meta), (&original.body, original.meta));
                assert_eq!(seen.insert(number, seq), None, "{number} is there twice");
                let before = self.acknowledged.insert((log, seq), number);
                assert!(before.is_none_or(|before| before == number), "{seq} was given twice");
            }
            let acknowledged = self.acknowledged.range((log, 0)..=(log, u64::MAX));
            let (mut retries, mut duplicates) = (Vec::new(), Vec::new());
            for (&(_, seq), &number) in acknowledged {
                assert_eq!(seen.get(&number), Some(&seq), "{number} was acknowledged");
                retries.push(message(log, seq + 1, number));
                duplicates.push(Written::Duplicate { seq, digest: number });
            }
            assert_eq!(write(store, retries), duplicates);
            let cursor = register(store, log, cursor_key()).value;
            let cursor = cursor.map_or(0, |seq| u64::from_be_bytes(seq[..].try_into().unwrap()));
            assert!(cursor >= self.cursors.get(&log).copied().unwrap_or(0));
            assert!(cursor <= page.head.seq);
        }
    }
}

/// Runs a store through its lives.
fn live(seed: u64, mut disk: SimulatedDisk) -> Coverage {
    let mut dice = Dice::new(seed);
    let mut witness = Witness::default();
    let mut epoch = None;
    for _ in 0..1 + dice.below(4) {
        let cut;
        (disk, cut) = cut_while_opening(disk, &mut dice, 40, |disk| open(disk, seed));
        witness.coverage.cut_while_recovering += cut;
        let store = open(&disk, seed).unwrap();
        let report = store.recovery().clone();
        assert_eq!((report.damage.len(), report.history_lost), (0, false), "{report:?}");
        assert_eq!(*epoch.get_or_insert(store.epoch()), store.epoch());
        witness.coverage.unfinished_batches += u64::from(report.unfinished_bytes > 0);
        witness.check(&store);
        serve(&disk, &store, &mut witness, &mut dice);
        drop(store);
        let names = disk.lengths();
        let count = |end| names.iter().filter(|(name, _)| name.ends_with(end)).count() as u64;
        witness.coverage.segments += count(".log");
        witness.coverage.index_files += count(".idx");
        disk = next_life(&disk, &mut dice);
    }
    witness.check(&open(&disk, seed).unwrap());
    witness.coverage
}

/// One life, until the power fails or the clients have said all they had to say.
fn serve(disk: &SimulatedDisk, store: &EmbeddedStore, witness: &mut Witness, dice: &mut Dice) {
    if dice.chance(50) {
        let percent = dice.below(20);
        let (write, sync) = (percent / 4, percent);
        disk.set_faults(Faults { write, sync, reserve: percent, names: percent / 4 });
    }
    if dice.chance(80) {
        disk.cut_power_after(dice.below(300));
    }
    let requests = dice.below(60);
    run_client(store, witness, dice, requests);
    if !disk.is_dead() {
        disk.set_faults(Faults::default());
        // The causes are gone: writing goes on, and nothing is confused.
        run_client(store, witness, dice, 10);
    }
    if disk.is_dead() {
        witness.coverage.cut_while_serving += 1;
    } else {
        witness.check(store);
        assert_eq!(store.verify().unwrap().damage, []);
    }
}

fn open(disk: &SimulatedDisk, seed: u64) -> Result<EmbeddedStore, OpenError> {
    lives::open(disk, lives::config(), &SeededRandom::new(seed))
}

fn run_client(store: &EmbeddedStore, witness: &mut Witness, dice: &mut Dice, requests: u64) {
    let (sender, answers) = mpsc::channel();
    let heads = HashMap::new();
    let mut client = Client { store, witness, dice, heads, answers, sender, under_way: 0 };
    client.reload();
    client.run(requests);
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_made_up() {
    let seeds = Seeds::of("POWER_LOSS_SEEDS", 0..600);
    let sum = Mutex::new(Coverage::default());
    seeds.run(|seed| {
        let coverage = live(seed, SimulatedDisk::new(seed));
        *sum.lock().unwrap() += coverage;
    });
    let coverage = sum.into_inner().unwrap();
    // The dice have met everything that matters, often.
    let many = seeds.count() / 20;
    let Coverage { cut_while_serving, cut_while_recovering, .. } = coverage;
    assert!(cut_while_serving >= many && cut_while_recovering >= many, "{coverage:?}");
    let Coverage { unfinished_batches, refused, duplicates, conflicts, .. } = coverage;
    assert!(unfinished_batches >= many && refused >= many, "{coverage:?}");
    assert!(duplicates >= many && conflicts >= many, "{coverage:?}");
    assert!(coverage.segments >= many && coverage.index_files >= many, "{coverage:?}");
    println!("{coverage:?}");
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let found_out = (0..20).filter(|&seed| {
        let disk = SimulatedDisk::new(seed);
        disk.lie_about_syncs();
        catch_unwind(AssertUnwindSafe(|| live(seed, disk))).is_err()
    });
    assert!(found_out.count() >= 5, "the checks see what is lost");
}
