//! What came of an attack. docs/loadtest-reports.md explains each field.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Hostile;
use crate::report::Verdict;

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct HostileReport {
    pub settings: Hostile,
    /// Connections of attackers that were made.
    pub connects: u64,
    /// Of these, attempts that came to nothing: refused, or closed before the attack began.
    pub turned_away: u64,
    /// Bytes that the server's machine took from attackers, and gave to them.
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// How their connections ended, by the reason of the Close, if there was one.
    pub closes: BTreeMap<String, u64>,
    /// Memory of the server, if it is known: before the attack, and at most.
    pub resident_bytes_before: u64,
    pub resident_bytes_max: u64,
}

impl HostileReport {
    /// Whether the server has held more than it may.
    pub(crate) fn judge(&self, verdict: &mut Verdict, reasons: &mut Vec<String>) {
        let (bound, held) = (self.settings.resident_bytes_max, self.resident_bytes_max);
        if bound > 0 && held > bound {
            *verdict = Verdict::ProductFailure;
            reasons.push(format!("the server held {held} bytes, where {bound} were allowed"));
        }
    }
}

/// For people.
impl fmt::Display for HostileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        writeln!(
            f,
            "attack       {:?}: {} connections, {} turned away; {} MiB sent, {} MiB read",
            self.settings.attack,
            self.connects,
            self.turned_away,
            self.bytes_out / MIB,
            self.bytes_in / MIB
        )?;
        for (reason, count) in &self.closes {
            writeln!(f, "closed       {reason}: {count}")?;
        }
        writeln!(
            f,
            "memory       {} MiB before, {} MiB at most",
            self.resident_bytes_before / MIB,
            self.resident_bytes_max / MIB
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_allowed_is_a_failure() {
        let judged = |bound, held| {
            let settings = Hostile { resident_bytes_max: bound, ..Hostile::default() };
            let report =
                HostileReport { settings, resident_bytes_max: held, ..HostileReport::default() };
            let (mut verdict, mut reasons) = (Verdict::Ok, Vec::new());
            report.judge(&mut verdict, &mut reasons);
            (verdict, reasons.len())
        };
        assert_eq!(judged(100, 100), (Verdict::Ok, 0));
        assert_eq!(judged(0, 100), (Verdict::Ok, 0));
        assert_eq!(judged(99, 100), (Verdict::ProductFailure, 1));
    }
}
