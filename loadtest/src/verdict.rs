//! How a run ended.

use std::process::ExitCode;

use serde::Serialize;

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
