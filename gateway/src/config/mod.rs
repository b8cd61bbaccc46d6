//! The configuration: what can be set, in which unit, and what it is by default.
//!
//! Later sources win: defaults, file, environment (`DUNLIN_SECTION_KEY`), command line. All of
//! them are strict: an unknown key or a value of the wrong type is an error that names the key.
//! `dunlin.example.toml` is the documentation of every key; a test keeps it complete.

mod issuers;
mod sources;
mod validation;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use sources::Sources;
pub use validation::{Checked, MIN_SECRET_BYTES};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path}: {error}", path = path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// A key or a value is wrong.
    #[error("{key}: {reason}")]
    Key {
        /// `section.key`.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn key(key: impl Into<String>, reason: impl Into<String>) -> ConfigError {
        ConfigError::Key { key: key.into(), reason: reason.into() }
    }
}

/// Sections that are read again on SIGHUP; of `tls`, the files that it names.
const RELOADED: [&str; 4] = ["drain", "limits", "timeouts", "tls"];

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
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* }
            }
        }
    };
}

section! {
    /// All of it, as it is written.
    Config {
        /// Where things are kept.
        data: Data = Data::default(),
        /// Where clients connect.
        listen: Listen = Listen::default(),
        /// Certificates.
        tls: Tls = Tls::default(),
        /// What clients are told.
        protocol: Protocol = Protocol::default(),
        /// How much is too much. Reloaded on SIGHUP.
        limits: Limits = Limits::default(),
        /// How long is too long. Reloaded on SIGHUP.
        timeouts: Timeouts = Timeouts::default(),
        /// How the server goes down.
        drain: Drain = Drain::default(),
        /// The messaging engine.
        engine: Engine = Engine::default(),
        /// Where messages are durable.
        store: Store = Store::default(),
        /// How passwords are hashed.
        passwords: Passwords = Passwords::default(),
        /// How long tokens are good.
        tokens: Tokens = Tokens::default(),
        /// How many sessions a user may have.
        devices: Devices = Devices::default(),
        /// Whose tokens are believed, by name.
        issuers: BTreeMap<String, Issuer> = BTreeMap::new(),
        /// What is logged.
        log: Log = Log::default(),
    }
}

section! {
    /// Where things are kept.
    Data {
        /// Folder of everything that the server keeps; made with mode 0700.
        folder: PathBuf = PathBuf::from("data"),
    }
}

section! {
    /// Where clients connect.
    Listen {
        /// Address and port for plain TCP; empty for none.
        tcp: String = "127.0.0.1:7410".into(),
        /// Address and port for TLS; empty for none.
        tls: String = "127.0.0.1:7411".into(),
        /// I/O threads; 0 for one per core, or more if `limits.connections_max` needs them.
        shards: usize = 0,
        /// Connections that may wait in the kernel to be accepted, per shard and port.
        backlog: i32 = 4096,
    }
}

section! {
    /// Certificates.
    Tls {
        /// PEM file of the certificate and its chain; empty for one of our own.
        certificate_file: PathBuf = PathBuf::new(),
        /// PEM file of its key.
        key_file: PathBuf = PathBuf::new(),
    }
}

section! {
    /// What clients are told when they connect.
    Protocol {
        /// How often a client must be heard; it is idle after twice this time.
        heartbeat_interval_ms: u32 = dunlin_protocol::limits::HEARTBEAT_INTERVAL_MS,
        /// The largest frame after login.
        frame_bytes_max: u32 = dunlin_protocol::limits::FRAME_BYTES_MAX,
        /// Requests of one connection that may wait for their response.
        requests_outstanding_max: u32 = dunlin_protocol::limits::REQUESTS_OUTSTANDING_MAX,
    }
}

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
        /// Bytes that wait for a slow connection until its pushes collapse.
        outbox_bytes_soft: usize = 256 * 1024,
        /// Bytes that wait for a slow connection until it is closed.
        outbox_bytes_max: usize = 8 * 1024 * 1024,
        /// Bytes that wait for all connections until each is held to an eighth of its limits.
        outbox_bytes_node_max: usize = 1024 * 1024 * 1024,
    }
}

section! {
    /// How long is too long.
    Timeouts {
        /// From the accept to the end of TLS handshake and Hello.
        handshake_timeout_ms: u64 = 10_000,
        /// The same for a TLS handshake while there are as many as there may be.
        hurried_handshake_timeout_ms: u64 = 2000,
        /// From then to a login.
        login_timeout_ms: u64 = 30_000,
        /// For a peer that takes none of the bytes that wait for it.
        write_timeout_ms: u64 = 30_000,
    }
}

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

section! {
    /// The messaging engine.
    Engine {
        /// Worker threads; 0 for one per core.
        workers: usize = 0,
        /// Workers run on threads of their own, even where each could run within a shard's.
        worker_threads: bool = false,
        /// Batches that may wait for a worker until the shards stop reading.
        worker_queue_batches: usize = 1024,
        /// Whether anyone may register an account.
        registration: bool = true,
    }
}

section! {
    /// Where messages are durable: the embedded store.
    Store {
        /// A segment file, allocated in advance.
        segment_bytes: u32 = 64 * 1024 * 1024,
        /// A batch is committed when it has so many bytes, even if more waits.
        batch_bytes_max: u32 = 4 * 1024 * 1024,
        /// Threads that read.
        readers: usize = 2,
        /// Index files that are merged into one.
        merge_runs: usize = 4,
        /// Memory for the filters of the index.
        filter_bytes_max: usize = 256 * 1024 * 1024,
        /// From a failed write to the next attempt.
        retry_interval_ms: u64 = 250,
    }
}

section! {
    /// How passwords are hashed (argon2id).
    Passwords {
        /// Memory of one hash.
        memory_kib: u32 = 19 * 1024,
        /// Passes over it.
        iterations: u32 = 2,
        /// Threads that hash.
        threads: usize = 1,
        /// Logins that may wait for them.
        queue: usize = 256,
    }
}

section! {
    /// How long tokens are good.
    Tokens {
        /// Access tokens.
        access_lifetime_s: u64 = 15 * 60,
        /// Refresh tokens, from their last use.
        refresh_lifetime_s: u64 = 30 * 24 * 3600,
        /// Resume tokens, from the last login.
        resume_lifetime_s: u64 = 24 * 3600,
    }
}

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

/// An issuer of tokens. Has one of `key` and `key_file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// HS256, EdDSA or ES256.
    pub algorithm: String,
    /// The key: base64 of a secret, PEM of a public key.
    #[serde(default)]
    pub key: String,
    /// A file with the same.
    #[serde(default)]
    pub key_file: PathBuf,
}

section! {
    /// What is logged, to standard error.
    Log {
        /// error, warn, info, debug, trace, or directives such as "info,dunlin_gateway=debug".
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
