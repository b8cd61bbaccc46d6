//! How fast a crowd sends.

use serde::Serialize;

use crate::crowd::Rate;

/// How fast they send.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// So many messages and requests per second from all users together, evenly.
    Open {
        /// Messages per second; during the warm-up, the first rate.
        messages_per_second: Rate,
    },
    /// Each user keeps so many messages unanswered.
    Closed {
        /// Messages of one user.
        outstanding: u32,
    },
}

impl Load {
    /// The fields by which parameters say it: a rate per second, or a number of outstanding messages.
    pub(crate) fn fields(&self) -> (Option<Rate>, Option<u32>) {
        match self {
            Load::Open { messages_per_second } => (Some(messages_per_second.clone()), None),
            Load::Closed { outstanding } => (None, Some(*outstanding)),
        }
    }

    /// What makes no sense of these fields goes to `wrong`, with the name of the field.
    pub(crate) fn check(
        rate_per_s: Option<&Rate>,
        outstanding: Option<u32>,
        wrong: &mut impl FnMut(bool, &'static str, &str),
    ) {
        let problem = rate_per_s.and_then(Rate::problem);
        wrong(problem.is_some(), "rate_per_s", problem.unwrap_or_default());
        wrong(outstanding == Some(0), "outstanding", "at least 1");
        let is_both = rate_per_s.is_some() && outstanding.is_some();
        wrong(is_both, "outstanding", "a load is either open (rate_per_s) or closed (outstanding)");
    }
}
