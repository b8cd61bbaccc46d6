//! Connections that act together: what the runs of all scenarios have in common.
//!
//! ```text
//!  Scenario ── who sits where, who writes, what befalls them ──▶ Crowd, one for each thread
//!
//!  run ── Crew ── threads ──▶ Crowd ◀── event loop
//!   │                           │  arriving, syncing ── connect, Hello, Login, Sync, and back again
//!   └─ remote ─▶ processes      │  sending ─── open or closed load, retries
//!                               │  inbound ─── acknowledgements, pushes, signals ──▶ audit
//!                               │  repairing, reading, requests, rare
//!                               ▼
//!                            Outcome ──▶ Summary ──▶ the report of the scenario
//! ```
//!
//! A [`Scenario`] is a guest: it says what differs, in some hundred lines, and the crowd, which is
//! compiled anew for each, does all the rest. In a conversation, the first ones of those who read
//! also write ([`Seating`]), so pairs, one who writes to many, and a group are the same to it.
//!
//! Parts that deal in slots, turns and times, and know no connection:
//! - [`Comings`]: who connects when: newcomers at a given rate, and those who come back
//! - [`OpenLoad`]: whose message is due when
//! - [`Later`]: what is to be done again, or looked at again, after a while
//! - [`Heartbeats`]: who has been silent for too long
//! - [`Account`]: what the thread tells the coordinator of its progress
//! - [`Flights`](flights::Flights): what has not reached everybody
//!
//! `answers` says what a server's words mean for any crowd.

mod account;
mod action;
mod answers;
mod arriving;
mod aside;
mod comings;
mod conversation;
mod crew;
mod flights;
mod handler;
mod heartbeats;
mod ids;
mod inbound;
mod later;
mod load;
mod member;
mod message;
mod message_latency;
mod newcomers;
mod open_load;
mod outcome;
mod rare;
mod rate;
mod reading;
mod remote;
mod repairing;
mod requests;
mod run;
mod scenario;
mod sending;
mod state;
mod summary;
mod syncing;
mod turmoil;
mod turns;

pub(crate) use account::Account;
pub use action::{Action, RequestKind};
pub(crate) use answers::{Logged, refusal, retry_after_ms};
pub(crate) use aside::Aside;
pub(crate) use comings::Comings;
pub(crate) use heartbeats::{HEARTBEAT, Heartbeats};
pub(crate) use later::Later;
pub use load::Load;
pub use message::MessageKind;
pub use message_latency::MessageLatencyReport;
pub(crate) use message_latency::{LatenciesByKind, MessageLatencies};
pub(crate) use newcomers::Newcomers;
pub(crate) use open_load::OpenLoad;
pub(crate) use outcome::Outcome;
pub use outcome::{CrowdGeneratorReport, Totals};
pub use rate::Rate;
pub(crate) use remote::play;
pub(crate) use run::run;
pub(crate) use scenario::{Identity, Place, Scenario, Seat, Seating, Terms};
pub use summary::LatencyReport;
pub(crate) use summary::Summary;
pub(crate) use turmoil::{Calm, Departure, Scene, Tally, Turmoil};
pub(crate) use turns::{Senders, Turns};

use std::time::Duration;

/// Connections of one thread that may be on their way to being logged in: more would only wait in
/// the server's backlog, and their time-outs would run.
pub(crate) const ARRIVING_MAX: usize = 512;

/// How long a gap between pushes may stand before the missing entries are fetched: pushes may
/// overtake each other by a little, and the acknowledgement of one's own message that closes the
/// gap may be on its way.
pub(crate) const GAP_PATIENCE: Duration = Duration::from_millis(100);

/// How long nobody of a thread may be there, once the window has passed, until it gives the server up:
/// what is under way will not come home, and no log can be read. Longer than a wait before coming
/// back, and than those who were away need for it.
pub(crate) const FORSAKEN_PATIENCE: Duration = Duration::from_secs(10);

/// How often newcomers, heartbeats and progress are looked after.
pub(crate) const CHORES_INTERVAL: Duration = Duration::from_millis(10);
