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

use std::time::Duration;

use serde::Serialize;

use crate::chat::Credential;
use crate::problem::Problem;

/// How long users stay and are away.
#[derive(Debug, Clone, Serialize)]
pub struct Churn {
    /// Mean of the times for which a user stays.
    pub stay: Duration,
    /// Mean of those for which it is away.
    pub away: Duration,
    /// Decides all of these times: the same seed, users and threads give the same ones.
    pub seed: u64,
    /// What those who come back log in with.
    pub credential: Credential,
}

impl Default for Churn {
    fn default() -> Churn {
        Churn {
            stay: Duration::from_secs(30),
            away: Duration::from_secs(10),
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
                problems.push(Problem::new("churn", field, reason));
            }
        };
        wrong(self.stay.is_zero(), "stay", "more than 0");
        wrong(self.away.is_zero(), "away", "more than 0");
        problems
    }
}
