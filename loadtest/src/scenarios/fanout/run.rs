//! A fan-out run from its beginning to its report.

use std::thread;
use std::time::Duration;

use crate::chat::MessageKind;
use crate::error::LoadtestError;
use crate::fanout::crew::Crew;
use crate::fanout::report::{FanoutReport, compose};
use crate::fanout::{FanoutScenario, remote};
use crate::generators::random_run;
use crate::net::Clock;
use crate::phases::{Audience, Board, Coordinator, Course, Crew as _, Progress};
use crate::remote::call_generators;
use crate::report::Second;

/// Runs a scenario. `on_progress` is called every [`FanoutScenario::progress_interval`] or so, with
/// what the run is doing.
pub fn run(
    scenario: &FanoutScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
) -> Result<FanoutReport, LoadtestError> {
    run_watched(scenario, on_progress, &mut |_| {})
}

/// The same; `on_second` is called once a second, with all that the second showed.
pub fn run_watched(
    scenario: &FanoutScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
    on_second: &mut dyn FnMut(&Second<'_>),
) -> Result<FanoutReport, LoadtestError> {
    let connections = scenario.check()?;
    let (elsewhere, fan) = (scenario.generators.as_ref(), scenario.shape().connections());
    let call = |generators| call_generators(generators, connections, fan, 0);
    let team = elsewhere.map(call).transpose()?;
    let board = Board::new(Clock::start());
    let run = random_run()?;
    let crew = match team {
        Some(_) => None,
        None => Some(Crew::new(scenario, &board, run, 0..connections)?),
    };
    let course = course(scenario, connections);
    thread::scope(|scope| {
        let here = crew.as_ref().map(|crew| crew.start(scope)).into_iter();
        let elsewhere = team.map(|members| remote::enlist(scope, scenario, &board, run, members));
        let threads = here.chain(elsewhere).flatten().collect();
        let audience = Audience { on_progress, on_second };
        let coordinator = Coordinator::new(&course, &board, threads, audience);
        let led = coordinator.lead(|_, _| None)?;
        Ok(compose(scenario, led))
    })
}

fn course(scenario: &FanoutScenario, connections: u32) -> Course {
    Course {
        everybody: connections,
        called: "connections",
        server: scenario.target.pid,
        generators: scenario.generators.clone(),
        has_durable: scenario.message == MessageKind::Durable,
        gather_timeout: scenario.gather_timeout,
        warm_up: scenario.warm_up,
        duration: scenario.duration,
        sequel_at_most: Duration::ZERO,
        drain_timeout: scenario.drain_timeout,
        read_timeout: scenario.read_timeout,
        progress_interval: scenario.progress_interval,
        stop: scenario.stop.clone(),
    }
}
