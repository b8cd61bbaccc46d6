//! The configuration: what can be set, in which unit, and what it is by default.
//!
//! ```text
//! file, variables, flags ─► Sources ─► Loaded ─► Checked ─► node::assembly
//!                             │           │
//!                           known       a file for each section: keys, defaults, check,
//!                                       and what they become for the part they are for
//! ```
//!
//! Later sources win: defaults, file, environment (`DUNLIN_SECTION_KEY`), command line. All of
//! them are strict: an unknown key or a value of the wrong type is an error, and all that is wrong
//! is told at once, each with its place: file, line and column, variable, or flag.
//! `dunlin.example.toml` is the documentation of every key; a test keeps it complete.

mod checked;
mod data;
mod devices;
mod drain;
mod engine;
mod error;
#[cfg(test)]
mod example;
mod issuers;
mod key;
mod known;
mod limits;
mod listen;
mod log;
mod passwords;
mod protocol;
mod rates;
mod retention;
mod section;
mod sources;
mod store;
mod timeouts;
mod tls;
mod tokens;
mod web;

pub use checked::Checked;
pub use data::Data;
pub use devices::Devices;
pub use drain::Drain;
pub use engine::Engine;
pub use error::{ConfigError, ConfigErrors, Fault, Hint};
pub use issuers::{Issuer, Issuers, MIN_SECRET_BYTES};
pub use key::{Key, Origin, Place};
pub use limits::Limits;
pub use listen::Listen;
pub(crate) use listen::ListenHttp;
pub use log::{Log, LogFormat};
pub use passwords::Passwords;
pub use protocol::Protocol;
pub use rates::Rates;
pub use retention::Retention;
pub use sources::{Flag, Loaded, Sources};
pub use store::{Store, StoreSection};
pub use timeouts::Timeouts;
pub use tls::Tls;
pub use tokens::Tokens;
pub use web::Web;

use std::path::{Path, PathBuf};

use section::section;

section! {
    /// All of it, as it is written.
    Config {
        /// Where things are kept.
        data: Data = Data::default(),
        /// Where clients connect.
        listen: Listen = Listen::default(),
        /// Certificates.
        tls: Tls = Tls::default(),
        /// What holds for browsers. Reloaded on SIGHUP.
        web: Web = Web::default(),
        /// What clients are told.
        protocol: Protocol = Protocol::default(),
        /// How much is too much. Reloaded on SIGHUP.
        limits: Limits = Limits::default(),
        /// How fast is too fast. Reloaded on SIGHUP.
        rates: Rates = Rates::default(),
        /// How long is too long. Reloaded on SIGHUP.
        timeouts: Timeouts = Timeouts::default(),
        /// How the server goes down.
        drain: Drain = Drain::default(),
        /// The messaging engine.
        engine: Engine = Engine::default(),
        /// Where messages are durable.
        store: StoreSection = StoreSection::default(),
        /// How long messages are kept.
        retention: Retention = Retention::default(),
        /// How passwords are hashed.
        passwords: Passwords = Passwords::default(),
        /// How long tokens are good.
        tokens: Tokens = Tokens::default(),
        /// How many sessions a user may have.
        devices: Devices = Devices::default(),
        /// Whose tokens are believed, by name.
        issuers: Issuers = Issuers::new(),
        /// What is logged.
        log: Log = Log::default(),
    }
}

/// Sections that are read again on SIGHUP; of `tls`, the files that it names.
const RELOADED: [&str; 7] = ["drain", "limits", "log", "rates", "timeouts", "tls", "web"];

impl Config {
    /// The sections in which `changed` differs from this one, a running server's, and which wait
    /// for a restart.
    pub fn waits_for_restart(&self, changed: &Config) -> Vec<String> {
        let table = |config| toml::Table::try_from(config).unwrap_or_default();
        let (running, changed) = (table(self), table(changed));
        let differ = changed.iter().filter(|(section, value)| {
            running.get(*section) != Some(*value) && !RELOADED.contains(&section.as_str())
        });
        differ.map(|(section, _)| section.clone()).collect()
    }

    /// Files with secrets that it names; see [`Loaded::secret_files`].
    fn secret_files(&self) -> Vec<PathBuf> {
        let of_issuers = self.issuers.values().filter_map(Issuer::secret_file);
        of_issuers.chain(self.tls.secret_file()).map(Path::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::section::Section;
    use super::*;

    /// Places are found by these names.
    #[test]
    fn sections_are_called_as_they_are_written() {
        let mut names = [
            Data::NAME,
            Listen::NAME,
            Tls::NAME,
            Web::NAME,
            Protocol::NAME,
            Limits::NAME,
            Rates::NAME,
            Timeouts::NAME,
            Drain::NAME,
            Engine::NAME,
            StoreSection::NAME,
            Retention::NAME,
            Passwords::NAME,
            Tokens::NAME,
            Devices::NAME,
            Issuers::NAME,
            Log::NAME,
        ];
        names.sort_unstable();
        let written: Vec<String> = known::defaults().keys().cloned().collect();
        assert_eq!(written, names);
    }
}
