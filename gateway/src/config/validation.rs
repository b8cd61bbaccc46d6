//! A configuration that was checked: addresses parsed, keys read, limits in order.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use dunlin_core::config::{DevicePolicy, EngineConfig, PasswordConfig, TokenConfig};
use dunlin_core::limits::RESPONSE_BYTES_MAX;
use dunlin_core::store::embedded::EmbeddedConfig;
use dunlin_core::store::embedded::config::SEGMENT_BYTES_MAX;
use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_LOGIN, SYNC_POSITION_BYTES_MAX, SYNC_POSITIONS_MAX,
};
use dunlin_protocol::wire::DeviceKind;

use super::{Config, ConfigError, issuers};
use crate::limits::{DESCRIPTORS_RESERVED, NODE_PRESSURE_DIVISOR, SHARDS_MAX};

/// The shortest secret of an issuer: as many bytes as the hash has.
pub const MIN_SECRET_BYTES: usize = 32;

/// The most memory that one password hash may take: 1 GiB in KiB.
const PASSWORD_MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// The least that `protocol.frame_bytes_max` may be: the largest Sync fits, and so do a message
/// with all that is around it and what is allowed before login.
const FRAME_BYTES_MIN: usize = SYNC_POSITIONS_MAX * SYNC_POSITION_BYTES_MAX + 4096;
const _: () = assert!(CONTENT_BYTES_MAX + 4096 <= FRAME_BYTES_MIN);
const _: () = assert!(FRAME_BYTES_MAX_BEFORE_LOGIN as usize <= FRAME_BYTES_MIN);

/// The smallest segment: the largest entry is the snapshot of an account, which fits into a
/// response, and a segment that holds few of them would be mostly waste.
const STORE_SEGMENT_BYTES_MIN: u64 = 4 * 1024 * 1024;
const _: () = assert!(RESPONSE_BYTES_MAX as u64 * 2 < STORE_SEGMENT_BYTES_MIN);

/// A configuration in types that can't be wrong.
#[derive(Debug, Clone)]
pub struct Checked {
    /// As it was written.
    pub config: Config,
    /// Where to listen for plain TCP.
    pub tcp: Option<SocketAddr>,
    /// Where to listen for TLS.
    pub tls: Option<SocketAddr>,
    /// I/O threads.
    pub shards: usize,
    /// Connections of the node.
    pub connections_max: usize,
    /// For the engine.
    pub engine: EngineConfig,
    /// For the store.
    pub store: EmbeddedConfig,
}

impl Checked {
    /// Checks everything that can be checked without starting. `descriptors` is the limit of open
    /// files of a process, `cores` what there is to run on.
    pub fn new(config: Config, descriptors: u64, cores: usize) -> Result<Checked, ConfigError> {
        let tcp = address("listen.tcp", &config.listen.tcp)?;
        let tls = address("listen.tls", &config.listen.tls)?;
        if tcp.is_none() && tls.is_none() {
            return Err(ConfigError::key("listen.tcp", "is empty, and so is listen.tls"));
        }
        check_listen(&config)?;
        check_protocol(&config)?;
        check_limits(&config)?;
        check_times(&config)?;
        let (shards, connections_max) = capacity(&config, descriptors, cores)?;
        let engine = engine_config(&config)?;
        let store = store_config(&config)?;
        Ok(Checked { config, tcp, tls, shards, connections_max, engine, store })
    }
}

fn address(key: &str, text: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let resolved = text.to_socket_addrs().map(|mut addresses| addresses.next());
    match resolved {
        Ok(Some(address)) => Ok(Some(address)),
        Ok(None) => Err(ConfigError::key(key, format!("{text:?} has no address"))),
        Err(error) => Err(ConfigError::key(key, format!("{text:?} is no address:port: {error}"))),
    }
}

fn within(
    key: &str,
    value: impl Into<u64>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    let value = value.into();
    if range.contains(&value) {
        return Ok(());
    }
    let (start, end) = range.into_inner();
    Err(ConfigError::key(key, format!("{value} is not in {start} to {end}")))
}

fn check_listen(config: &Config) -> Result<(), ConfigError> {
    within("listen.shards", config.listen.shards as u64, 0..=SHARDS_MAX as u64)?;
    within("listen.backlog", config.listen.backlog.max(0).cast_unsigned(), 1..=65_535)?;
    let (certificate, key) = (&config.tls.certificate_file, &config.tls.key_file);
    if certificate.as_os_str().is_empty() != key.as_os_str().is_empty() {
        return Err(ConfigError::key("tls.key_file", "and tls.certificate_file go together"));
    }
    Ok(())
}

fn check_protocol(config: &Config) -> Result<(), ConfigError> {
    let protocol = &config.protocol;
    within("protocol.heartbeat_interval_ms", protocol.heartbeat_interval_ms, 100..=3_600_000)?;
    let frames = FRAME_BYTES_MIN as u64..=64 * 1024 * 1024;
    within("protocol.frame_bytes_max", protocol.frame_bytes_max, frames)?;
    let outstanding = 1..=u64::from(u16::MAX);
    within("protocol.requests_outstanding_max", protocol.requests_outstanding_max, outstanding)
}

fn check_limits(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    let any = 1..=u64::from(u32::MAX);
    within("limits.connections_per_address_max", limits.connections_per_address_max, any.clone())?;
    within("limits.accepts_per_second", limits.accepts_per_second, any.clone())?;
    within("limits.handshakes_max", limits.handshakes_max as u64, any.clone())?;
    within(
        "limits.failed_logins_per_address_max",
        limits.failed_logins_per_address_max,
        2..=1_000_000,
    )?;
    within(
        "limits.failed_logins_forgiven_per_minute",
        limits.failed_logins_forgiven_per_minute,
        1..=60_000,
    )?;
    within(
        "limits.failed_logins_per_connection_max",
        limits.failed_logins_per_connection_max,
        1..=255,
    )?;
    // Even under pressure a client must be able to hear that it is behind.
    let soft_min = NODE_PRESSURE_DIVISOR as u64 * 1024;
    within("limits.outbox_bytes_soft", limits.outbox_bytes_soft as u64, soft_min..=1 << 40)?;
    let soft = limits.outbox_bytes_soft as u64;
    within("limits.outbox_bytes_max", limits.outbox_bytes_max as u64, soft..=1 << 40)?;
    let max = limits.outbox_bytes_max as u64;
    within("limits.outbox_bytes_node_max", limits.outbox_bytes_node_max as u64, max..=1 << 50)
}

fn check_times(config: &Config) -> Result<(), ConfigError> {
    let day_ms = 24 * 3600 * 1000;
    let timeouts = &config.timeouts;
    within("timeouts.handshake_timeout_ms", timeouts.handshake_timeout_ms, 100..=day_ms)?;
    let hurried = timeouts.hurried_handshake_timeout_ms;
    within("timeouts.hurried_handshake_timeout_ms", hurried, 100..=day_ms)?;
    within("timeouts.login_timeout_ms", timeouts.login_timeout_ms, 100..=day_ms)?;
    within("timeouts.write_timeout_ms", timeouts.write_timeout_ms, 100..=day_ms)?;
    let drain = &config.drain;
    within("drain.connections_per_second", drain.connections_per_second, 1..=1_000_000_000)?;
    within("drain.timeout_ms", drain.timeout_ms, 0..=day_ms)?;
    within("drain.reconnect_delay_ms", drain.reconnect_delay_ms, 0..=day_ms)?;
    let year_s = 366 * 24 * 3600;
    let tokens = &config.tokens;
    within("tokens.access_lifetime_s", tokens.access_lifetime_s, 1..=year_s)?;
    within("tokens.refresh_lifetime_s", tokens.refresh_lifetime_s, 1..=10 * year_s)?;
    within("tokens.resume_lifetime_s", tokens.resume_lifetime_s, 1..=year_s)
}

/// How many shards and connections: as asked, or as many as there are cores and descriptors for.
fn capacity(
    config: &Config,
    descriptors: u64,
    cores: usize,
) -> Result<(usize, usize), ConfigError> {
    // A shard that runs a worker knows the wake-up descriptors of all shards; there is one per core.
    let reserved = DESCRIPTORS_RESERVED + cores as u64;
    let per_shard = descriptors.saturating_sub(reserved).max(1);
    let per_shard = usize::try_from(per_shard).unwrap_or(usize::MAX);
    let wanted = config.limits.connections_max;
    let needed = wanted.div_ceil(per_shard);
    let shards = match config.listen.shards {
        0 => needed.max(cores).min(SHARDS_MAX),
        shards => shards,
    };
    let room = shards.saturating_mul(per_shard);
    if wanted > room {
        let reason = format!(
            "{shards} shards with {descriptors} descriptors each have room for {room}: \
             raise listen.shards or the limit of open files"
        );
        return Err(ConfigError::key("limits.connections_max", reason));
    }
    Ok((shards, if wanted == 0 { room } else { wanted }))
}

fn engine_config(config: &Config) -> Result<EngineConfig, ConfigError> {
    let engine = &config.engine;
    within("engine.workers", engine.workers as u64, 0..=256)?;
    within("engine.worker_queue_batches", engine.worker_queue_batches as u64, 1..=1 << 20)?;
    let passwords = &config.passwords;
    within("passwords.memory_kib", passwords.memory_kib, 8..=PASSWORD_MEMORY_KIB_MAX.into())?;
    within("passwords.iterations", passwords.iterations, 1..=100)?;
    within("passwords.threads", passwords.threads as u64, 1..=256)?;
    within("passwords.queue", passwords.queue as u64, 1..=1 << 20)?;
    let defaults = EngineConfig::default();
    Ok(EngineConfig {
        workers: if engine.workers == 0 { defaults.workers } else { engine.workers },
        worker_queue_batches: engine.worker_queue_batches,
        registration: engine.registration,
        passwords: PasswordConfig {
            memory_kib: passwords.memory_kib,
            iterations: passwords.iterations,
            threads: passwords.threads,
            queue: passwords.queue,
        },
        tokens: TokenConfig {
            access: Duration::from_secs(config.tokens.access_lifetime_s),
            refresh: Duration::from_secs(config.tokens.refresh_lifetime_s),
            resume: Duration::from_secs(config.tokens.resume_lifetime_s),
        },
        issuers: issuers::read(&config.issuers)?,
        devices: device_policy(config)?,
    })
}

fn store_config(config: &Config) -> Result<EmbeddedConfig, ConfigError> {
    let store = &config.store;
    let segments = STORE_SEGMENT_BYTES_MIN..=u64::from(SEGMENT_BYTES_MAX);
    within("store.segment_bytes", store.segment_bytes, segments)?;
    let batches = 64 * 1024..=u64::from(store.segment_bytes);
    within("store.batch_bytes_max", store.batch_bytes_max, batches)?;
    // A backup keeps one of them busy; somebody must read for the clients meanwhile.
    within("store.readers", store.readers as u64, 2..=256)?;
    within("store.merge_runs", store.merge_runs as u64, 2..=64)?;
    within("store.filter_bytes_max", store.filter_bytes_max as u64, 0..=1 << 40)?;
    within("store.retry_interval_ms", store.retry_interval_ms, 1..=60_000)?;
    Ok(EmbeddedConfig {
        segment_bytes: store.segment_bytes,
        batch_bytes_max: store.batch_bytes_max,
        readers: store.readers,
        merge_runs: store.merge_runs,
        filter_bytes_max: store.filter_bytes_max,
        retry_interval: Duration::from_millis(store.retry_interval_ms),
    })
}

fn device_policy(config: &Config) -> Result<DevicePolicy, ConfigError> {
    let devices = &config.devices;
    within("devices.sessions_per_kind", devices.sessions_per_kind as u64, 1..=1000)?;
    within("devices.sessions_max", devices.sessions_max as u64, 1..=1000)?;
    let exception = |(name, &sessions): (&String, &usize)| {
        let key = format!("devices.by_kind.{name}");
        within(&key, sessions as u64, 1..=1000)?;
        let wire_name = format!("DEVICE_KIND_{}", name.to_uppercase());
        match DeviceKind::from_str_name(&wire_name) {
            Some(kind) if kind != DeviceKind::Unspecified => Ok((kind, sessions)),
            _ => Err(ConfigError::key(key, "is none of phone, tablet, desktop, web, bot")),
        }
    };
    Ok(DevicePolicy {
        sessions_per_kind: devices.sessions_per_kind,
        sessions_max: devices.sessions_max,
        by_kind: devices.by_kind.iter().map(exception).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config)) -> Result<Checked, String> {
        let mut config = Config::default();
        change(&mut config);
        Checked::new(config, 1024, 2).map_err(|error| error.to_string())
    }

    fn refused(key: &str, change: impl FnOnce(&mut Config)) {
        let error = check(change).expect_err(key);
        assert!(error.starts_with(&format!("{key}: ")), "{error}");
    }

    #[test]
    fn the_defaults_are_good_and_are_those_of_engine_and_store() {
        let checked = check(|_| {}).unwrap();
        assert_eq!(checked.tcp, "127.0.0.1:7410".parse().ok());
        assert_eq!(format!("{:?}", checked.engine), format!("{:?}", EngineConfig::default()));
        assert_eq!(format!("{:?}", checked.store), format!("{:?}", EmbeddedConfig::default()));
    }

    #[test]
    fn errors_name_the_key() {
        refused("listen.tcp", |config| config.listen.tcp = "nonsense".into());
        refused("listen.tcp", |config| {
            (config.listen.tcp, config.listen.tls) = (String::new(), String::new());
        });
        refused("tls.key_file", |config| config.tls.certificate_file = "x.pem".into());
        refused("protocol.heartbeat_interval_ms", |config| {
            config.protocol.heartbeat_interval_ms = 1;
        });
        refused("limits.outbox_bytes_max", |config| config.limits.outbox_bytes_max = 10_000);
        refused("store.readers", |config| config.store.readers = 1);
        refused("store.batch_bytes_max", |config| {
            (config.store.segment_bytes, config.store.batch_bytes_max) = (8 << 20, 9 << 20);
        });
        refused("devices.by_kind.toaster", |config| {
            config.devices.by_kind.insert("toaster".into(), 1);
        });
    }

    #[test]
    fn shards_follow_from_cores_and_descriptors() {
        let automatic = check(|_| {}).unwrap();
        assert_eq!((automatic.shards, automatic.connections_max), (2, 2 * (1024 - 32 - 2)));
        let many = check(|config| config.limits.connections_max = 10_000).unwrap();
        assert_eq!((many.shards, many.connections_max), (11, 10_000));
        refused("limits.connections_max", |config| {
            config.limits.connections_max = 10_000;
            config.listen.shards = 4;
        });
    }
}
