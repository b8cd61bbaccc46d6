//! Workers on threads of the transport.
//!
//! A worker on a thread of its own costs a wake-up for what comes in and another for what goes out.
//! Where batches are small that is most of a message's price. A transport whose threads are loops
//! can run workers in them instead: a turn after each reading, before each writing.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use parking_lot::Mutex;

use super::driver::Driver;
pub use super::mailbox::Wake;

/// The threads of an engine's workers, to be waited for.
pub(crate) type WorkerThreads = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// A worker that runs where [`turn`](Self::turn) is called. When it is dropped, it goes on on a
/// thread of its own until the engine stops: the other hosts may still need it.
pub struct HostedWorker {
    driver: Option<Driver>,
    threads: WorkerThreads,
}

impl std::fmt::Debug for HostedWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostedWorker")
    }
}

impl HostedWorker {
    pub(crate) fn new(driver: Driver, threads: WorkerThreads) -> HostedWorker {
        HostedWorker { driver: Some(driver), threads }
    }

    /// Handles what waits, up to a bound, and has it carried out. To be called when there
    /// [is work](Self::has_work), and when [its time](Self::next_turn) has come.
    pub fn turn(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.turn();
        }
    }

    /// Whether something waits that a turn would handle now.
    pub fn has_work(&self) -> bool {
        self.driver.as_ref().is_some_and(Driver::has_work)
    }

    /// When a turn is due even if nothing comes.
    pub fn next_turn(&self) -> Instant {
        self.driver.as_ref().map_or_else(Instant::now, Driver::next_turn)
    }
}

impl Drop for HostedWorker {
    fn drop(&mut self) {
        let Some(driver) = self.driver.take() else { return };
        if thread::panicking() {
            // It may have been in the middle of something. Its queues close, and who asks is told.
            return;
        }
        match driver.start_thread() {
            Ok(thread) => self.threads.lock().push(thread),
            Err(error) => tracing::error!(%error, "a worker has lost its host and got no thread"),
        }
    }
}
