//! The command line of `dunlin-loadtest`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dunlin_loadtest::plan::{self, Plan};
use dunlin_loadtest::{LoadtestError, compare, doctor};

/// Puts load on a Dunlin server, and audits every message.
///
/// Exit codes: 0 all is well; 1 the server broke its promise, or a threshold was not kept; 2 wrong
/// usage, or no server that could be tested; 3 the harness was too slow for its figures to mean
/// anything, or lost one of its generators; 4 this machine can't do it: it lacks descriptors, ports,
/// memory or a way to the server, or the doctor found that it would; 5 it was interrupted, and all was
/// well until then.
#[derive(Debug, Parser)]
#[command(name = "dunlin-loadtest", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Plan(Box<Plan>),
    /// Run the scenario of a file.
    Run(FileArguments),
    /// Say everything that is wrong with the scenarios of files, without running them.
    Check(FileArguments),
    /// Make load for a coordinator (a scenario with --generators), and then for the next one.
    Generate(GenerateArguments),
    /// Say whether this machine is fit for many connections, and how to mend what is not.
    Doctor(DoctorArguments),
    /// Make a page for people of a report in JSON.
    Render(RenderArguments),
    /// Say what is better and what is worse in the second of two reports in JSON.
    ///
    /// Exit codes: 0 nothing is worse; 1 something is worse by more than --worse-than and by more than
    /// noise, or the second run is a product failure and the first one is not; 2 the reports can't be
    /// compared; 3 figures of one of them prove nothing (invalid, of a machine that failed, or
    /// interrupted).
    Compare(CompareArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// What --json wrote: the report to compare with.
    #[arg(value_name = "A.json")]
    pub(crate) a: PathBuf,
    /// The report of the same scenario that is better or worse.
    #[arg(value_name = "B.json")]
    pub(crate) b: PathBuf,
    /// What counts as worse: 1.05 is by a twentieth.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.05)]
    worse_than: f64,
    /// Look only at figures that begin like this; may be repeated. For example "latency.acknowledge".
    #[arg(long, value_name = "FIGURE")]
    only: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl CompareArguments {
    pub(crate) fn options(&self) -> Result<compare::Options, LoadtestError> {
        if !self.worse_than.is_finite() || self.worse_than < 1.0 {
            let reason = "a factor of 1 or more is expected".to_owned();
            return Err(LoadtestError::Scenario { field: "--worse-than", reason });
        }
        Ok(compare::Options { worse_than: self.worse_than, only: self.only.clone() })
    }
}

#[derive(Debug, Args)]
pub(crate) struct RenderArguments {
    /// What --json wrote.
    pub(crate) report: PathBuf,
    /// Where the page goes [default: beside the report, as .html].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Scenarios in files.
#[derive(Debug, Args)]
pub(crate) struct FileArguments {
    /// TOML files; several are run one after the other.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// HS256 secret in base64 of the issuer that the server trusts.
    #[arg(long, value_name = "BASE64", env = "DUNLIN_LOADTEST_ISSUER_KEY", hide_env_values = true)]
    issuer_key: Option<String>,
}

impl FileArguments {
    /// Everything that is wrong with one of the files, or missing for it.
    pub(crate) fn check(&self, file: &std::path::Path) -> Result<(), LoadtestError> {
        plan::check(file, self.issuer_key.as_deref())
    }

    /// Reads one of the files.
    pub(crate) fn read(&self, file: &std::path::Path) -> Result<Plan, LoadtestError> {
        let mut plan = plan::read(file)?;
        plan.server_mut().issuer_key.clone_from(&self.issuer_key);
        Ok(plan)
    }
}

/// A process that makes load for others.
#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// Where to wait for a coordinator.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// File with a secret of at least 16 bytes; only a coordinator that knows it is obeyed.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: PathBuf,
    /// Threads that generate load [default: as many as the limit of descriptors demands].
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Processors for them.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    pub(crate) client_cpu: Vec<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Connections of the run.
    #[arg(long)]
    connections: NonZeroU32,
    /// They speak TLS.
    #[arg(long)]
    tls: bool,
    /// Where the server is; by default it shares this machine.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7410")]
    address: SocketAddr,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl DoctorArguments {
    pub(crate) fn plan(&self) -> doctor::Plan {
        doctor::Plan { connections: self.connections.get(), tls: self.tls, address: self.address }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_are_the_fields_of_files_and_the_defaults_are_the_same() {
        let parse = |words: &str| match Arguments::try_parse_from(words.split(' ')) {
            Ok(Arguments { command: Command::Plan(plan) }) => *plan,
            other => panic!("{other:?}"),
        };
        let chat = parse("loadtest chat --address 127.0.0.1:1 --rate-per-s 5 --message signal");
        let text = "scenario = 'chat'\nserver.address = '127.0.0.1:1'\n[chat]\nrate_per_s = 5\n\
                    message = 'signal'";
        assert_eq!(chat, plan::parse(text).unwrap());
        let fanout = parse("loadtest fanout --address 127.0.0.1:1 --devices 20 --outstanding 3");
        let text = "scenario = 'fanout'\nserver.address = '127.0.0.1:1'\n[fanout]\ndevices = 20\n\
                    outstanding = 3";
        assert_eq!(fanout, plan::parse(text).unwrap());
        let idle = parse("loadtest idle --spawn dunlin --server-cpu 0,1 --hold-s 0.5");
        let text = "scenario = 'idle'\nserver.spawn = 'dunlin'\nserver.server_cpu = [0, 1]\n\
                    idle.hold_s = 0.5";
        assert_eq!(idle, plan::parse(text).unwrap());
    }
}
