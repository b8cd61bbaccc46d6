//! `kill -9` of the server, again and again, under load: nothing that was acknowledged is lost,
//! nothing is there twice, the order is kept, sequences have no holes, and clients recover by
//! themselves.
//!
//! One run of the load harness lasts for the whole test, with one ledger. Meanwhile the server is
//! killed at random moments (while it serves, while it starts) and started again with the same
//! data. At the end both users of each pair read their whole conversation, and the auditor compares
//! it with all that was ever sent, acknowledged and told; then the store is checked byte by byte.
//!
//! A killed process loses nothing that it gave to the system; a power cut does. That is tested
//! under the store, in `core/tests/power_loss.rs`.
//!
//! `CRASH_ROUNDS=500` kills more often, `CRASH_SEED=7` chooses the moments (within what threads
//! and disks allow). docs/crash-tests.md shows how to do the same by hand.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_loadtest::chat::{self, ChatReport, ChatScenario, Load, Progress, Rate};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::spawn::SpawnedServer;

const ROUNDS: u64 = 20;
const USERS: u32 = 40;

/// So small that files are begun, sealed, indexed and merged while the server is killed.
const SEGMENT_BYTES_SMALL: u32 = 4 << 20;

/// So large that one file holds all that a life of the server writes.
const SEGMENT_BYTES_LARGE: u32 = 16 * 1024 * 1024;

/// Nothing takes so long, on any machine; what does is a failure.
const DEADLINE: Duration = Duration::from_secs(120);

/// A small generator of random numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// What the harness says of itself, and when it shall come to its end.
#[derive(Default)]
struct Watch {
    active: AtomicU64,
    acknowledged: AtomicU64,
    over: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn note(&self, progress: Progress) {
        self.active.store(progress.active, Ordering::Relaxed);
        self.acknowledged.store(progress.acknowledged, Ordering::Relaxed);
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn wait_for(&self, what: &str, is_true: impl Fn(&Watch) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_true(self) {
            assert!(!self.over.load(Ordering::Relaxed), "the harness gave up before {what}");
            assert!(Instant::now() < deadline, "this did not happen: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the server that runs now has acknowledged so many messages.
    fn wait_for_messages(&self, messages: u64) {
        let before = self.acknowledged();
        self.wait_for("messages are acknowledged", |watch| {
            watch.acknowledged() >= before + messages
        });
    }

    fn wait_for_everybody(&self) {
        self.wait_for("everybody is there", |watch| {
            watch.active.load(Ordering::Relaxed) == u64::from(USERS)
        });
    }
}

/// Ends the harness, also when the test panics: otherwise it would go on for its whole duration.
struct Ending<'a>(&'a Watch);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

/// A server, and the file that its lives log to.
struct Victim {
    server: SpawnedServer,
    folder: tempfile::TempDir,
    /// How long the last start took.
    start: Duration,
}

impl Victim {
    fn start(segment_bytes: u32) -> Victim {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let log = Stdio::from(File::create(log_path(folder.path())).unwrap());
        let settings = [format!("store.segment_bytes={segment_bytes}")];
        let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
        let server = SpawnedServer::start(program, &[], &settings, log).unwrap();
        Victim { server, folder, start: began.elapsed() }
    }

    fn launch(&mut self) {
        let log = File::options().append(true).open(log_path(self.folder.path())).unwrap();
        self.server.launch(Stdio::from(log)).unwrap();
    }

    fn restart(&mut self) {
        let began = Instant::now();
        self.launch();
        self.server.wait_until_it_listens().unwrap();
        self.start = began.elapsed();
    }

    fn log(&self) -> String {
        fs::read_to_string(log_path(self.folder.path())).unwrap()
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Runs the harness while `crash` does to the server what it wants.
fn audited(victim: &mut Victim, crash: impl FnOnce(&mut Victim, &Watch)) -> ChatReport {
    let watch = Watch::default();
    let mut scenario = ChatScenario::new(victim.server.target(false));
    scenario.users = USERS;
    // Read cursors are to outlive the server as well, and pages to be whole whatever befell it.
    scenario.message = "durable:7,history:1,mark_read:2,sync:1".parse().unwrap();
    scenario.load = Load::Open { messages_per_second: Rate::constant(600.0) };
    scenario.content_bytes = 1500.into();
    scenario.reconnect = true;
    scenario.warm_up = Duration::ZERO;
    scenario.duration = Duration::from_secs(24 * 3600); // It is told to stop.
    scenario.gather_timeout = DEADLINE;
    scenario.drain_timeout = DEADLINE;
    scenario.stop = Some(Arc::clone(&watch.stop));
    scenario.progress_interval = Duration::from_millis(2);
    thread::scope(|scope| {
        let watch = &watch;
        let harness = scope.spawn(move || {
            let report = chat::run(&scenario, &mut |_, progress| watch.note(progress));
            watch.over.store(true, Ordering::Relaxed);
            report.unwrap()
        });
        {
            let _ending = Ending(watch);
            watch.wait_for_everybody();
            crash(victim, watch);
        }
        harness.join().unwrap()
    })
}

/// One death: either under load, after some messages, or while it starts.
fn kill_once(victim: &mut Victim, watch: &Watch, dice: &mut Dice) -> &'static str {
    if dice.below(4) > 0 {
        watch.wait_for_messages(1 + dice.below(200));
        // Anywhere between two batches, two fsyncs, two files.
        thread::sleep(Duration::from_micros(dice.below(20_000)));
        victim.server.kill().unwrap();
        "under load"
    } else {
        watch.wait_for_messages(1);
        victim.server.kill().unwrap();
        victim.launch();
        let start_us = victim.start.as_micros() as u64;
        thread::sleep(Duration::from_micros(dice.below(start_us.max(1))));
        victim.server.kill().unwrap();
        "while it started"
    }
}

fn check_store(folder: &Path) {
    let store = EmbeddedStore::open(&folder.join("store"), EmbeddedConfig::default()).unwrap();
    let recovery = store.recovery();
    assert!(recovery.damage.is_empty() && !recovery.history_lost, "{recovery:?}");
    let check = store.verify().unwrap();
    assert!(check.damage.is_empty() && check.entries > 0, "{check:?}");
}

#[test]
fn nothing_acknowledged_is_lost_however_often_the_server_is_killed() {
    let rounds = number("CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}"); // Shown when it fails.
    let (mut dice, mut victim) = (Dice(seed), Victim::start(SEGMENT_BYTES_SMALL));
    let report = audited(&mut victim, |victim, watch| {
        for round in 1..=rounds {
            let how = kill_once(victim, watch, &mut dice);
            println!("round {round}: killed {how}, {} acknowledged", watch.acknowledged());
            victim.restart();
        }
        // The last life serves everybody again.
        watch.wait_for_everybody();
        watch.wait_for_messages(1);
    });
    let log = victim.log();
    // A busy machine may make the harness late: that spoils latencies, and nothing else.
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}\n{log}");
    let totals = report.totals;
    assert!(report.faults.counts.is_empty(), "{report:#?}\n{log}");
    assert_eq!((totals.acknowledged, totals.delivered), (totals.sent, totals.sent), "{totals:?}");
    // Both of each pair have read every message.
    assert!(totals.entries_read >= 2 * totals.sent, "{totals:?}");
    // And the clients did live through it.
    assert!(totals.connections_lost >= u64::from(USERS) && totals.resent > 0, "{totals:?}");
    victim.server.stop();
    check_store(&victim.server.data_folder());
}

/// Runs a server that serves, dies, loses something by `forget`, and serves again.
fn assert_found_out(forget: impl FnOnce(&Path, &Path)) {
    let mut victim = Victim::start(SEGMENT_BYTES_LARGE);
    let copy = victim.folder.path().join("copy");
    let report = audited(&mut victim, |victim, watch| {
        watch.wait_for_messages(20);
        victim.server.kill().unwrap();
        let data = victim.server.data_folder();
        copy_folder(&data, &copy);
        victim.restart();
        watch.wait_for_messages(100);
        victim.server.kill().unwrap();
        forget(&data, &copy);
        victim.restart();
        watch.wait_for_everybody();
        watch.wait_for_messages(1);
    });
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults.counts.contains_key("lost"), "{report:#?}");
}

#[test]
fn a_server_that_comes_back_with_old_data_is_found_out() {
    assert_found_out(|data, copy| {
        fs::remove_dir_all(data).unwrap();
        copy_folder(copy, data);
    });
}

#[test]
fn a_server_that_forgets_its_last_messages_is_found_out() {
    assert_found_out(|data, _| {
        let files = fs::read_dir(data.join("store")).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let newest = logs.max().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        // Most of what this life has written, as if it had never been synced: the store sees
        // nothing amiss. The last few messages would not be enough: on a busy machine they may not
        // have been acknowledged yet.
        bytes[used / 4..].fill(0);
        fs::write(&newest, bytes).unwrap();
    });
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
