//! The queues of a worker, and how it is woken wherever it runs.

use std::sync::Arc;

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
}

impl<T> std::fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Mailbox<T> {
        Mailbox { queue: self.queue.clone(), host: self.host.clone() }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new(queue: Sender<T>, host: Option<Arc<dyn Wake>>) -> Mailbox<T> {
        Mailbox { queue, host }
    }

    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.queue.send(item).inspect(|()| self.wake())
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
