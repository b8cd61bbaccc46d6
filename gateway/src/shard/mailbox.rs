//! How other threads reach a shard: a queue, and at most one wake-up per sleep of the shard.
//!
//! An eventfd write costs 0.2 us and the wake-up it causes over 1 us; one per delivery would cost
//! more than the delivery. So a sender writes only if the shard sleeps, and only the first sender
//! does. The danger of such a scheme is the lost wake-up, which [`SleepFlag`] rules out.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, unbounded};
use dunlin_core::transport::Outbound;
use rustix::event::EventfdFlags;

use super::control::Control;

/// What a shard can get.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From a worker, for connections.
    Deliveries(Vec<Outbound>),
    /// From the server, for the shard.
    Control(Control),
}

/// Makes the two ends. The eventfd belongs to the sender's end, which stays in the descriptor
/// table of the process; the receiver knows it by number (see [`crate::sys`]).
pub(crate) fn mailbox() -> io::Result<(MailSender, MailReceiver)> {
    let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let wake_fd = eventfd.as_raw_fd();
    let (sender, receiver) = unbounded();
    let flag = Arc::new(SleepFlag::default());
    let inbox = MailReceiver { queue: receiver, flag: Arc::clone(&flag), wake_fd };
    Ok((MailSender { queue: sender, flag, eventfd }, inbox))
}

/// The end of other threads.
///
/// The queue has no bound, since a worker must not wait for a shard that may be waiting for the
/// worker. It can't run away: a shard empties it before it reads the next request, so what is in
/// it answers requests that were read before, or follows from them.
#[derive(Debug)]
pub(crate) struct MailSender {
    queue: Sender<Mail>,
    flag: Arc<SleepFlag>,
    eventfd: OwnedFd,
}

impl MailSender {
    /// Puts something into the queue and wakes the shard if it sleeps. To a shard that has ended
    /// it does nothing: its connections are gone.
    pub(crate) fn post(&self, mail: Mail) {
        if self.queue.send(mail).is_ok() {
            self.wake();
        }
    }

    /// Wakes the shard if it sleeps, after something was put where it looks before it sleeps.
    pub(crate) fn wake(&self) {
        if self.flag.claim_wake() {
            // Fails only when the counter stands at 2^64 - 2, which is a wake-up as well.
            let woken = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
            debug_assert!(woken.is_ok(), "{woken:?}");
        }
    }
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct MailReceiver {
    queue: Receiver<Mail>,
    flag: Arc<SleepFlag>,
    wake_fd: RawFd,
}

impl MailReceiver {
    /// The eventfd to poll, edge-triggered, so that it never needs to be read.
    pub(crate) fn wake_fd(&self) -> RawFd {
        self.wake_fd
    }

    /// How many items there are.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The next item.
    pub(crate) fn take(&self) -> Option<Mail> {
        self.queue.try_recv().ok()
    }

    /// Announces a sleep. False if there is mail: then don't sleep.
    pub(crate) fn may_sleep(&self) -> bool {
        self.flag.announce();
        if self.queue.is_empty() {
            return true;
        }
        self.flag.withdraw();
        false
    }

    /// After a sleep: no more wake-ups, please.
    pub(crate) fn awake(&self) {
        self.flag.withdraw();
    }
}

/// Whether the shard sleeps, or is about to.
///
/// ```text
///   shard                         sender
///   S1  flag = true               P1  put into the queue
///       fence(SeqCst)                 fence(SeqCst)
///   S2  look into the queue       P2  look at the flag
/// ```
/// The two fences are in one total order. If the shard's is first, P2 sees S1 and the sender
/// wakes the shard. If the sender's is first, S2 sees P1 and the shard does not sleep. Without
/// them both could look before the other's write arrives: the item would wait for the next one.
/// Relaxed loads and stores are enough around the fences, since the queue itself orders the
/// contents of its items.
#[derive(Debug, Default)]
struct SleepFlag(AtomicBool);

impl SleepFlag {
    /// S1. Look into the queue after it.
    fn announce(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard is awake. A sender that still sees the flag causes one spurious wake-up.
    fn withdraw(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// P2, after putting something into the queue. True for one sender per sleep: it must wake
    /// the shard. The load keeps the cache line shared while the shard is busy.
    fn claim_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};

    use super::*;

    #[test]
    fn one_sleep_is_woken_once() {
        let flag = SleepFlag::default();
        assert!(!flag.claim_wake());
        flag.announce();
        assert!(flag.claim_wake());
        assert!(!flag.claim_wake());
    }

    #[test]
    fn who_has_mail_does_not_sleep() {
        let (sender, receiver) = mailbox().unwrap();
        sender.post(Mail::Control(Control::Stop));
        assert!(!receiver.may_sleep());
        assert!(receiver.take().is_some());
        assert!(receiver.may_sleep());
    }

    #[test]
    fn no_item_waits_while_the_receiver_sleeps() {
        const ITEMS: usize = 20_000;
        let (sender, receiver) = mailbox().unwrap();
        let sending = std::thread::spawn(move || {
            for _ in 0..ITEMS {
                sender.post(Mail::Deliveries(Vec::new()));
            }
            sender
        });
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let wake_fd = receiver.wake_fd();
        poll.registry().register(&mut SourceFd(&wake_fd), Token(0), Interest::READABLE).unwrap();
        let mut taken = 0;
        while taken < ITEMS {
            if receiver.may_sleep() {
                // With a lost wake-up this would time out with items in the queue.
                poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
                assert!(!events.is_empty(), "slept through item {taken}");
                receiver.awake();
            }
            while receiver.take().is_some() {
                taken += 1;
            }
        }
        drop(sending.join().unwrap());
    }
}
