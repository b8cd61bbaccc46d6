//! How fast cleaning may go, and when it has to stop.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::wake::Wake;

/// What may be spent at once after a pause.
const BURST: Duration = Duration::from_millis(50);

/// How long it waits at a time: somebody else may have been woken to stop.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// A rate of bytes, read or written.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    stop: &'a AtomicBool,
    wake: &'a Wake,
    bytes_per_second: u64,
    /// Until when what was spent so far is paid for.
    paid_until: Mutex<Instant>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(stop: &'a AtomicBool, wake: &'a Wake, bytes_per_second: u64) -> Pace<'a> {
        Pace { stop, wake, bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may be read or written. An error of the kind `Interrupted` means that
    /// cleaning has to stop.
    pub(super) fn spend(&self, bytes: u64) -> io::Result<()> {
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / self.bytes_per_second.max(1);
        let now = Instant::now();
        let until = {
            let mut paid_until = self.paid_until.lock();
            *paid_until = (*paid_until).max(now) + Duration::from_nanos(nanoseconds);
            *paid_until
        };
        while !self.stop.load(Ordering::Relaxed) {
            let ahead = until.saturating_duration_since(Instant::now());
            if ahead <= BURST {
                return Ok(());
            }
            self.wake.wait(Some(ahead.min(WAIT_MAX)));
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}
