//! The coordinator: starts the threads, leads them through the phases, and looks at the clock.

use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::chat::crew::{Crew, ThreadResult, join};
use crate::chat::report::{ChatReport, Window, compose};
use crate::chat::shared::Shared;
use crate::chat::{ChatScenario, Disturbance, DisturbanceReport, remote};
use crate::error::LoadtestError;
use crate::generators::random_run;
use crate::net::Clock;
use crate::phases::{Phase, Progress, Schedule};
use crate::process::{self, Usage};
use crate::remote::call_generators;
use crate::report::{Recorder, Second, Standing};

/// Between two looks at the threads.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Time for the threads to learn the schedule before it begins, here and in other processes.
const LEAD_NS: u64 = 50_000_000;
const LEAD_ELSEWHERE_NS: u64 = 1_000_000_000;

/// Signals may be dropped, so waiting for all of them must end soon.
const SIGNAL_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a scenario. `on_progress` is called every [`ChatScenario::progress_interval`] or so, with
/// what the run is doing.
pub fn run(
    scenario: &ChatScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
) -> Result<ChatReport, LoadtestError> {
    run_watched(scenario, on_progress, &mut |_| {})
}

/// The same; `on_second` is called once a second, with all that the second showed.
pub fn run_watched(
    scenario: &ChatScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
    on_second: &mut dyn FnMut(&Second<'_>),
) -> Result<ChatReport, LoadtestError> {
    scenario.check()?;
    let elsewhere = scenario.generators.as_ref();
    let team = elsewhere.map(|generators| call_generators(generators, scenario.users, 2));
    let team = team.transpose()?;
    let clock = Clock::start();
    let shared = Shared::new(clock);
    let run = random_run()?;
    let crew = match team {
        Some(_) => None,
        None => Some(Crew::new(scenario, &shared, run, 0..scenario.users)?),
    };
    thread::scope(|scope| {
        let here = crew.as_ref().map(|crew| crew.start(scope)).into_iter();
        let elsewhere = team.map(|members| remote::enlist(scope, scenario, &shared, run, members));
        let threads = here.chain(elsewhere).flatten().collect();
        let recorder = Recorder::new(clock.now_ns(), scenario.target.pid);
        let mut coordinator = Coordinator {
            scenario,
            shared: &shared,
            threads,
            on_progress,
            on_second,
            next_progress_ns: 0,
            recorder,
        };
        let (window, reasons) = coordinator.lead();
        let threads = std::mem::take(&mut coordinator.threads);
        let outcomes = threads.into_iter().map(join).collect::<Result<_, _>>()?;
        // The threads have handed over what they had.
        coordinator.look_at_second("ending", clock.now_ns());
        let series = coordinator.recorder.finish();
        Ok(ChatReport { series, ..compose(scenario, outcomes, window, reasons) })
    })
}

pub(crate) struct Coordinator<'scope, 'run> {
    pub(crate) scenario: &'run ChatScenario,
    pub(crate) shared: &'run Shared,
    pub(crate) threads: Vec<ScopedJoinHandle<'scope, ThreadResult>>,
    on_progress: &'run mut dyn FnMut(&str, Progress),
    on_second: &'run mut dyn FnMut(&Second<'_>),
    next_progress_ns: u64,
    recorder: Recorder,
}

impl Coordinator<'_, '_> {
    /// Through all phases; returns what the window showed, and why the run failed if it did so
    /// outside of the books.
    fn lead(&mut self) -> (Window, Vec<String>) {
        let mut reasons = Vec::new();
        let everybody = u64::from(self.scenario.users);
        let gathered = self.wait("connecting", self.scenario.gather_timeout, |shared| {
            shared.progress().active >= everybody || shared.is_hopeless()
        });
        let mut window = Window::default();
        if gathered && !self.shared.is_hopeless() {
            window = self.measure(&mut reasons);
            self.settle(&mut reasons);
        } else {
            let active = self.shared.progress().active;
            reasons.push(format!("{active} of {everybody} users could log in"));
        }
        self.shared.enter(Phase::End);
        (window, reasons)
    }

    fn measure(&mut self, reasons: &mut Vec<String>) -> Window {
        let is_elsewhere = self.scenario.generators.is_some();
        let lead_ns = if is_elsewhere { LEAD_ELSEWHERE_NS } else { LEAD_NS };
        let start_ns = self.shared.clock.now_ns() + lead_ns;
        let measure_from_ns = start_ns + self.scenario.warm_up.as_nanos() as u64;
        let undisturbed_to_ns = measure_from_ns + self.scenario.duration.as_nanos() as u64;
        let measure_to_ns = measure_from_ns + self.scenario.window_at_most().as_nanos() as u64;
        self.shared.set_schedule(Schedule { start_ns, measure_from_ns, measure_to_ns });
        self.shared.enter(Phase::Run);
        self.wait_until("warming up", measure_from_ns);
        let commits_before = self.commits();
        let (before, server_before, harness_before, from_ns) = self.look();
        let is_told = self.wait_until("measuring", undisturbed_to_ns);
        let disturbance = match &self.scenario.disturbance {
            Some(Disturbance::Storm(storm)) if !is_told => {
                Some(DisturbanceReport::Storm(self.storm(storm, reasons)))
            }
            Some(_) | None => None,
        };
        if is_told || disturbance.is_some() {
            self.shared.cut_short(self.shared.clock.now_ns());
        }
        let (after, server_after, harness_after, to_ns) = self.look();
        let commits = commits_before.zip(self.commits());
        let threads = self.threads.len();
        self.wait("measuring", self.scenario.drain_timeout, |shared| {
            shared.finished(Phase::Run) >= threads
        });
        self.shared.enter(Phase::Drain);
        let server = self.scenario.target.pid.zip(server_before.zip(server_after));
        Window {
            seconds: (to_ns - from_ns) as f64 / 1e9,
            before,
            after,
            server: server.map(|(pid, (before, after))| (pid, before, after)),
            commits: commits.map(|(before, after)| after.saturating_sub(before)),
            harness_cpu_us: harness_after.saturating_sub(harness_before),
            disturbance,
        }
    }

    /// Everything that can be looked at, at one moment.
    fn look(&self) -> (Progress, Option<Usage>, u64, u64) {
        // A server that was killed by a crash test has no figures; the rest of the report has.
        let server = self.scenario.target.pid.and_then(|pid| process::usage(pid).ok());
        let harness = process::usage(std::process::id()).map_or(0, |usage| usage.cpu_us);
        (self.shared.progress(), server, harness, self.shared.clock.now_ns())
    }

    fn commits(&self) -> Option<u64> {
        self.scenario.target.pid.and_then(process::commits)
    }

    fn settle(&mut self, reasons: &mut Vec<String>) {
        let threads = self.threads.len();
        let is_durable = self.scenario.has_durable();
        let timeout = self.scenario.drain_timeout;
        let drain_timeout = if is_durable { timeout } else { timeout.min(SIGNAL_DRAIN_TIMEOUT) };
        let drained =
            self.wait("draining", drain_timeout, |shared| shared.finished(Phase::Drain) >= threads);
        if !is_durable {
            return;
        }
        if !drained {
            let timeout_s = drain_timeout.as_secs();
            reasons.push(format!("not everything was answered and told within {timeout_s} s"));
        }
        self.shared.enter(Phase::Read);
        let read_timeout = self.scenario.read_timeout;
        self.wait("auditing", read_timeout, |shared| shared.finished(Phase::Read) >= threads);
    }

    /// Waits for a time; `true` if the scenario was told to stop before it came.
    pub(crate) fn wait_until(&mut self, doing: &str, at_ns: u64) -> bool {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.shared.clock.now_ns()));
        let scenario = self.scenario;
        self.wait(doing, wait, |_| is_told_to_stop(scenario))
    }

    /// Waits for a condition; `false` if it did not come true in time, or a thread has failed.
    pub(crate) fn wait(
        &mut self,
        doing: &str,
        timeout: Duration,
        is_true: impl Fn(&Shared) -> bool,
    ) -> bool {
        let end_ns = self.shared.clock.now_ns() + timeout.as_nanos() as u64;
        loop {
            let now_ns = self.shared.clock.now_ns();
            if is_true(self.shared) {
                return true;
            }
            if now_ns >= end_ns || self.threads.iter().any(ScopedJoinHandle::is_finished) {
                return false;
            }
            if now_ns >= self.next_progress_ns {
                self.next_progress_ns = now_ns + self.scenario.progress_interval.as_nanos() as u64;
                (self.on_progress)(doing, self.shared.progress());
            }
            if self.recorder.is_due(now_ns) {
                self.look_at_second(doing, now_ns);
            }
            thread::sleep(LOOK_INTERVAL.min(Duration::from_nanos(end_ns - now_ns)));
        }
    }

    fn look_at_second(&mut self, doing: &str, now_ns: u64) {
        let progress = self.shared.progress();
        let standing = Standing {
            doing,
            connections: progress.active,
            errors: progress.errors,
            counts: &[
                ("sent", progress.sent),
                ("acknowledged", progress.acknowledged),
                ("delivered", progress.delivered),
            ],
        };
        let interval = self.shared.seconds.take();
        self.recorder.look(now_ns, &standing, &interval, self.on_second);
    }
}

/// Whether the caller wants the window to end.
pub(crate) fn is_told_to_stop(scenario: &ChatScenario) -> bool {
    scenario.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire))
}
