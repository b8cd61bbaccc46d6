//! Logs go to standard error: lines for people on a terminal, one JSON object per line otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// Starts logging. An error names what is wrong with `log.level`.
pub(crate) fn start(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| error.to_string())?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let started = if human { builder.try_init() } else { builder.json().try_init() };
    started.map_err(|error| error.to_string())
}

/// Checks `log.level` without starting anything.
pub(crate) fn check(log: &Log) -> Result<(), String> {
    EnvFilter::try_new(&log.level).map(|_| ()).map_err(|error| error.to_string())
}
