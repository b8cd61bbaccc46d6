//! What came of readers who stall. docs/loadtest-reports.md explains each field.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crowd::{MessageLatencies, MessageLatencyReport};
use crate::scenarios::slow::Slow;

/// Counts of those who stall, and of all the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub stalling: u64,
    pub others: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, stalls: bool) {
        *(if stalls { &mut self.stalling } else { &mut self.others }) += 1;
    }

    fn merge(&mut self, other: Counts) {
        self.stalling += other.stalling;
        self.others += other.others;
    }
}

/// What a thread, or another process, counts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) stalling_users: u64,
    pub(crate) stalls: u64,
    pub(crate) behind: Counts,
    pub(crate) repairs: Counts,
    pub(crate) closes: BTreeMap<String, u64>,
    pub(crate) disturbed: MessageLatencies,
    pub(crate) undisturbed: MessageLatencies,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: &Tally) {
        self.stalling_users += other.stalling_users;
        self.stalls += other.stalls;
        self.behind.merge(other.behind);
        self.repairs.merge(other.repairs);
        for (reason, count) in &other.closes {
            *self.closes.entry(reason.clone()).or_default() += count;
        }
        self.disturbed.merge(&other.disturbed);
        self.undisturbed.merge(&other.undisturbed);
    }
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct SlowReport {
    pub settings: Slow,
    /// Users who stalled.
    pub stalling_users: u64,
    pub stalls: u64,
    /// Hints that pushes were left out.
    pub behind: Counts,
    /// Histories that were asked for to make up for it.
    pub repairs: Counts,
    /// Connections of stalling users that ended, by reason. Any other one is a fault.
    pub closes: BTreeMap<String, u64>,
    /// Messages within pairs of which one stalls.
    pub disturbed: MessageLatencyReport,
    /// Those of all the others.
    pub undisturbed: MessageLatencyReport,
}

impl SlowReport {
    pub(crate) fn new(slow: &Slow, tally: Tally) -> SlowReport {
        SlowReport {
            settings: slow.clone(),
            stalling_users: tally.stalling_users,
            stalls: tally.stalls,
            behind: tally.behind,
            repairs: tally.repairs,
            disturbed: (&tally.disturbed).into(),
            undisturbed: (&tally.undisturbed).into(),
            closes: tally.closes,
        }
    }
}

/// For people.
impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "stalls       {} of {} users; behind {} times (others {}), {} repairs (others {})",
            self.stalls,
            self.stalling_users,
            self.behind.stalling,
            self.behind.others,
            self.repairs.stalling,
            self.repairs.others
        )?;
        for (reason, count) in &self.closes {
            writeln!(f, "closed       {reason}: {count}")?;
        }
        for (name, latencies) in [("undisturbed", self.undisturbed), ("disturbed", self.disturbed)]
        {
            let deliver = latencies.deliver;
            writeln!(
                f,
                "{name:<12} p50 {:>9.0}  p99 {:>9.0}  p99.9 {:>9.0}  max {:>9.0} us  ({} delivered)",
                deliver.p50_us, deliver.p99_us, deliver.p999_us, deliver.max_us, deliver.count
            )?;
        }
        Ok(())
    }
}
