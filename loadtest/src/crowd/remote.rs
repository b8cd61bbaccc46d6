//! A share of the crowd in another process: to the coordinator it is like one more thread, to the
//! crowd its coordinator is like one of its own process.

use std::collections::HashMap;
use std::ops::Range;
use std::thread::Scope;

use serde::{Deserialize, Serialize};

use crate::crowd::crew::Crew;
use crate::crowd::outcome::{CrowdGeneratorReport, Outcome};
use crate::crowd::state::OutcomeOf;
use crate::crowd::{Aside, Scenario, Seating};
use crate::error::LoadtestError;
use crate::phases::{self, Board, Thread, ThreadResult, check_share};
use crate::remote::{LinkError, Member, Place, Share};

/// What the coordinator wants.
#[derive(Serialize, Deserialize)]
struct Order<T> {
    board: phases::Order,
    aside: Option<T>,
}

/// How far the threads of a generator are.
#[derive(Serialize, Deserialize)]
struct State<T> {
    board: phases::State,
    aside: Option<T>,
}

/// Starts a thread for each generator, which leads it.
pub(crate) fn enlist<'scope, S: Scenario>(
    scope: &'scope Scope<'scope, '_>,
    scenario: &'scope S,
    board: &'scope Board,
    aside: &'scope S::Aside,
    run: u64,
    members: Vec<Member>,
) -> Vec<Thread<'scope, OutcomeOf<S>>> {
    let lead = |member| scope.spawn(move || lead(member, scenario, board, aside, run));
    members.into_iter().map(lead).collect()
}

fn lead<S: Scenario>(
    mut member: Member,
    scenario: &S,
    board: &Board,
    aside: &S::Aside,
    run: u64,
) -> ThreadResult<OutcomeOf<S>> {
    let task = HashMap::from([(S::TASK, scenario.task(run))]);
    member.begin(&scenario.terms().target, board.clock, task)?;
    let order = || {
        let order = Order { board: board.order(), aside: aside.order() };
        let is_end = order.board.is_end();
        (order, is_end)
    };
    let mut before = phases::State::default();
    let mut heard_aside = <S::Aside as Aside>::Heard::default();
    let mut heard = |state: State<<S::Aside as Aside>::News>| {
        board.hear(state.board, &mut before);
        if let Some(news) = state.aside {
            aside.hear(&news, &mut heard_aside);
        }
    };
    let ((mut outcome, last), generator): ((OutcomeOf<S>, _), _) =
        member.lead(order, &mut heard)?;
    heard(last);
    if !scenario.fits(outcome.tally.as_ref()) {
        let source = LinkError::Failed("it counted another disturbance".to_owned());
        return Err(LoadtestError::Generator { address: generator.address, source });
    }
    let (totals, lateness) = (outcome.totals, outcome.lateness.summary());
    outcome.generators.push(CrowdGeneratorReport { generator, totals, lateness });
    Ok(outcome)
}

/// The generator's side.
pub(crate) fn play<S: Scenario>(
    mut scenario: S,
    run: u64,
    share: Share<'_>,
) -> Result<(), LinkError> {
    let Share { led, place, clock, users, .. } = share;
    let (board, aside) = (Board::new(clock), S::Aside::default());
    let prepared = prepare(&mut scenario, place, &users);
    let crew = match prepared.and_then(|()| Crew::new(&scenario, &board, &aside, run, &users)) {
        Ok(crew) => crew,
        Err(error) => return led.fail(&error.to_string()),
    };
    let own = |order: Order<<S::Aside as Aside>::Order>| {
        order.aside.into_iter().for_each(|order| aside.obey(order));
        order.board
    };
    let state = |threads| State { board: board.state(threads), aside: aside.news(threads) };
    phases::play(led, &board, &crew, own, state, Outcome::merge)
}

fn prepare<S: Scenario>(
    scenario: &mut S,
    place: &Place,
    share: &Range<u32>,
) -> Result<(), LoadtestError> {
    scenario.settle_in(place.threads_for(share)?, &place.processors);
    scenario.check()?;
    check_share(share, scenario.seating().group_connections(), scenario.terms().connections)
}
