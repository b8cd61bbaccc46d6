//! What an audited run must have found.

use std::fmt::Debug;

use dunlin_loadtest::chat::ChatReport;
use dunlin_loadtest::fanout::FanoutReport;
use dunlin_loadtest::report::{FaultReport, Verdict};

use super::Sabotage;

/// The report of a run in which every message was audited.
pub(crate) trait Audited: Debug {
    fn verdict(&self) -> Verdict;
    fn faults(&self) -> &FaultReport;
}

impl Audited for ChatReport {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn faults(&self) -> &FaultReport {
        &self.faults
    }
}

impl Audited for FanoutReport {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn faults(&self) -> &FaultReport {
        &self.faults
    }
}

/// The machine may be busy, so that the harness is late: only faults count here.
pub(crate) fn assert_sound(report: &impl Audited) {
    assert_ne!(report.verdict(), Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults().counts.is_empty(), "{report:#?}");
}

/// What the server did wrong was found, and has failed the run.
pub(crate) fn assert_found(report: &impl Audited, sabotage: Sabotage, kind: &str) {
    assert_eq!(report.verdict(), Verdict::ProductFailure, "{sabotage:?}: {report:#?}");
    assert!(report.faults().counts.contains_key(kind), "{sabotage:?}: {report:#?}");
}
