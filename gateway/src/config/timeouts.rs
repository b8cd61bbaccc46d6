//! `[timeouts]`: how long is too long.

use dunlin_protocol::limits::FRAME_TIMEOUT_MS;

use super::error::SectionFaults;
use super::section::{Section, section};

/// The longest time that makes sense while somebody waits.
pub(super) const DAY_MS: u64 = 24 * 3600 * 1000;

section! {
    /// How long is too long.
    Timeouts {
        /// From the accept to the end of TLS handshake and Hello.
        handshake_timeout_ms: u64 = 10_000,
        /// The same for a TLS handshake while there are as many as there may be.
        hurried_handshake_timeout_ms: u64 = 2000,
        /// From then to a login.
        login_timeout_ms: u64 = 30_000,
        /// From the first byte of a frame to its last.
        frame_timeout_ms: u32 = FRAME_TIMEOUT_MS,
        /// For a peer that takes none of the bytes that wait for it.
        write_timeout_ms: u64 = 30_000,
    }
}

impl Section for Timeouts {
    const NAME: &'static str = "timeouts";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        faults.within("handshake_timeout_ms", self.handshake_timeout_ms, 100..=DAY_MS);
        let hurried = self.hurried_handshake_timeout_ms;
        faults.within("hurried_handshake_timeout_ms", hurried, 100..=DAY_MS);
        faults.within("login_timeout_ms", self.login_timeout_ms, 100..=DAY_MS);
        faults.within("frame_timeout_ms", self.frame_timeout_ms, 100..=DAY_MS);
        faults.within("write_timeout_ms", self.write_timeout_ms, 100..=DAY_MS);
    }
}
