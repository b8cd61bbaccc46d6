//! Threads in another process. To the coordinator they are like one thread more, which only passes on
//! what is said; to them, its board is like one of their own process, which is a copy of it.

use std::ops::Range;
use std::thread::{self, Scope, ScopedJoinHandle};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;
use crate::phases::{Board, PHASES, Phase, Progress, Schedule, Thread, join};
use crate::remote::{Led, LinkError, Meter};
use crate::report::Interval;

/// What the coordinator wants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    phase: Phase,
    schedule: Schedule,
}

/// How far the threads of a process are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    progress: Progress,
    /// Phases in which none of them has anything left to do.
    finished: Vec<Phase>,
    is_hopeless: bool,
    /// Since the last time.
    interval: Interval,
}

impl Order {
    pub(crate) fn is_end(&self) -> bool {
        self.phase == Phase::End
    }
}

impl Board {
    /// What is to be done elsewhere.
    pub(crate) fn order(&self) -> Order {
        // In this order: the schedule of a phase is set before the phase is entered.
        let phase = self.phase();
        Order { phase, schedule: self.schedule() }
    }

    /// Passes on what is wanted elsewhere.
    pub(crate) fn obey(&self, order: &Order) {
        self.set_schedule(order.schedule);
        self.enter(order.phase);
    }

    /// How far so many threads of this process are.
    pub(crate) fn state(&self, threads: usize) -> State {
        let is_finished = |phase: &Phase| self.finished(*phase) >= threads;
        State {
            progress: self.progress(),
            finished: PHASES.into_iter().filter(is_finished).collect(),
            is_hopeless: self.is_hopeless(),
            interval: self.seconds.take(),
        }
    }

    /// Takes in what another process says now, after what it said before.
    pub(crate) fn hear(&self, now: State, before: &mut State) {
        self.seconds.add(&now.interval);
        self.publish(before.progress, now.progress);
        let is_new = |phase: &&Phase| !before.finished.contains(phase);
        now.finished.iter().filter(is_new).for_each(|&phase| self.finish(phase));
        if now.is_hopeless {
            self.give_up();
        }
        *before = State { interval: Interval::default(), ..now };
    }
}

/// The threads of a process for its share of a run.
pub(crate) trait Crew {
    /// What each brings home.
    type Outcome: Default + Send + Serialize;

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<Thread<'scope, Self::Outcome>>;
}

/// The generator's side: starts the threads, does what the coordinator orders, and brings home what
/// all of them have counted. Of an order, `own` does what is the scenario's own, and leaves the
/// board's part; `state` is the answer of so many threads.
pub(crate) fn play<C: Crew, O: DeserializeOwned, S: Serialize>(
    led: Led,
    board: &Board,
    crew: &C,
    own: impl Fn(O) -> Order,
    state: impl Fn(usize) -> S,
    merge: fn(C::Outcome, C::Outcome) -> C::Outcome,
) -> Result<(), LinkError> {
    let obey = |order, meter: &mut Meter| {
        let order = own(order);
        board.obey(&order);
        meter.watch(order.schedule.measure_from_ns, order.schedule.measure_to_ns);
    };
    perform(led, crew, Meter::new(board.clock), obey, state, || board.enter(Phase::End), merge)
}

/// The same for a run that has another board: `obey` does all that is ordered, and `end` lets the
/// threads know that it is over.
pub(crate) fn perform<C: Crew, O: DeserializeOwned, S: Serialize>(
    mut led: Led,
    crew: &C,
    mut meter: Meter,
    obey: impl Fn(O, &mut Meter),
    state: impl Fn(usize) -> S,
    end: impl Fn(),
    merge: fn(C::Outcome, C::Outcome) -> C::Outcome,
) -> Result<(), LinkError> {
    let (obeyed, outcomes, threads) = thread::scope(|scope| {
        let threads = crew.start(scope);
        let count = threads.len();
        let is_over = || threads.iter().any(ScopedJoinHandle::is_finished);
        let obeyed = led.obey(|order| obey(order, &mut meter), || state(count), is_over);
        // However it came to its end: nobody goes on without a coordinator.
        end();
        let outcomes: Vec<_> = threads.into_iter().map(join).collect();
        (obeyed, outcomes, count)
    });
    obeyed?;
    let outcomes: Result<Vec<_>, _> = outcomes.into_iter().collect();
    let outcome = outcomes.map(|all| {
        let outcome = all.into_iter().reduce(merge).unwrap_or_default();
        (outcome, state(threads))
    });
    led.finish(outcome, meter.account(threads))
}

/// What another process says of its share may be anything: whole groups of `group` connections of
/// all of the run are one.
pub(crate) fn check_share(share: &Range<u32>, group: u32, all: u32) -> Result<(), LoadtestError> {
    let is_whole = share.start.is_multiple_of(group) && share.end.is_multiple_of(group);
    if share.is_empty() || share.end > all || !is_whole {
        let reason = format!("{share:?} is no share of {all}");
        return Err(LoadtestError::Scenario { field: "users", reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Clock;

    /// What one says to another, over the wire.
    fn told<T: Serialize + DeserializeOwned>(words: &T) -> T {
        serde_json::from_str(&serde_json::to_string(words).unwrap()).unwrap()
    }

    #[test]
    fn two_threads_elsewhere_are_like_one_here() {
        let clock = Clock::start();
        let (here, there, mut before) = (Board::new(clock), Board::new(clock), State::default());
        let progress = |sent| Progress { sent, active: 2, ..Progress::default() };
        here.set_schedule(Schedule { start_ns: 1, measure_from_ns: 2, measure_to_ns: 3 });
        here.enter(Phase::Run);
        there.obey(&told(&here.order()));
        assert_eq!((there.phase(), there.schedule().measure_to_ns), (Phase::Run, 3));
        there.publish(Progress::default(), progress(5));
        there.finish(Phase::Run);
        here.hear(told(&there.state(2)), &mut before);
        assert_eq!((here.progress(), here.finished(Phase::Run)), (progress(5), 0));
        there.publish(progress(5), progress(7));
        there.finish(Phase::Run);
        for _ in 0..2 {
            here.hear(told(&there.state(2)), &mut before);
            assert_eq!((here.progress(), here.finished(Phase::Run)), (progress(7), 1));
        }
        assert!(!here.is_hopeless());
        there.give_up();
        here.hear(told(&there.state(2)), &mut before);
        assert!(here.is_hopeless());
    }

    #[test]
    fn a_share_is_whole_groups_of_what_there_is() {
        assert!(check_share(&(3..9), 3, 9).is_ok());
        for share in [0..0, 3..10, 2..9, 3..8, 9..12] {
            assert!(check_share(&share, 3, 9).is_err(), "{share:?}");
        }
    }
}
