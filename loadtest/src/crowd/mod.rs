//! What the crowds of all scenarios have in common: small parts, of which each generator thread has
//! its own.
//!
//! - [`Newcomers`]: who connects when, at a given rate
//! - [`OpenLoad`]: whose message is due when
//! - [`Later`]: what is to be done again, or looked at again, after a while
//! - [`Heartbeats`]: who has been silent for too long
//! - [`Account`]: what the thread tells the coordinator of its progress
//!
//! None of them knows a connection: they deal in slots, turns and times, and a crowd asks them what is
//! next. `answers` says what a server's words mean for any crowd.

mod account;
mod action;
mod answers;
mod heartbeats;
mod later;
mod load;
mod message;
mod message_latency;
mod newcomers;
mod open_load;
mod rate;
mod turns;

pub(crate) use account::Account;
pub use action::{Action, RequestKind};
pub(crate) use answers::{Logged, refusal, retry_after_ms};
pub(crate) use heartbeats::{HEARTBEAT, Heartbeats};
pub(crate) use later::Later;
pub use load::Load;
pub use message::MessageKind;
pub use message_latency::MessageLatencyReport;
pub(crate) use message_latency::{LatenciesByKind, MessageLatencies};
pub(crate) use newcomers::Newcomers;
pub(crate) use open_load::{Next, OpenLoad};
pub use rate::Rate;
pub(crate) use turns::{Senders, Turns};

use std::time::Duration;

/// Connections of one thread that may be on their way to being logged in: more would only wait in
/// the server's backlog, and their time-outs would run.
pub(crate) const ARRIVING_MAX: usize = 512;

/// How long a gap between pushes may stand before the missing entries are fetched: pushes may
/// overtake each other by a little, and the acknowledgement of one's own message that closes the
/// gap may be on its way.
pub(crate) const GAP_PATIENCE: Duration = Duration::from_millis(100);

/// How often newcomers, heartbeats and progress are looked after.
pub(crate) const CHORES_INTERVAL: Duration = Duration::from_millis(10);
