//! A share of the idle crowd in another process.

use std::collections::HashMap;
use std::thread::Scope;

use serde::{Deserialize, Serialize};

use crate::net::Clock;
use crate::phases::{Thread, ThreadResult, check_share, perform};
use crate::process::SmallPages;
use crate::remote::{LinkError, Member, Meter, Share};
use crate::report::Interval;
use crate::scenarios::idle::board::{Board, Count};
use crate::scenarios::idle::crew::Crew;
use crate::scenarios::idle::outcome::{IdleGeneratorReport, Outcome};
use crate::scenarios::idle::parameters::IdleParameters;
use crate::scenarios::idle::scenario::IdleScenario;

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
    board: &'scope Board,
    clock: Clock,
    prefix: &'scope str,
    members: Vec<Member>,
) -> Vec<Thread<'scope, Outcome>> {
    let lead = |member| scope.spawn(move || lead(member, scenario, board, clock, prefix));
    members.into_iter().map(lead).collect()
}

fn lead(
    mut member: Member,
    scenario: &IdleScenario,
    board: &Board,
    clock: Clock,
    prefix: &str,
) -> ThreadResult<Outcome> {
    let parameters = IdleParameters::of(scenario);
    let (prefix, retries_max) = (prefix.to_owned(), scenario.retries_max);
    let task = Task { parameters, prefix, retries_max };
    member.begin(&scenario.target, clock, HashMap::from([(TASK, task)]))?;
    let order = || {
        let stopped = board.is_stopped();
        let (started, gathered) = (board.is_started(), board.is_gathered());
        (Order { started, gathered, stopped }, stopped)
    };
    let mut before = Count::default();
    let mut heard = |State { count, interval }: State| {
        board.seconds.add(&interval);
        board.add(before, count);
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
    let Share { led, target, place, clock, users } = share;
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
    let board = Board::default();
    let crew = scenario.check().and_then(|()| check_share(&users, 1, scenario.connections));
    let crew = match crew.and_then(|()| Crew::new(&scenario, &board, clock, prefix, users)) {
        Ok(crew) => crew,
        Err(error) => return led.fail(&error.to_string()),
    };
    let obey = |order: Order, meter: &mut Meter| {
        if order.started {
            board.start();
        }
        if order.gathered {
            board.hold();
        }
        if order.stopped {
            board.stop();
        }
        meter.watch(0, u64::MAX);
    };
    let state = |_threads| state(&board);
    perform(led, &crew, Meter::new(clock), obey, state, || board.stop(), Outcome::merge)
}

fn state(board: &Board) -> State {
    State { count: board.count(), interval: board.seconds.take() }
}
