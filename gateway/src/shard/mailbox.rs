//! How other threads reach a shard: a queue, and at most one wake-up per sleep of the shard.
//!
//! An eventfd write costs 0.2 us and the wake-up it causes over 1 us; one per delivery would cost
//! more than the delivery. So a sender writes only if the shard sleeps, and only the first sender
//! does. The danger of such a scheme is the lost wake-up, which [`SleepFlag`] rules out.

mod backlog;
mod sleep_flag;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dunlin_core::transport::Outbound;
use rustix::event::EventfdFlags;

use super::control::Control;
use backlog::Backlog;
pub(crate) use backlog::Behind;
use sleep_flag::SleepFlag;

/// What a shard can get.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From a worker, for connections, with their memory.
    Deliveries(Vec<Outbound>, usize),
    /// From the server, for the shard.
    Control(Control),
}

/// Makes the two ends. The eventfd belongs to the sender's end, which stays in the descriptor
/// table of the process; the receiver knows it by number (see [`crate::sys`]).
/// All mailboxes of a node share `behind`.
pub(crate) fn mailbox(behind: &Arc<Behind>) -> io::Result<(MailSender, MailReceiver)> {
    let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let wake_fd = eventfd.as_raw_fd();
    let (sender, receiver) = unbounded();
    let flag = Arc::new(SleepFlag::default());
    let backlog = Arc::new(Backlog::new(Arc::clone(behind)));
    let inbox = MailReceiver {
        queue: receiver,
        flag: Arc::clone(&flag),
        backlog: Arc::clone(&backlog),
        wake_fd,
    };
    Ok((MailSender { queue: sender, flag, backlog, eventfd }, inbox))
}

/// The end of other threads.
///
/// The queue has no bound, since a worker must not wait for a shard that may be waiting for the
/// worker. It can't run away: a shard empties it before it reads the next request, so what is in
/// it answers requests that were read before, or follows from what others have read; and while there are more
/// than [`MAIL_BYTES_MAX`](crate::limits::MAIL_BYTES_MAX) of it, workers take no requests of anybody.
#[derive(Debug)]
pub(crate) struct MailSender {
    queue: Sender<Mail>,
    flag: Arc<SleepFlag>,
    backlog: Arc<Backlog>,
    eventfd: OwnedFd,
}

impl MailSender {
    /// Puts something into the queue and wakes the shard if it sleeps. To a shard that has ended
    /// it does nothing: its connections are gone.
    pub(crate) fn post(&self, mail: Mail) {
        self.hand_over(|| self.queue.send(mail).is_ok());
    }

    /// The same of what a worker has for its connections.
    pub(crate) fn deliver(&self, batch: Vec<Outbound>) {
        let bytes = batch.iter().map(Outbound::memory).sum();
        // Before it can be taken out.
        self.backlog.add(bytes);
        self.hand_over(|| {
            let is_put = self.queue.send(Mail::Deliveries(batch, bytes)).is_ok();
            if !is_put {
                self.backlog.remove(bytes);
            }
            is_put
        });
    }

    /// Wakes the shard if it sleeps, after something was put where it looks before it sleeps.
    pub(crate) fn wake(&self) {
        self.hand_over(|| true);
    }

    fn hand_over(&self, put: impl FnOnce() -> bool) {
        self.flag.hand_over(put, || {
            // Fails only when the counter stands at 2^64 - 2, which is a wake-up as well.
            let woken = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
            debug_assert!(woken.is_ok(), "{woken:?}");
        });
    }
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct MailReceiver {
    queue: Receiver<Mail>,
    flag: Arc<SleepFlag>,
    backlog: Arc<Backlog>,
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
        let mail = self.queue.try_recv().ok()?;
        match &mail {
            Mail::Deliveries(_, bytes) => self.backlog.remove(*bytes),
            Mail::Control(_) => {}
        }
        Some(mail)
    }

    /// Announces a sleep. False if there is mail, or something else to do that somebody calls
    /// [`MailSender::wake`] for: then don't sleep.
    pub(crate) fn may_sleep(&self, is_idle: impl FnOnce() -> bool) -> bool {
        self.flag.may_sleep(|| self.queue.is_empty() && is_idle())
    }

    /// After a sleep: no more wake-ups, please.
    pub(crate) fn awake(&self) {
        self.flag.awake();
    }
}

/// Nobody takes it any more, and nobody is to wait for that.
impl Drop for MailReceiver {
    fn drop(&mut self) {
        while self.take().is_some() {}
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
        let wakes = |put| {
            let mut woken = false;
            flag.hand_over(|| put, || woken = true);
            woken
        };
        assert!(!wakes(true), "it does not sleep yet");
        assert!(flag.may_sleep(|| true));
        assert!(!wakes(false), "nothing was put");
        assert!(wakes(true));
        assert!(!wakes(true), "it is woken already");
    }

    #[test]
    fn who_has_mail_does_not_sleep() {
        let (sender, receiver) = mailbox(&Arc::default()).unwrap();
        sender.post(Mail::Control(Control::Stop));
        assert!(!receiver.may_sleep(|| true));
        assert!(receiver.take().is_some());
        assert!(receiver.may_sleep(|| true));
    }

    #[test]
    fn no_item_waits_while_the_receiver_sleeps() {
        const ITEMS: usize = 20_000;
        let (sender, receiver) = mailbox(&Arc::default()).unwrap();
        let sending = std::thread::spawn(move || {
            for _ in 0..ITEMS {
                sender.deliver(Vec::new());
            }
            sender
        });
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let wake_fd = receiver.wake_fd();
        poll.registry().register(&mut SourceFd(&wake_fd), Token(0), Interest::READABLE).unwrap();
        let mut taken = 0;
        while taken < ITEMS {
            if receiver.may_sleep(|| true) {
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
