//! One run in several processes, on one machine or many: a coordinator leads, generators make the
//! load and bring home what they counted.
//!
//! ```text
//!  coordinator                                        generator (`dunlin-loadtest generate`)
//!  connect ─── greeting: version, nonce ───────────▶  one thread for each connection
//!          ◀── greeting: version, nonce ───────────
//!          ─── proof that it has the secret ───────▶
//!          ◀── proof, or why it refuses ───────────
//!          ═══ what time is it? (the quickest answer of some counts) ═══
//!          ═══ assignment: server, scenario, share of the users, zero of the clock ═══
//!  every   ═══ order: the phase, the schedule ═════▶  applied to its threads
//!  50 ms   ◀══ how far its threads are ════════════
//!          ◀══ in the end: histograms, counts, faults
//! ```
//!
//! The coordinator asks, the generator answers: one message is under way at a time, and each has a
//! deadline, so that neither side waits for ever for one that is gone. On the coordinator's side a
//! thread for each generator makes it look like one more thread of the crowd. Double lines are
//! sealed: the issuer's key goes over them.
//!
//! - [`Generators`], `team`: the coordinator's side
//! - [`Listener`]: the generator's side
//! - `assignment`, `account`: what is told once at the beginning and at the end
//! - `handshake`, `link`, `frames`: how messages travel

mod account;
mod assignment;
mod error;
mod frames;
mod handshake;
mod link;
mod listener;
mod secret;
mod team;

pub use account::GeneratorReport;
pub(crate) use account::Meter;
pub use error::{LinkError, Refusal};
pub use listener::{Event, Listener, Place};
pub(crate) use listener::{Led, Share};
pub(crate) use team::{Member, call_generators};

use std::path::{Path, PathBuf};

use crate::error::LoadtestError;

/// Generators that share a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generators {
    /// Where they listen, each `HOST:PORT`.
    pub addresses: Vec<String>,
    /// The file with the secret that they know, too.
    pub secret_file: PathBuf,
}

/// Whether a secret can be read from a file.
pub(crate) fn check_secret(file: &Path) -> Result<(), LoadtestError> {
    secret::Secret::read(file).map(drop)
}
