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
        /// From the word to go to the end of a connection that waits for nothing and does not leave
        /// by itself: what its client has asked meanwhile is answered.
        leave_ms: u64 = 3000,
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
        faults.within("leave_ms", self.leave_ms, 0..=DAY_MS);
        faults.within("timeout_ms", self.timeout_ms, 0..=DAY_MS);
        faults.within("reconnect_delay_ms", self.reconnect_delay_ms, 0..=DAY_MS);
        if !self.address.is_empty() && !is_host_port(&self.address) {
            faults.refuse(&["address"], format!("{:?} is no host:port", self.address));
        }
    }
}

/// Whether a client could go there. Its name may be one that only clients can look up.
fn is_host_port(text: &str) -> bool {
    let is_host = |host: &str| {
        let is_name = !host.is_empty() && !host.contains(|c: char| c == ':' || c.is_whitespace());
        is_name || (host.starts_with('[') && host.ends_with(']'))
    };
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|it| it > 0))
}

impl Drain {
    /// For each of so many shards.
    pub(crate) fn plan(&self, shards: usize) -> DrainPlan {
        DrainPlan {
            connections_per_second: self.connections_per_second.div_ceil(shards.max(1) as u64),
            leave_ms: self.leave_ms,
            timeout_ms: self.timeout_ms,
            reconnect_delay_ms: self.reconnect_delay_ms,
            address: self.address.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["im2.example.org:7411", "192.0.2.1:1", "[2001:db8::1]:7411"] {
            assert!(is_host_port(good), "{good}");
        }
        for bad in ["im2.example.org", ":7411", "2001:db8::1", "a:0", "a:70000", "a b:1"] {
            assert!(!is_host_port(bad), "{bad}");
        }
        let mut config = crate::config::Config::default();
        config.drain.address = "im2".into();
        let errors = crate::config::Checked::new(config, 1024, 1).unwrap_err();
        assert_eq!(errors.to_string(), "drain.address: \"im2\" is no host:port");
    }
}
