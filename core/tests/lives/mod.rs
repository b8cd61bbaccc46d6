//! Running a store through the lives of a simulated disk, with chance from a seed, for many seeds.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore, OpenError};

use crate::simulated_disk::{Dice, SeededRandom, SimulatedDisk};

/// A store that comes to its limits soon: to the next segment, to merged index files.
pub(crate) fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        segment_bytes: 16 * 1024,
        readers: 1,
        merge_runs: 2,
        retry_interval: Duration::ZERO,
        ..EmbeddedConfig::default()
    }
}

pub(crate) fn open(
    disk: &SimulatedDisk,
    config: EmbeddedConfig,
    random: &SeededRandom,
) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), config, random)
}

/// Cuts the power while a store opens, some times in a row. Returns the last disk, and how often no store
/// came of it.
#[allow(dead_code, reason = "each test uses its part")]
pub(crate) fn cut_while_opening(
    mut disk: SimulatedDisk,
    dice: &mut Dice,
    percent: u64,
    open: impl Fn(&SimulatedDisk) -> Result<EmbeddedStore, OpenError>,
) -> (SimulatedDisk, u64) {
    let mut cut = 0;
    while dice.chance(percent) {
        disk.cut_power_after(dice.below(14));
        let opened = open(&disk);
        assert!(opened.is_ok() || disk.is_dead(), "{:?}", opened.err());
        cut += u64::from(opened.is_err());
        drop(opened);
        disk = disk.after_power_cut();
    }
    (disk, cut)
}

/// The disk of the next process, after the death of the process or of the machine.
pub(crate) fn next_life(disk: &SimulatedDisk, dice: &mut Dice) -> SimulatedDisk {
    if dice.chance(30) { disk.after_kill() } else { disk.after_power_cut() }
}

/// Which seeds to run.
pub(crate) struct Seeds {
    variable: &'static str,
    seeds: Range<u64>,
}

impl Seeds {
    /// Those that a variable of the environment names, as `from..to`, or else the usual ones.
    pub(crate) fn of(variable: &'static str, usual: Range<u64>) -> Seeds {
        let chosen = std::env::var(variable).ok().map(|chosen| {
            let (from, to) = chosen.split_once("..").expect("from..to");
            from.parse().expect("a number")..to.parse().expect("a number")
        });
        Seeds { variable, seeds: chosen.unwrap_or(usual) }
    }

    pub(crate) fn count(&self) -> u64 {
        self.seeds.end - self.seeds.start
    }

    /// Runs all of them, as many at a time as there are cores, and names one that fails.
    pub(crate) fn run(&self, live: impl Fn(u64) + Sync) {
        let next = AtomicU64::new(self.seeds.start);
        let live_some = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if !self.seeds.contains(&seed) {
                    return;
                }
                let _failing = Failing(self.variable, seed);
                live(seed);
            }
        };
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(live_some)).collect();
            let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
            joined.for_each(|joined| joined.expect("all seeds of the thread pass"));
        });
    }
}

/// Names the seed that failed.
struct Failing(&'static str, u64);

impl Drop for Failing {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}={}..{} failed", self.0, self.1, self.1 + 1);
        }
    }
}
