//! Sessions come and go: each user stays for a while and is away for a while, both exponentially
//! distributed, as if nobody knew of anybody else. Who is away does not write; what was written to
//! them meanwhile they find when they come.
//!
//! This is an open load: a user leaves and comes back at the times that were drawn, however long the
//! server took to let it in, and the wait counts from the time when it wanted to come.

mod dice;
mod report;
mod troop;

pub use report::ChurnReport;
pub(crate) use report::Tally;
pub(crate) use troop::Troop;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::scenarios::Credential;
use crate::seconds::Seconds;

/// The section of a file.
pub(crate) const SECTION: &str = "churn";

/// How long users stay and are away.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// Mean of the times for which a user stays.
    #[arg(long, alias = "stay", value_name = "SECONDS", default_value_t = Churn::default().stay_s)]
    pub stay_s: Seconds,
    /// Mean of those for which it is away.
    #[arg(long, alias = "away", value_name = "SECONDS", default_value_t = Churn::default().away_s)]
    pub away_s: Seconds,
    /// Decides all of these times: the same seed gives each user the same ones.
    #[arg(long, default_value_t = Churn::default().seed)]
    pub seed: u64,
    /// What those who come back log in with.
    #[arg(long, value_enum, default_value_t = Churn::default().credential)]
    pub credential: Credential,
}

impl Default for Churn {
    fn default() -> Churn {
        Churn {
            stay_s: Seconds::new(30),
            away_s: Seconds::new(10),
            seed: 1,
            credential: Credential::ResumeToken,
        }
    }
}

impl Churn {
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        wrong(self.stay_s == Seconds::new(0), "stay_s", "more than 0");
        wrong(self.away_s == Seconds::new(0), "away_s", "more than 0");
        problems
    }
}
