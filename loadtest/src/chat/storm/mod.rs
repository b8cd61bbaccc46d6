//! Everybody's connection breaks at one moment and all come back at once, some rounds of it, while
//! a few pairs that were spared talk on.
//!
//! ```text
//!  coordinator        Raging ──── all are back ────▶ Calm ──▶ Collecting ──▶ next round, or the end
//!  generator threads  drop, connect, log in, sync     ·        hand over their tallies
//! ```
//!
//! The spared pairs have a generator thread of their own: what they see of the storm is what the
//! server lets them see, not how busy the harness is with all the others.

mod board;
mod lead;
mod report;
mod tally;
mod troop;

pub(crate) use board::Board;
pub use report::{RoundReport, StormReport};
pub(crate) use troop::Troop;

use std::time::Duration;

use serde::Serialize;

use crate::chat::Credential;
use crate::problem::Problem;

/// How a connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// By a reset, as when a network or a proxy fails.
    Reset,
    /// In good order, as when a program ends.
    Close,
}

/// A storm, or several.
#[derive(Debug, Clone, Serialize)]
pub struct Storm {
    /// How often everybody is dropped.
    pub rounds: u32,
    /// Share of the pairs that never are, from 0 to below 1; rounded up to whole pairs. They always
    /// send.
    pub established_share: f64,
    /// How the others are dropped.
    pub cut: Cut,
    /// How they log in again.
    pub credential: Credential,
    /// Whether TLS sessions are resumed.
    pub tls_resumption: bool,
    /// Whether those who are turned away wait as long as the server says.
    pub heeds_delay: bool,
    /// Connections that may be on their way at a time, of all users together.
    pub arriving_max: u32,
    /// How long all is calm after each round, for its figures and for memory to be given back.
    pub calm: Duration,
    /// How long a round may take; whoever is not back by then counts as never coming back.
    pub timeout: Duration,
}

impl Default for Storm {
    fn default() -> Storm {
        Storm {
            rounds: 3,
            established_share: 0.01,
            cut: Cut::Reset,
            credential: Credential::ResumeToken,
            tls_resumption: true,
            heeds_delay: true,
            arriving_max: 1024,
            calm: Duration::from_secs(5),
            timeout: Duration::from_secs(120),
        }
    }
}

impl Storm {
    pub(crate) fn problems(&self, users: u32) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new("storm", field, reason));
            }
        };
        wrong(self.rounds == 0, "rounds", "at least 1");
        let drops = (0.0..1.0).contains(&self.established_share) && self.established(users) < users;
        wrong(!drops, "established_share", "0 or more, and somebody is to be dropped");
        wrong(self.arriving_max == 0, "arriving_max", "at least 1");
        problems
    }

    /// The users who are spared: the first ones.
    pub(crate) fn established(&self, users: u32) -> u32 {
        2 * (f64::from(users / 2) * self.established_share).ceil() as u32
    }

    /// Longer than all rounds together can take.
    pub(crate) fn takes_at_most(&self) -> Duration {
        (self.timeout + self.calm + lead::COLLECT_TIMEOUT) * self.rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pairs_are_spared_and_never_all() {
        let storm = |share| Storm { established_share: share, ..Storm::default() };
        assert_eq!(storm(0.01).established(100_000), 1000);
        assert_eq!(storm(0.01).established(10), 2);
        assert_eq!(storm(0.0).established(10), 0);
        assert!(storm(0.5).problems(4).is_empty());
        assert!(storm(0.5).problems(2).len() == 1 && storm(1.0).problems(100).len() == 1);
        assert!(storm(f64::NAN).problems(100).len() == 1);
    }
}
