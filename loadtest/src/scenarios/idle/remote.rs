//! A share of the idle crowd in another process.

use std::collections::HashMap;
use std::thread::{self, Scope, ScopedJoinHandle};

use serde::{Deserialize, Serialize};

use crate::idle::crew::{Crew, ThreadResult, join};
use crate::idle::crowd::{Count, Outcome, Shared};
use crate::idle::report::IdleGeneratorReport;
use crate::idle::{IdleParameters, IdleScenario};
use crate::net::Clock;
use crate::phases::check_share;
use crate::process::SmallPages;
use crate::remote::{LinkError, Member, Meter, Share};
use crate::report::Interval;

/// What these tasks are called among processes.
const TASK: &str = "idle";

/// A share of a run, for another process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Task {
    parameters: IdleParameters,
    prefix: String,
    retries_max: u32,
}

/// What the coordinator wants.
#[derive(Serialize, Deserialize)]
struct Order {
    started: bool,
    gathered: bool,
    stopped: bool,
}

/// How far the threads of a generator are.
#[derive(Serialize, Deserialize)]
struct State {
    count: Count,
    /// Since the last answer.
    interval: Interval,
}

/// Starts a thread for each generator, which leads it.
pub(super) fn enlist<'scope>(
    scope: &'scope Scope<'scope, '_>,
    scenario: &'scope IdleScenario,
    shared: &'scope Shared,
    clock: Clock,
    prefix: &'scope str,
    members: Vec<Member>,
) -> Vec<ScopedJoinHandle<'scope, ThreadResult>> {
    let lead = |member| scope.spawn(move || lead(member, scenario, shared, clock, prefix));
    members.into_iter().map(lead).collect()
}

fn lead(
    mut member: Member,
    scenario: &IdleScenario,
    shared: &Shared,
    clock: Clock,
    prefix: &str,
) -> ThreadResult {
    let parameters = IdleParameters::of(scenario);
    let (prefix, retries_max) = (prefix.to_owned(), scenario.retries_max);
    let task = Task { parameters, prefix, retries_max };
    member.begin(&scenario.target, clock, HashMap::from([(TASK, task)]))?;
    let order = || {
        let stopped = shared.is_stopped();
        let (started, gathered) = (shared.is_started(), shared.is_gathered());
        (Order { started, gathered, stopped }, stopped)
    };
    let mut before = Count::default();
    let mut heard = |State { count, interval }: State| {
        shared.seconds.add(&interval);
        shared.add(before, count);
        before = count;
    };
    let ((mut outcome, last), generator): ((Outcome, State), _) = member.lead(order, &mut heard)?;
    heard(last);
    let (arrived, heartbeats) = (outcome.arrived, outcome.pulse.sent);
    outcome.generators.push(IdleGeneratorReport { generator, arrived, heartbeats });
    Ok(outcome)
}

/// The generator's side.
pub(crate) fn play(task: &Task, share: Share<'_>) -> Result<(), LinkError> {
    let Share { mut led, target, place, clock, users } = share;
    let Task { parameters, prefix, retries_max } = task;
    let mut scenario = IdleScenario { retries_max: *retries_max, ..parameters.scenario(target) };
    match place.threads_for(&users) {
        Ok(threads) => scenario.threads = threads,
        Err(error) => return led.fail(&error.to_string()),
    }
    scenario.processors.clone_from(&place.processors);
    let _small_pages = match SmallPages::ask() {
        Ok(small_pages) => small_pages,
        Err(error) => return led.fail(&format!("asking for small pages of memory: {error}")),
    };
    let shared = Shared::default();
    let crew = scenario.check().and_then(|()| check_share(&users, 1, scenario.connections));
    let crew = match crew.and_then(|()| Crew::new(&scenario, &shared, clock, prefix, users)) {
        Ok(crew) => crew,
        Err(error) => return led.fail(&error.to_string()),
    };
    let mut meter = Meter::new(clock);
    let order = |order: Order| {
        if order.started {
            shared.start();
        }
        if order.gathered {
            shared.hold();
        }
        if order.stopped {
            shared.stop();
        }
        meter.watch(0, u64::MAX);
    };
    let (obeyed, outcomes, threads) = thread::scope(|scope| {
        let threads = crew.start(scope);
        let count = threads.len();
        let is_over = || threads.iter().any(ScopedJoinHandle::is_finished);
        let obeyed = led.obey(order, || state(&shared), is_over);
        // However it came to its end: nobody goes on without a coordinator.
        shared.stop();
        let outcomes: Result<Vec<_>, _> = threads.into_iter().map(join).collect();
        (obeyed, outcomes, count)
    });
    obeyed?;
    let outcome = outcomes.map(|all| {
        let mut outcome = Outcome::default();
        all.into_iter().for_each(|part| outcome.add(part));
        (outcome, state(&shared))
    });
    led.finish(outcome, meter.account(threads))
}

fn state(shared: &Shared) -> State {
    State { count: shared.count(), interval: shared.seconds.take() }
}
