//! A share of the crowd in another process: to the coordinator it is like one more thread, to the
//! crowd its coordinator is like one of its own process.

use std::ops::Range;
use std::thread::Scope;

use serde::{Deserialize, Serialize};

use crate::chat::crew::Crew;
use crate::chat::disturbance::Tally;
use crate::chat::outcome::{ChatGeneratorReport, Outcome};
use crate::chat::report::merge;
use crate::chat::shared::Shared;
use crate::chat::{ChatParameters, ChatScenario, storm};
use crate::error::LoadtestError;
use crate::net::Clock;
use crate::phases::{self, Thread, ThreadResult, check_share};
use crate::remote::{Led, LinkError, Member, Place, Task};

/// What the coordinator wants.
#[derive(Serialize, Deserialize)]
struct Order {
    board: phases::Order,
    storm: Option<storm::Moment>,
}

/// How far the threads of a generator are.
#[derive(Serialize, Deserialize)]
struct State {
    board: phases::State,
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
        let order = Order { board: shared.order(), storm: shared.storm.order() };
        let is_end = order.board.is_end();
        (order, is_end)
    };
    let (mut before, mut of_storm) = (phases::State::default(), storm::Heard::default());
    let mut heard = |state: State| {
        shared.hear(state.board, &mut before);
        if let Some(news) = state.storm {
            shared.storm.hear(&news, &mut of_storm);
        }
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
    led: Led,
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
    let crew = scenario.check().and_then(|()| check_share(&users, 2, scenario.users));
    let crew = match crew.and_then(|()| Crew::new(&scenario, &shared, run, users)) {
        Ok(crew) => crew,
        Err(error) => return led.fail(&error.to_string()),
    };
    let own = |Order { board, storm }| {
        storm.into_iter().for_each(|moment| shared.storm.go_on(moment));
        board
    };
    let state = |threads| {
        let (board, storm) = (shared.state(threads), shared.storm.news(threads));
        State { board, storm }
    };
    phases::play(led, &shared, &crew, own, state, merge)
}
