//! Users who log in and then say nothing but that they are there: what a connection costs.
//!
//! All connect, at a steady rate; then they are held for a while. The report says how fast they
//! came, which were closed and why, and, for a server on this machine, how its memory and
//! processor time grew with them.

mod arrivals;
mod crew;
mod crowd;
mod heartbeats;
mod parameters;
pub(crate) mod remote;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::error::LoadtestError;
use crate::generators::random_run;
use crate::idle::crew::{Crew, ThreadResult, join};
use crate::idle::crowd::Shared;
use crate::net::Clock;
use crate::problem::{Problem, Problems};
use crate::process;
use crate::remote::{Generators, call_generators};
use crate::report::{Recorder, Second, Standing};
use crate::target::{Service, Target};

pub use parameters::IdleParameters;
pub(crate) use parameters::SECTION;
pub use report::{Closes, IdleGeneratorReport, IdleReport, IdleServerReport, Sample};

/// Between two looks at the server.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Samples that are kept; with more, every second one is dropped and the interval doubles.
const SAMPLES_MAX: usize = 512;

/// An idle run.
#[derive(Debug, Clone)]
pub struct IdleScenario {
    /// The server.
    pub target: Target,
    /// Connections, each with a user of its own.
    pub connections: u32,
    /// Generator threads.
    pub threads: usize,
    /// Processors that they may use; all if empty.
    pub processors: Vec<usize>,
    /// Other processes that make the connections, in the place of threads of this one.
    pub generators: Option<Generators>,
    /// New connections per second, at most.
    pub connects_per_second: u32,
    /// How long it may take until everybody is there.
    pub gather_timeout: Duration,
    /// How long one attempt to be there may take, from connecting to the end of the sync. A peer
    /// that says nothing would else keep its place among those on their way.
    pub arrive_timeout: Duration,
    /// How long all are held.
    pub hold: Duration,
    /// A heartbeat of each connection this often; half of what the server asks for if `None`.
    pub heartbeat_interval: Option<Duration>,
    /// How often a connection that fails on its way tries again.
    pub retries_max: u32,
    /// The figures mean nothing if more than a hundredth of the heartbeats is later than this.
    pub lateness_p99_max: Duration,
    /// Users are called `prefix-0` and so on: the same prefix finds them again. A new name if
    /// `None`.
    pub user_prefix: Option<String>,
    /// Lets all go before their time when it becomes true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl IdleScenario {
    /// A short run; change what you need.
    pub fn new(target: Target, connections: u32) -> IdleScenario {
        IdleScenario {
            target,
            connections,
            threads: 1,
            processors: Vec::new(),
            generators: None,
            connects_per_second: 5000,
            gather_timeout: Duration::from_secs(600),
            arrive_timeout: Duration::from_secs(30),
            hold: Duration::from_secs(30),
            heartbeat_interval: None,
            retries_max: 5,
            lateness_p99_max: Duration::from_secs(1),
            user_prefix: None,
            stop: None,
        }
    }

    fn is_told_to_stop(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire))
    }

    fn check(&self) -> Result<(), LoadtestError> {
        let mut problems = IdleParameters::of(self).problems();
        if self.threads == 0 {
            problems.push(Problem::new("generator", "threads", "at least 1"));
        }
        if matches!(self.target.service, Service::Relay) {
            problems.push(Problem::new("server", "", "the relay knows no logins"));
        }
        Ok(Problems::check(problems)?)
    }
}

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
    let shared = Shared::default();
    let crew = match team {
        Some(_) => None,
        None => Some(Crew::new(scenario, &shared, clock, &prefix, 0..scenario.connections)?),
    };
    // Before the threads: what they need is a part of what a connection costs.
    let harness_empty = sample(std::process::id(), clock, 0);
    thread::scope(|scope| {
        let here = crew.as_ref().map(|crew| crew.start(scope)).into_iter();
        let elsewhere =
            team.map(|members| remote::enlist(scope, scenario, &shared, clock, &prefix, members));
        let threads = here.chain(elsewhere).flatten();
        let mut coordinator = Coordinator {
            scenario,
            shared: &shared,
            clock,
            threads: threads.collect(),
            samples: Vec::new(),
            harness_samples: harness_empty.into_iter().collect(),
            sample_interval: SAMPLE_INTERVAL,
            recorder: Recorder::new(clock.now_ns(), scenario.target.pid)
                .waiting_for(scenario.generators.as_ref()),
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

/// The moments of a run, in nanoseconds on its clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// When all were there, or the time was over.
    gathered_ns: u64,
    /// It was told to stop before all were there.
    is_cut_short: bool,
    /// When they were let go.
    ended_ns: u64,
}

struct Coordinator<'scope, 'run> {
    scenario: &'run IdleScenario,
    shared: &'run Shared,
    clock: Clock,
    threads: Vec<ScopedJoinHandle<'scope, ThreadResult>>,
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
        self.shared.start();
        let everybody = self.scenario.connections;
        self.watch("connecting", self.scenario.gather_timeout, |shared| {
            shared.settled() >= everybody
        });
        let gathered_ns = self.clock.now_ns();
        let is_cut_short = self.scenario.is_told_to_stop();
        self.shared.hold();
        self.watch("holding", self.scenario.hold, |_| false);
        self.sample();
        let ended_ns = self.clock.now_ns();
        self.shared.stop();
        Times { gathered_ns, is_cut_short, ended_ns }
    }

    fn watch(&mut self, doing: &str, timeout: Duration, is_done: impl Fn(&Shared) -> bool) {
        let end_ns = self.clock.now_ns() + timeout.as_nanos() as u64;
        let mut next_progress_ns = 0;
        loop {
            let now_ns = self.clock.now_ns();
            let failed = self.threads.iter().any(ScopedJoinHandle::is_finished);
            let is_over = now_ns >= end_ns || self.scenario.is_told_to_stop();
            if is_done(self.shared) || is_over || failed {
                return;
            }
            if now_ns >= next_progress_ns {
                next_progress_ns = now_ns + 1_000_000_000;
                (self.on_progress)(doing, self.shared.active());
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
        let shared = self.shared;
        let standing = Standing {
            doing,
            connections: u64::from(shared.active()),
            // Nobody is expected to leave.
            errors: u64::from(shared.failed()),
            counts: &[("arrived", shared.arrived()), ("heartbeats", shared.heartbeats())],
        };
        self.recorder.look(now_ns, &standing, &shared.seconds.take(), self.on_second);
    }

    fn sample(&mut self) {
        let connections = self.shared.active();
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
