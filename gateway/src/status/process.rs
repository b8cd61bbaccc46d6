//! What the system counts of this process.

use std::fs;

use serde::{Deserialize, Serialize};

/// Of the whole process. What can't be found out is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Time of processors, of all threads together.
    pub(crate) cpu_us: u64,
    /// Memory that is resident.
    pub(crate) resident_bytes: Option<u64>,
    /// Of that, what belongs to no file.
    pub(crate) anonymous_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Process {
        use rustix::time::{ClockId, clock_gettime};
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_us = cpu.tv_sec.cast_unsigned() * 1_000_000 + cpu.tv_nsec.cast_unsigned() / 1000;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let kib = |name| number(name).map(|kib| kib * 1024);
        Process {
            cpu_us,
            resident_bytes: kib("VmRSS:"),
            anonymous_bytes: kib("RssAnon:"),
            threads: number("Threads:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_threads_and_has_worked() {
        let process = Process::now();
        assert!(process.cpu_us > 0 && process.threads >= Some(1), "{process:?}");
        assert!(process.anonymous_bytes.unwrap() <= process.resident_bytes.unwrap());
    }
}
