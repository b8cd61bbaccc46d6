//! The threads that generate load: how connections are shared among them, and their start.

use std::io;
use std::ops::Range;

use ring::rand::{SecureRandom, SystemRandom};

use crate::error::LoadtestError;
use crate::net::{Clock, Handler, Reactor, Route};
use crate::process;
use crate::sys;

/// Descriptors of a thread that are no connections: standard streams, epoll, timer, logs.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Shares are whole groups of users, so that the largest is above the average by this at most.
const SHARE_SLACK: u64 = 2;

/// How a thread runs.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    route: Route,
    clock: Clock,
    processors: Vec<usize>,
    /// One descriptor table is too small for all threads together.
    own_table: bool,
}

impl Generator {
    /// For so many connections in so many threads; an error if they do not fit.
    pub(crate) fn new(
        route: Route,
        clock: Clock,
        processors: &[usize],
        connections: u32,
        threads: usize,
    ) -> Result<Generator, LoadtestError> {
        let limit = process::raise_descriptor_limit()
            .map_err(LoadtestError::machine("raising the descriptor limit"))?;
        let per_table = connections_per_table(limit);
        if let Some(reason) = too_few(connections, threads, limit) {
            return Err(LoadtestError::Scenario { field: "threads", reason });
        }
        let own_table = u64::from(connections) > per_table;
        Ok(Generator { route, clock, processors: processors.to_vec(), own_table })
    }

    /// Runs a handler on the calling thread until it stops.
    pub(crate) fn drive(
        self,
        slots: usize,
        handler: &mut impl Handler,
    ) -> Result<(), LoadtestError> {
        process::pin_thread(&self.processors)
            .map_err(LoadtestError::machine("pinning a thread"))?;
        if self.own_table {
            sys::own_descriptor_table()
                .map_err(LoadtestError::machine("taking a descriptor table of its own"))?;
        }
        Reactor::new(slots, self.route, self.clock)
            .and_then(|reactor| reactor.run(handler))
            .map_err(LoadtestError::machine("running the event loop"))
    }
}

/// As many threads as the descriptor limit of this process demands for so many connections.
pub fn threads_for(connections: u32) -> Result<usize, LoadtestError> {
    let limit = process::raise_descriptor_limit()
        .map_err(LoadtestError::machine("raising the descriptor limit"))?;
    Ok(usize::try_from(threads_needed(connections, limit)).unwrap_or(usize::MAX))
}

/// Why so many threads can't have so many connections under the limit of this process.
pub(crate) fn too_few_threads(connections: u32, threads: usize) -> Option<String> {
    // Whoever can't raise it finds out with the first run.
    process::raise_descriptor_limit().ok().and_then(|limit| too_few(connections, threads, limit))
}

fn too_few(connections: u32, threads: usize, descriptors: u64) -> Option<String> {
    let per_table = connections_per_table(descriptors);
    let is_too_few = u64::from(connections).div_ceil(threads as u64) > per_table;
    let needed = threads_needed(connections, descriptors);
    is_too_few
        .then(|| format!("a thread may have {per_table} connections: {needed} threads are needed"))
}

/// Threads of which each has a descriptor table of its own, under this limit.
pub(crate) fn threads_needed(connections: u32, descriptors: u64) -> u64 {
    u64::from(connections).div_ceil(connections_per_table(descriptors).max(1)).max(1)
}

/// Connections for which one descriptor table has room under this limit.
pub(crate) fn connections_per_table(descriptors: u64) -> u64 {
    descriptors.saturating_sub(DESCRIPTORS_RESERVED + SHARE_SLACK)
}

/// The limit under which one table has room for all of them.
pub(crate) fn descriptors_for(connections: u32) -> u64 {
    u64::from(connections) + DESCRIPTORS_RESERVED + SHARE_SLACK
}

/// The connections of each thread: whole groups of `group`, as evenly as possible.
pub(crate) fn shares(connections: u32, group: u32, threads: usize) -> Vec<Range<u32>> {
    let (groups, threads) = (u64::from(connections / group), threads as u64);
    let bound = |thread: u64| (groups * thread / threads) as u32 * group;
    let shares = (0..threads).map(|thread| bound(thread)..bound(thread + 1));
    shares.filter(|share| !share.is_empty()).collect()
}

/// A number that no other run has.
pub(crate) fn random_run() -> Result<u64, LoadtestError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))
        .map_err(LoadtestError::machine("naming the run"))?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_threads_as_descriptors_demand() {
        assert_eq!(threads_needed(1000, descriptors_for(1000)), 1);
        assert_eq!(threads_needed(1000, descriptors_for(1000) - 1), 2);
        assert_eq!(threads_needed(1_000_000, 20_000), 51);
        assert_eq!(threads_needed(0, 0), 1);
        assert_eq!(threads_for(10).unwrap(), 1);
        assert_eq!(too_few(1_000_000, 51, 20_000), None);
        let reason = "a thread may have 19934 connections: 51 threads are needed";
        assert_eq!(too_few(1_000_000, 50, 20_000).as_deref(), Some(reason));
    }

    #[test]
    fn threads_share_whole_groups() {
        assert_eq!(shares(10, 2, 3), [0..2, 2..6, 6..10]);
        assert_eq!(shares(2, 2, 4).len(), 1);
        let shares = shares(1_000_000, 1, 60);
        assert_eq!(shares.iter().map(|share| share.end - share.start).sum::<u32>(), 1_000_000);
    }
}
