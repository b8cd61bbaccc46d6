//! A chat run from its beginning to its report.

use std::thread;

use crate::chat::crew::Crew;
use crate::chat::report::{ChatReport, compose};
use crate::chat::shared::Shared;
use crate::chat::{ChatScenario, Disturbance, DisturbanceReport, remote};
use crate::error::LoadtestError;
use crate::generators::random_run;
use crate::net::Clock;
use crate::phases::{Audience, Coordinator, Course, Crew as _, Progress};
use crate::remote::call_generators;
use crate::report::Second;

/// Runs a scenario. `on_progress` is called every [`ChatScenario::progress_interval`] or so, with
/// what the run is doing.
pub fn run(
    scenario: &ChatScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
) -> Result<ChatReport, LoadtestError> {
    run_watched(scenario, on_progress, &mut |_| {})
}

/// The same; `on_second` is called once a second, with all that the second showed.
pub fn run_watched(
    scenario: &ChatScenario,
    on_progress: &mut dyn FnMut(&str, Progress),
    on_second: &mut dyn FnMut(&Second<'_>),
) -> Result<ChatReport, LoadtestError> {
    scenario.check()?;
    let elsewhere = scenario.generators.as_ref();
    let call = |generators| call_generators(generators, scenario.users, 2, scenario.spared());
    let team = elsewhere.map(call).transpose()?;
    let shared = Shared::new(Clock::start());
    let run = random_run()?;
    let crew = match team {
        Some(_) => None,
        None => Some(Crew::new(scenario, &shared, run, 0..scenario.users)?),
    };
    let course = course(scenario);
    thread::scope(|scope| {
        let here = crew.as_ref().map(|crew| crew.start(scope)).into_iter();
        let elsewhere = team.map(|members| remote::enlist(scope, scenario, &shared, run, members));
        let threads = here.chain(elsewhere).flatten().collect();
        let audience = Audience { on_progress, on_second };
        let coordinator = Coordinator::new(&course, &shared, threads, audience);
        let led = coordinator.lead(|coordinator, reasons| match &scenario.disturbance {
            Some(Disturbance::Storm(storm)) => {
                let report = storm.lead(scenario.users, &shared.storm, coordinator, reasons);
                Some(DisturbanceReport::Storm(report))
            }
            Some(Disturbance::Slow(_) | Disturbance::Churn(_)) | None => None,
        })?;
        Ok(compose(scenario, led))
    })
}

fn course(scenario: &ChatScenario) -> Course {
    Course {
        everybody: scenario.users,
        called: "users",
        server: scenario.target.pid,
        generators: scenario.generators.clone(),
        has_durable: scenario.has_durable(),
        gather_timeout: scenario.gather_timeout,
        warm_up: scenario.warm_up,
        duration: scenario.duration,
        sequel_at_most: scenario.disturbed_at_most(),
        drain_timeout: scenario.drain_timeout,
        read_timeout: scenario.read_timeout,
        progress_interval: scenario.progress_interval,
        stop: scenario.stop.clone(),
    }
}
