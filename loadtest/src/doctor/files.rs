//! Descriptors of a process and open files of the machine.

use super::{Facts, Finding, Plan, Severity};
use crate::generators::{connections_per_table, descriptors_for};

/// More threads than this cost more than they carry: then a higher limit is worth a command.
const THREADS_COMFORTABLE: u64 = 200;

/// Files that other programs, and both ends of a run besides their sockets, may open.
const FILES_BESIDE: u64 = 2_000;

pub(super) fn findings(plan: &Plan, facts: &Facts) -> Vec<Finding> {
    vec![descriptors(plan, facts), descriptor_ceiling(plan, facts), files(plan, facts)]
}

/// Whether the limit must be raised, since tables of their own are refused.
fn must_rise(plan: &Plan, facts: &Facts) -> bool {
    let fits = u64::from(plan.connections) <= connections_per_table(facts.descriptors_hard);
    !fits && !facts.own_tables
}

fn descriptors(plan: &Plan, facts: &Facts) -> Finding {
    let threads = plan.threads(facts.descriptors_hard);
    let enough = descriptors_for(plan.connections);
    let tables =
        if facts.own_tables { "one table per thread" } else { "one table for all threads" };
    let severity = if must_rise(plan, facts) {
        Severity::Blocks
    } else if threads > THREADS_COMFORTABLE {
        Severity::Warning
    } else {
        Severity::Ok
    };
    let needed = match (threads, severity) {
        (1, _) | (_, Severity::Blocks) => format!("{enough} in one table"),
        _ => format!("{threads} threads with a table each"),
    };
    let mend =
        format!("prlimit --pid $$ --nofile={enough}:{enough}  # in the shell that starts it");
    Finding {
        check: "descriptors",
        found: format!("{} (soft {}), {tables}", facts.descriptors_hard, facts.descriptors_soft),
        needed,
        why: "Each connection is a descriptor. RLIMIT_NOFILE holds per table, and each thread may \
              have its own where unshare(CLONE_FILES) is allowed; the soft limit is raised by the \
              program itself.",
        severity,
        mend: (severity > Severity::Ok).then_some(mend),
    }
}

fn descriptor_ceiling(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "fs.nr_open";
    const WHY: &str = "No process may raise its limit of descriptors beyond this.";
    let Some(ceiling) = facts.descriptors_limit_max else {
        return Finding::unknown(CHECK, WHY);
    };
    let needed = if must_rise(plan, facts) {
        descriptors_for(plan.connections)
    } else {
        facts.descriptors_hard
    };
    let severity = if ceiling < needed { Severity::Blocks } else { Severity::Ok };
    Finding {
        check: CHECK,
        found: ceiling.to_string(),
        needed: needed.to_string(),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok).then(|| format!("sysctl -w fs.nr_open={needed}")),
    }
}

fn files(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "fs.file-max";
    const WHY: &str = "All processes of the machine together may have so many open files; only root \
                       may have more.";
    let (Some(open), Some(limit)) = (facts.files_open, facts.files_open_max) else {
        return Finding::unknown(CHECK, WHY);
    };
    let needed = open + plan.sockets() + FILES_BESIDE;
    let severity = match (limit >= needed, facts.is_root) {
        (true, _) => Severity::Ok,
        (false, true) => Severity::Warning,
        (false, false) => Severity::Blocks,
    };
    Finding {
        check: CHECK,
        found: format!("{limit}, {open} in use"),
        needed: needed.to_string(),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok).then(|| format!("sysctl -w fs.file-max={needed}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{judge, million, roomy};
    use super::*;

    #[test]
    fn tables_of_their_own_make_up_for_a_low_limit() {
        let found = judge("descriptors", million(), &roomy());
        assert_eq!((found.severity, found.mend), (Severity::Ok, None));
        assert_eq!(found.needed, "51 threads with a table each");
        let refused = Facts { own_tables: false, ..roomy() };
        let found = judge("descriptors", million(), &refused);
        assert_eq!(found.severity, Severity::Blocks);
        assert!(found.mend.unwrap().starts_with("prlimit --pid $$ --nofile=1000066:1000066"));
        let few = Plan { connections: 10_000, ..million() };
        assert_eq!(judge("descriptors", few, &refused).severity, Severity::Ok);
        let tiny = Facts { descriptors_hard: 1024, ..roomy() };
        assert_eq!(judge("descriptors", million(), &tiny).severity, Severity::Warning);
    }

    #[test]
    fn a_limit_that_must_rise_needs_a_ceiling_above_it() {
        let refused = Facts { own_tables: false, descriptors_limit_max: Some(65_536), ..roomy() };
        let found = judge("fs.nr_open", million(), &refused);
        assert_eq!(found.mend.as_deref(), Some("sysctl -w fs.nr_open=1000066"));
        let allowed = Facts { own_tables: true, ..refused };
        assert_eq!(judge("fs.nr_open", million(), &allowed).severity, Severity::Ok);
    }

    #[test]
    fn both_ends_are_open_files_of_this_machine() {
        let facts = Facts { files_open_max: Some(1_500_000), ..roomy() };
        let found = judge("fs.file-max", million(), &facts);
        assert_eq!(found.severity, Severity::Blocks);
        assert_eq!(found.mend.as_deref(), Some("sysctl -w fs.file-max=2004000"));
        let root = Facts { is_root: true, ..facts.clone() };
        assert_eq!(judge("fs.file-max", million(), &root).severity, Severity::Warning);
        let elsewhere = Plan { address: "192.0.2.1:7410".parse().unwrap(), ..million() };
        assert_eq!(judge("fs.file-max", elsewhere, &facts).severity, Severity::Ok);
    }
}
