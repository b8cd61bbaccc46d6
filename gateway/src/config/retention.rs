//! `[retention]`: how long messages are kept.

use dunlin_core::config::RetentionConfig;

use super::error::SectionFaults;
use super::section::{Section, section};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A hundred years: more is for ever.
const DAYS_MAX: u64 = 36_525;

section! {
    /// How long messages are kept.
    Retention {
        /// No message is kept longer; 0 for ever.
        kept_days_max: u64 = 0,
        /// A conversation can't have its messages expire sooner.
        kept_days_min: u64 = 0,
        /// How many conversations are looked at in a second.
        conversations_per_second: u32 = 100,
    }
}

impl Section for Retention {
    const NAME: &'static str = "retention";
    type Checked = RetentionConfig;

    fn check(&self, faults: &mut SectionFaults<'_>) -> RetentionConfig {
        faults.within("kept_days_max", self.kept_days_max, 0..=DAYS_MAX);
        let most = if self.kept_days_max == 0 { DAYS_MAX } else { self.kept_days_max };
        faults.within("kept_days_min", self.kept_days_min, 0..=most);
        faults.within("conversations_per_second", self.conversations_per_second, 1..=10_000);
        RetentionConfig {
            kept_ms_max: (self.kept_days_max > 0)
                .then(|| self.kept_days_max.saturating_mul(DAY_MS)),
            kept_ms_min: self.kept_days_min.saturating_mul(DAY_MS),
            conversations_per_second: self.conversations_per_second,
        }
    }
}
