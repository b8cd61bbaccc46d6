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

use std::time::Duration;

use serde::Serialize;

use crate::problem::Problem;

/// Who stalls, and for how long.
#[derive(Debug, Clone, Serialize)]
pub struct Slow {
    /// Share of the pairs that send, above 0; rounded up to whole pairs.
    pub share: f64,
    /// How long nothing is read.
    pub stall: Duration,
    /// How long all is read between two stalls.
    pub between: Duration,
    /// Receive buffers of those who stall: what the kernel takes in, the server does not notice.
    pub receive_buffer_bytes: usize,
}

impl Default for Slow {
    fn default() -> Slow {
        Slow {
            share: 0.1,
            stall: Duration::from_secs(3),
            between: Duration::from_secs(3),
            receive_buffer_bytes: 64 * 1024,
        }
    }
}

impl Slow {
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new("slow", field, reason));
            }
        };
        wrong(!(self.share > 0.0 && self.share <= 1.0), "share", "above 0 and up to 1");
        wrong(self.stall.is_zero(), "stall", "more than 0");
        problems
    }
}
