//! Wakes an epoll at a time finer than its own milliseconds.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timerfd that is registered with a poll.
#[derive(Debug)]
pub(crate) struct Timer {
    descriptor: OwnedFd,
    armed_for_ns: u64,
}

impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer { descriptor, armed_for_ns: 0 })
    }

    /// Fires at `at_ns` on the clock of the run, which stands at `now_ns`. Edge-triggered, so its
    /// count need not be read.
    pub(crate) fn arm(&mut self, now_ns: u64, at_ns: u64) -> io::Result<()> {
        if self.armed_for_ns == at_ns {
            return Ok(());
        }
        // A value of zero would disarm it.
        let wait_ns = at_ns.saturating_sub(now_ns).max(1);
        let value = Timespec {
            tv_sec: (wait_ns / 1_000_000_000) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &once)?;
        self.armed_for_ns = at_ns;
        Ok(())
    }
}
