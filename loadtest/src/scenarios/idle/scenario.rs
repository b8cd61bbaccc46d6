//! An idle run as it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::remote::Generators;
use crate::target::Target;

/// An idle run.
#[derive(Debug, Clone)]
pub struct IdleScenario {
    /// The server.
    pub target: Target,
    /// Connections, each with a user of its own.
    pub connections: u32,
    /// Generator threads.
    pub threads: usize,
    /// Processors that they may use; all if empty.
    pub processors: Vec<usize>,
    /// Other processes that make the connections, in the place of threads of this one.
    pub generators: Option<Generators>,
    /// New connections per second, at most.
    pub connects_per_second: u32,
    /// How long it may take until everybody is there.
    pub gather_timeout: Duration,
    /// How long one attempt to be there may take, from connecting to the end of the sync. A peer
    /// that says nothing would else keep its place among those on their way.
    pub arrive_timeout: Duration,
    /// How long all are held.
    pub hold: Duration,
    /// A heartbeat of each connection this often; half of what the server asks for if `None`.
    pub heartbeat_interval: Option<Duration>,
    /// How often a connection that fails on its way tries again.
    pub retries_max: u32,
    /// The figures mean nothing if more than a hundredth of the heartbeats is later than this.
    pub lateness_p99_max: Duration,
    /// Users are called `prefix-0` and so on: the same prefix finds them again. A new name if
    /// `None`.
    pub user_prefix: Option<String>,
    /// Lets all go before their time when it becomes true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl IdleScenario {
    /// A short run; change what you need.
    pub fn new(target: Target, connections: u32) -> IdleScenario {
        IdleScenario {
            target,
            connections,
            threads: 1,
            processors: Vec::new(),
            generators: None,
            connects_per_second: 5000,
            gather_timeout: Duration::from_secs(600),
            arrive_timeout: Duration::from_secs(30),
            hold: Duration::from_secs(30),
            heartbeat_interval: None,
            retries_max: 5,
            lateness_p99_max: Duration::from_secs(1),
            user_prefix: None,
            stop: None,
        }
    }

    pub(super) fn is_told_to_stop(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire))
    }
}
