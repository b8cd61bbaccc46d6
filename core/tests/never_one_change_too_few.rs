//! Which logs have changed since a moment: never one too few, whatever happens between two questions, and
//! hardly one too many but where removals are forgotten.
//!
//! Each seed runs a store on a simulated disk through some lives, beside a list of all that was done to
//! it. Moments are taken at any time and asked from in any later life, after the power was cut, after
//! cleaning and after the index was lost. An older copy of the folder that goes on by itself knows the
//! moments that it has seen and no others. `MOMENTS_SEEDS=1000..2000` runs other seeds.

mod lives;
mod simulated_disk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::store::contract::ask::{self, ask, changed, heads, now};
use dunlin_core::store::contract::sample::{all, chat, entry, key, with_body};
use dunlin_core::store::embedded::disk::Disk;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore, OpenError};
use dunlin_core::store::{
    Deleted, Deletion, Head, Moment, Range, Set, Store, StoreError, StoreReply, StoreRequest,
    Write, Written,
};
use dunlin_protocol::LogId;
use lives::{Seeds, cut_while_opening, next_life};
use simulated_disk::{Dice, Faults, SeededRandom, SimulatedDisk};

const LOGS: u64 = 30;
/// Of so many logs that are told at most one has not changed.
const TOLD_FOR_ONE_TOO_MANY: u64 = 1000;
/// Moments of a run that are asked from, chosen among all.
const MOMENTS_ASKED: u64 = 12;

fn config(forgets: bool) -> EmbeddedConfig {
    let kept = EmbeddedConfig::default().marks_kept;
    EmbeddedConfig {
        marks_kept: if forgets { Duration::ZERO } else { kept },
        cleaning_interval: Duration::ZERO,
        cleaning_bytes_per_second: u64::MAX,
        gone_within: Duration::ZERO,
        ..lives::config()
    }
}

fn logs() -> Vec<LogId> {
    (0..LOGS).map(|number| chat(1, 2 + number)).collect()
}

/// Something that was done to a log.
#[derive(Debug, Clone, Copy)]
struct Event {
    log: usize,
    /// The entry that it has appended.
    seq: Option<u64>,
}

/// All that is known of a store.
#[derive(Debug, Clone, Default)]
struct History {
    events: Vec<Event>,
    heads: BTreeMap<usize, Head>,
    erased: BTreeSet<(usize, u64)>,
    /// Logs of which an entry was erased that nobody had acknowledged: it may have been durable long before
    /// it is seen.
    unsure: BTreeSet<u32>,
    /// The moments that were taken, with how much had happened until then.
    moments: Vec<(Moment, usize)>,
}

impl History {
    fn head(&self, log: usize) -> Head {
        self.heads.get(&log).copied().unwrap_or_default()
    }

    /// What became of a log that was changed, or may have been.
    fn look(&mut self, store: &EmbeddedStore, log: usize) {
        let page = ask::range(store, all(logs()[log]));
        let before = self.head(log);
        let erased: BTreeSet<_> = page
            .entries
            .iter()
            .filter(|entry| entry.erased)
            .map(|entry| (log, entry.seq))
            .collect();
        if page.head != before {
            let seq = (page.head.seq > before.seq).then_some(page.head.seq);
            self.events.push(Event { log, seq });
            self.heads.insert(log, page.head);
        } else if !self.erased.is_superset(&erased) {
            self.unsure.insert(log as u32);
        }
        self.erased.extend(erased);
    }

    /// An entry of a log was erased, for certain.
    fn erased(&mut self, log: usize, seq: u64) {
        self.events.push(Event { log, seq: None });
        self.erased.insert((log, seq));
    }

    /// The logs that have changed since so much had happened.
    fn changed(&self, since: usize) -> BTreeSet<u32> {
        self.events[since..].iter().map(|event| event.log as u32).collect()
    }

    /// The entries of a log that were appended since, and have not expired.
    fn appended(&self, log: usize, since: usize) -> Vec<u64> {
        let of_log = self.events[since..].iter().filter(|event| event.log == log);
        let begin = self.head(log).expired_below;
        of_log.filter_map(|event| event.seq).filter(|seq| *seq >= begin).collect()
    }
}

/// How often the seeds met what they are there to meet.
#[derive(Debug, Default)]
struct Coverage {
    asked: AtomicU64,
    told: AtomicU64,
    too_many: AtomicU64,
    unknown: AtomicU64,
    cleaned: AtomicU64,
    of_copies: AtomicU64,
    unknown_to_copies: AtomicU64,
}

fn count(what: &AtomicU64, more: u64) {
    what.fetch_add(more, Ordering::Relaxed);
}

struct World<'a> {
    history: History,
    dice: Dice,
    coverage: &'a Coverage,
    made: u64,
    forgets: bool,
}

impl World<'_> {
    fn request(&mut self, log: usize) -> StoreRequest {
        let (id, head) = (logs()[log], self.history.head(log));
        let seq = 1 + self.dice.below(head.seq + 1);
        self.made += 1;
        match self.dice.below(30) {
            0 => StoreRequest::Delete(vec![Deletion::Drop { log: id }]),
            1 | 2 => StoreRequest::Delete(vec![Deletion::Truncate { log: id, below: seq }]),
            3 | 4 => StoreRequest::Delete(vec![Deletion::Erase { log: id, seq }]),
            5..15 => StoreRequest::Write(vec![Write::registers(id, self.sets())]),
            kind => {
                let body = vec![self.made as u8; 1 + self.dice.below(1500) as usize];
                let mut write = with_body(entry(id, head.seq + 1, self.made), body);
                if kind > 22 {
                    write.sets.extend(self.sets());
                }
                StoreRequest::Write(vec![write])
            }
        }
    }

    fn sets(&mut self) -> Vec<Set> {
        let numbers: BTreeSet<u64> = (0..2).map(|_| self.dice.below(4)).collect();
        let value = Bytes::copy_from_slice(&self.made.to_be_bytes());
        let removes = self.dice.chance(20);
        let set = |number| {
            if removes {
                Set::removal(key(number))
            } else {
                Set::always(key(number), value.clone())
            }
        };
        numbers.into_iter().map(set).collect()
    }

    /// Does something, mostly to a few of the logs. Returns false when it is not known what became of it.
    fn step(&mut self, store: &EmbeddedStore) -> bool {
        let few = if self.dice.chance(70) { 4 } else { LOGS };
        let log = self.dice.below(few) as usize;
        let request = self.request(log);
        let answer = ask(store, request.clone());
        let is_known = match &answer {
            Ok(StoreReply::Written(verdicts)) => !verdicts.contains(&Written::Unknown),
            Ok(StoreReply::Deleted(verdicts)) => !verdicts.contains(&Deleted::Unknown),
            _ => false,
        };
        if is_known {
            if let (StoreRequest::Delete(asked), Ok(StoreReply::Deleted(verdicts))) =
                (request, answer)
                && let ([Deletion::Erase { seq, .. }], [Deleted::Done { .. }]) =
                    (&asked[..], &verdicts[..])
            {
                self.history.erased(log, *seq);
            }
            self.history.look(store, log);
        } else {
            count(&self.coverage.unknown, 1);
        }
        is_known
    }

    fn serve(&mut self, store: &EmbeddedStore) {
        for _ in 0..self.dice.below(120) {
            if !self.step(store) {
                return;
            }
            if self.dice.chance(15) {
                self.take_moment(store);
            }
            if self.dice.chance(5) {
                self.check_some(store);
            }
        }
    }

    fn take_moment(&mut self, store: &EmbeddedStore) {
        self.history.moments.push((now(store), self.history.events.len()));
    }

    fn check_some(&mut self, store: &EmbeddedStore) {
        for _ in 0..MOMENTS_ASKED.min(self.history.moments.len() as u64) {
            let chosen = self.dice.below(self.history.moments.len() as u64) as usize;
            let (moment, since) = self.history.moments[chosen];
            self.check(store, moment, since);
        }
    }

    fn check(&mut self, store: &EmbeddedStore, moment: Moment, since: usize) {
        let answer = changed(store, logs(), Some(moment));
        let told: BTreeSet<u32> = answer.iter().map(|(log, _)| *log).collect();
        let expected = self.history.changed(since);
        assert!(told.is_superset(&expected), "{told:?} lacks some of {expected:?}");
        let unsure = &self.history.unsure;
        let too_many =
            told.difference(&expected).filter(|log| !unsure.contains(log)).count() as u64;
        for (log, head) in answer {
            assert_eq!(head, self.history.head(log as usize));
        }
        count(&self.coverage.asked, 1);
        count(&self.coverage.told, told.len() as u64);
        count(&self.coverage.too_many, too_many);
        let log = self.dice.below(LOGS) as usize;
        let backwards = self.dice.chance(30);
        let page = ask::range(store, Range { since: Some(moment), backwards, ..all(logs()[log]) });
        let mut seqs: Vec<u64> = page.entries.iter().map(|entry| entry.seq).collect();
        seqs.sort_unstable();
        let appended = self.history.appended(log, since);
        let told = seqs.len();
        seqs.retain(|seq| appended.binary_search(seq).is_ok());
        assert_eq!(seqs, appended, "of log {log}");
        count(&self.coverage.too_many, (told - seqs.len()) as u64);
    }
}

/// A folder as it was, and what was known of it.
struct Copy {
    disk: SimulatedDisk,
    history: History,
}

impl Copy {
    /// It is put back, and goes on by itself. Nobody shall take its moments for those of what came after it in
    /// the other history, nor the other way round.
    fn goes_on(self, world: &mut World<'_>, seed: u64, life: u64) {
        let store = open(&self.disk, seed, life, world.forgets).unwrap();
        let others = std::mem::replace(&mut world.history, self.history).moments;
        let certain = world.history.events.len();
        for log in 0..LOGS as usize {
            // What was under way when it was taken may have been done.
            world.history.look(&store, log);
        }
        let seen = world.history.events.len();
        for _ in 0..world.dice.below(150) {
            world.step(&store);
        }
        world.check_some(&store);
        for (moment, at) in others {
            let (logs, since) = (logs(), Some(moment));
            match ask(&store, StoreRequest::Changed { logs, since }) {
                Err(StoreError::MomentUnknown) => {
                    assert!(at >= certain, "it has seen this");
                    count(&world.coverage.unknown_to_copies, 1);
                }
                Ok(_) => {
                    assert!(at <= seen, "it has not seen this");
                    world.check(&store, moment, at);
                    count(&world.coverage.of_copies, 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn open(
    disk: &SimulatedDisk,
    seed: u64,
    life: u64,
    forgets: bool,
) -> Result<EmbeddedStore, OpenError> {
    // Each process has other random numbers.
    lives::open(disk, config(forgets), &SeededRandom::new(seed << 16 | life))
}

fn lose_index(disk: &SimulatedDisk) {
    let names = disk.lengths().into_iter().map(|(name, _)| name);
    for name in names.filter(|name| name.ends_with(".idx")) {
        disk.remove(&name).unwrap();
    }
}

fn live(seed: u64, coverage: &Coverage, forgets: bool) {
    let mut disk = SimulatedDisk::new(seed);
    let history = History::default();
    let mut world = World { history, dice: Dice::new(seed), coverage, made: 0, forgets };
    let mut copy = None;
    for life in 0..2 + world.dice.below(5) {
        (disk, _) =
            cut_while_opening(disk, &mut world.dice, 20, |disk| open(disk, seed, life, forgets));
        let store = open(&disk, seed, life, forgets).unwrap();
        assert_eq!((store.recovery().history_lost, store.epoch() != 0), (false, true));
        for log in 0..LOGS as usize {
            // What was under way when the power failed may have been done.
            world.history.look(&store, log);
        }
        world.check_some(&store);
        world.take_moment(&store);
        if world.dice.chance(20) {
            let sync = world.dice.below(8);
            disk.set_faults(Faults { write: sync / 4, sync, ..Faults::default() });
        }
        let may_die = world.dice.chance(60);
        if may_die {
            disk.cut_power_after(world.dice.below(300));
        }
        world.serve(&store);
        disk.set_faults(Faults::default());
        if !may_die && world.dice.chance(50) {
            store.clean().unwrap();
        }
        count(&coverage.cleaned, store.statistics().cleaned_files);
        drop(store);
        disk = next_life(&disk, &mut world.dice);
        if world.dice.chance(15) {
            lose_index(&disk);
        }
        if copy.is_none() && world.dice.chance(40) {
            copy = Some(Copy { disk: disk.copy(), history: world.history.clone() });
        }
    }
    let store = open(&disk, seed, 100, forgets).unwrap();
    for log in 0..LOGS as usize {
        world.history.look(&store, log);
    }
    for (moment, since) in world.history.moments.clone() {
        world.check(&store, moment, since);
    }
    if let Some(copy) = copy {
        copy.goes_on(&mut world, seed, 101);
    }
}

fn live_all(forgets: bool) {
    let seeds = Seeds::of("MOMENTS_SEEDS", 0..120);
    let coverage = Coverage::default();
    seeds.run(|seed| live(seed, &coverage, forgets));
    println!("{coverage:?}");
    let many = seeds.count() / 4;
    let Coverage { asked, told, too_many, unknown, cleaned, of_copies, unknown_to_copies } =
        coverage;
    let told = told.into_inner();
    assert!(told >= many);
    for met in [asked, unknown, cleaned, of_copies, unknown_to_copies] {
        assert!(met.into_inner() >= many);
    }
    // One too many costs its reader a look, so a store may tell one where it can't tell. On a machine that has much
    // to do this one does in some of a thousand seeds.
    let too_many = too_many.into_inner();
    assert!(forgets || too_many <= told / TOLD_FOR_ONE_TOO_MANY, "{too_many} of {told}");
}

#[test]
fn what_has_changed_is_told_and_nothing_else() {
    live_all(false);
}

#[test]
fn what_has_changed_is_told_where_removals_are_forgotten() {
    live_all(true);
}

/// Whatever block of whatever index file is damaged: a log is told as it is, or told to be unreadable.
#[test]
fn damage_of_the_index_is_an_error_of_the_logs_that_it_hides() {
    let disk = SimulatedDisk::new(1);
    let store = open(&disk, 1, 0, false).unwrap();
    let all: Vec<LogId> = (0..200).map(|number| chat(1, 2 + number)).collect();
    for log in &all {
        let long = with_body(entry(*log, 1, 0), vec![7; 400]);
        let written =
            ask::write(&store, vec![long, Write::registers(*log, [Set::removal(key(1))])]);
        assert!(written.iter().all(|verdict| matches!(verdict, Written::Stored { .. })));
    }
    let known = heads(&store, all.clone());
    drop(store);
    let files = disk.lengths().into_iter().filter(|(name, _)| name.ends_with(".idx"));
    let mut unreadable = 0;
    for (name, bytes) in files {
        for block in 1..bytes / 4096 {
            let disk = disk.copy();
            disk.flip(&name, block * 4096 + 40, 1);
            let Ok(store) = open(&disk, 1, 1, false) else { panic!("it opens with any index") };
            // It stays damaged for as long as no file can be made.
            disk.refuse_names(true);
            let (logs, since) = (all.clone(), None);
            let answer = ask(&store, StoreRequest::Changed { logs, since });
            let Ok(StoreReply::Changed(answer)) = answer else { panic!("{answer:?}") };
            let places: Vec<u32> = answer.heads.iter().map(|(place, _)| *place).collect();
            assert_eq!(places, (0..all.len() as u32).collect::<Vec<_>>(), "block {block}");
            for (place, head) in answer.heads {
                match head {
                    Ok(head) => assert_eq!(head, known[place as usize]),
                    Err(StoreError::Unavailable { .. }) => unreadable += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(unreadable > 0, "some block was of the logs");
}
