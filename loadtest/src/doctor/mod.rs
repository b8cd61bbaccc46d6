//! What could stop a large run on this machine, before it begins: limits, ports, memory.
//!
//! ```text
//! /proc, /sys, probes -> Facts ─┐
//! --connections, --tls -> Plan ─┴-> evaluate -> findings -> table or JSON, exit code
//! ```
//!
//! Only [`Facts::gather`] looks at the machine. Everything after it is a function of facts and
//! plan, so the tests judge machines that nobody has.

mod facts;
mod files;
mod group;
mod machine;
mod memory;
mod network;
mod plan;
mod stalls;
mod table;

use std::process::ExitCode;

use serde::Serialize;

pub use facts::Facts;
pub use group::GroupMemory;
pub use plan::Plan;
pub use stalls::Stalls;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The run finds what it needs.
    Ok,
    /// The run works, but slowly, or its figures say something about this.
    Warning,
    /// The run can't reach its connections.
    Blocks,
}

/// One limit of the machine, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the limit.
    pub check: &'static str,
    /// What it is.
    pub found: String,
    /// What the run needs.
    pub needed: String,
    /// What the limit has to do with the run.
    pub why: &'static str,
    /// The judgement.
    pub severity: Severity,
    /// The command that mends it, to be run as root if not said otherwise.
    pub mend: Option<String>,
}

impl Finding {
    /// A fact that could not be read is no reason to stay at home.
    fn unknown(check: &'static str, why: &'static str) -> Finding {
        let found = "can't be read".to_owned();
        let needed = "-".to_owned();
        Finding { check, found, needed, why, severity: Severity::Warning, mend: None }
    }
}

/// All findings about a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Name and version of this format.
    pub schema: &'static str,
    /// What was asked for.
    pub plan: Plan,
    /// Generator threads that it takes.
    pub threads: u64,
    /// The worst of all findings.
    pub severity: Severity,
    /// Each limit.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// 4 if the run can't work; 1 to 3 are what a run itself may end with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.severity {
            Severity::Ok | Severity::Warning => 0,
            Severity::Blocks => 4,
        })
    }
}

/// Judges facts.
pub fn evaluate(plan: Plan, facts: &Facts) -> Diagnosis {
    let mut findings = files::findings(&plan, facts);
    findings.extend(network::findings(&plan, facts));
    findings.extend(memory::findings(&plan, facts));
    findings.extend(machine::findings(&plan, facts));
    let severity = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    let threads = plan.threads(facts.descriptors_hard);
    Diagnosis { schema: "dunlin-loadtest/doctor/1", plan, threads, severity, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a million connections find all that they need.
    pub(super) fn roomy() -> Facts {
        Facts {
            descriptors_soft: 20_000,
            descriptors_hard: 20_000,
            own_tables: true,
            is_root: false,
            files_open: Some(2_000),
            files_open_max: Some(9_000_000),
            descriptors_limit_max: Some(1_048_576),
            ports: Some((32_768, 60_999)),
            tcp_pages: Some([1_000_000, 1_500_000, 2_000_000]),
            page_bytes: 4096,
            accept_queue_max: Some(4096),
            syn_queue_max: Some(2048),
            syn_cookies: Some(1),
            device_queue_max: Some(1000),
            tracked: None,
            tracked_max: None,
            memory_available_bytes: Some(64 << 30),
            group_memory: None,
            processors: 8,
            clock_source: Some("tsc".to_owned()),
            stalls: Some(Stalls { share: 0.0005, longest_ms: 0.4 }),
        }
    }

    pub(super) fn million() -> Plan {
        Plan { connections: 1_000_000, tls: false, address: "127.0.0.1:7410".parse().unwrap() }
    }

    /// The finding about a check.
    pub(super) fn judge(check: &str, plan: Plan, facts: &Facts) -> Finding {
        let findings = evaluate(plan, facts).findings;
        findings.into_iter().find(|finding| finding.check == check).unwrap()
    }

    #[test]
    fn a_roomy_machine_has_nothing_to_mend() {
        let diagnosis = evaluate(million(), &roomy());
        assert_eq!(diagnosis.severity, Severity::Ok, "{diagnosis:#?}");
        assert!(diagnosis.findings.iter().all(|finding| finding.mend.is_none()));
        assert_eq!(diagnosis.threads, 51);
    }

    #[test]
    fn what_can_not_be_read_is_a_warning() {
        let facts = Facts { own_tables: true, descriptors_hard: 20_000, ..Facts::default() };
        let diagnosis = evaluate(million(), &facts);
        assert_eq!(diagnosis.severity, Severity::Warning, "{diagnosis:#?}");
    }

    #[test]
    fn the_worst_finding_is_that_of_the_whole() {
        let facts = Facts { memory_available_bytes: Some(1 << 30), ..roomy() };
        assert_eq!(evaluate(million(), &facts).severity, Severity::Blocks);
        let small = Plan { connections: 1000, ..million() };
        assert_eq!(evaluate(small, &facts).severity, Severity::Ok);
    }
}
