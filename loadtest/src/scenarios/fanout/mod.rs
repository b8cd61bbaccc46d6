//! One who writes to many: each writer has conversations with other users, who have several devices
//! each, and writes to them in turn. A message is delivered once to every device of its reader.
//!
//! ```text
//! writer ── conversation ──┬─▶ device 1      one message, as many deliveries as devices
//!    │                     └─▶ device D
//!    └───── conversation ──┬─▶ device 1      the next message
//!                          └─▶ device D
//! ```
//!
//! With one conversation and many devices this is the delivery of one message to many; with many
//! conversations and one device each, one who writes to everybody. `phases` says how a run goes. A
//! connection that ends is a fault, and comes back, so that all is audited even then; one that ends
//! before everybody is there ends the run.
//!
//! An open load has intended starts, and all latencies count from them. A closed load keeps a number
//! of messages of each writer on the way: one has arrived when all devices have it.

mod guest;
mod parameters;
mod report;
mod shape;

pub(crate) use guest::Task;
pub use parameters::FanoutParameters;
pub(crate) use parameters::SECTION;
pub use report::{FanoutReport, FanoutScenarioReport, FanoutServerReport};

pub use crate::crowd::{CrowdGeneratorReport as FanoutGeneratorReport, Totals};
pub use crate::phases::Progress;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::crowd::{self, Load, MessageKind, Rate};
use crate::error::LoadtestError;
use crate::problem::{Problem, Problems};
use crate::remote::Generators;
use crate::report::Second;
use crate::target::{Service, Target};

/// A fan-out run.
#[derive(Debug, Clone)]
pub struct FanoutScenario {
    /// The server. It must allow each user as many sessions as there are devices.
    pub target: Target,
    /// Users who write, each on one connection.
    pub senders: u32,
    /// Conversations of each of them, with a user each.
    pub conversations: u32,
    /// Devices of each such user, with a connection each.
    pub devices: u32,
    /// Generator threads; a writer and all of its readers are on one.
    pub threads: usize,
    /// Processors that they may use; all if empty.
    pub processors: Vec<usize>,
    /// Other processes that make the load, in the place of threads of this one.
    pub generators: Option<Generators>,
    /// What is written.
    pub message: MessageKind,
    /// Length of each content in bytes; at least [`STAMP_BYTES`](crate::audit::content::STAMP_BYTES).
    pub content_bytes: usize,
    /// How fast, in messages, not deliveries.
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
    /// Ends the window before its time when it becomes true; what is under way is brought home as
    /// usual.
    pub stop: Option<Arc<AtomicBool>>,
    /// How often the progress is reported.
    pub progress_interval: Duration,
}

impl FanoutScenario {
    /// A short open run: one writer, one reader with eight devices. Change what you need.
    pub fn new(target: Target) -> FanoutScenario {
        FanoutScenario {
            target,
            senders: 1,
            conversations: 1,
            devices: 8,
            threads: 1,
            processors: Vec::new(),
            generators: None,
            message: MessageKind::Durable,
            content_bytes: 200,
            load: Load::Open { messages_per_second: Rate::constant(100.0) },
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            connects_per_second: 5000,
            gather_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(300),
            stop: None,
            progress_interval: Duration::from_secs(1),
        }
    }

    /// Connections of the run, or everything that makes no sense.
    pub fn check(&self) -> Result<u32, LoadtestError> {
        let parameters = FanoutParameters::of(self);
        let mut problems = parameters.problems();
        let mut wrong = |is_wrong: bool, section, field, reason| {
            if is_wrong {
                problems.push(Problem::new(section, field, reason));
            }
        };
        wrong(self.threads == 0, "generator", "threads", "at least 1");
        let is_holder = matches!(self.target.service, Service::Holder);
        wrong(is_holder, "server", "", "the holder knows no messages");
        let is_relay = matches!(self.target.service, Service::Relay);
        let is_answered = is_relay && self.message != MessageKind::QuietSignal;
        let reason = "the relay answers nothing: send signals without request id";
        wrong(is_answered, SECTION, "message", reason);
        let is_divided = is_relay && self.conversations != 1;
        wrong(is_divided, SECTION, "conversations", "the relay knows none: 1");
        Problems::check(problems)?;
        Ok(parameters.connections().unwrap_or_default())
    }
}

/// The settings without which a server refuses so many devices of a user, for a server that is
/// started for the run.
pub fn server_settings(devices: u32) -> [String; 2] {
    // Not below the defaults: a setting that is not needed changes nothing.
    [
        format!("devices.sessions_per_kind={}", devices.max(4)),
        format!("devices.sessions_max={}", devices.max(16)),
    ]
}

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
    let led = crowd::run(scenario, on_progress, on_second)?;
    Ok(report::compose(scenario, led))
}
