//! What can go wrong between a coordinator and a generator.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why the other side is of no use, or lost.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No connection came about.
    #[error("it can't be reached: {0}")]
    Unreachable(io::Error),
    /// The connection ended with an error.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The other side closed the connection, or has ended.
    #[error("it closed the connection")]
    Closed,
    /// A deadline passed.
    #[error("it did not answer within {seconds} s")]
    Silent {
        /// How long it had.
        seconds: u64,
    },
    /// A length that no message has.
    #[error("it announced a message of {bytes} bytes, where at most {max} are allowed")]
    TooLong {
        /// Announced.
        bytes: usize,
        /// Allowed.
        max: usize,
    },
    /// Bytes that are no message of the link.
    #[error("it said what makes no sense here: {0}")]
    Garbled(#[from] serde_json::Error),
    /// A message that was not sealed by the one who proved to know the secret, or not in its turn.
    #[error("a message was changed or made up on the way")]
    Forged,
    /// Another version of the link.
    #[error("it speaks version {theirs} of the link, this program version {ours}")]
    Version {
        /// Of the other side.
        theirs: u32,
        /// Of this program.
        ours: u32,
    },
    /// It could not prove that it has the secret.
    #[error("its secret is another one")]
    OtherSecret,
    /// It does not want to.
    #[error("it refused: {0}")]
    Refused(Refusal),
    /// It could not do its share.
    #[error("it failed: {0}")]
    Failed(String),
    /// This side is of no use: its secret can't be read, say.
    #[error("{0}")]
    Own(String),
}

/// Why a generator does not take a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The coordinator could not prove that it has the secret.
    #[error("the secrets differ")]
    OtherSecret,
    /// It is at work for another one.
    #[error("it works for another coordinator")]
    Busy,
}
