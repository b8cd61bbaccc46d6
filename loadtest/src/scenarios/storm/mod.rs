//! Everybody's connection breaks at one moment and all come back at once, some rounds of it, while
//! a few pairs that were spared talk on.
//!
//! ```text
//!  coordinator        Raging ──── all are back ────▶ Calm ──▶ Collecting ──▶ next round, or the end
//!  generator threads  drop, connect, log in, sync     ·        hand over their tallies
//! ```
//!
//! The spared pairs have a generator thread of their own: what they see of the storm is what the
//! server lets them see, not how busy the harness is with all the others. Among generators in other
//! processes, all of them are on the first one.

mod board;
mod lead;
mod remote;
mod report;
mod tally;
mod troop;

pub(crate) use board::Board;
pub use report::{RoundReport, StormReport};
pub(crate) use troop::Troop;

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::scenarios::Credential;
use crate::seconds::Seconds;

/// How a connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Cut {
    /// By a reset, as when a network or a proxy fails.
    Reset,
    /// In good order, as when a program ends.
    Close,
}

/// The section of a file.
pub(crate) const SECTION: &str = "storm";

/// A storm, or several.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storm {
    /// How often everybody is dropped, after the measured window.
    #[arg(long, default_value_t = Storm::default().rounds)]
    pub rounds: u32,
    /// Share of the pairs that are never dropped, from 0 to below 1; they always send. Rounded up to
    /// whole pairs.
    #[arg(long, value_name = "SHARE", default_value_t = Storm::default().established_share)]
    pub established_share: f64,
    /// How the others are dropped.
    #[arg(long, value_enum, default_value_t = Storm::default().cut)]
    pub cut: Cut,
    /// What those who come back log in with.
    #[arg(long, value_enum, default_value_t = Storm::default().credential)]
    pub credential: Credential,
    /// Whether TLS sessions are resumed.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    #[arg(default_value_t = Storm::default().tls_resumption)]
    pub tls_resumption: bool,
    /// Whether those who are turned away wait as long as the server says.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    #[arg(default_value_t = Storm::default().heeds_delay)]
    pub heeds_delay: bool,
    /// Connections that may be on their way at a time, of all users together.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = Storm::default().arriving_max)]
    pub arriving_max: u32,
    /// How long all is calm after each round, for its figures and for memory to be given back.
    #[arg(long, alias = "calm", value_name = "SECONDS", default_value_t = Storm::default().calm_s)]
    pub calm_s: Seconds,
    /// How long a round may take; whoever is not back by then counts as never coming back.
    #[arg(long, alias = "return-timeout", value_name = "SECONDS")]
    #[arg(default_value_t = Storm::default().return_timeout_s)]
    pub return_timeout_s: Seconds,
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
            calm_s: Seconds::new(5),
            return_timeout_s: Seconds::new(120),
        }
    }
}

impl Storm {
    pub(crate) fn problems(&self, users: u32) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
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
        let round = Duration::from(self.return_timeout_s) + Duration::from(self.calm_s);
        (lead::NOTICE_ELSEWHERE + round + lead::COLLECT_TIMEOUT) * self.rounds
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
