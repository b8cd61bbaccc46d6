//! `[log]`: what is logged.

use serde::{Deserialize, Serialize};

use super::error::SectionFaults;
use super::section::{Section, section};

section! {
    /// What is logged, to standard error. Reloaded on SIGHUP.
    Log {
        /// off, error, warn, info, debug, trace, or by module as in "info,dunlin_gateway=debug".
        level: String = "info".into(),
        /// auto (human on a terminal, else json), human or json.
        format: LogFormat = LogFormat::Auto,
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, else JSON.
    Auto,
    /// For people.
    Human,
    /// One object per line.
    Json,
}

impl Section for Log {
    const NAME: &'static str = "log";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        if let Err(reason) = crate::log::check(self) {
            faults.refuse(&["level"], reason);
        }
    }
}
