//! The coordinator: starts the threads, leads them through the phases, and looks at the clock.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::audit::content::Contents;
use crate::chat::MessageKind;
use crate::error::LoadtestError;
use crate::fanout::FanoutScenario;
use crate::fanout::crowd::Crowd;
use crate::fanout::outcome::Outcome;
use crate::fanout::report::{FanoutReport, Look, Window, compose};
use crate::generators::{Generator, random_run, shares};
use crate::net::Clock;
use crate::phases::{Board, Phase, Progress, Schedule};
use crate::process;

/// Between two looks at the threads.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Time for the threads to learn the schedule before it begins.
const LEAD_NS: u64 = 50_000_000;

/// Signals may be dropped, so waiting for all of them must end soon.
const SIGNAL_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a scenario. `on_progress` is called every [`FanoutScenario::progress_interval`] or so, with
/// what the run is doing.
pub fn run(
    scenario: &FanoutScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
) -> Result<FanoutReport, LoadtestError> {
    let connections = scenario.check()?;
    let route = scenario.target.route(connections as usize)?;
    let clock = Clock::start();
    let (group, threads) = (scenario.shape().connections(), scenario.threads);
    // Fans are not divided, so the largest share may be more than its part.
    let shares = shares(connections, group, threads);
    let largest = shares.iter().map(|share| share.end - share.start).max().unwrap_or(0);
    let generator = Generator::new(
        route,
        clock,
        &scenario.processors,
        largest.saturating_mul(shares.len() as u32),
        shares.len(),
    )?;
    let run = random_run()?;
    let contents = Contents::new(run, scenario.content_bytes);
    let board = Board::new(clock);
    thread::scope(|scope| {
        let threads = shares.into_iter().map(|share| {
            let mut crowd = Crowd::new(scenario, &board, &contents, run, share.clone());
            let generator = generator.clone();
            scope.spawn(move || {
                generator.drive(share.len(), &mut crowd)?;
                Ok(crowd.finish())
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut coordinator = Coordinator {
            scenario,
            connections,
            board: &board,
            threads,
            on_progress,
            next_progress_ns: 0,
        };
        let (window, reasons) = coordinator.lead();
        let outcomes = coordinator.threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()?;
        let outcome = outcomes.into_iter().reduce(Outcome::merge).unwrap_or_default();
        Ok(compose(scenario, &outcome, &window, reasons))
    })
}

type ThreadResult = Result<Outcome, LoadtestError>;

fn join(thread: ScopedJoinHandle<'_, ThreadResult>) -> ThreadResult {
    thread.join().map_err(|_| LoadtestError::Panicked)?
}

struct Coordinator<'scope, 'run> {
    scenario: &'run FanoutScenario,
    connections: u32,
    board: &'run Board,
    threads: Vec<ScopedJoinHandle<'scope, ThreadResult>>,
    on_progress: &'run mut dyn FnMut(&str, Progress),
    next_progress_ns: u64,
}

impl Coordinator<'_, '_> {
    /// Through all phases; returns what the window showed, and why the run failed if it did so
    /// outside of the books.
    fn lead(&mut self) -> (Window, Vec<String>) {
        let mut reasons = Vec::new();
        let everybody = u64::from(self.connections);
        let gathered = self.wait("connecting", self.scenario.gather_timeout, |board| {
            board.progress().active >= everybody || board.is_hopeless()
        });
        let mut window = Window::default();
        if gathered && !self.board.is_hopeless() {
            window = self.measure();
            self.settle(&mut reasons);
        } else {
            let active = self.board.progress().active;
            reasons.push(format!("{active} of {everybody} connections could log in"));
        }
        self.board.enter(Phase::End);
        (window, reasons)
    }

    fn measure(&mut self) -> Window {
        let start_ns = self.board.clock.now_ns() + LEAD_NS;
        let measure_from_ns = start_ns + self.scenario.warm_up.as_nanos() as u64;
        let measure_to_ns = measure_from_ns + self.scenario.duration.as_nanos() as u64;
        self.board.set_schedule(Schedule { start_ns, measure_from_ns, measure_to_ns });
        self.board.enter(Phase::Run);
        self.wait_until("warming up", measure_from_ns);
        let before = self.look();
        self.wait_until("measuring", measure_to_ns);
        let after = self.look();
        let threads = self.threads.len();
        self.wait("measuring", self.scenario.drain_timeout, |board| {
            board.finished(Phase::Run) >= threads
        });
        self.board.enter(Phase::Drain);
        Window { before, after }
    }

    /// Everything that can be looked at, at one moment.
    fn look(&self) -> Look {
        // A server that ended meanwhile has no figures; the rest of the report has.
        let pid = self.scenario.target.pid;
        let usage = process::usage(std::process::id());
        Look {
            at_ns: self.board.clock.now_ns(),
            progress: self.board.progress(),
            server: pid.and_then(|pid| process::usage(pid).ok()),
            commits: pid.and_then(process::commits),
            harness_cpu_us: usage.map_or(0, |usage| usage.cpu_us),
        }
    }

    fn settle(&mut self, reasons: &mut Vec<String>) {
        let threads = self.threads.len();
        let is_durable = self.scenario.message == MessageKind::Durable;
        let timeout = self.scenario.drain_timeout;
        let timeout = if is_durable { timeout } else { timeout.min(SIGNAL_DRAIN_TIMEOUT) };
        let drained =
            self.wait("draining", timeout, |board| board.finished(Phase::Drain) >= threads);
        if !is_durable {
            return;
        }
        if !drained {
            let timeout_s = timeout.as_secs();
            reasons.push(format!("not everything was answered and told within {timeout_s} s"));
        }
        self.board.enter(Phase::Read);
        let read_timeout = self.scenario.read_timeout;
        self.wait("auditing", read_timeout, |board| board.finished(Phase::Read) >= threads);
    }

    fn wait_until(&mut self, doing: &str, at_ns: u64) {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.board.clock.now_ns()));
        self.wait(doing, wait, |_| false);
    }

    /// Waits for a condition; `false` if it did not come true in time, or a thread has failed.
    fn wait(&mut self, doing: &str, timeout: Duration, is_true: impl Fn(&Board) -> bool) -> bool {
        let end_ns = self.board.clock.now_ns() + timeout.as_nanos() as u64;
        loop {
            let now_ns = self.board.clock.now_ns();
            if is_true(self.board) {
                return true;
            }
            if now_ns >= end_ns || self.threads.iter().any(ScopedJoinHandle::is_finished) {
                return false;
            }
            if now_ns >= self.next_progress_ns {
                self.next_progress_ns = now_ns + self.scenario.progress_interval.as_nanos() as u64;
                (self.on_progress)(doing, self.board.progress());
            }
            thread::sleep(LOOK_INTERVAL.min(Duration::from_nanos(end_ns - now_ns)));
        }
    }
}
