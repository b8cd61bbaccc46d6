//! Processors and the clock.

use super::{Facts, Finding, Plan, Severity};

/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

pub(super) fn findings(plan: &Plan, facts: &Facts) -> Vec<Finding> {
    vec![processors(plan, facts), clock(facts)]
}

fn processors(plan: &Plan, facts: &Facts) -> Finding {
    let needed = if plan.is_local() { 2 } else { 1 };
    let severity = if facts.processors < needed { Severity::Warning } else { Severity::Ok };
    Finding {
        check: "processors",
        found: facts.processors.to_string(),
        needed: format!("{needed} or more"),
        why: "Server and harness on one processor measure each other.",
        severity,
        mend: (severity > Severity::Ok).then(|| "run the harness on another machine".to_owned()),
    }
}

fn clock(facts: &Facts) -> Finding {
    const CHECK: &str = "clock source";
    const WHY: &str = "Each latency is two looks at the clock. A source that needs a system call \
                       costs a microsecond for each.";
    let Some(source) = &facts.clock_source else {
        return Finding::unknown(CHECK, WHY);
    };
    let is_fast = FAST_CLOCKS.contains(&source.as_str());
    let severity = if is_fast { Severity::Ok } else { Severity::Warning };
    let command = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource";
    Finding {
        check: CHECK,
        found: source.clone(),
        needed: "tsc, or another that needs no call".to_owned(),
        why: WHY,
        severity,
        mend: (!is_fast).then(|| command.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{judge, million, roomy};
    use super::*;

    #[test]
    fn slow_clocks_and_single_processors_are_warnings() {
        let facts = Facts { processors: 1, clock_source: Some("hpet".to_owned()), ..roomy() };
        assert_eq!(judge("processors", million(), &facts).severity, Severity::Warning);
        let found = judge("clock source", million(), &facts);
        assert!(found.mend.unwrap().contains("current_clocksource"));
        let elsewhere = Plan { address: "192.0.2.1:7410".parse().unwrap(), ..million() };
        assert_eq!(judge("processors", elsewhere, &facts).severity, Severity::Ok);
    }
}
