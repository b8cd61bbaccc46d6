//! What all reports have in common: the verdict, the time series, the distributions of latencies,
//! what the server used; and how a report becomes a page for people.
//!
//! ```text
//!  generator threads                coordinator, once a second
//!  Interval ── each second ──▶ Handover ──▶ Recorder ──▶ Series ─┐
//!  Latencies ── at the end ────────────────▶ Distribution ───────┴─▶ JSON ──▶ html
//! ```

mod circumstances;
mod distribution;
pub(crate) mod figure;
pub mod html;
mod interval;
mod kernel;
pub(crate) mod quantity;
mod reasons;
mod recorder;
mod series;
mod threshold;

pub use circumstances::{Circumstances, Host};
pub use distribution::{Bucket, Distribution, Quantile};
pub(crate) use interval::{Handover, Interval};
pub use kernel::KernelMemory;
pub use reasons::Reasons;
pub use recorder::Second;
pub(crate) use recorder::{Recorder, Standing};
pub use series::{IntervalLatency, Point, Series, ServerPoint};
pub use threshold::{Threshold, ThresholdError, ThresholdOutcome, judge};

use std::process::ExitCode;

use serde::Serialize;

use crate::audit::FaultLog;
use crate::process::Usage;

/// How a run ended. The exit code of the program follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held, and the figures are good. Exit code 0.
    Ok,
    /// The server broke its promise. Exit code 1.
    ProductFailure,
    /// The harness was too slow for its figures to mean anything. Exit code 3.
    HarnessInvalid,
    /// The harness's machine could not do it: it lacked descriptors, ports, memory or a way to the
    /// server. Exit code 4.
    MachineFailure,
    /// It was told to end before its time; up to then everything held. Exit code 5.
    Interrupted,
}

/// What a run showed, for its verdict.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Findings {
    /// The server broke its promise.
    pub(crate) faults: bool,
    /// The harness's machine lacked something.
    pub(crate) shortages: bool,
    /// The run did not come as far as it should have.
    pub(crate) unfinished: bool,
    /// The harness was too slow.
    pub(crate) late: bool,
}

impl From<Findings> for Verdict {
    /// A broken promise is one on any machine; but a run that a machine could not finish says
    /// nothing about the server.
    fn from(findings: Findings) -> Verdict {
        match findings {
            Findings { faults: true, .. } => Verdict::ProductFailure,
            Findings { shortages: true, .. } => Verdict::MachineFailure,
            Findings { unfinished: true, .. } => Verdict::ProductFailure,
            Findings { late: true, .. } => Verdict::HarnessInvalid,
            Findings { .. } => Verdict::Ok,
        }
    }
}

/// What every scenario's report has.
pub trait Report: Serialize {
    /// Its verdict, and the reasons for it.
    fn judgement(&mut self) -> (&mut Verdict, &mut Vec<String>);

    /// Marks it as the report of a run that ended before its time. What was found until then stays
    /// what it is: a broken promise, or figures that are invalid.
    fn interrupt(&mut self) {
        let (verdict, reasons) = self.judgement();
        if *verdict == Verdict::Ok {
            *verdict = Verdict::Interrupted;
        }
        reasons.push("it was interrupted".to_owned());
    }
}

impl Verdict {
    /// The exit code; 2 is that of wrong usage.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Verdict::Ok => 0,
            Verdict::ProductFailure => 1,
            Verdict::HarnessInvalid => 3,
            Verdict::MachineFailure => 4,
            Verdict::Interrupted => 5,
        })
    }
}

/// What the auditor found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FaultReport {
    /// How often each kind was found; empty if all is well.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// The first ones in words.
    pub examples: Vec<String>,
}

impl From<&FaultLog> for FaultReport {
    fn from(log: &FaultLog) -> FaultReport {
        FaultReport {
            counts: log.counts().clone(),
            examples: log.examples().iter().map(ToString::to_string).collect(),
        }
    }
}

/// What the server's process used during the measured window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerReport {
    /// Its process.
    pub pid: u32,
    /// User and system time within the window, in microseconds.
    pub cpu_us: u64,
    /// Processors that it kept busy, on average.
    pub cpu_share: f64,
    /// Messages of the window.
    pub messages: u64,
    /// `cpu_us` by `messages`.
    pub cpu_us_per_message: f64,
    /// Resident memory at the start of the window, in bytes.
    pub resident_bytes_before: u64,
    /// Resident memory at its end.
    pub resident_bytes_after: u64,
    /// Batches that its store made durable within the window, if it has such a store.
    pub commits: Option<u64>,
}

impl ServerReport {
    /// From two looks at the process, the seconds and the messages between them.
    pub fn new(
        pid: u32,
        before: Usage,
        after: Usage,
        window_s: f64,
        messages: u64,
    ) -> ServerReport {
        let cpu_us = after.cpu_us.saturating_sub(before.cpu_us);
        ServerReport {
            pid,
            cpu_us,
            cpu_share: cpu_us as f64 / 1e6 / window_s.max(1e-9),
            messages,
            cpu_us_per_message: cpu_us as f64 / messages.max(1) as f64,
            resident_bytes_before: before.resident_bytes,
            resident_bytes_after: after.resident_bytes,
            commits: None,
        }
    }

    /// Messages that shared a batch, and with it an fsync; `None` if nothing was stored.
    pub fn messages_per_commit(&self) -> Option<f64> {
        let commits = self.commits.filter(|&commits| commits > 0)?;
        Some(self.messages as f64 / commits as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_finding_is_the_verdict() {
        let nothing = Findings::default();
        assert_eq!(Verdict::from(nothing), Verdict::Ok);
        let late = Findings { late: true, ..nothing };
        assert_eq!(Verdict::from(late), Verdict::HarnessInvalid);
        let unfinished = Findings { unfinished: true, ..late };
        assert_eq!(Verdict::from(unfinished), Verdict::ProductFailure);
        let short = Findings { shortages: true, ..unfinished };
        assert_eq!(Verdict::from(short), Verdict::MachineFailure);
        let broken = Findings { faults: true, ..short };
        assert_eq!(Verdict::from(broken), Verdict::ProductFailure);
    }
}
