//! The coordinator: starts the threads, leads them through the phases, and looks at the clock.

use std::io;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use crate::audit::content::Contents;
use crate::chat::crowd::{Crowd, Outcome};
use crate::chat::phase::{Phase, Progress, Schedule, Shared};
use crate::chat::report::{ChatReport, Window, compose};
use crate::chat::{ChatScenario, MessageKind};
use crate::error::LoadtestError;
use crate::net::{Clock, Reactor, Route};
use crate::process::{self, Usage};
use crate::sys;

/// Between two looks at the threads.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Between two reports of progress.
const PROGRESS_INTERVAL_NS: u64 = 1_000_000_000;

/// Time for the threads to learn the schedule before it begins.
const LEAD_NS: u64 = 50_000_000;

/// Descriptors of a thread that are no connections: standard streams, epoll, timer, logs.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Signals may be dropped, so waiting for all of them must end soon.
const SIGNAL_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a scenario. `on_progress` is called about once a second, with what the run is doing.
pub fn run(
    scenario: &ChatScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
) -> Result<ChatReport, LoadtestError> {
    scenario.check()?;
    let own_tables = needs_own_tables(scenario)?;
    let route = scenario.target.route(scenario.users as usize)?;
    let run = random()?;
    let contents = Contents::new(run, scenario.content_bytes);
    let shared = Shared::new(Clock::start());
    thread::scope(|scope| {
        let threads: Vec<_> = shares(scenario.users, scenario.threads)
            .into_iter()
            .map(|users| {
                let crowd = Crowd::new(scenario, &shared, &contents, run, users);
                let (route, shared) = (route.clone(), &shared);
                scope.spawn(move || generate(crowd, route, shared, own_tables))
            })
            .collect();
        let mut coordinator =
            Coordinator { scenario, shared: &shared, threads, on_progress, next_progress_ns: 0 };
        let (window, reasons) = coordinator.lead();
        let outcomes = coordinator.threads.into_iter().map(join).collect::<Result<_, _>>()?;
        Ok(compose(scenario, outcomes, &window, reasons))
    })
}

/// Whether one descriptor table is too small for all threads together.
fn needs_own_tables(scenario: &ChatScenario) -> Result<bool, LoadtestError> {
    let limit = process::raise_descriptor_limit()
        .map_err(LoadtestError::machine("raising the descriptor limit"))?
        .saturating_sub(DESCRIPTORS_RESERVED);
    let largest_share = u64::from(scenario.users).div_ceil(scenario.threads as u64) + 2;
    if largest_share > limit {
        let reason = format!(
            "a thread may have {limit} connections: {} threads are needed",
            u64::from(scenario.users).div_ceil(limit)
        );
        return Err(LoadtestError::Scenario { field: "threads", reason });
    }
    Ok(u64::from(scenario.users) > limit)
}

fn random() -> Result<u64, LoadtestError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))
        .map_err(LoadtestError::machine("naming the run"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The users of each thread: whole pairs, as evenly as possible.
fn shares(users: u32, threads: usize) -> Vec<std::ops::Range<u32>> {
    let (pairs, threads) = (u64::from(users / 2), threads as u64);
    let bound = |thread: u64| (2 * (pairs * thread / threads)) as u32;
    (0..threads)
        .map(|thread| bound(thread)..bound(thread + 1))
        .filter(|share| !share.is_empty())
        .collect()
}

type ThreadResult = Result<Outcome, LoadtestError>;

fn generate(mut crowd: Crowd<'_>, route: Route, shared: &Shared, own_table: bool) -> ThreadResult {
    process::pin_thread(&crowd.scenario.processors)
        .map_err(LoadtestError::machine("pinning a thread"))?;
    if own_table {
        sys::own_descriptor_table()
            .map_err(LoadtestError::machine("taking a descriptor table of its own"))?;
    }
    Reactor::new(crowd.users.len(), route, shared.clock)
        .and_then(|reactor| reactor.run(&mut crowd))
        .map_err(LoadtestError::machine("running the event loop"))?;
    Ok(crowd.finish())
}

fn join(thread: ScopedJoinHandle<'_, ThreadResult>) -> ThreadResult {
    thread.join().map_err(|_| LoadtestError::Panicked)?
}

struct Coordinator<'scope, 'run> {
    scenario: &'run ChatScenario,
    shared: &'run Shared,
    threads: Vec<ScopedJoinHandle<'scope, ThreadResult>>,
    on_progress: &'run mut dyn FnMut(&str, Progress),
    next_progress_ns: u64,
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
            window = self.measure();
            self.settle(&mut reasons);
        } else {
            let active = self.shared.progress().active;
            reasons.push(format!("{active} of {everybody} users could log in"));
        }
        self.shared.enter(Phase::End);
        (window, reasons)
    }

    fn measure(&mut self) -> Window {
        let start_ns = self.shared.clock.now_ns() + LEAD_NS;
        let measure_from_ns = start_ns + self.scenario.warm_up.as_nanos() as u64;
        let measure_to_ns = measure_from_ns + self.scenario.duration.as_nanos() as u64;
        self.shared.set_schedule(Schedule { start_ns, measure_from_ns, measure_to_ns });
        self.shared.enter(Phase::Run);
        self.wait_until("warming up", measure_from_ns);
        let (before, server_before, harness_before, from_ns) = self.look();
        self.wait_until("measuring", measure_to_ns);
        let (after, server_after, harness_after, to_ns) = self.look();
        self.shared.enter(Phase::Drain);
        let server = self.scenario.target.pid.zip(server_before.zip(server_after));
        Window {
            seconds: (to_ns - from_ns) as f64 / 1e9,
            before,
            after,
            server: server.map(|(pid, (before, after))| (pid, before, after)),
            harness_cpu_us: harness_after.saturating_sub(harness_before),
        }
    }

    /// Everything that can be looked at, at one moment.
    fn look(&self) -> (Progress, Option<Usage>, u64, u64) {
        // A server that was killed by a crash test has no figures; the rest of the report has.
        let server = self.scenario.target.pid.and_then(|pid| process::usage(pid).ok());
        let harness = process::usage(std::process::id()).map_or(0, |usage| usage.cpu_us);
        (self.shared.progress(), server, harness, self.shared.clock.now_ns())
    }

    fn settle(&mut self, reasons: &mut Vec<String>) {
        let threads = self.threads.len();
        let is_durable = self.scenario.message == MessageKind::Durable;
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

    fn wait_until(&mut self, doing: &str, at_ns: u64) {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.shared.clock.now_ns()));
        self.wait(doing, wait, |_| false);
    }

    /// Waits for a condition; `false` if it did not come true in time, or a thread has failed.
    fn wait(&mut self, doing: &str, timeout: Duration, is_true: impl Fn(&Shared) -> bool) -> bool {
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
                self.next_progress_ns = now_ns + PROGRESS_INTERVAL_NS;
                (self.on_progress)(doing, self.shared.progress());
            }
            thread::sleep(LOOK_INTERVAL.min(Duration::from_nanos(end_ns - now_ns)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_whole_pairs() {
        assert_eq!(shares(10, 3), [0..2, 2..6, 6..10]);
        assert_eq!(shares(2, 4).len(), 1);
        let total: u32 = shares(1_000_000, 60).iter().map(|share| share.end - share.start).sum();
        assert_eq!(total, 1_000_000);
    }
}
