//! A share of the fans in another process.

use std::ops::Range;
use std::thread::Scope;

use crate::error::LoadtestError;
use crate::fanout::crew::Crew;
use crate::fanout::outcome::{FanoutGeneratorReport, Outcome};
use crate::fanout::{FanoutParameters, FanoutScenario};
use crate::net::Clock;
use crate::phases::{self, Board, State, Thread, ThreadResult, check_share};
use crate::remote::{Led, LinkError, Member, Place, Task};

/// Starts a thread for each generator, which leads it.
pub(super) fn enlist<'scope>(
    scope: &'scope Scope<'scope, '_>,
    scenario: &'scope FanoutScenario,
    board: &'scope Board,
    run: u64,
    members: Vec<Member>,
) -> Vec<Thread<'scope, Outcome>> {
    let lead = |member| scope.spawn(move || lead(member, scenario, board, run));
    members.into_iter().map(lead).collect()
}

fn lead(
    mut member: Member,
    scenario: &FanoutScenario,
    board: &Board,
    run: u64,
) -> ThreadResult<Outcome> {
    let parameters = FanoutParameters::of(scenario);
    member.begin(&scenario.target, board.clock, Task::Fanout { parameters, run })?;
    let order = || {
        let order = board.order();
        let is_end = order.is_end();
        (order, is_end)
    };
    let mut before = State::default();
    let mut heard = |state| board.hear(state, &mut before);
    let ((mut outcome, last), generator): ((Outcome, State), _) = member.lead(order, &mut heard)?;
    heard(last);
    let (totals, lateness) = (outcome.totals, outcome.lateness.summary());
    outcome.generators.push(FanoutGeneratorReport { generator, totals, lateness });
    Ok(outcome)
}

/// The generator's side.
pub(crate) fn play(
    led: Led,
    mut scenario: FanoutScenario,
    place: &Place,
    clock: Clock,
    share: Range<u32>,
    run: u64,
) -> Result<(), LinkError> {
    let board = Board::new(clock);
    let crew = prepare(&mut scenario, place, &share);
    let crew = match crew.and_then(|()| Crew::new(&scenario, &board, run, share)) {
        Ok(crew) => crew,
        Err(error) => return led.fail(&error.to_string()),
    };
    phases::play(led, &board, &crew, |order| order, |threads| board.state(threads), Outcome::merge)
}

fn prepare(
    scenario: &mut FanoutScenario,
    place: &Place,
    share: &Range<u32>,
) -> Result<(), LoadtestError> {
    scenario.threads = place.threads_for(share)?;
    scenario.processors.clone_from(&place.processors);
    let connections = scenario.check()?;
    check_share(share, scenario.shape().connections(), connections)
}
