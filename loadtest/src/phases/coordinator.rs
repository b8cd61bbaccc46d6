//! The coordinator: leads the threads of a run through the phases, and looks at the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::error::LoadtestError;
use crate::phases::{Board, Look, Phase, Progress, Schedule, Window};
use crate::process::{self, Usage};
use crate::remote::Generators;
use crate::report::{Recorder, Second, Series, Standing};

/// Between two looks at the threads.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Time for the threads to learn the schedule before it begins, here and in other processes.
const LEAD_NS: u64 = 50_000_000;
const LEAD_ELSEWHERE_NS: u64 = 1_000_000_000;

/// Signals may be dropped, so waiting for all of them must end soon.
const SIGNAL_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A thread of a run, and what it brings home.
pub(crate) type Thread<'scope, T> = ScopedJoinHandle<'scope, ThreadResult<T>>;
pub(crate) type ThreadResult<T> = Result<T, LoadtestError>;

pub(crate) fn join<T>(thread: Thread<'_, T>) -> ThreadResult<T> {
    thread.join().map_err(|_| LoadtestError::Panicked)?
}

/// What the coordinator is to know of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    /// Connections of the run, and what people call them.
    pub(crate) everybody: u32,
    pub(crate) called: &'static str,
    /// The server's process, if it is on this machine.
    pub(crate) server: Option<u32>,
    /// Where the load is made, if not here: the threads then only pass on what is done there.
    pub(crate) generators: Option<Generators>,
    /// Some messages are stored: all of them must come home, and the logs are read.
    pub(crate) has_durable: bool,
    pub(crate) gather_timeout: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// The most that may follow within the window: see [`Coordinator::lead`].
    pub(crate) sequel_at_most: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) progress_interval: Duration,
    /// Ends the window before its time when it becomes true.
    pub(crate) stop: Option<Arc<AtomicBool>>,
}

impl Course {
    /// Whether the caller wants the window to end.
    pub(crate) fn is_told_to_stop(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire))
    }
}

/// Who looks on.
pub(crate) struct Audience<'run> {
    /// Called every [`Course::progress_interval`] or so, with what the run is doing.
    pub(crate) on_progress: &'run mut dyn FnMut(&str, Progress),
    /// Called once a second, with all that the second showed.
    pub(crate) on_second: &'run mut dyn FnMut(&Second<'_>),
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Led<T, S> {
    /// Of each thread.
    pub(crate) outcomes: Vec<T>,
    pub(crate) window: Window,
    pub(crate) sequel: Option<S>,
    /// Why the run failed, if it did so outside of the books.
    pub(crate) reasons: Vec<String>,
    pub(crate) series: Series,
}

pub(crate) struct Coordinator<'scope, 'run, T> {
    pub(crate) course: &'run Course,
    pub(crate) board: &'run Board,
    pub(crate) threads: Vec<Thread<'scope, T>>,
    audience: Audience<'run>,
    next_progress_ns: u64,
    recorder: Recorder,
}

impl<'scope, 'run, T> Coordinator<'scope, 'run, T> {
    pub(crate) fn new(
        course: &'run Course,
        board: &'run Board,
        threads: Vec<Thread<'scope, T>>,
        audience: Audience<'run>,
    ) -> Coordinator<'scope, 'run, T> {
        let recorder = Recorder::new(board.clock.now_ns(), course.server)
            .waiting_elsewhere(course.generators.is_some());
        Coordinator { course, board, threads, audience, next_progress_ns: 0, recorder }
    }

    /// Through all phases. `sequel` is called when the window has had its time, unless the run was
    /// told to stop; what it does belongs to the window, which ends with it if it returns something.
    /// It may give reasons why the run failed.
    pub(crate) fn lead<S>(
        mut self,
        sequel: impl FnOnce(&mut Self, &mut Vec<String>) -> Option<S>,
    ) -> Result<Led<T, S>, LoadtestError> {
        let mut reasons = Vec::new();
        let everybody = u64::from(self.course.everybody);
        let course = self.course;
        let gathered = self.wait("connecting", course.gather_timeout, |board| {
            board.progress().active >= everybody || board.is_hopeless() || course.is_told_to_stop()
        });
        let (mut window, mut followed) = (Window::default(), None);
        if course.is_told_to_stop() {
            window = self.empty_window();
        } else if gathered && !self.board.is_hopeless() {
            (window, followed) = self.measure(|this| sequel(this, &mut reasons));
            self.settle(&mut reasons);
        } else {
            let (active, called) = (self.board.progress().active, self.course.called);
            reasons.push(format!("{active} of {everybody} {called} could log in"));
        }
        self.board.enter(Phase::End);
        // Whoever was not joined and panicked would take the whole program along.
        let outcomes: Vec<_> = self.threads.drain(..).map(join).collect();
        let outcomes = outcomes.into_iter().collect::<Result<_, _>>()?;
        // The threads have handed over what they had.
        self.look_at_second("ending", self.board.clock.now_ns());
        let series = self.recorder.finish();
        Ok(Led { outcomes, window, sequel: followed, reasons, series })
    }

    fn measure<S>(&mut self, sequel: impl FnOnce(&mut Self) -> Option<S>) -> (Window, Option<S>) {
        let course = self.course;
        let lead_ns = course.generators.as_ref().map_or(LEAD_NS, |_| LEAD_ELSEWHERE_NS);
        let start_ns = self.board.clock.now_ns() + lead_ns;
        let measure_from_ns = start_ns + course.warm_up.as_nanos() as u64;
        let sequel_from_ns = measure_from_ns + course.duration.as_nanos() as u64;
        let measure_to_ns = sequel_from_ns + course.sequel_at_most.as_nanos() as u64;
        self.board.set_schedule(Schedule { start_ns, measure_from_ns, measure_to_ns });
        self.board.enter(Phase::Run);
        let is_told = self.wait_until("warming up", measure_from_ns);
        let before = self.look();
        let is_told = is_told || self.wait_until("measuring", sequel_from_ns);
        let followed = if is_told { None } else { sequel(self) };
        if is_told || followed.is_some() {
            self.board.cut_short(self.board.clock.now_ns());
        }
        let after = self.look();
        let threads = self.threads.len();
        self.wait("measuring", course.drain_timeout, |board| board.finished(Phase::Run) >= threads);
        self.board.enter(Phase::Drain);
        (Window { before, after }, followed)
    }

    /// That of a run which was told to stop before it began.
    fn empty_window(&self) -> Window {
        self.board.cut_short(self.board.clock.now_ns());
        let now = self.look();
        Window { before: now, after: now }
    }

    /// Everything that can be looked at, at one moment.
    fn look(&self) -> Look {
        let harness = process::usage(std::process::id());
        Look {
            at_ns: self.board.clock.now_ns(),
            progress: self.board.progress(),
            server: self.server(),
            commits: self.course.server.and_then(process::commits),
            harness_cpu_us: harness.map_or(0, |usage| usage.cpu_us),
        }
    }

    /// A server that was killed by a crash test has no figures; the rest of the report has.
    pub(crate) fn server(&self) -> Option<Usage> {
        self.course.server.and_then(|pid| process::usage(pid).ok())
    }

    fn settle(&mut self, reasons: &mut Vec<String>) {
        let threads = self.threads.len();
        let Course { has_durable, drain_timeout, read_timeout, .. } = *self.course;
        let timeout =
            if has_durable { drain_timeout } else { drain_timeout.min(SIGNAL_DRAIN_TIMEOUT) };
        let drained =
            self.wait("draining", timeout, |board| board.finished(Phase::Drain) >= threads);
        if !has_durable {
            return;
        }
        if !drained {
            let timeout_s = timeout.as_secs();
            reasons.push(format!("not everything was answered and told within {timeout_s} s"));
        }
        self.board.enter(Phase::Read);
        self.wait("auditing", read_timeout, |board| board.finished(Phase::Read) >= threads);
    }

    /// Waits for a time; `true` if the run was told to stop before it came.
    pub(crate) fn wait_until(&mut self, doing: &str, at_ns: u64) -> bool {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.board.clock.now_ns()));
        let course = self.course;
        self.wait(doing, wait, |_| course.is_told_to_stop())
    }

    /// Waits for a condition; `false` if it did not come true in time, or a thread has failed.
    pub(crate) fn wait(
        &mut self,
        doing: &str,
        timeout: Duration,
        is_true: impl Fn(&Board) -> bool,
    ) -> bool {
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
                self.next_progress_ns = now_ns + self.course.progress_interval.as_nanos() as u64;
                (self.audience.on_progress)(doing, self.board.progress());
            }
            if self.recorder.is_due(now_ns) {
                self.look_at_second(doing, now_ns);
            }
            thread::sleep(LOOK_INTERVAL.min(Duration::from_nanos(end_ns - now_ns)));
        }
    }

    fn look_at_second(&mut self, doing: &str, now_ns: u64) {
        let progress = self.board.progress();
        let counts = [
            ("sent", progress.sent),
            ("acknowledged", progress.acknowledged),
            ("delivered", progress.delivered),
            ("answered", progress.answered),
        ];
        // Who asks for nothing need not be told that nothing was answered.
        let asked = if progress.answered > 0 { counts.len() } else { counts.len() - 1 };
        let standing = Standing {
            doing,
            connections: progress.active,
            errors: progress.errors,
            counts: &counts[..asked],
        };
        let interval = self.board.seconds.take();
        self.recorder.look(now_ns, &standing, &interval, self.audience.on_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Clock;

    /// Nothing takes any time, so that only the order of things counts.
    fn course() -> Course {
        Course {
            everybody: 2,
            called: "users",
            server: None,
            generators: None,
            has_durable: true,
            gather_timeout: Duration::from_secs(60),
            warm_up: Duration::ZERO,
            duration: Duration::ZERO,
            sequel_at_most: Duration::from_secs(3600),
            drain_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            progress_interval: Duration::from_secs(1),
            stop: None,
        }
    }

    /// A thread that has one connection, and finishes each phase as soon as it sees it.
    fn follow(board: &Board) -> ThreadResult<Vec<Phase>> {
        let mut seen = vec![Phase::Gather];
        board.publish(Progress::default(), Progress { active: 1, ..Progress::default() });
        while seen.last() != Some(&Phase::End) {
            let phase = board.phase();
            if seen.last() != Some(&phase) {
                seen.push(phase);
                board.finish(phase);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(seen)
    }

    /// A run of threads like this one; and what was told of it.
    fn lead(
        course: &Course,
        sequel: impl FnOnce(&mut Coordinator<'_, '_, Vec<Phase>>) -> Option<u64>,
        run: fn(&Board) -> ThreadResult<Vec<Phase>>,
    ) -> (Result<Led<Vec<Phase>, u64>, LoadtestError>, u64) {
        let board = Board::new(Clock::start());
        let led = thread::scope(|scope| {
            let threads = (0..2).map(|_| scope.spawn(|| run(&board))).collect();
            let audience = Audience { on_progress: &mut |_, _| {}, on_second: &mut |_| {} };
            let coordinator = Coordinator::new(course, &board, threads, audience);
            coordinator.lead(|coordinator, _| sequel(coordinator))
        });
        (led, board.schedule().measure_to_ns)
    }

    #[test]
    fn all_threads_go_through_all_phases() {
        let (led, _) = lead(&course(), |_| None, follow);
        let led = led.unwrap();
        assert_eq!((led.outcomes.len(), led.reasons.len(), led.sequel), (2, 0, None));
        for seen in led.outcomes {
            assert_eq!(seen, crate::phases::PHASES);
        }
        assert_eq!(led.series.points.last().map(|point| point.connections), Some(2));
    }

    #[test]
    fn what_follows_within_the_window_ends_it() {
        let sequel = |coordinator: &mut Coordinator<'_, '_, Vec<Phase>>| {
            let schedule = coordinator.board.schedule();
            assert_eq!(schedule.measure_to_ns - schedule.measure_from_ns, 3600 * 1_000_000_000);
            Some(coordinator.board.clock.now_ns())
        };
        let (led, measure_to_ns) = lead(&course(), sequel, follow);
        let led = led.unwrap();
        let followed_ns = led.sequel.unwrap();
        assert!((followed_ns..=led.window.after.at_ns).contains(&measure_to_ns));
    }

    #[test]
    fn who_is_told_to_stop_does_so_and_nothing_follows() {
        let stop = Some(Arc::new(AtomicBool::new(true)));
        let hour = Duration::from_secs(3600);
        let course = Course { stop, warm_up: hour, duration: hour, ..course() };
        let (led, measure_to_ns) = lead(&course, |_| panic!("nothing was to follow"), follow);
        let led = led.unwrap();
        assert_eq!((led.sequel, led.reasons.len()), (None, 0));
        assert!(measure_to_ns <= led.window.after.at_ns);
    }

    #[test]
    fn without_everybody_there_is_no_window() {
        let alone = Course { everybody: 3, gather_timeout: Duration::ZERO, ..course() };
        let led = lead(&alone, |_| None, follow).0.unwrap();
        assert_eq!(led.outcomes, [[Phase::Gather, Phase::End], [Phase::Gather, Phase::End]]);
        assert!(led.reasons[0].ends_with(" of 3 users could log in"), "{:?}", led.reasons);
        let hopeless = lead(
            &course(),
            |_| None,
            |board| {
                board.give_up();
                follow(board)
            },
        );
        assert_eq!(hopeless.0.unwrap().reasons.len(), 1);
    }

    #[test]
    fn a_thread_that_fails_or_panics_fails_the_run() {
        let failed = lead(&course(), |_| None, |_| Err(LoadtestError::Server("none".to_owned())));
        assert!(matches!(failed.0, Err(LoadtestError::Server(_))));
        let panicked = lead(&course(), |_| None, |_| panic!("this is a test"));
        assert!(matches!(panicked.0, Err(LoadtestError::Panicked)));
    }
}
