//! `[limits]`: how much is too much.

use super::error::SectionFaults;
use super::section::{Section, section};
use crate::limits::NODE_PRESSURE_DIVISOR;
use crate::stream::outbox::OutboxLimits;

section! {
    /// How much is too much.
    Limits {
        /// Connections of the node; 0 for what the descriptors of its shards allow.
        connections_max: usize = 0,
        /// Connections of one IPv4 address or one IPv6 /64 network.
        connections_per_address_max: u32 = 1000,
        /// Whether the limits per address leave out this machine.
        loopback_exempt: bool = true,
        /// Connections that are accepted per second.
        accepts_per_second: u64 = 20_000,
        /// TLS handshakes that may be under way; at this number they are hurried.
        handshakes_max: usize = 4000,
        /// Failed logins of an address until it is blocked.
        failed_logins_per_address_max: u32 = 100,
        /// How fast failed logins are forgiven; an address is unblocked at half of the limit.
        failed_logins_forgiven_per_minute: u32 = 30,
        /// Failed logins of a connection until it is closed.
        failed_logins_per_connection_max: u8 = 5,
        /// Passwords of an address that are looked at at a time.
        passwords_at_once_per_address_max: u32 = 32,
        /// Registrations of an address at once, taken names among them.
        registrations_per_address_max: u32 = 60,
        /// How many more it may try, as time passes.
        registrations_forgiven_per_hour: u32 = 60,
        /// Bytes of the large requests of one connection that may wait for their response.
        request_bytes_max: usize = 512 * 1024,
        /// Bytes of all that has not arrived whole until those who hold most of it are closed.
        input_bytes_node_max: usize = 256 * 1024 * 1024,
        /// Bytes that wait for a slow connection until its pushes collapse.
        outbox_bytes_soft: usize = 256 * 1024,
        /// Bytes that wait for a slow connection until it is closed.
        outbox_bytes_max: usize = 8 * 1024 * 1024,
        /// Bytes that wait for all connections until each is held to an eighth of its limits.
        outbox_bytes_node_max: usize = 1024 * 1024 * 1024,
    }
}

impl Section for Limits {
    const NAME: &'static str = "limits";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        let any = 1..=u64::from(u32::MAX);
        let per_address = self.connections_per_address_max;
        faults.within("connections_per_address_max", per_address, any.clone());
        faults.within("accepts_per_second", self.accepts_per_second, any.clone());
        faults.count_within("handshakes_max", self.handshakes_max, any);
        self.check_failed_logins(faults);
        self.check_registrations(faults);
        faults.count_within("request_bytes_max", self.request_bytes_max, 1..=1 << 40);
        // A few of the largest frames that can be configured.
        let input = 1 << 20..=1 << 50;
        faults.count_within("input_bytes_node_max", self.input_bytes_node_max, input);
        self.check_outboxes(faults);
    }
}

impl Limits {
    fn check_failed_logins(&self, faults: &mut SectionFaults<'_>) {
        let per_address = self.failed_logins_per_address_max;
        faults.within("failed_logins_per_address_max", per_address, 2..=1_000_000);
        let forgiven = self.failed_logins_forgiven_per_minute;
        faults.within("failed_logins_forgiven_per_minute", forgiven, 1..=60_000);
        let per_connection = self.failed_logins_per_connection_max;
        faults.within("failed_logins_per_connection_max", per_connection, 1..=255);
    }

    fn check_registrations(&self, faults: &mut SectionFaults<'_>) {
        let at_once = self.passwords_at_once_per_address_max;
        faults.within("passwords_at_once_per_address_max", at_once, 1..=1_000_000);
        let per_address = self.registrations_per_address_max;
        faults.within("registrations_per_address_max", per_address, 1..=1_000_000);
        let forgiven = self.registrations_forgiven_per_hour;
        faults.within("registrations_forgiven_per_hour", forgiven, 1..=3_600_000);
    }

    fn check_outboxes(&self, faults: &mut SectionFaults<'_>) {
        // Even under pressure a client must be able to hear that it is behind.
        let soft_min = NODE_PRESSURE_DIVISOR as u64 * 1024;
        faults.count_within("outbox_bytes_soft", self.outbox_bytes_soft, soft_min..=1 << 40);
        let soft = self.outbox_bytes_soft as u64;
        faults.count_within("outbox_bytes_max", self.outbox_bytes_max, soft..=1 << 40);
        let max = self.outbox_bytes_max as u64;
        faults.count_within("outbox_bytes_node_max", self.outbox_bytes_node_max, max..=1 << 50);
    }

    /// For the outbox of a connection.
    pub(crate) fn outbox(&self) -> OutboxLimits {
        OutboxLimits { soft: self.outbox_bytes_soft, hard: self.outbox_bytes_max }
    }
}
