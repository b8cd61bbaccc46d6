//! Users in pairs who write to each other.
//!
//! ```text
//!  coordinator (the caller's thread)          generator threads, each with its share of the pairs
//!  Gather ── all are logged in and synced ──▶ connect, hello, login, sync
//!  Run    ── warm-up, then the window ──────▶ send; record acknowledgements and deliveries
//!  Drain  ── all is acknowledged and told ──▶ resend, repair
//!  Read   ── both of a pair read the log ───▶ History from the beginning; the auditor compares
//!  End
//! ```
//!
//! Load is either *open* (a fixed rate; each message has an intended start, and its latency counts
//! from there, however late it was sent) or *closed* (each user keeps a number of messages
//! outstanding; this finds the highest throughput, its latencies mean little).

mod crowd;
mod inbound;
mod outcome;
mod phase;
mod rare;
mod report;
mod run;
mod user;

pub use outcome::Totals;
pub use phase::Progress;
pub use report::{ChatReport, LatencyReport, Rates, ScenarioReport};
pub use run::run;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::error::LoadtestError;
use crate::target::{Service, Target};

/// What the users send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Send: stored, and acknowledged when durable.
    Durable,
    /// Signal with a request id: not stored, but answered.
    Signal,
    /// Signal without a request id: nothing but the delivery tells the sender. This is what the
    /// relay does.
    QuietSignal,
}

/// How fast they send.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// So many messages per second from all users together, evenly.
    Open {
        /// Messages per second.
        messages_per_second: f64,
    },
    /// Each user keeps so many messages unanswered.
    Closed {
        /// Messages of one user.
        outstanding: u32,
    },
}

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
    /// What they send.
    pub message: MessageKind,
    /// Length of each content in bytes; at least [`STAMP_BYTES`](crate::audit::content::STAMP_BYTES).
    pub content_bytes: usize,
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
            message: MessageKind::Durable,
            content_bytes: 200,
            load: Load::Closed { outstanding: 1 },
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            connects_per_second: 5000,
            gather_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(300),
            reconnect: false,
            stop: None,
            progress_interval: Duration::from_secs(1),
        }
    }

    /// Refuses what can't be run.
    pub fn check(&self) -> Result<(), LoadtestError> {
        let wrong =
            |field, reason: &str| Err(LoadtestError::Scenario { field, reason: reason.to_owned() });
        if self.users == 0 || !self.users.is_multiple_of(2) {
            return wrong("users", "pairs need an even number above 0");
        }
        if self.threads == 0 {
            return wrong("threads", "at least 1");
        }
        if self.connects_per_second == 0 {
            return wrong("connects_per_second", "at least 1");
        }
        if self.content_bytes > self.content_bytes_max() {
            return wrong("content_bytes", "more than the protocol allows");
        }
        match self.load {
            Load::Open { messages_per_second }
                if messages_per_second.is_nan() || messages_per_second <= 0.0 =>
            {
                return wrong("messages_per_second", "more than 0");
            }
            Load::Closed { outstanding: 0 } => return wrong("outstanding", "at least 1"),
            Load::Open { .. } | Load::Closed { .. } => {}
        }
        if matches!(self.target.service, Service::Relay) && self.message != MessageKind::QuietSignal
        {
            return wrong("message", "the relay answers nothing: send signals without request id");
        }
        Ok(())
    }

    fn content_bytes_max(&self) -> usize {
        match self.message {
            MessageKind::Durable => dunlin_protocol::limits::CONTENT_BYTES_MAX,
            MessageKind::Signal | MessageKind::QuietSignal => {
                dunlin_protocol::limits::SIGNAL_BYTES_MAX
            }
        }
    }
}
