//! The measured window: two looks at everything that can be looked at.

use serde::Serialize;

use crate::phases::Progress;
use crate::process::Usage;
use crate::report::ServerReport;

/// What the coordinator saw at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    pub(crate) at_ns: u64,
    pub(crate) progress: Progress,
    pub(crate) server: Option<Usage>,
    /// Batches that the server's store made durable.
    pub(crate) commits: Option<u64>,
    pub(crate) harness_cpu_us: u64,
}

/// From one look to another.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) before: Look,
    pub(crate) after: Look,
}

/// Per second, within the measured window.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rates {
    pub sent_per_s: f64,
    pub acknowledged_per_s: f64,
    pub delivered_per_s: f64,
}

impl Window {
    pub(crate) fn seconds(&self) -> f64 {
        (self.after.at_ns - self.before.at_ns) as f64 / 1e9
    }

    /// How much more there is of something at its end.
    pub(crate) fn count(&self, of: impl Fn(&Progress) -> u64) -> u64 {
        of(&self.after.progress) - of(&self.before.progress)
    }

    pub(crate) fn rates(&self) -> Rates {
        let rate = |of: fn(&Progress) -> u64| self.count(of) as f64 / self.seconds().max(1e-9);
        Rates {
            sent_per_s: rate(|progress| progress.sent),
            acknowledged_per_s: rate(|progress| progress.acknowledged),
            delivered_per_s: rate(|progress| progress.delivered),
        }
    }

    /// What the server's process used for so many messages; `None` if it could not be looked at.
    pub(crate) fn server(&self, pid: Option<u32>, messages: u64) -> Option<ServerReport> {
        let (before, after) = (self.before.server?, self.after.server?);
        let commits = self.before.commits.zip(self.after.commits);
        let commits = commits.map(|(before, after)| after.saturating_sub(before));
        let usage = ServerReport::new(pid?, before, after, self.seconds(), messages);
        Some(ServerReport { commits, ..usage })
    }

    pub(crate) fn harness_cpu_us(&self) -> u64 {
        self.after.harness_cpu_us.saturating_sub(self.before.harness_cpu_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_between_the_looks_counts() {
        let look = |at_ns, acknowledged, cpu_us, commits| Look {
            at_ns,
            progress: Progress { acknowledged, ..Progress::default() },
            server: Some(Usage { resident_bytes: 0, cpu_us }),
            commits: Some(commits),
            harness_cpu_us: 3 * cpu_us,
        };
        let (before, after) = (look(1_000, 10, 100, 7), look(500_001_000, 30, 500, 12));
        let window = Window { before, after };
        assert_eq!((window.seconds(), window.rates().acknowledged_per_s), (0.5, 40.0));
        let server = window.server(Some(1), 20).unwrap();
        assert_eq!((server.cpu_us, server.messages, server.commits), (400, 20, Some(5)));
        assert_eq!((server.cpu_us_per_message, window.harness_cpu_us()), (20.0, 1200));
        assert!(window.server(None, 20).is_none());
        let gone = Window { after: Look { server: None, ..after }, ..window };
        assert!(gone.server(Some(1), 20).is_none());
    }
}
