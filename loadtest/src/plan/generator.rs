//! The harness itself: where on this machine it runs.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;
use crate::generators::threads_for;
use crate::problem::Problem;

/// The section of a file.
pub(crate) const SECTION: &str = "generator";

/// The threads that generate load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorArguments {
    /// Threads that generate load [default: as many as the limit of descriptors demands].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Processors for them.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    pub client_cpu: Vec<usize>,
}

impl GeneratorArguments {
    /// Everything that makes no sense.
    pub fn problems(&self) -> Vec<Problem> {
        let none =
            (self.threads == Some(0)).then(|| Problem::new(SECTION, "threads", "at least 1"));
        none.into_iter().collect()
    }

    /// Threads for so many connections.
    pub(crate) fn threads(&self, connections: u32) -> Result<usize, LoadtestError> {
        self.threads.map_or_else(|| threads_for(connections), Ok)
    }
}
