//! What the kernel says about a process of this machine, and where threads may run.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{
    CpuSet, disable_transparent_huge_pages, sched_getaffinity, sched_setaffinity,
    transparent_huge_pages_are_disabled,
};
use serde::Serialize;

use crate::sys;

/// Memory and processor time of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// User and system time since its start, in microseconds.
    pub cpu_us: u64,
}

/// Looks at a process.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in its status"))?;
    let cpu_us = u64::try_from(sys::process_cpu(pid)?.as_micros()).unwrap_or(u64::MAX);
    Ok(Usage { resident_bytes: resident_kib * 1024, cpu_us })
}

/// Processor time between two looks.
pub fn cpu_between(before: Usage, after: Usage) -> Duration {
    Duration::from_micros(after.cpu_us.saturating_sub(before.cpu_us))
}

/// The thread of Dunlin's embedded store that makes appends durable.
const COMMIT_THREAD: &str = "store-commit";

/// How many batches the store of a Dunlin process has made durable. Its commit thread does one
/// write and one fsync for each (and a second write when it begins a segment of 64 MiB), and the
/// kernel counts the writes of every thread. `None` if there is no such thread to look at.
pub fn commits(pid: u32) -> Option<u64> {
    let thread = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().find(|thread| {
        std::fs::read_to_string(thread.path().join("comm"))
            .is_ok_and(|name| name.trim_end() == COMMIT_THREAD)
    })?;
    let io = std::fs::read_to_string(thread.path().join("io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("syscw:")?.trim().parse().ok())
}

/// Whether threads of this process may run there.
pub(crate) fn has_processor(processor: usize) -> bool {
    // A process that may not ask finds out when it tries.
    processor < CpuSet::MAX_CPU && sched_getaffinity(None).is_ok_and(|all| all.is_set(processor))
}

/// Lets this thread, and those that it starts, run on these processors only; all if empty.
pub fn pin_thread(processors: &[usize]) -> io::Result<()> {
    if processors.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &processor in processors {
        if processor >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(processor);
    }
    sched_setaffinity(None, &set).map_err(io::Error::from)
}

/// Runs `start` on these processors, so that what it starts inherits them from its first moment.
pub fn start_pinned<T>(
    processors: &[usize],
    start: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin_thread(processors)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

/// Allows as many descriptors as the hard limit says; returns how many.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// While it lives, this process gets its memory in pages of 4 KiB.
///
/// The allocator asks for huge pages, and a thread that needs 100 KB then takes 4 to 6 MB: with 60
/// generator threads, 305 of 363 MB. Processes that are started meanwhile inherit the setting.
#[derive(Debug)]
pub struct SmallPages {
    huge_before: bool,
}

impl SmallPages {
    /// From now on; memory that is there already stays as it is.
    pub fn ask() -> io::Result<SmallPages> {
        let huge_before = !transparent_huge_pages_are_disabled()?;
        disable_transparent_huge_pages(true)?;
        Ok(SmallPages { huge_before })
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        // The same call has worked before. If not, memory stays small: slower, and nothing else.
        let _small = disable_transparent_huge_pages(!self.huge_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_what_is_not_there_uses_none() {
        assert!(usage(std::process::id()).unwrap().resident_bytes > 100_000);
        assert!(usage(u32::MAX).is_err());
    }

    #[test]
    fn commits_are_the_writes_of_the_thread_that_commits() {
        assert_eq!(commits(std::process::id()), None);
        let (written, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(COMMIT_THREAD.to_owned());
            let writes = || {
                let mut file = tempfile::tempfile().unwrap();
                (0..3).for_each(|_| std::io::Write::write_all(&mut file, b"batch").unwrap());
                written.wait();
                wait.wait();
            };
            let handle = thread.spawn_scoped(scope, writes).unwrap();
            written.wait();
            let counted = commits(std::process::id());
            wait.wait();
            handle.join().unwrap();
            assert_eq!(counted, Some(3));
        });
    }

    #[test]
    fn small_pages_are_for_a_while() {
        let before = transparent_huge_pages_are_disabled().unwrap();
        let small = SmallPages::ask().unwrap();
        assert!(transparent_huge_pages_are_disabled().unwrap());
        drop(small);
        assert_eq!(transparent_huge_pages_are_disabled().unwrap(), before);
    }

    #[test]
    fn a_pinned_start_leaves_this_thread_where_it_was() {
        let before = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu)).unwrap();
        let inside = start_pinned(&[first], || Ok(sched_getaffinity(None)?.count())).unwrap();
        assert_eq!(inside, 1);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
