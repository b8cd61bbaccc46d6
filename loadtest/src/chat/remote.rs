//! A share of the crowd in another process: to the coordinator it is like one more thread, to the
//! crowd its coordinator is like one of its own process.

use std::ops::Range;
use std::thread::{self, Scope, ScopedJoinHandle};

use serde::{Deserialize, Serialize};

use crate::chat::crew::Crew;
use crate::chat::disturbance::Tally;
use crate::chat::outcome::{ChatGeneratorReport, Outcome};
use crate::chat::report::merge;
use crate::chat::shared::Shared;
use crate::chat::{ChatParameters, ChatScenario, storm};
use crate::error::LoadtestError;
use crate::net::Clock;
use crate::phases::{PHASES, Phase, Progress, Schedule, Thread, ThreadResult, join};
use crate::remote::{Led, LinkError, Member, Meter, Place, Task};
use crate::report::Interval;

/// What the coordinator wants.
#[derive(Serialize, Deserialize)]
struct Order {
    phase: Phase,
    schedule: Schedule,
    storm: Option<storm::Moment>,
}

/// How far the threads of a generator are.
#[derive(Default, Serialize, Deserialize)]
struct State {
    progress: Progress,
    /// Phases in which none of them has anything left to do.
    finished: Vec<Phase>,
    is_hopeless: bool,
    /// Since the last answer.
    interval: Interval,
    storm: Option<storm::News>,
}

/// Starts a thread for each generator, which leads it.
pub(super) fn enlist<'scope>(
    scope: &'scope Scope<'scope, '_>,
    scenario: &'scope ChatScenario,
    shared: &'scope Shared,
    run: u64,
    members: Vec<Member>,
) -> Vec<Thread<'scope, Outcome>> {
    let lead = |member| scope.spawn(move || lead(member, scenario, shared, run));
    members.into_iter().map(lead).collect()
}

fn lead(
    mut member: Member,
    scenario: &ChatScenario,
    shared: &Shared,
    run: u64,
) -> ThreadResult<Outcome> {
    let parameters = ChatParameters::of(scenario);
    let task = Task::Chat { parameters, disturbance: scenario.disturbance.clone(), run };
    member.begin(&scenario.target, shared.clock, task)?;
    let order = || {
        // In this order: the schedule of a phase is set before the phase is entered.
        let phase = shared.phase();
        let (schedule, storm) = (shared.schedule(), shared.storm.order());
        (Order { phase, schedule, storm }, phase == Phase::End)
    };
    let (mut before, mut of_storm) = (State::default(), storm::Heard::default());
    let mut heard = |mut state: State| {
        shared.seconds.add(&std::mem::take(&mut state.interval));
        shared.publish(before.progress, state.progress);
        let is_new = |phase: &&Phase| !before.finished.contains(phase);
        state.finished.iter().filter(is_new).for_each(|&phase| shared.finish(phase));
        if let Some(news) = state.storm.take() {
            shared.storm.hear(&news, &mut of_storm);
        }
        if state.is_hopeless {
            shared.give_up();
        }
        before = state;
    };
    let ((mut outcome, last), generator): ((Outcome, State), _) = member.lead(order, &mut heard)?;
    heard(last);
    if !Tally::fits(outcome.disturbance.as_ref(), scenario.disturbance.as_ref()) {
        let source = LinkError::Failed("it counted another disturbance".to_owned());
        return Err(LoadtestError::Generator { address: generator.address, source });
    }
    let (totals, lateness) = (outcome.totals, outcome.lateness.summary());
    outcome.generators.push(ChatGeneratorReport { generator, totals, lateness });
    Ok(outcome)
}

/// The generator's side.
pub(crate) fn play(
    mut led: Led,
    mut scenario: ChatScenario,
    place: &Place,
    clock: Clock,
    users: Range<u32>,
    run: u64,
) -> Result<(), LinkError> {
    match place.threads_for(&users) {
        Ok(threads) => scenario.threads = threads,
        Err(error) => return led.fail(&error.to_string()),
    }
    scenario.processors.clone_from(&place.processors);
    let shared = Shared::new(clock);
    let crew = scenario.check().and_then(|()| check(&users, scenario.users));
    let crew = match crew.and_then(|()| Crew::new(&scenario, &shared, run, users)) {
        Ok(crew) => crew,
        Err(error) => return led.fail(&error.to_string()),
    };
    let mut meter = Meter::new(clock);
    let order = |order: Order| {
        shared.set_schedule(order.schedule);
        order.storm.into_iter().for_each(|moment| shared.storm.go_on(moment));
        shared.enter(order.phase);
        meter.watch(order.schedule.measure_from_ns, order.schedule.measure_to_ns);
    };
    let (obeyed, outcomes, threads) = thread::scope(|scope| {
        let threads = crew.start(scope);
        let count = threads.len();
        let is_over = || threads.iter().any(ScopedJoinHandle::is_finished);
        let obeyed = led.obey(order, || state(&shared, count), is_over);
        // However it came to its end: nobody goes on without a coordinator.
        shared.enter(Phase::End);
        let outcomes: Result<Vec<_>, _> = threads.into_iter().map(join).collect();
        (obeyed, outcomes, count)
    });
    obeyed?;
    let outcome = outcomes.map(|all| {
        let outcome = all.into_iter().reduce(merge).unwrap_or_default();
        (outcome, state(&shared, threads))
    });
    led.finish(outcome, meter.account(threads))
}

fn check(users: &Range<u32>, all: u32) -> Result<(), LoadtestError> {
    let is_paired = users.start.is_multiple_of(2) && users.end.is_multiple_of(2);
    if users.is_empty() || users.end > all || !is_paired {
        let reason = format!("{users:?} is no share of {all}");
        return Err(LoadtestError::Scenario { field: "users", reason });
    }
    Ok(())
}

fn state(shared: &Shared, threads: usize) -> State {
    let is_finished = |phase: &Phase| shared.finished(*phase) >= threads;
    State {
        progress: shared.progress(),
        finished: PHASES.into_iter().filter(is_finished).collect(),
        is_hopeless: shared.is_hopeless(),
        interval: shared.seconds.take(),
        storm: shared.storm.news(threads),
    }
}
