//! Users in pairs who write to each other.
//!
//! `phases` says how a run goes. Both of a pair are on one generator thread.
//!
//! Load is either *open* (a fixed rate; each message has an intended start, and its latency counts
//! from there, however late it was sent) or *closed* (each user keeps a number of messages
//! outstanding; this finds the highest throughput, its latencies mean little).

mod disturbance;
mod guest;
mod parameters;
mod report;
mod senders;

pub use disturbance::{Disturbance, DisturbanceReport};
pub(crate) use guest::Task;
pub use parameters::ChatParameters;
pub(crate) use parameters::SECTION;
pub use report::{ChatReport, ScenarioReport};

pub use crate::crowd::{
    Action, CrowdGeneratorReport as ChatGeneratorReport, LatencyReport, Load, MessageKind,
    MessageLatencyReport, Rate, RequestKind, Totals,
};
pub use crate::phases::{Progress, Rates};
pub use crate::scenarios::{Credential, churn, hostile, slow, storm};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::crowd;
use crate::error::LoadtestError;
use crate::problem::{Problem, Problems};
use crate::remote::Generators;
use crate::report::Second;
use crate::scenarios::hostile::Siege;
use crate::target::{Service, Target};
use crate::weighted::Weighted;

/// A chat run.
#[derive(Debug, Clone)]
pub struct ChatScenario {
    /// The server.
    pub target: Target,
    /// Users, an even number; two and two are a pair.
    pub users: u32,
    /// Generator threads.
    pub threads: usize,
    /// Processors that they may use; all if empty.
    pub processors: Vec<usize>,
    /// Other processes that make the load, in the place of threads of this one.
    pub generators: Option<Generators>,
    /// What they send, and what they ask for.
    pub message: Weighted<Action>,
    /// Length of each content in bytes; at least [`STAMP_BYTES`](crate::audit::content::STAMP_BYTES).
    pub content_bytes: Weighted<usize>,
    /// Entries of a page that a request for history asks for.
    pub history_entries: u32,
    /// How fast.
    pub load: Load,
    /// Time before the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub duration: Duration,
    /// New connections per second, at most.
    pub connects_per_second: u32,
    /// How long it may take until everybody is there.
    pub gather_timeout: Duration,
    /// How long it may take until everything is acknowledged and told after the window.
    pub drain_timeout: Duration,
    /// How long the reading of all logs may take.
    pub read_timeout: Duration,
    /// Share of the pairs that send, from 0 to 1; rounded up to whole pairs.
    pub active_share: f64,
    /// What befalls the users meanwhile.
    pub disturbance: Option<Disturbance>,
    /// Connections may end and are made anew: for runs in which the server is killed.
    pub reconnect: bool,
    /// Ends the window before its time when it becomes true; what is under way is brought home as
    /// usual. For runs that end when something else has happened often enough.
    pub stop: Option<Arc<AtomicBool>>,
    /// How often the progress is reported.
    pub progress_interval: Duration,
}

impl ChatScenario {
    /// A short closed run of 100 users; change what you need.
    pub fn new(target: Target) -> ChatScenario {
        ChatScenario {
            target,
            users: 100,
            threads: 1,
            processors: Vec::new(),
            generators: None,
            message: MessageKind::Durable.into(),
            content_bytes: 200.into(),
            history_entries: 20,
            load: Load::Closed { outstanding: 1 },
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            connects_per_second: 5000,
            gather_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(300),
            active_share: 1.0,
            disturbance: None,
            reconnect: false,
            stop: None,
            progress_interval: Duration::from_secs(1),
        }
    }

    fn asks_for_history(&self) -> bool {
        self.message.values().any(|&action| action == Action::Request(RequestKind::History))
    }

    /// Nothing is answered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.message.only() == Some(&MessageKind::QuietSignal.into())
    }

    /// Refuses what can't be run.
    pub fn check(&self) -> Result<(), LoadtestError> {
        let parameters = ChatParameters::of(self);
        let mut problems = parameters.problems();
        if self.threads == 0 {
            problems.push(Problem::new("generator", "threads", "at least 1"));
        }
        if self.senders(0..self.pairs()) == 0 {
            problems.push(Problem::new(SECTION, "active_share", "somebody is to send"));
        }
        if let Some(disturbance) = &self.disturbance {
            problems.extend(disturbance.problems(&parameters));
            problems.extend(disturbance.problems_with(&self.target));
        }
        if matches!(self.target.service, Service::Holder) {
            problems.push(Problem::new("chat", "message", "the holder knows no messages"));
        }
        if matches!(self.target.service, Service::Relay) && !self.is_quiet() {
            let reason = "the relay answers nothing: send signals without request id";
            problems.push(Problem::new("chat", "message", reason));
        }
        Ok(Problems::check(problems)?)
    }
}

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
    let Some(Disturbance::Hostile(hostile)) = &scenario.disturbance else {
        let led = crowd::run(scenario, on_progress, on_second)?;
        return Ok(report::compose(scenario, led));
    };
    scenario.check()?;
    let siege = Siege::prepare(hostile, &scenario.target)?;
    let mut watched = |doing: &str, progress: Progress| {
        if progress.active >= u64::from(scenario.users) {
            siege.begin();
        }
        on_progress(doing, progress);
    };
    let led = crowd::run(scenario, &mut watched, on_second);
    let attack = siege.end();
    let mut report = report::compose(scenario, led?);
    attack.judge(&mut report.verdict, &mut report.reasons);
    report.disturbance = Some(DisturbanceReport::Hostile(Box::new(attack)));
    Ok(report)
}
