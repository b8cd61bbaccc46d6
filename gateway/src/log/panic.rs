//! The last words of a thread.
//!
//! The hook of the standard library writes to standard error itself: on a pipe that nobody reads, a
//! thread that should have ended the process would wait in it for ever, with its shard.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::Level;

use super::Shared;
use super::line::{Format, Line};
use super::writer::TARGET;

/// How long a thread that panics waits for locks of the log: it may hold one of them itself.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);

/// Puts a line about a panic into the queue; false if that can't be.
pub(super) fn tell(shared: &Shared, info: &PanicHookInfo<'_>) -> bool {
    let settings = shared.settings.try_read_for(LOCK_PATIENCE);
    let mut line = Line::new(settings.map_or(Format::Json, |settings| settings.format));
    line.message("a thread panicked");
    line.text("thread", std::thread::current().name().unwrap_or("?"));
    line.text("panic", info.payload_as_str().unwrap_or("?"));
    if let Some(location) = info.location() {
        line.text("location", &location.to_string());
    }
    let way = Backtrace::capture();
    if way.status() == BacktraceStatus::Captured {
        line.long_text("backtrace", &way.to_string());
    }
    let line = line.finish(Level::ERROR, TARGET);
    shared.queue.push_at_last(line.as_bytes(), LOCK_PATIENCE)
}
