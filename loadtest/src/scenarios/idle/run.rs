//! An idle run from its beginning to its report, and the coordinator that leads it.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::error::LoadtestError;
use crate::generators::random_run;
use crate::net::Clock;
use crate::phases::{Crew as _, Thread, join};
use crate::process;
use crate::remote::call_generators;
use crate::report::{Recorder, Second, Standing};
use crate::scenarios::idle::board::Board;
use crate::scenarios::idle::crew::Crew;
use crate::scenarios::idle::outcome::{Outcome, Times};
use crate::scenarios::idle::remote;
use crate::scenarios::idle::report::{self, IdleReport, Sample};
use crate::scenarios::idle::scenario::IdleScenario;

/// Between two looks at the server.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Samples that are kept; with more, every second one is dropped and the interval doubles.
const SAMPLES_MAX: usize = 512;

/// Runs a scenario. `on_progress` is called about once a second, with what the run is doing and
/// how many connections there are.
pub fn run(
    scenario: &IdleScenario,
    on_progress: &mut dyn FnMut(&str, u32),
) -> Result<IdleReport, LoadtestError> {
    run_watched(scenario, on_progress, &mut |_| {})
}

/// The same; `on_second` is called once a second, with all that the second showed.
pub fn run_watched(
    scenario: &IdleScenario,
    on_progress: &mut dyn FnMut(&str, u32),
    on_second: &mut dyn FnMut(&Second<'_>),
) -> Result<IdleReport, LoadtestError> {
    scenario.check()?;
    let elsewhere = scenario.generators.as_ref();
    let call = |generators| call_generators(generators, scenario.connections, 1, 0);
    let team = elsewhere.map(call).transpose()?;
    let _small_pages = process::SmallPages::ask()
        .map_err(LoadtestError::machine("asking for small pages of memory"))?;
    let clock = Clock::start();
    let prefix = match &scenario.user_prefix {
        Some(prefix) => prefix.clone(),
        None => format!("idle-{:016x}", random_run()?),
    };
    let board = Board::default();
    let crew = match team {
        Some(_) => None,
        None => Some(Crew::new(scenario, &board, clock, &prefix, 0..scenario.connections)?),
    };
    // Before the threads: what they need is a part of what a connection costs.
    let harness_empty = sample(std::process::id(), clock, 0);
    thread::scope(|scope| {
        let here = crew.as_ref().map(|crew| crew.start(scope)).into_iter();
        let elsewhere =
            team.map(|members| remote::enlist(scope, scenario, &board, clock, &prefix, members));
        let threads = here.chain(elsewhere).flatten();
        let mut coordinator = Coordinator {
            scenario,
            board: &board,
            clock,
            threads: threads.collect(),
            samples: Vec::new(),
            harness_samples: harness_empty.into_iter().collect(),
            sample_interval: SAMPLE_INTERVAL,
            recorder: Recorder::new(clock.now_ns(), scenario.target.pid)
                .waiting_elsewhere(scenario.generators.is_some()),
            on_progress,
            on_second,
        };
        let times = coordinator.lead();
        let threads = std::mem::take(&mut coordinator.threads);
        let outcomes = threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()?;
        // The threads have handed over what they had.
        coordinator.look_at_second("ending", clock.now_ns());
        let samples = (coordinator.samples, coordinator.harness_samples);
        let series = coordinator.recorder.finish();
        Ok(IdleReport { series, ..report::compose(scenario, outcomes, times, samples) })
    })
}

struct Coordinator<'scope, 'run> {
    scenario: &'run IdleScenario,
    board: &'run Board,
    clock: Clock,
    threads: Vec<Thread<'scope, Outcome>>,
    samples: Vec<Sample>,
    /// The same of this process.
    harness_samples: Vec<Sample>,
    sample_interval: Duration,
    recorder: Recorder,
    on_progress: &'run mut dyn FnMut(&str, u32),
    on_second: &'run mut dyn FnMut(&Second<'_>),
}

impl Coordinator<'_, '_> {
    fn lead(&mut self) -> Times {
        self.sample();
        self.board.start();
        let everybody = self.scenario.connections;
        self.watch("connecting", self.scenario.gather_timeout, |board| {
            board.settled() >= everybody
        });
        let gathered_ns = self.clock.now_ns();
        let is_cut_short = self.scenario.is_told_to_stop();
        self.board.hold();
        self.watch("holding", self.scenario.hold, |_| false);
        self.sample();
        let ended_ns = self.clock.now_ns();
        self.board.stop();
        Times { gathered_ns, is_cut_short, ended_ns }
    }

    fn watch(&mut self, doing: &str, timeout: Duration, is_done: impl Fn(&Board) -> bool) {
        let end_ns = self.clock.now_ns() + timeout.as_nanos() as u64;
        let mut next_progress_ns = 0;
        loop {
            let now_ns = self.clock.now_ns();
            let failed = self.threads.iter().any(ScopedJoinHandle::is_finished);
            let is_over = now_ns >= end_ns || self.scenario.is_told_to_stop();
            if is_done(self.board) || is_over || failed {
                return;
            }
            if now_ns >= next_progress_ns {
                next_progress_ns = now_ns + 1_000_000_000;
                (self.on_progress)(doing, self.board.active());
            }
            self.sample_if_due(now_ns);
            if self.recorder.is_due(now_ns) {
                self.look_at_second(doing, now_ns);
            }
            thread::sleep(Duration::from_millis(20).min(Duration::from_nanos(end_ns - now_ns)));
        }
    }

    fn sample_if_due(&mut self, now_ns: u64) {
        let last_ns = self.harness_samples.last().map_or(0, |sample| sample.at_ns);
        if now_ns.saturating_sub(last_ns) < self.sample_interval.as_nanos() as u64 {
            return;
        }
        if self.harness_samples.len() >= SAMPLES_MAX {
            for samples in [&mut self.samples, &mut self.harness_samples] {
                let mut keep = false;
                samples.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.sample_interval *= 2;
        }
        self.sample();
    }

    fn look_at_second(&mut self, doing: &str, now_ns: u64) {
        let board = self.board;
        let standing = Standing {
            doing,
            connections: u64::from(board.active()),
            // Nobody is expected to leave.
            errors: u64::from(board.failed()),
            counts: &[("arrived", board.arrived()), ("heartbeats", board.heartbeats())],
        };
        self.recorder.look(now_ns, &standing, &board.seconds.take(), self.on_second);
    }

    fn sample(&mut self) {
        let connections = self.board.active();
        let server = self.scenario.target.pid;
        self.samples.extend(server.and_then(|pid| sample(pid, self.clock, connections)));
        self.harness_samples.extend(sample(std::process::id(), self.clock, connections));
    }
}

/// A process that has gone has no figures; that its connections ended is in the report.
fn sample(pid: u32, clock: Clock, connections: u32) -> Option<Sample> {
    let usage = process::usage(pid).ok()?;
    Some(Sample { at_ns: clock.now_ns(), connections, usage })
}
