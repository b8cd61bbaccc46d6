//! The command line of `dunlin-loadtest`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Parser, Subcommand};
use dunlin_loadtest::chat::{ChatScenario, Load, MessageKind};
use dunlin_loadtest::doctor::Plan;
use dunlin_loadtest::idle::IdleScenario;
use dunlin_loadtest::net::Trust;
use dunlin_loadtest::spawn::ISSUER;
use dunlin_loadtest::target::{Service, Target};
use dunlin_loadtest::token::Issuer;
use dunlin_loadtest::{LoadtestError, threads_for};

/// Puts load on a Dunlin server, and audits every message.
///
/// Exit codes: 0 all is well; 1 the server broke its promise; 2 wrong usage, or the scenario can't
/// be run on this machine; 3 the harness was too slow for its figures to mean anything; 4 the doctor
/// found a limit that blocks the run.
#[derive(Debug, Parser)]
#[command(name = "dunlin-loadtest", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Users in pairs who write to each other.
    Chat(ChatArguments),
    /// Users who log in and say nothing but that they are there.
    Idle(IdleArguments),
    /// Whether this machine is fit for many connections, and how to mend what is not.
    Doctor(DoctorArguments),
}

/// The server under test.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// Where a running server listens.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "spawn")]
    address: Option<SocketAddr>,
    /// Start this program (dunlin) with an empty data folder for the run.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "address")]
    pub(crate) spawn: Option<PathBuf>,
    /// Processors for the started server.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',', requires = "spawn")]
    pub(crate) server_cpu: Vec<usize>,
    /// A setting for the started server; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE", requires = "spawn")]
    pub(crate) server_set: Vec<String>,
    /// Process of a running server on this machine, to report its memory and processor time.
    #[arg(long, value_name = "PID", conflicts_with = "spawn")]
    server_pid: Option<u32>,
    /// Connect with TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    /// PEM file of whom to trust; without it any certificate is accepted.
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "spawn")]
    tls_authority: Option<PathBuf>,
    /// Name of the issuer that the server trusts ("iss").
    #[arg(long, value_name = "NAME", default_value = ISSUER)]
    issuer: String,
    /// Its HS256 secret in base64.
    #[arg(long, value_name = "BASE64", env = "DUNLIN_LOADTEST_ISSUER_KEY", hide_env_values = true)]
    issuer_key: Option<String>,
    /// A file with the same.
    #[arg(long, value_name = "FILE", conflicts_with = "issuer_key")]
    issuer_key_file: Option<PathBuf>,
}

impl ServerArguments {
    /// A server that runs already.
    pub(crate) fn target(&self) -> Result<Target, LoadtestError> {
        let wrong =
            |field, reason: &str| LoadtestError::Scenario { field, reason: reason.to_owned() };
        let address = self.address.ok_or_else(|| wrong("--address", "is needed"))?;
        let text = match (&self.issuer_key, &self.issuer_key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(LoadtestError::machine("reading the issuer's key"))?,
            (None, None) => return Err(wrong("--issuer-key", "users log in by an issuer's token")),
        };
        let secret = BASE64_STANDARD
            .decode(text.trim())
            .map_err(|error| wrong("--issuer-key", &error.to_string()))?;
        let trust = self.tls_authority.clone().map_or(Trust::Insecure, Trust::PemFile);
        Ok(Target {
            address,
            tls: self.tls.then_some(trust),
            service: Service::Dunlin(Issuer::new(&self.issuer, &secret)),
            pid: self.server_pid,
        })
    }
}

/// The harness itself.
#[derive(Debug, Args)]
struct HarnessArguments {
    /// Threads that generate load [default: as many as the limit of descriptors demands].
    #[arg(long)]
    threads: Option<usize>,
    /// Processors for them.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    client_cpu: Vec<usize>,
    /// New connections per second, at most.
    #[arg(long, value_name = "RATE", default_value_t = 5000)]
    connect_rate: u32,
    /// How long it may take until all users are logged in.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
    gather_timeout: Duration,
}

impl HarnessArguments {
    fn threads(&self, connections: u32) -> Result<usize, LoadtestError> {
        self.threads.map_or_else(|| threads_for(connections), Ok)
    }
}

/// What comes out.
#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Write the report as JSON to this file; "-" for standard output, and nothing else there.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No lines of progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    harness: HarnessArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// Users, an even number.
    #[arg(long, default_value_t = 100)]
    users: u32,
    /// Open load: messages per second of all users together.
    #[arg(long, value_name = "RATE", conflicts_with = "outstanding")]
    rate: Option<f64>,
    /// Closed load: unanswered messages of each user [default: 1, without --rate].
    #[arg(long, value_name = "MESSAGES")]
    outstanding: Option<u32>,
    /// Send signals, which are answered but not stored.
    #[arg(long)]
    signals: bool,
    /// Send signals that are not even answered.
    #[arg(long, conflicts_with = "signals")]
    quiet_signals: bool,
    /// Length of each content in bytes; at least 28.
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    content_bytes: usize,
    /// Time before the measured window.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "2")]
    warm_up: Duration,
    /// The measured window.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    duration: Duration,
    /// How long the server may take afterwards to answer and deliver everything.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    drain_timeout: Duration,
    /// Connections may end and are made anew: the server will be killed and started again.
    #[arg(long)]
    reconnect: bool,
}

impl ChatArguments {
    pub(crate) fn scenario(&self, target: Target) -> Result<ChatScenario, LoadtestError> {
        let mut scenario = ChatScenario::new(target);
        scenario.users = self.users;
        scenario.threads = self.harness.threads(self.users)?;
        scenario.processors.clone_from(&self.harness.client_cpu);
        scenario.message = match (self.signals, self.quiet_signals) {
            (false, false) => MessageKind::Durable,
            (true, _) => MessageKind::Signal,
            (false, true) => MessageKind::QuietSignal,
        };
        scenario.content_bytes = self.content_bytes;
        scenario.load = match self.rate {
            Some(messages_per_second) => Load::Open { messages_per_second },
            None => Load::Closed { outstanding: self.outstanding.unwrap_or(1) },
        };
        scenario.warm_up = self.warm_up;
        scenario.duration = self.duration;
        scenario.connects_per_second = self.harness.connect_rate;
        scenario.gather_timeout = self.harness.gather_timeout;
        scenario.drain_timeout = self.drain_timeout;
        scenario.reconnect = self.reconnect;
        scenario.check()?;
        Ok(scenario)
    }
}

#[derive(Debug, Args)]
pub(crate) struct IdleArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    harness: HarnessArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// Connections, each with a user of its own.
    #[arg(long, default_value_t = 1000)]
    connections: u32,
    /// How long all are held.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    hold: Duration,
    /// A heartbeat of each connection this often [default: half of what the server asks for].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    heartbeat: Option<Duration>,
    /// Call the users PREFIX-0 and so on, and find them again in the next run.
    #[arg(long, value_name = "PREFIX")]
    user_prefix: Option<String>,
}

impl IdleArguments {
    pub(crate) fn scenario(&self, target: Target) -> Result<IdleScenario, LoadtestError> {
        let mut scenario = IdleScenario::new(target, self.connections);
        scenario.threads = self.harness.threads(self.connections)?;
        scenario.processors.clone_from(&self.harness.client_cpu);
        scenario.connects_per_second = self.harness.connect_rate;
        scenario.gather_timeout = self.harness.gather_timeout;
        scenario.hold = self.hold;
        scenario.heartbeat_interval = self.heartbeat;
        scenario.user_prefix.clone_from(&self.user_prefix);
        Ok(scenario)
    }
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
    pub(crate) fn plan(&self) -> Plan {
        Plan { connections: self.connections.get(), tls: self.tls, address: self.address }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds are expected".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
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
    fn a_load_is_open_or_closed_and_a_server_is_named_or_started() {
        let parse = |words: &str| Arguments::try_parse_from(words.split(' '));
        let address = "loadtest chat --address 127.0.0.1:1 --issuer-key AAAA";
        assert!(parse(&format!("{address} --rate 5")).is_ok());
        assert!(parse(&format!("{address} --rate 5 --outstanding 2")).is_err());
        assert!(parse("loadtest chat --rate 5").is_err());
        assert!(parse(&format!("{address} --spawn dunlin")).is_err());
        assert!(parse(&format!("{address} --duration x")).is_err());
        assert!(parse("loadtest idle --spawn dunlin --server-cpu 0,1 --hold 0.5").is_ok());
    }
}
