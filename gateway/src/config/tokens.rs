//! `[tokens]`: how long tokens are good.

use std::time::Duration;

use dunlin_core::config::TokenConfig;

use super::error::SectionFaults;
use super::section::{Section, section};

const YEAR_S: u64 = 366 * 24 * 3600;

section! {
    /// How long tokens are good.
    Tokens {
        /// Access tokens.
        access_lifetime_s: u64 = 15 * 60,
        /// Sessions, and with them their refresh tokens, from their last use.
        refresh_lifetime_s: u64 = 30 * 24 * 3600,
        /// Resume tokens, from the last login.
        resume_lifetime_s: u64 = 24 * 3600,
    }
}

impl Section for Tokens {
    const NAME: &'static str = "tokens";
    type Checked = TokenConfig;

    fn check(&self, faults: &mut SectionFaults<'_>) -> TokenConfig {
        faults.within("access_lifetime_s", self.access_lifetime_s, 1..=YEAR_S);
        faults.within("refresh_lifetime_s", self.refresh_lifetime_s, 1..=10 * YEAR_S);
        faults.within("resume_lifetime_s", self.resume_lifetime_s, 1..=YEAR_S);
        TokenConfig {
            access: Duration::from_secs(self.access_lifetime_s),
            refresh: Duration::from_secs(self.refresh_lifetime_s),
            resume: Duration::from_secs(self.resume_lifetime_s),
        }
    }
}
