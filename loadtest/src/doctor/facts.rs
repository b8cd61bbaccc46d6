//! What the machine says about itself.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, geteuid, getrlimit};
use serde::Serialize;

use crate::doctor::{GroupMemory, Stalls, stalls};
use crate::sys;

/// How long the processors are watched. What takes a hundredth of the time shows within seconds.
const WATCH: Duration = Duration::from_secs(3);

/// Limits and sizes; `None` where the machine does not say.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs, reason = "findings explain each; the sources are in `Facts::read_files`")]
pub struct Facts {
    pub descriptors_soft: u64,
    pub descriptors_hard: u64,
    /// Whether a thread gets a descriptor table of its own.
    pub own_tables: bool,
    pub is_root: bool,
    pub files_open: Option<u64>,
    pub files_open_max: Option<u64>,
    pub descriptors_limit_max: Option<u64>,
    pub ports: Option<(u16, u16)>,
    /// Low, pressure, and maximum.
    pub tcp_pages: Option<[u64; 3]>,
    pub page_bytes: u64,
    pub accept_queue_max: Option<u64>,
    pub syn_queue_max: Option<u64>,
    pub syn_cookies: Option<u64>,
    pub device_queue_max: Option<u64>,
    pub tracked: Option<u64>,
    pub tracked_max: Option<u64>,
    pub memory_available_bytes: Option<u64>,
    pub group_memory: Option<GroupMemory>,
    pub processors: usize,
    pub clock_source: Option<String>,
    pub stalls: Option<Stalls>,
}

impl Facts {
    /// Asks this machine and this process; keeps all processors busy for some seconds.
    pub fn gather() -> Facts {
        let limit = getrlimit(Resource::Nofile);
        Facts {
            descriptors_soft: limit.current.unwrap_or(u64::MAX),
            descriptors_hard: limit.maximum.unwrap_or(u64::MAX),
            own_tables: own_tables_work(),
            is_root: geteuid().is_root(),
            page_bytes: sys::page_bytes(),
            processors: thread::available_parallelism().map_or(1, usize::from),
            stalls: stalls::watch(WATCH),
            ..Facts::read_files(Path::new("/"))
        }
    }

    /// Everything that is in files below `root`, which is `/` but for tests.
    fn read_files(root: &Path) -> Facts {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let sysctl = |path: &str| read(&format!("proc/sys/{path}"));
        let number = |path: &str| numbers(&sysctl(path)?).map(|[number]| number);
        Facts {
            files_open: sysctl("fs/file-nr")
                .and_then(|text| numbers::<u64, 3>(&text))
                .map(|[allocated, unused, _]| allocated.saturating_sub(unused)),
            files_open_max: number("fs/file-max"),
            descriptors_limit_max: number("fs/nr_open"),
            ports: sysctl("net/ipv4/ip_local_port_range")
                .and_then(|text| numbers(&text))
                .map(|[first, last]| (first, last)),
            tcp_pages: sysctl("net/ipv4/tcp_mem").and_then(|text| numbers(&text)),
            accept_queue_max: number("net/core/somaxconn"),
            syn_queue_max: number("net/ipv4/tcp_max_syn_backlog"),
            syn_cookies: number("net/ipv4/tcp_syncookies"),
            device_queue_max: number("net/core/netdev_max_backlog"),
            tracked: number("net/netfilter/nf_conntrack_count"),
            tracked_max: number("net/netfilter/nf_conntrack_max"),
            memory_available_bytes: read("proc/meminfo").and_then(|text| available(&text)),
            group_memory: GroupMemory::read(root),
            clock_source: read("sys/devices/system/clocksource/clocksource0/current_clocksource")
                .map(|text| text.trim().to_owned()),
            ..Facts::default()
        }
    }
}

/// Tries it on a thread that ends at once.
fn own_tables_work() -> bool {
    let probe = thread::Builder::new().spawn(|| sys::own_descriptor_table().is_ok());
    probe.is_ok_and(|probe| probe.join().unwrap_or(false))
}

/// Exactly `N` numbers between blanks.
fn numbers<T: FromStr, const N: usize>(text: &str) -> Option<[T; N]> {
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<T>, _>>().ok()?;
    numbers.try_into().ok()
}

fn available(memory: &str) -> Option<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("proc/sys/fs/file-nr", "2001336\t36\t2466183\n"),
            ("proc/sys/fs/file-max", "2466183\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/ipv4/tcp_mem", "287901\t383869\t575802\n"),
            ("proc/sys/net/core/somaxconn", "not a number\n"),
            ("proc/meminfo", "MemTotal:       24684096 kB\nMemAvailable:   15941692 kB\n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let facts = Facts::read_files(root.path());
        assert_eq!((facts.files_open, facts.files_open_max), (Some(2_001_300), Some(2_466_183)));
        assert_eq!(facts.ports, Some((32_768, 60_999)));
        assert_eq!(facts.tcp_pages, Some([287_901, 383_869, 575_802]));
        assert_eq!((facts.accept_queue_max, facts.tracked_max), (None, None));
        assert_eq!(facts.memory_available_bytes, Some(15_941_692 * 1024));
        assert_eq!(facts.clock_source.as_deref(), Some("tsc"));
    }

    #[test]
    fn this_machine_has_processors_descriptors_and_memory() {
        let facts = Facts::gather();
        assert!(facts.processors > 0 && facts.descriptors_hard >= facts.descriptors_soft);
        assert!(facts.memory_available_bytes.unwrap() > 1 << 20 && facts.page_bytes >= 4096);
    }
}
