//! The phases of a run, the board on which its threads are told of them, and the coordinator who
//! leads them.
//!
//! ```text
//!  coordinator (the caller's thread)          generator threads, each with its share of the crowd
//!  Gather ── all are logged in and synced ──▶ connect, hello, login, sync
//!  Run    ── warm-up, then the window ──────▶ send; record acknowledgements and deliveries
//!  Drain  ── all is acknowledged and told ──▶ repair what is missing, send again
//!  Read   ── all logs are read ─────────────▶ History from the beginning; the auditor compares
//!  End
//! ```
//!
//! What a scenario sends, and to whom, is its own affair: see [`chat`](crate::chat) and
//! [`fanout`](crate::fanout). Signals have no log, so a run of signals alone ends after Drain.

mod board;
mod coordinator;
mod remote;
mod window;

pub(crate) use board::Board;
pub(crate) use coordinator::{Audience, Coordinator, Course, Led, Thread, ThreadResult, join};
pub(crate) use remote::{Crew, Order, State, check_share, perform, play};
pub use window::Rates;
pub(crate) use window::{Look, Window};

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum Phase {
    Gather,
    Run,
    Drain,
    Read,
    End,
}

pub(crate) const PHASES: [Phase; 5] =
    [Phase::Gather, Phase::Run, Phase::Drain, Phase::Read, Phase::End];

/// The moments of a run, in nanoseconds on its clock.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) start_ns: u64,
    pub(crate) measure_from_ns: u64,
    pub(crate) measure_to_ns: u64,
}

impl Schedule {
    /// Whether what was intended for this time belongs to the window.
    pub(crate) fn measures(&self, intended_ns: u64) -> bool {
        (self.measure_from_ns..self.measure_to_ns).contains(&intended_ns)
    }
}

/// Counts of all threads so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Connections of users who are logged in and synced.
    pub active: u64,
    /// Messages that were due, without retries.
    pub sent: u64,
    /// Messages that were answered.
    pub acknowledged: u64,
    /// Requests beside the messages that were answered.
    pub answered: u64,
    /// Messages that reached a reader; one counts once for each device that it reached.
    pub delivered: u64,
    /// Faults that were found.
    pub errors: u64,
}
