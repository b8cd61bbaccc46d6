//! Strangers and users who want to do harm, beside pairs who only want to write to each other. The pairs
//! should notice nothing; and the server should never hold more memory than it says.
//!
//! - `attack`: what an attacker says; `siege`: the thread on which all of them do
//! - `report`: what came of it

mod attack;
mod report;
mod siege;

pub use attack::Attack;
pub use report::HostileReport;
pub(crate) use siege::Siege;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::target::{Service, Target};

/// The section of a file.
pub(crate) const SECTION: &str = "hostile";

/// Attackers beyond this would need more descriptors than most machines give: they share one thread.
const ATTACKERS_MAX: u32 = 20_000;

/// Who attacks, and how.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hostile {
    /// What they do: `begun_frames` (large frames of which the last byte never comes), `unread_pages` (all
    /// pages of history that may be asked for, and none is read), `large_sends` (the largest messages, as
    /// many as the server takes), `many_syncs` (one sync after the other, many at once),
    /// `silent_connections` (a Hello, and nothing else).
    #[arg(long, value_enum, default_value_t = Hostile::default().attack)]
    pub attack: Attack,
    /// Their connections.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = Hostile::default().attackers)]
    pub attackers: u32,
    /// What the server may hold in memory at any time of the attack; more is a failure. 0: anything.
    #[arg(long, value_name = "BYTES", default_value_t = Hostile::default().resident_bytes_max)]
    pub resident_bytes_max: u64,
}

impl Default for Hostile {
    fn default() -> Hostile {
        Hostile { attack: Attack::BegunFrames, attackers: 100, resident_bytes_max: 0 }
    }
}

impl Hostile {
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let is_possible = (1..=ATTACKERS_MAX).contains(&self.attackers);
        let reason = format!("from 1 to {ATTACKERS_MAX}");
        let problem = || Problem::new(SECTION, "attackers", reason);
        (!is_possible).then(problem).into_iter().collect()
    }

    /// What makes no sense against this server.
    pub(crate) fn problems_with(&self, target: &Target) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        wrong(target.tls.is_some(), "attack", "attackers speak plain TCP: leave out --tls");
        let is_dunlin = matches!(target.service, Service::Dunlin(_));
        wrong(!is_dunlin, "attack", "it is meant for a server that knows users");
        let is_unseen = self.resident_bytes_max > 0 && target.pid.is_none();
        wrong(is_unseen, "resident_bytes_max", "the memory of the server is not known here");
        problems
    }
}
