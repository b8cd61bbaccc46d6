//! Some readers stop reading from time to time, and then read on. Nobody else should notice; and they
//! should miss nothing, however the server rids itself of what waits for them.
//!
//! Of each stalling pair one user stalls (the second) and the other writes on. Both count as
//! disturbed: a message of somebody who does not read the answers waits in the queue.

mod report;
mod troop;

pub(crate) use report::Tally;
pub use report::{Counts, SlowReport};
pub(crate) use troop::Troop;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::seconds::Seconds;

/// The section of a file.
pub(crate) const SECTION: &str = "slow";

/// Who stalls, and for how long.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slow {
    /// Share of the pairs that send of which one user stops reading from time to time, above 0;
    /// rounded up to whole pairs.
    #[arg(long, value_name = "SHARE", default_value_t = Slow::default().stalling_share)]
    pub stalling_share: f64,
    /// How long nothing is read.
    #[arg(long, alias = "stall", value_name = "SECONDS", default_value_t = Slow::default().stall_s)]
    pub stall_s: Seconds,
    /// How long all is read between two stalls.
    #[arg(long, alias = "between", value_name = "SECONDS")]
    #[arg(default_value_t = Slow::default().between_s)]
    pub between_s: Seconds,
    /// Receive buffers of those who stall: what the kernel takes in, the server does not notice.
    #[arg(long, value_name = "BYTES", default_value_t = Slow::default().receive_buffer_bytes)]
    pub receive_buffer_bytes: usize,
}

impl Default for Slow {
    fn default() -> Slow {
        Slow {
            stalling_share: 0.1,
            stall_s: Seconds::new(3),
            between_s: Seconds::new(3),
            receive_buffer_bytes: 64 * 1024,
        }
    }
}

impl Slow {
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        let is_share = self.stalling_share > 0.0 && self.stalling_share <= 1.0;
        wrong(!is_share, "stalling_share", "above 0 and up to 1");
        wrong(self.stall_s == Seconds::new(0), "stall_s", "more than 0");
        problems
    }
}
