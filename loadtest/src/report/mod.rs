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

pub(crate) use crate::verdict::Findings;
pub use crate::verdict::Verdict;

use serde::Serialize;

use crate::audit::FaultLog;
use crate::process::Usage;

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
