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
    /// Of the batches that wait.
    bytes: Arc<AtomicUsize>,
}

/// The way out.
#[derive(Debug)]
pub(crate) struct CommandReceiver {
    queue: Receiver<Batch>,
    bytes: Arc<AtomicUsize>,
}

/// A queue with room for so many batches.
pub(crate) fn queue(
    batches: usize,
    host: Option<Arc<dyn Wake>>,
) -> (CommandSender, CommandReceiver) {
    let (sender, queue) = crossbeam_channel::bounded(batches);
    let bytes = Arc::<AtomicUsize>::default();
    let mailbox = Mailbox::new(sender, host);
    (CommandSender { mailbox, bytes: Arc::clone(&bytes) }, CommandReceiver { queue, bytes })
}

impl CommandSender {
    /// Hands a batch over, if there is room. Two at once may both still find some: it is a bound of memory,
    /// and no exact one. What is larger than the whole room waits until the queue is empty.
    pub(crate) fn try_send(&self, batch: Batch) -> Result<(), TrySendError<Batch>> {
        let (waiting, bytes) = (self.bytes.load(Ordering::Relaxed), batch.bytes);
        if waiting > 0 && waiting + bytes > COMMANDS_BYTES_MAX {
            return Err(TrySendError::Full(batch));
        }
        // Before it can be taken out.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.mailbox.try_send(batch).inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }
}

impl CommandReceiver {
    pub(crate) fn try_recv(&self) -> Option<Vec<Submitted>> {
        let Batch { submitted, bytes } = self.queue.try_recv().ok()?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(submitted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Memory of what waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
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
