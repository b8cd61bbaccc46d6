//! What a generator used while it made its load.

use serde::{Deserialize, Serialize};

use crate::net::Clock;
use crate::process::{self, Usage};

/// A generator in the report of a run.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct GeneratorReport {
    pub address: String,
    pub users: u32,
    pub threads: usize,
    /// How far its clock may be from the coordinator's, in microseconds.
    pub clock_error_us: f64,
    /// Processor time of its process within the measured window, in microseconds.
    pub cpu_us: u64,
    /// Processors that it kept busy, on average.
    pub cpu_share: f64,
    pub resident_bytes: u64,
}

/// The part of it that the generator tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(super) threads: usize,
    pub(super) cpu_us: u64,
    pub(super) cpu_share: f64,
    pub(super) resident_bytes: u64,
}

/// Looks at this process at the beginning and at the end of the measured window.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Clock,
    from: Option<(u64, Usage)>,
    to: Option<(u64, Usage)>,
}

impl Meter {
    pub(crate) fn new(clock: Clock) -> Meter {
        Meter { clock, from: None, to: None }
    }

    /// Called often; looks when the window, in nanoseconds on the clock of the run, begins and
    /// when it ends.
    pub(crate) fn watch(&mut self, from_ns: u64, to_ns: u64) {
        let now_ns = self.clock.now_ns();
        if self.from.is_none() && now_ns >= from_ns {
            self.from = Some(self.look());
        }
        if self.to.is_none() && now_ns >= to_ns {
            self.to = Some(self.look());
        }
    }

    /// What was used in the window, or from its beginning until now if it has not ended.
    pub(crate) fn account(&self, threads: usize) -> Account {
        let to = self.to.unwrap_or_else(|| self.look());
        let from = self.from.unwrap_or(to);
        let cpu_us = to.1.cpu_us.saturating_sub(from.1.cpu_us);
        let us = to.0.saturating_sub(from.0) as f64 / 1e3;
        Account {
            threads,
            cpu_us,
            cpu_share: cpu_us as f64 / us.max(1.0),
            resident_bytes: to.1.resident_bytes,
        }
    }

    fn look(&self) -> (u64, Usage) {
        (self.clock.now_ns(), process::usage(std::process::id()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let clock = Clock::start();
        let mut meter = Meter::new(clock);
        meter.watch(u64::MAX, u64::MAX);
        assert_eq!(meter.account(3).cpu_us, 0);
        meter.watch(0, u64::MAX);
        let mut sum = 0u64;
        while meter.account(3).cpu_us == 0 {
            sum = std::hint::black_box(sum + 1);
        }
        meter.watch(0, 0);
        let account = meter.account(3);
        assert!(account.cpu_us > 0 && account.cpu_share > 0.0, "{account:?}");
        assert_eq!(meter.account(3), account);
    }
}
