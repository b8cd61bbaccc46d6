//! `[drain]`: how the server goes down.

use super::error::SectionFaults;
use super::section::{Section, section};
use super::timeouts::DAY_MS;
use crate::shard::control::DrainPlan;

section! {
    /// How the server goes down.
    Drain {
        /// Connections that are sent away per second.
        connections_per_second: u64 = 5000,
        /// When to give up waiting for answers.
        timeout_ms: u64 = 60_000,
        /// Clients reconnect after this delay to twice of it.
        reconnect_delay_ms: u32 = 1000,
        /// host:port where clients shall go; empty for the same address.
        address: String = String::new(),
    }
}

impl Section for Drain {
    const NAME: &'static str = "drain";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        faults.within("connections_per_second", self.connections_per_second, 1..=1_000_000_000);
        faults.within("timeout_ms", self.timeout_ms, 0..=DAY_MS);
        faults.within("reconnect_delay_ms", self.reconnect_delay_ms, 0..=DAY_MS);
    }
}

impl Drain {
    /// For each of so many shards.
    pub(crate) fn plan(&self, shards: usize) -> DrainPlan {
        DrainPlan {
            connections_per_second: self.connections_per_second.div_ceil(shards.max(1) as u64),
            timeout_ms: self.timeout_ms,
            reconnect_delay_ms: self.reconnect_delay_ms,
            address: self.address.clone(),
        }
    }
}
