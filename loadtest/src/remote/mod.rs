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
//! `handshake`, `link` and `frames` are how messages travel.

mod error;
#[allow(dead_code, reason = "coordinator and generator come with the next change")]
mod frames;
#[allow(dead_code, reason = "coordinator and generator come with the next change")]
mod handshake;
#[allow(dead_code, reason = "coordinator and generator come with the next change")]
mod link;
#[allow(dead_code, reason = "coordinator and generator come with the next change")]
mod secret;

pub use error::{LinkError, Refusal};
