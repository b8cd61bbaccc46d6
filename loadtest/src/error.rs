//! Why a run did not take place.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::problem::Problems;
use crate::remote::LinkError;
use crate::shortage::shortage;
use crate::verdict::Verdict;

/// The exit code of wrong usage.
const USAGE: u8 = 2;

/// A scenario that can't be run, or a harness that can't run it. Faults of the server are no
/// errors: they are in the report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadtestError {
    /// A value of the scenario makes no sense.
    #[error("{field}: {reason}")]
    Scenario {
        /// The field or option.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Values of the scenario that make no sense: all of them.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// The operating system refused something that the harness needs.
    #[error("{what}: {source}")]
    Machine {
        /// What the harness wanted.
        what: &'static str,
        /// What it got.
        source: io::Error,
    },
    /// The server under test is not to be reached, or none that could be tested.
    #[error("{address}: {reason}")]
    Target {
        /// Where it was to be found.
        address: String,
        /// What was found there.
        reason: String,
    },
    /// The server under test could not be started.
    #[error("the server did not start: {0}")]
    Server(String),
    /// Another process of the harness is of no use, or lost.
    #[error("generator {address}: {source}")]
    Generator {
        /// Where it was to be found.
        address: String,
        /// Why it is of no use.
        source: LinkError,
    },
    /// A thread of the harness panicked.
    #[error("a generator thread panicked")]
    Panicked,
}

impl LoadtestError {
    /// That of a machine that lacks what the run needs, of a harness that lost a part of itself, or
    /// of wrong usage.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            LoadtestError::Machine { source, .. } if shortage(source).is_some() => {
                Verdict::MachineFailure.exit_code()
            }
            LoadtestError::Generator { .. } => Verdict::HarnessInvalid.exit_code(),
            LoadtestError::Machine { .. }
            | LoadtestError::Scenario { .. }
            | LoadtestError::Problems(_)
            | LoadtestError::Target { .. }
            | LoadtestError::Server(_)
            | LoadtestError::Panicked => ExitCode::from(USAGE),
        }
    }

    /// For `map_err`.
    pub fn machine(what: &'static str) -> impl FnOnce(io::Error) -> LoadtestError {
        move |source| LoadtestError::Machine { what, source }
    }
}
