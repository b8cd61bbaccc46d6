//! What may befall the connections of a thread, and where a crowd meets it.
//!
//! It adds to a run and takes nothing away: messages are sent, sent again, repaired and audited as
//! ever. A crowd tells what happens, by slot, and asks what else shall.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crowd::ARRIVING_MAX;
use crate::crowd::member::Member;
use crate::net::Links;
use crate::phases::Schedule;

/// What is to be seen when something may happen.
pub(crate) struct Scene<'a> {
    pub(crate) now_ns: u64,
    pub(crate) schedule: &'a Schedule,
    pub(crate) members: &'a [Member],
}

/// A connection that is to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) slot: usize,
    /// By a reset, and not in good order.
    pub(crate) is_reset: bool,
    /// When it is made anew.
    pub(crate) back_ns: u64,
}

/// What a disturbance counts, on its way from a thread, or another process, to the report.
pub(crate) trait Tally: Serialize + DeserializeOwned + Send {
    /// Adds that of another thread.
    fn merge(&mut self, other: &Self);
}

impl Tally for () {
    fn merge(&mut self, (): &()) {}
}

/// The disturbance of one thread. What is not written here does not happen.
pub(crate) trait Turmoil {
    /// What it counts, if it is not the coordinator that asks for it.
    type Tally: Tally;
    /// What it reads off, and writes on, beside the board.
    type Aside;

    /// In each tick of the run: who leaves now. Returns when the next tick is wanted.
    fn act(
        &mut self,
        _scene: &Scene<'_>,
        _aside: &Self::Aside,
        _links: &mut Links,
        _departures: &mut Vec<Departure>,
    ) -> u64 {
        u64::MAX
    }

    /// The run is over: everybody is to be there, and to take in what is missing. Whether those who
    /// are away come back at once.
    fn end(&mut self, _now_ns: u64, _links: &mut Links) -> bool {
        false
    }

    /// A connection is being made.
    fn attempted(&mut self, _slot: usize, _now_ns: u64) {}

    /// A user is logged in and synced.
    fn arrived(&mut self, _slot: usize, _schedule: &Schedule, _links: &Links) {}

    /// A message of this user was answered after its intended start.
    fn acknowledged(&mut self, _slot: usize, _intended_ns: u64, _now_ns: u64) {}

    /// A message reached this user.
    fn delivered(&mut self, _slot: usize, _intended_ns: u64, _now_ns: u64) {}

    /// The server left pushes out, and said so.
    fn fell_behind(&mut self, _slot: usize) {}

    /// A user asks for what is missing.
    fn repairs(&mut self, _slot: usize) {}

    /// The connection of a user ended, and not by the harness.
    fn closed(&mut self, _slot: usize, _reason: &str) {}

    /// Whether the server may close this user's connection, or not let it in at once.
    fn may_be_closed(&self, _slot: usize) -> bool {
        false
    }

    /// Whether a user who is to write now does: nobody writes while away.
    fn writes(&mut self, _slot: usize) -> bool {
        true
    }

    /// What a user who comes back logs in with, if not with a new token of the issuer.
    fn resume_token(&self, _slot: usize) -> Option<&[u8]> {
        None
    }

    /// For the next login of this user.
    fn keep_resume_token(&mut self, _slot: usize, _token: &[u8]) {}

    /// Whether a user waits as long as the server says before coming back.
    fn heeds_delay(&self) -> bool {
        true
    }

    /// Connections that may be on their way at a time, once everybody was there.
    fn arriving_max(&self) -> usize {
        ARRIVING_MAX
    }

    /// What was counted.
    fn into_tally(self) -> Option<Self::Tally>;
}

/// Nothing happens.
#[derive(Debug)]
pub(crate) struct Calm;

impl Turmoil for Calm {
    type Tally = ();
    type Aside = ();

    fn into_tally(self) -> Option<()> {
        None
    }
}
