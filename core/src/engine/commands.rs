//! The queue of commands of a worker, bounded in batches and in bytes: a command may be a few bytes long,
//! or half a megabyte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, TrySendError};

use super::mailbox::{Mailbox, Wake};
use super::submitter::Submitted;
use crate::limits::COMMANDS_BYTES_MAX;

/// What a submitter hands over at once.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) submitted: Vec<Submitted>,
    /// The memory of all of them.
    pub(crate) bytes: usize,
}

impl Batch {
    pub(crate) fn of_one(submitted: Submitted) -> Batch {
        Batch { bytes: submitted.memory(), submitted: vec![submitted] }
    }
}

/// The way in.
#[derive(Debug, Clone)]
pub(crate) struct CommandSender {
    mailbox: Mailbox<Batch>,
    load: Arc<Load>,
}

/// The way out.
#[derive(Debug)]
pub(crate) struct CommandReceiver {
    queue: Receiver<Batch>,
    load: Arc<Load>,
}

/// What a worker has to do.
#[derive(Debug, Default)]
struct Load {
    /// Of the batches that wait.
    bytes: AtomicUsize,
    /// Of the messages that it has taken and that are not durable, as it said last.
    message_bytes: AtomicUsize,
}

/// A queue with room for so many batches.
pub(crate) fn queue(
    batches: usize,
    host: Option<Arc<dyn Wake>>,
) -> (CommandSender, CommandReceiver) {
    let (sender, queue) = crossbeam_channel::bounded(batches);
    let load = Arc::<Load>::default();
    let mailbox = Mailbox::new(sender, host);
    (CommandSender { mailbox, load: Arc::clone(&load) }, CommandReceiver { queue, load })
}

impl CommandSender {
    /// Hands a batch over, if there is room. Two at once may both still find some: it is a bound of memory,
    /// and no exact one. What is larger than the whole room waits until the queue is empty.
    pub(crate) fn try_send(&self, batch: Batch) -> Result<(), TrySendError<Batch>> {
        let (waiting, bytes) = (self.load.bytes.load(Ordering::Relaxed), batch.bytes);
        if waiting > 0 && waiting + bytes > COMMANDS_BYTES_MAX {
            return Err(TrySendError::Full(batch));
        }
        // Before it can be taken out.
        self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.mailbox.try_send(batch).inspect_err(|_| {
            self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// Memory of the messages that are not durable, if all that waits in the queue were messages: they are
    /// kept as they came and as entries.
    pub(crate) fn message_bytes(&self) -> usize {
        let Load { bytes, message_bytes } = &*self.load;
        message_bytes.load(Ordering::Relaxed) + 2 * bytes.load(Ordering::Relaxed)
    }
}

impl CommandReceiver {
    pub(crate) fn try_recv(&self) -> Option<Vec<Submitted>> {
        let Batch { submitted, bytes } = self.queue.try_recv().ok()?;
        self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(submitted)
    }

    /// So many bytes of messages have been taken and are not durable. To be said as they change.
    pub(crate) fn holds_messages(&self, bytes: usize) {
        // Only this worker writes it, and all others read it: it is not touched for nothing.
        if self.load.message_bytes.load(Ordering::Relaxed) != bytes {
            self.load.message_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Memory of what waits.
    pub(crate) fn bytes(&self) -> usize {
        self.load.bytes.load(Ordering::Relaxed)
    }

    /// To wait for it beside others.
    pub(crate) fn queue(&self) -> &Receiver<Batch> {
        &self.queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Batch {
        Batch { submitted: Vec::new(), bytes }
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_in_batches() {
        let (sender, receiver) = queue(3, None);
        // Larger than all room, but nothing else is there.
        assert!(sender.try_send(batch(COMMANDS_BYTES_MAX + 1)).is_ok());
        assert!(matches!(sender.try_send(batch(1)), Err(TrySendError::Full(_))));
        assert!(receiver.try_recv().is_some());
        let half = COMMANDS_BYTES_MAX / 2;
        assert!((0..2).all(|_| sender.try_send(batch(half)).is_ok()));
        assert!(matches!(sender.try_send(batch(1)), Err(TrySendError::Full(_))));
        assert_eq!(receiver.bytes(), COMMANDS_BYTES_MAX);
        (0..2).for_each(|_| assert!(receiver.try_recv().is_some()));
        assert_eq!(receiver.bytes(), 0);
        assert!((0..3).all(|_| sender.try_send(batch(1)).is_ok()));
        assert!(sender.try_send(batch(1)).is_err());
        assert_eq!((receiver.bytes(), receiver.len()), (3, 3));
    }
}
