//! Processors, the clock, and what else takes their time.

use super::{Facts, Finding, Plan, Severity, Stalls};

/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

/// Part of the time that may be lost: a tenth of what p99 leaves out.
const STALLED_SHARE_MAX: f64 = 0.001;

pub(super) fn findings(plan: &Plan, facts: &Facts) -> Vec<Finding> {
    vec![processors(plan, facts), stalls(facts), clock(facts)]
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

fn stalls(facts: &Facts) -> Finding {
    const CHECK: &str = "stalls";
    const WHY: &str = "With all processors busy, this share of the time goes to other programs, or \
                       to what the host of a virtual machine does instead: all latencies have it \
                       in their tails. At a hundredth, it is p99.";
    let Some(Stalls { share, longest_ms }) = facts.stalls else {
        return Finding::unknown(CHECK, WHY);
    };
    let severity = if share > STALLED_SHARE_MAX { Severity::Warning } else { Severity::Ok };
    Finding {
        check: CHECK,
        found: format!("{:.2} % of the time, up to {longest_ms:.1} ms", share * 100.0),
        needed: format!("at most {:.1} %", STALLED_SHARE_MAX * 100.0),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok)
            .then(|| "end other programs, or take a machine with processors of its own".to_owned()),
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
    fn processors_that_are_busy_with_other_things_are_a_warning() {
        let stalls = Stalls { share: 0.011, longest_ms: 10.9 };
        let found = judge("stalls", million(), &Facts { stalls: Some(stalls), ..roomy() });
        assert_eq!(found.severity, Severity::Warning);
        assert_eq!(found.found, "1.10 % of the time, up to 10.9 ms");
        assert_eq!(judge("stalls", million(), &roomy()).severity, Severity::Ok);
    }

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
