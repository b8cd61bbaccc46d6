//! The log: lines to standard error that can neither stop nor end the server.
//!
//! ```text
//!  any thread    event ─► levels ─► limit of its kind ─► line ─► queue, bounded in bytes
//!                      a disabled one ends here,                   │ full: dropped, counted
//!                      after an atomic load                        ▼
//!  thread `log`                                       write to standard error, for ever if need be;
//!                                                     what fails is counted
//! ```
//!
//! Standard error may be a pipe that nobody reads, a disk that is full, a terminal that is gone. Only
//! the thread `log` finds out. It is started by the main thread before there are shards, so it has the
//! descriptor table of the process; and it writes to the descriptor itself, since the lock of
//! [`std::io::stderr`] would let a thread that waits hold up all others that want to print.
//!
//! - [`levels`]: which events are logged at all
//! - [`limit`]: how often a kind of line is
//! - [`line`](mod@line): what a line looks like
//! - [`layer`]: from an event to the queue
//! - [`queue`], [`writer`], [`outlet`]: from the queue to the descriptor
//! - [`opening`], [`panic`]: the first line, and last ones
//! - [`names`]: what reasons and codes are called; [`mod@counters`]: what became of lines

mod counters;
mod layer;
mod levels;
mod limit;
mod line;
pub(crate) mod names;
mod opening;
mod outlet;
mod panic;
mod queue;
mod writer;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{self, Config, LogFormat};
pub(crate) use counters::Counters;
use counters::Counting;
use layer::LogLayer;
use levels::Levels;
use limit::Limits;
use line::{Format, Line};
pub(crate) use opening::COMMIT;
use outlet::Outlet;
pub(crate) use queue::QUEUE_BYTES_MAX;
use queue::{Queue, Room};
use writer::{TARGET, Writer};

/// How long the end of the program, or of a thread by a panic, waits for what was logged to be written.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// The thread that writes.
const THREAD: &str = "log";

/// Of the process, from [`start`] on.
static LOG: OnceLock<Arc<Shared>> = OnceLock::new();

/// What those who log and the writer share.
#[derive(Debug)]
struct Shared {
    settings: RwLock<Settings>,
    limits: Limits,
    queue: Queue,
    counters: Counting,
}

/// What can be changed while it runs.
#[derive(Debug)]
struct Settings {
    levels: Levels,
    format: Format,
}

impl Settings {
    fn new(log: &config::Log) -> Result<Settings, String> {
        let terminal = std::io::stderr().is_terminal();
        let human = match log.format {
            LogFormat::Human => true,
            LogFormat::Json => false,
            LogFormat::Auto => terminal,
        };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colors = terminal && !plain;
        let format = if human { Format::Human { colors } } else { Format::Json };
        Ok(Settings { levels: log.level.parse()?, format })
    }
}

impl Shared {
    fn new(settings: Settings) -> Shared {
        Shared {
            settings: RwLock::new(settings),
            limits: Limits::default(),
            queue: Queue::default(),
            counters: Counting::default(),
        }
    }

    fn counted(&self) -> Counters {
        self.counters.snapshot(self.queue.bytes())
    }
}

/// Checks `log.level` without starting anything. An error names what is wrong with it.
pub(crate) fn check(log: &config::Log) -> Result<(), String> {
    log.level.parse::<Levels>().map(drop)
}

/// Starts logging. Called by the main thread, before there are others.
pub(crate) fn start(log: &config::Log) -> Result<(), String> {
    let shared = Arc::new(Shared::new(Settings::new(log)?));
    let of_writer = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name(THREAD.into());
    let started = thread.spawn(move || {
        be_spared_by_the_descriptor();
        let stderr = std::io::stderr();
        Writer::new(of_writer, Outlet::new(stderr.as_fd())).run();
    });
    started.map_err(|error| format!("no thread for the log: {error}"))?;
    let subscriber = tracing_subscriber::registry().with(LogLayer::new(Arc::clone(&shared)));
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    let of_hook = Arc::clone(&shared);
    std::panic::set_hook(Box::new(move |info| {
        if panic::tell(&of_hook, info) && std::thread::current().name() != Some(THREAD) {
            // With panic = "abort" nobody is there any more when this returns.
            of_hook.queue.wait_until_idle(LAST_PATIENCE);
        }
    }));
    LOG.set(shared).map_err(|_| "the log was started before".to_owned())
}

/// A write may also fail by a signal, which would end or stop the whole process: a file that has reached
/// the limit of its size (SIGXFSZ), a terminal that belongs to another job (SIGTTOU). A thread that
/// blocks them gets an error, or writes.
pub(crate) fn be_spared_by_the_descriptor() {
    if let Err(error) = crate::sys::block_signals() {
        tracing::debug!(%error, "signals can't be blocked");
    }
}

/// Logs what starts here, as the first line.
pub(crate) fn open(config: &Config) {
    let Some(shared) = LOG.get() else { return };
    let settings = shared.settings.read();
    if settings.levels.allow_info_of(TARGET) {
        let line = opening::opening(Line::new(settings.format), config);
        shared.queue.push(line.as_bytes(), Room::Whole);
    }
}

/// Takes level and format from a configuration that was read again and is good.
pub(crate) fn reload(log: &config::Log) -> Result<(), String> {
    let settings = Settings::new(log)?;
    if let Some(shared) = LOG.get() {
        *shared.settings.write() = settings;
        // Each place in the code knows whether it is enabled: let it ask again.
        tracing::callsite::rebuild_interest_cache();
    }
    Ok(())
}

/// Takes another level until the configuration is read again, or the program ends. An error names what is
/// wrong with it.
pub(crate) fn set_level(level: &str) -> Result<(), String> {
    let levels = level.parse()?;
    if let Some(shared) = LOG.get() {
        shared.settings.write().levels = levels;
        tracing::callsite::rebuild_interest_cache();
    }
    Ok(())
}

/// Says why the program ends, in one plain line that is no line of the log.
pub(crate) fn last_words(text: &str) {
    match LOG.get() {
        Some(shared) => {
            shared.queue.push(format!("{text}\n").as_bytes(), Room::Whole);
        }
        // There is no other thread to wait for it. Who does not want to know, will not.
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// Waits until everything is written, though not for long: the program ends, whether or not anybody
/// reads what it says.
pub(crate) fn finish() {
    if let Some(shared) = LOG.get() {
        shared.queue.report_by(Instant::now());
        shared.queue.wait_until_idle(LAST_PATIENCE);
    }
}

/// What was counted since the start; nothing in a process that does not log.
pub(crate) fn counters() -> Counters {
    LOG.get().map(|shared| shared.counted()).unwrap_or_default()
}
