//! Memory of the machine, and of the control group.

use super::{Facts, Finding, Plan, Severity};

/// Above this share of what is available, the page cache goes and latencies show it.
const COMFORTABLE_SHARE: f64 = 0.8;

pub(super) fn findings(plan: &Plan, facts: &Facts) -> Vec<Finding> {
    vec![available(plan, facts), group(plan, facts)]
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn judge(needed: u64, room: u64) -> Severity {
    if needed > room {
        Severity::Blocks
    } else if needed as f64 > room as f64 * COMFORTABLE_SHARE {
        Severity::Warning
    } else {
        Severity::Ok
    }
}

fn available(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "memory available";
    const WHY: &str = "Sockets in the kernel (3.9 KB for each end on this machine), the server's and \
                       the harness's part of each connection. Beyond it the kernel ends the largest \
                       process.";
    let Some(room) = facts.memory_available_bytes else {
        return Finding::unknown(CHECK, WHY);
    };
    let severity = judge(plan.bytes(), room);
    let fit = (room as f64 * COMFORTABLE_SHARE) as u64 / plan.bytes_per_connection();
    let mend = format!("end other programs, or use --connections {fit}");
    Finding {
        check: CHECK,
        found: mib(room),
        needed: format!("{} ({} B each)", mib(plan.bytes()), plan.bytes_per_connection()),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok).then_some(mend),
    }
}

fn group(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "memory of the control group";
    const WHY: &str = "A container or a service unit has a limit of its own; sockets of its \
                       processes count.";
    let Some(group) = &facts.group_memory else {
        let (found, needed) = ("no limit".to_owned(), "-".to_owned());
        let (severity, mend) = (Severity::Ok, None);
        return Finding { check: CHECK, found, needed, why: WHY, severity, mend };
    };
    let severity = judge(plan.bytes(), group.limit_bytes.saturating_sub(group.used_bytes));
    let wanted = ((group.used_bytes + plan.bytes()) as f64 / COMFORTABLE_SHARE) as u64;
    Finding {
        check: CHECK,
        found: format!("{}, {} in use", mib(group.limit_bytes), mib(group.used_bytes)),
        needed: format!("{} more", mib(plan.bytes())),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok)
            .then(|| format!("echo {wanted} > {}", group.limit_file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::GroupMemory;
    use super::super::tests::{judge, million, roomy};
    use super::*;

    #[test]
    fn memory_blocks_when_it_does_not_suffice_and_warns_when_it_is_tight() {
        let severity = |share: f64| {
            let bytes = (million().bytes() as f64 / share) as u64;
            let facts = Facts { memory_available_bytes: Some(bytes), ..roomy() };
            judge("memory available", million(), &facts).severity
        };
        assert_eq!(severity(1.01), Severity::Blocks);
        assert_eq!(severity(0.9), Severity::Warning);
        assert_eq!(severity(0.7), Severity::Ok);
        let facts = Facts { memory_available_bytes: Some(1 << 30), ..roomy() };
        let fit = judge("memory available", million(), &facts).mend.unwrap();
        let fit: u32 = fit.rsplit(' ').next().unwrap().parse().unwrap();
        let plan = Plan { connections: fit, ..million() };
        assert_eq!(judge("memory available", plan, &facts).severity, Severity::Ok);
    }

    #[test]
    fn what_a_group_has_used_is_not_there() {
        let limit_file = "/sys/fs/cgroup/run/memory.max".into();
        let group = GroupMemory { limit_bytes: 10 << 30, used_bytes: 2 << 30, limit_file };
        let facts = Facts { group_memory: Some(group), ..roomy() };
        let found = judge("memory of the control group", million(), &facts);
        assert_eq!(found.severity, Severity::Blocks);
        assert!(found.mend.unwrap().ends_with(" > /sys/fs/cgroup/run/memory.max"));
    }
}
