//! A fan-out run from its beginning to its report.

use std::thread;
use std::time::Duration;

use crate::chat::MessageKind;
use crate::error::LoadtestError;
use crate::fanout::FanoutScenario;
use crate::fanout::crew::Crew;
use crate::fanout::report::{FanoutReport, compose};
use crate::generators::random_run;
use crate::net::Clock;
use crate::phases::{Audience, Board, Coordinator, Course, Crew as _, Progress};
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
    let board = Board::new(Clock::start());
    let crew = Crew::new(scenario, &board, random_run()?, 0..connections)?;
    let course = course(scenario, connections);
    thread::scope(|scope| {
        let threads = crew.start(scope);
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
        generators: None,
        has_durable: scenario.message == MessageKind::Durable,
        gather_timeout: scenario.gather_timeout,
        warm_up: scenario.warm_up,
        duration: scenario.duration,
        sequel_at_most: Duration::ZERO,
        drain_timeout: scenario.drain_timeout,
        read_timeout: scenario.read_timeout,
        progress_interval: scenario.progress_interval,
        stop: None,
    }
}
