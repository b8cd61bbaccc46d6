//! The queues of a worker, and how it is woken wherever it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{SendError, Sender, TrySendError};

/// Wakes the thread that runs a hosted worker.
///
/// It is called after something was put into the worker's queues. The thread must say that it is
/// going to sleep before it asks
/// [`HostedWorker::has_work`](super::hosted::HostedWorker::has_work); then either it finds what was
/// put there, or the call finds that it sleeps.
pub trait Wake: Send + Sync {
    /// Called from any thread, often, and mostly while the thread is awake.
    fn wake(&self);
}

/// The way to a worker, wherever it runs.
pub(crate) struct Mailbox<T> {
    queue: Sender<T>,
    host: Option<Arc<dyn Wake>>,
    /// Memory of those items in the queue whose sender has said how much they take.
    bytes: Arc<AtomicUsize>,
}

impl<T> std::fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Mailbox<T> {
        let Mailbox { queue, host, bytes } = self;
        Mailbox { queue: queue.clone(), host: host.clone(), bytes: Arc::clone(bytes) }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new(queue: Sender<T>, host: Option<Arc<dyn Wake>>) -> Mailbox<T> {
        Mailbox { queue, host, bytes: Arc::default() }
    }

    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.queue.send(item).inspect(|()| self.wake())
    }

    /// Sends something that takes so many bytes until it is [taken](Mailbox::taken).
    pub(crate) fn send_heavy(&self, item: T, bytes: usize) -> Result<(), SendError<T>> {
        // Before it can be taken out.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.send(item).inspect_err(|_| self.taken(bytes))
    }

    /// What takes so many bytes was taken out.
    pub(crate) fn taken(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Memory of what waits, as far as it was said.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.queue.try_send(item).inspect(|()| self.wake())
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// A thread that waits in the queue itself is woken by the queue.
    fn wake(&self) {
        if let Some(host) = &self.host {
            host.wake();
        }
    }
}
