//! How the acceptor hands connections to a thread that sleeps in its epoll.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, epoll, eventfd};

/// The way to a thread.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    sender: Sender<T>,
    wake: Arc<OwnedFd>,
}

impl<T> Mailbox<T> {
    pub(crate) fn hand_over(&self, letter: T) -> io::Result<()> {
        self.sender
            .send(letter)
            .map_err(|_| io::Error::new(ErrorKind::BrokenPipe, "the thread has stopped"))?;
        rustix::io::write(&*self.wake, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

/// The thread's end of it.
#[derive(Debug)]
pub(crate) struct Mail<T> {
    receiver: Receiver<T>,
    wake: Arc<OwnedFd>,
}

impl<T> Mail<T> {
    /// Both ends; `epoll` gets an event with `data` when there is something to take.
    pub(crate) fn new(epoll: &OwnedFd, data: u64) -> io::Result<(Mail<T>, Mailbox<T>)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(epoll, &*wake, epoll::EventData::new_u64(data), epoll::EventFlags::IN)?;
        let (sender, receiver) = channel();
        Ok((Mail { receiver, wake: Arc::clone(&wake) }, Mailbox { sender, wake }))
    }

    /// Silences the event; [`next`](Mail::next) must be asked until it has nothing more.
    pub(crate) fn open(&self) -> io::Result<()> {
        let mut count = [0; 8];
        match rustix::io::read(&*self.wake, &mut count) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn next(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}
