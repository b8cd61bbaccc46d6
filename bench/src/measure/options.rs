//! What all measurements take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_loadtest::chat::{ChatScenario, MessageKind};
use dunlin_loadtest::fanout::FanoutScenario;
use dunlin_loadtest::target::Target;

/// Options of every measurement.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Measure this dunlin instead of the one that is built into this program.
    #[arg(long, value_name = "PROGRAM")]
    pub program: Option<PathBuf>,
    /// Processors of the servers.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',', default_value = "0")]
    pub server_cpu: Vec<usize>,
    /// Processors of the generator.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',', default_value = "1")]
    pub client_cpu: Vec<usize>,
    /// A setting of Dunlin; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub server_set: Vec<String>,
    /// How often each measurement is made; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repetitions: u32,
    /// Time before each measured window.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    pub warm_up: Duration,
    /// Each measured window.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3")]
    pub duration: Duration,
    /// Length of each content in bytes; at least 28.
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub content_bytes: usize,
    /// New connections per second, at most.
    #[arg(long, value_name = "RATE", default_value_t = 5000)]
    pub connect_rate: u32,
    /// Write the report as JSON to this file; "-" for standard output, and nothing else there.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Options {
    /// A scenario of so many users, still with the load of [`ChatScenario::new`].
    pub fn scenario(&self, target: Target, users: u32, message: MessageKind) -> ChatScenario {
        let mut scenario = ChatScenario::new(target);
        scenario.users = users;
        scenario.processors.clone_from(&self.client_cpu);
        scenario.message = message.into();
        scenario.content_bytes = self.content_bytes.into();
        scenario.warm_up = self.warm_up;
        scenario.duration = self.duration;
        scenario.connects_per_second = self.connect_rate;
        scenario.gather_timeout = Duration::from_secs(120);
        scenario.drain_timeout = Duration::from_secs(120);
        scenario
    }

    /// The same for a fan-out scenario, which keeps its load.
    pub fn apply_to(&self, scenario: &mut FanoutScenario) {
        scenario.processors.clone_from(&self.client_cpu);
        scenario.content_bytes = self.content_bytes;
        scenario.warm_up = self.warm_up;
        scenario.duration = self.duration;
        scenario.connects_per_second = self.connect_rate;
        scenario.gather_timeout = Duration::from_secs(120);
        scenario.drain_timeout = Duration::from_secs(120);
    }
}

/// Seconds on a command line.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds are expected".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
