//! The event loop of a generator thread: one epoll, one scratch buffer, any number of connections.
//!
//! ```text
//!            ┌──────────────── Reactor::run ─────────────────┐
//!            │ handler.tick -> write dirty links -> wait      │
//!            │   epoll: readable -> scratch -> frames ───────────> handler.frame
//!            │   timerfd: the next intended start, to 50 us   │
//!            └────────────────────────────────────────────────┘
//! ```
//!
//! A connection that says nothing keeps 24 bytes: its descriptor, three flags, two empty pointers.
//! Partial frames and unwritten bytes are kept only while there are any, in a backlog that the
//! thread lends and takes back.

mod link;
mod links;
mod reactor;
mod tickets;
mod timer;
mod tls;
pub(crate) mod web;

pub use dunlin_client::driver::Trust;
pub use link::CloseCause;
pub use links::Links;
pub use reactor::{Handler, Next, Reactor};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;

/// How the server is reached.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS, if it is spoken there.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Whether frames go in a WebSocket.
    pub web: bool,
    /// Addresses to connect from; one has only about 28,000 ports towards one server.
    pub sources: Vec<std::net::IpAddr>,
}

impl Route {
    /// Whether connections take up the TLS sessions of earlier ones, whosever they were.
    pub(crate) fn resume_tls(&mut self, resumes: bool) {
        if let Some(config) = &mut self.tls {
            Arc::make_mut(config).resumption = if resumes {
                Resumption::store(Arc::new(tickets::TicketPool::default()))
            } else {
                Resumption::disabled()
            };
        }
    }
}

/// The clock of a run: nanoseconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that stands at 0 now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start; a `u64` holds 584 years of them.
    pub fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// Where the zero of another clock of this process is on this one: below 0 if it was started
    /// before.
    pub fn zero_of(self, other: Clock) -> i64 {
        let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        match other.0.checked_duration_since(self.0) {
            Some(later) => ns(later),
            None => -ns(self.0.duration_since(other.0)),
        }
    }

    /// The clock whose zero is there on this one; `None` if the system knows no such time.
    pub fn with_zero_at(self, zero_ns: i64) -> Option<Clock> {
        let distance = Duration::from_nanos(zero_ns.unsigned_abs());
        let zero =
            if zero_ns < 0 { self.0.checked_sub(distance) } else { self.0.checked_add(distance) };
        zero.map(Clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_set_by_another_one() {
        let clock = Clock::start();
        for zero_ns in [-7_000_000_000, 0, 5_000] {
            let other = clock.with_zero_at(zero_ns).unwrap();
            assert_eq!((clock.zero_of(other), other.zero_of(clock)), (zero_ns, -zero_ns));
        }
        let early = clock.with_zero_at(-7_000_000_000).unwrap();
        assert!(early.now_ns() >= 7_000_000_000);
    }
}
