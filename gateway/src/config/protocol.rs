//! `[protocol]`: what clients are told when they connect.

use dunlin_core::connection::ConnectionContext;
use dunlin_core::welcome::{Capabilities, EncodedWelcome, TransportLimits};
use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_LOGIN, HEARTBEAT_INTERVAL_MS,
    REQUESTS_OUTSTANDING_MAX, SMALL_FRAME_BYTES_MAX, SYNC_POSITION_BYTES_MAX, SYNC_POSITIONS_MAX,
};
use dunlin_protocol::wire::Rules;

use super::error::SectionFaults;
use super::section::{Section, section};

/// The least that `protocol.frame_bytes_max` may be: the largest Sync fits, and so do a message
/// with all that is around it and what is allowed before login.
const FRAME_BYTES_MIN: usize = SYNC_POSITIONS_MAX * SYNC_POSITION_BYTES_MAX + 4096;
const _: () = assert!(CONTENT_BYTES_MAX + 4096 <= FRAME_BYTES_MIN);
const _: () = assert!(FRAME_BYTES_MAX_BEFORE_LOGIN as usize <= FRAME_BYTES_MIN);

section! {
    /// What clients are told when they connect.
    Protocol {
        /// How often a client must be heard; it is idle after twice this time.
        heartbeat_interval_ms: u32 = HEARTBEAT_INTERVAL_MS,
        /// The largest frame after login.
        frame_bytes_max: u32 = FRAME_BYTES_MAX,
        /// The largest frame after login of all but Send and Sync; a Send may be longer by its content.
        small_frame_bytes_max: u32 = SMALL_FRAME_BYTES_MAX,
        /// Requests of one connection that may wait for their response.
        requests_outstanding_max: u32 = REQUESTS_OUTSTANDING_MAX,
        /// Whether large responses are deflated for clients that can read it.
        deflate: bool = true,
    }
}

impl Section for Protocol {
    const NAME: &'static str = "protocol";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        faults.within("heartbeat_interval_ms", self.heartbeat_interval_ms, 100..=3_600_000);
        let frames = FRAME_BYTES_MIN as u64..=64 * 1024 * 1024;
        faults.within("frame_bytes_max", self.frame_bytes_max, frames);
        let small = u64::from(SMALL_FRAME_BYTES_MAX)..=u64::from(self.frame_bytes_max);
        faults.within("small_frame_bytes_max", self.small_frame_bytes_max, small);
        let outstanding = 1..=u64::from(u16::MAX);
        faults.within("requests_outstanding_max", self.requests_outstanding_max, outstanding);
    }
}

impl Protocol {
    /// For the connections of a server of this name.
    pub(crate) fn context(
        &self,
        server: &str,
        transport: TransportLimits,
        rules: Rules,
    ) -> ConnectionContext {
        ConnectionContext {
            server: server.into(),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            frame_bytes_max: self.frame_bytes_max,
            small_frame_bytes_max: self.small_frame_bytes_max,
            requests_outstanding_max: self.requests_outstanding_max,
            transport,
            rules,
            capabilities: Capabilities { deflate: self.deflate },
            welcome: EncodedWelcome::default(),
        }
    }

    /// After how long a connection of which nothing arrives is idle: two heartbeat intervals, since
    /// one heartbeat may be late.
    pub(crate) fn idle_timeout_ms(&self) -> u32 {
        self.heartbeat_interval_ms.saturating_mul(2)
    }
}
