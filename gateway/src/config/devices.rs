//! `[devices]`: how many sessions a user may have.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use dunlin_core::config::DevicePolicy;
use dunlin_core::limits;
use dunlin_protocol::wire::DeviceKind;

use super::error::SectionFaults;
use super::section::{Section, section};

/// How many the engine allows.
const SESSIONS: RangeInclusive<u64> = 1..=limits::SESSIONS_MAX as u64;

section! {
    /// How many sessions a user may have; the oldest is replaced.
    Devices {
        /// Of one kind.
        sessions_per_kind: usize = 4,
        /// Of all kinds together.
        sessions_max: usize = 16,
        /// Exceptions by kind: phone, tablet, desktop, web, bot.
        by_kind: BTreeMap<String, usize> = BTreeMap::new(),
    }
}

impl Section for Devices {
    const NAME: &'static str = "devices";
    type Checked = DevicePolicy;

    fn check(&self, faults: &mut SectionFaults<'_>) -> DevicePolicy {
        faults.count_within("sessions_per_kind", self.sessions_per_kind, SESSIONS);
        faults.count_within("sessions_max", self.sessions_max, SESSIONS);
        let by_kind = self.by_kind.iter();
        DevicePolicy {
            sessions_per_kind: self.sessions_per_kind,
            sessions_max: self.sessions_max,
            by_kind: by_kind.filter_map(|(name, &count)| exception(name, count, faults)).collect(),
        }
    }
}

fn exception(
    name: &str,
    sessions: usize,
    faults: &mut SectionFaults<'_>,
) -> Option<(DeviceKind, usize)> {
    let key = ["by_kind", name];
    faults.range(&key, sessions as u64, SESSIONS);
    let wire_name = format!("DEVICE_KIND_{}", name.to_uppercase());
    let kind = DeviceKind::from_str_name(&wire_name);
    let kind = kind.filter(|kind| *kind != DeviceKind::Unspecified);
    if kind.is_none() {
        faults.refuse(&key, "is none of phone, tablet, desktop, web, bot");
    }
    kind.map(|kind| (kind, sessions))
}
