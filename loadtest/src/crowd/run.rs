//! A run of any scenario, from its beginning to what all threads brought home.

use std::thread;

use crate::crowd::crew::Crew;
use crate::crowd::state::OutcomeOf;
use crate::crowd::{Scenario, Seating, Terms, remote};
use crate::error::LoadtestError;
use crate::generators::random_run;
use crate::net::Clock;
use crate::phases::{Audience, Board, Coordinator, Course, Crew as _, Led, Progress};
use crate::remote::call_generators;
use crate::report::Second;

/// Runs a scenario. `on_progress` is called now and then, with what the run is doing, and `on_second`
/// once a second, with all that the second showed.
pub(crate) fn run<S: Scenario>(
    scenario: &S,
    on_progress: &mut dyn FnMut(&str, Progress),
    on_second: &mut dyn FnMut(&Second<'_>),
) -> Result<Led<OutcomeOf<S>, S::Sequel>, LoadtestError> {
    scenario.check()?;
    let terms = scenario.terms();
    let group = scenario.seating().group_connections();
    let call =
        |generators| call_generators(generators, terms.connections, group, scenario.spared());
    let team = terms.generators.as_ref().map(call).transpose()?;
    let (board, aside) = (Board::new(Clock::start()), S::Aside::default());
    let run = random_run()?;
    let crew = match team {
        Some(_) => None,
        None => Some(Crew::new(scenario, &board, &aside, run, &(0..terms.connections))?),
    };
    let course = course(scenario, terms);
    thread::scope(|scope| {
        let here = crew.as_ref().map(|crew| crew.start(scope)).into_iter();
        let enlist = |members| remote::enlist(scope, scenario, &board, &aside, run, members);
        let threads = here.chain(team.map(enlist)).flatten().collect();
        let audience = Audience { on_progress, on_second };
        let coordinator = Coordinator::new(&course, &board, threads, audience);
        coordinator.lead(|coordinator, reasons| scenario.follow(&aside, coordinator, reasons))
    })
}

fn course<S: Scenario>(scenario: &S, terms: Terms) -> Course {
    Course {
        everybody: terms.connections,
        called: S::CALLED,
        server: terms.target.pid,
        has_durable: terms.has_durable(),
        generators: terms.generators,
        gather_timeout: terms.gather_timeout,
        warm_up: terms.warm_up,
        duration: terms.duration,
        sequel_at_most: scenario.sequel_at_most(),
        drain_timeout: terms.drain_timeout,
        read_timeout: terms.read_timeout,
        progress_interval: terms.progress_interval,
        stop: terms.stop,
    }
}
