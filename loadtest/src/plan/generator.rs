//! The harness itself: where on this machine it runs.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;
use crate::generators::{self, threads_for};
use crate::problem::Problem;
use crate::process;
use crate::remote::{Generators, check_secret};

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
    /// Other processes that make the load instead, on this machine or others, each started by
    /// `dunlin-loadtest generate`.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub generators: Vec<String>,
    /// File with the secret that they share with this process.
    #[arg(long, value_name = "FILE")]
    pub generators_secret_file: Option<PathBuf>,
}

impl GeneratorArguments {
    /// Everything that makes no sense.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        wrong(self.threads == Some(0), "threads", "at least 1");
        let elsewhere = !self.generators.is_empty();
        let secret = self.generators_secret_file.is_some();
        let needed = "generators_secret_file";
        wrong(elsewhere && !secret, needed, "generators take orders from those who know a secret");
        wrong(!elsewhere && secret, needed, "only with generators");
        let own = "each generator has its own: an option of `generate`";
        wrong(elsewhere && self.threads.is_some(), "threads", own);
        wrong(elsewhere && !self.client_cpu.is_empty(), "client_cpu", own);
        problems
    }

    /// What this machine lacks for a run of so many connections.
    pub(crate) fn missing(&self, connections: u32) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(file) = &self.generators_secret_file
            && let Err(error) = check_secret(file)
        {
            let reason = error.to_string();
            problems.push(Problem::new(SECTION, "generators_secret_file", reason));
        }
        if let Some(reason) = no_processor(&self.client_cpu) {
            problems.push(Problem::new(SECTION, "client_cpu", reason));
        }
        if let Some(threads @ 1..) = self.threads
            && let Some(reason) = generators::too_few_threads(connections, threads)
        {
            problems.push(Problem::new(SECTION, "threads", reason));
        }
        problems
    }

    /// Where the load is made, if not here.
    pub fn elsewhere(&self) -> Option<Generators> {
        let secret_file = self.generators_secret_file.clone()?;
        Some(Generators { addresses: self.generators.clone(), secret_file })
    }

    /// Threads for so many connections.
    pub(crate) fn threads(&self, connections: u32) -> Result<usize, LoadtestError> {
        self.threads.map_or_else(|| threads_for(connections), Ok)
    }
}

/// Why threads could not run on these processors.
pub(crate) fn no_processor(processors: &[usize]) -> Option<String> {
    let missing = processors.iter().find(|&&processor| !process::has_processor(processor))?;
    Some(format!("this process may not use processor {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_need_a_secret_and_have_threads_of_their_own() {
        let fields = |problems: Vec<Problem>| -> Vec<_> {
            problems.into_iter().map(|problem| problem.field.into_owned()).collect()
        };
        let mut arguments = GeneratorArguments {
            generators: vec!["there:1".to_owned()],
            threads: Some(2),
            ..GeneratorArguments::default()
        };
        assert_eq!(fields(arguments.problems()), ["generators_secret_file", "threads"]);
        arguments.generators_secret_file = Some("secret".into());
        arguments.threads = None;
        assert_eq!(fields(arguments.problems()), [""; 0]);
        arguments.generators.clear();
        assert_eq!(fields(arguments.problems()), ["generators_secret_file"]);
    }
}
