//! An idle run as it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::process;
use crate::remote::Generators;
use crate::target::Target;

/// What a server that is started for the run has to be told, so that it has room for so many connections:
/// nothing, if one of its descriptor tables has twice as much, however few shards it starts with.
///
/// There are some places more: who comes again may be there before the server has seen him go.
pub fn server_settings(connections: u32) -> Option<String> {
    let places = process::raise_descriptor_limit().unwrap_or(0) / 2;
    let spare = connections / 1024 + 16;
    let is_needed = u64::from(connections) > places;
    is_needed
        .then(|| format!("limits.connections_max={}", u64::from(connections) + u64::from(spare)))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_of_more_than_it_has_room_for_by_itself() {
        assert_eq!(server_settings(1), None);
        // No limit of this machine's kernel is as high.
        let settings = server_settings(4_000_000_000);
        assert_eq!(settings.as_deref(), Some("limits.connections_max=4003906266"));
    }
}
