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
