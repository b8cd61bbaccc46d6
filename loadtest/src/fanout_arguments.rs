//! The options of `dunlin-loadtest fanout`.

use std::time::Duration;

use clap::Args;
use dunlin_loadtest::chat::{Load, MessageKind, Rate};
use dunlin_loadtest::fanout::FanoutScenario;
use dunlin_loadtest::plan::{GeneratorArguments, OutputArguments, ServerArguments};
use dunlin_loadtest::target::Target;
use dunlin_loadtest::{LoadtestError, threads_for};

#[derive(Debug, Args)]
pub(crate) struct FanoutArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    generator: GeneratorArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// New connections per second, at most.
    #[arg(long, value_name = "RATE", default_value_t = 5000)]
    connect_rate: u32,
    /// How long it may take until all users are logged in.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
    gather_timeout: Duration,
    /// Users who write, each on one connection.
    #[arg(long, default_value_t = 1)]
    senders: u32,
    /// Conversations of each of them, with a user each; messages go to them in turn.
    #[arg(long, value_name = "USERS", default_value_t = 1)]
    conversations: u32,
    /// Devices of each of those users, with a connection each. A server that runs already must
    /// allow so many (devices.sessions_per_kind, devices.sessions_max: 1000 at most).
    #[arg(long, default_value_t = 8)]
    pub(crate) devices: u32,
    /// Open load: messages per second of all senders together.
    #[arg(long, value_name = "RATE", default_value_t = Rate::constant(100.0))]
    rate: Rate,
    /// Closed load instead: messages of each sender that have not reached all devices.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "rate")]
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
}

impl FanoutArguments {
    pub(crate) fn scenario(&self, target: Target) -> Result<FanoutScenario, LoadtestError> {
        let mut scenario = FanoutScenario::new(target);
        scenario.senders = self.senders;
        scenario.conversations = self.conversations;
        scenario.devices = self.devices;
        scenario.threads = match self.generator.threads {
            Some(threads) => threads,
            None => threads_for(scenario.check()?)?,
        };
        scenario.processors.clone_from(&self.generator.client_cpu);
        scenario.message = match (self.signals, self.quiet_signals) {
            (false, false) => MessageKind::Durable,
            (true, _) => MessageKind::Signal,
            (false, true) => MessageKind::QuietSignal,
        };
        scenario.content_bytes = self.content_bytes;
        scenario.load = match self.outstanding {
            Some(outstanding) => Load::Closed { outstanding },
            None => Load::Open { messages_per_second: self.rate.clone() },
        };
        scenario.warm_up = self.warm_up;
        scenario.duration = self.duration;
        scenario.connects_per_second = self.connect_rate;
        scenario.gather_timeout = self.gather_timeout;
        scenario.drain_timeout = self.drain_timeout;
        scenario.check()?;
        Ok(scenario)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds are expected".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
