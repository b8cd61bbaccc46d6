//! Administration: accounts, backups and checks, asked for on the command line.
//!
//! ```text
//!                     a server runs: admin.sock
//!  dunlin user ..     ┌──► client ── frames ──► server ──┐
//!  dunlin backup ─► Access                               ├──► Administration ─► engine, store
//!  dunlin verify      └──► opens the store itself ───────┘
//!                     none runs
//! ```
//!
//! Whether a server runs is decided by the lock of the store, so there is no moment at which two
//! processes write to it. Both ways end in the same code and give the same answers.
//!
//! On the socket a connection carries one request and one answer, each a `u32` big-endian length
//! and so many bytes of JSON with a version. It is no public interface: the two ends are the same
//! program, and what they say may change with its version.

mod access;
mod administration;
mod client;
mod message;
mod server;
mod socket;
pub(crate) mod utc;

pub(crate) use access::{Access, LOCKED_RETRY, LOCKED_TIMEOUT, Missing};
pub(crate) use administration::{
    Administration, damage_lines, dead_lines, loss_lines, verified_reply,
};
pub(crate) use message::{
    InvitationLine, Reply, Request, Secret, SessionLine, UserDetailsLine, UserLine,
};
pub(crate) use server::AdminServer;
