//! A configuration that was checked: addresses parsed, keys read, limits in order.

use std::net::SocketAddr;
use std::path::PathBuf;

use dunlin_core::config::EngineConfig;

use super::error::{ConfigErrors, Faults};
use super::listen::ListenHttp;
use super::section::Section;
use super::{Config, Limits, Listen, Store};
use crate::limits::{DESCRIPTORS_RESERVED, SHARDS_MAX};
use crate::stream::entrance::{Entrance, ListenOn};

/// A configuration in types that can't be wrong.
#[derive(Debug, Clone)]
pub struct Checked {
    /// As it was written.
    pub config: Config,
    /// Where to listen, and for what.
    pub(crate) listen_on: Vec<ListenOn>,
    /// Where to tell of health and metrics.
    pub(crate) http: Option<ListenHttp>,
    /// I/O threads.
    pub shards: usize,
    /// Connections of each of them.
    pub(crate) places: usize,
    /// Connections of the node.
    pub connections_max: usize,
    /// For the engine.
    pub engine: EngineConfig,
    /// Which store, and its settings.
    pub store: Store,
    /// Files with secrets that belong to the operator; see [`Loaded::secret_files`](super::Loaded::secret_files).
    pub(crate) secret_files: Vec<PathBuf>,
}

impl Checked {
    /// Checks everything that can be checked without starting. `descriptors` is the limit of open
    /// files of a process, `cores` what there is to run on.
    pub fn new(config: Config, descriptors: u64, cores: usize) -> Result<Checked, ConfigErrors> {
        let mut faults = Faults::default();
        let checked = Checked::gather(config, descriptors, cores, &mut faults);
        faults.into_result(checked)
    }

    /// Where to listen for this.
    pub(crate) fn address_of(&self, entrance: Entrance) -> Option<SocketAddr> {
        let found = self.listen_on.iter().find(|(way_in, _)| *way_in == entrance);
        found.map(|(_, address)| *address)
    }

    /// Every section by its name, so that the compiler asks about a new one.
    pub(super) fn gather(
        config: Config,
        descriptors: u64,
        cores: usize,
        faults: &mut Faults,
    ) -> Checked {
        let Config {
            data,
            listen,
            tls,
            web,
            protocol,
            limits,
            rates,
            timeouts,
            drain,
            engine,
            store,
            retention,
            passwords,
            tokens,
            devices,
            issuers,
            log,
        } = &config;
        faults.check(data);
        let listen_on = faults.check(listen);
        let http = listen.check_http(&listen_on, &mut faults.section(Listen::NAME));
        faults.check(tls);
        faults.check(web);
        faults.check(protocol);
        faults.check(limits);
        faults.check(rates);
        faults.check(timeouts);
        faults.check(drain);
        faults.check(log);
        let capacity = capacity(&config, descriptors, cores, faults);
        let Capacity { shards, places, connections_max } = capacity;
        let engine = EngineConfig {
            retention: faults.check(retention),
            passwords: faults.check(passwords),
            tokens: faults.check(tokens),
            devices: faults.check(devices),
            issuers: faults.check(issuers),
            ..faults.check(engine)
        };
        let store = faults.check(store);
        let secret_files = config.secret_files();
        Checked {
            config,
            listen_on,
            http,
            shards,
            places,
            connections_max,
            engine,
            store,
            secret_files,
        }
    }
}

/// What there is room for.
struct Capacity {
    shards: usize,
    places: usize,
    connections_max: usize,
}

/// How many shards and connections: as asked, or as many as there are cores and descriptors for.
fn capacity(config: &Config, descriptors: u64, cores: usize, faults: &mut Faults) -> Capacity {
    let wanted = config.limits.connections_max;
    let shards = match config.listen.shards {
        0 => shards_for(wanted, descriptors).max(cores).min(SHARDS_MAX),
        shards => shards,
    };
    let places = places_of_each(shards, descriptors);
    let room = shards.saturating_mul(places);
    if wanted > room {
        let reason = format!(
            "{shards} shards with {descriptors} descriptors each have room for {room}: \
             raise listen.shards or the limit of open files"
        );
        faults.section(Limits::NAME).refuse(&["connections_max"], reason);
    }
    let connections_max = if wanted == 0 { room } else { wanted };
    Capacity { shards, places, connections_max }
}

/// Connections that each of so many shards has descriptors for: it knows the wake-up descriptors of all of
/// them.
fn places_of_each(shards: usize, descriptors: u64) -> usize {
    let reserved = DESCRIPTORS_RESERVED + shards as u64;
    usize::try_from(descriptors.saturating_sub(reserved).max(1)).unwrap_or(usize::MAX)
}

/// How many shards have room for so many connections. The kernel spreads them by hash, so some shards get
/// more than others, and pass on what they have no place for; so that this is rare, each has room for what
/// it gets in 29,999 of 30,000 cases, four standard deviations beyond the mean.
fn shards_for(connections: usize, descriptors: u64) -> usize {
    let mean = |shards: usize| connections as f64 / shards as f64;
    let has_room = |deviations: f64| {
        move |&shards: &usize| {
            // Nothing is spread over one.
            let deviations = if shards == 1 { 0.0 } else { deviations };
            let wanted = mean(shards) + deviations * mean(shards).sqrt();
            wanted <= places_of_each(shards, descriptors) as f64
        }
    };
    let mut all = 1..=SHARDS_MAX;
    let amply = all.clone().find(has_room(SPREAD_DEVIATIONS));
    amply.or_else(|| all.find(has_room(0.0))).unwrap_or(1)
}

/// See [`shards_for`].
const SPREAD_DEVIATIONS: f64 = 4.0;

#[cfg(test)]
mod tests {
    use dunlin_core::store::embedded::EmbeddedConfig;

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
        assert_eq!(checked.address_of(Entrance::Tcp), "127.0.0.1:7410".parse().ok());
        assert_eq!(format!("{:?}", checked.engine), format!("{:?}", EngineConfig::default()));
        let Store::Embedded(store) = checked.store;
        assert_eq!(format!("{store:?}"), format!("{:?}", EmbeddedConfig::default()));
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
        assert_eq!((many.shards, many.places, many.connections_max), (12, 980, 10_000));
        refused("limits.connections_max", |config| {
            config.limits.connections_max = 10_000;
            config.listen.shards = 4;
        });
    }

    #[test]
    fn no_shard_is_planned_to_be_full() {
        assert_eq!(shards_for(0, 1024), 1);
        assert_eq!(shards_for(991, 1024), 1, "nothing is spread");
        // Of a million over descriptors of 20,000, 51 shards have room for all of them, and one is full.
        assert_eq!(shards_for(1_000_000, 20_000), 52);
        for (connections, descriptors) in [(992, 1024), (100_000, 1024), (1 << 20, 4096)] {
            let shards = shards_for(connections, descriptors);
            let per_shard = places_of_each(shards, descriptors);
            // Lots are drawn as the kernel draws them, by a hash of who comes.
            let mut places = vec![0; shards];
            for connection in 0..connections as u64 {
                let hash = (connection + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
                places[(hash as usize * shards) >> 32] += 1;
            }
            let fullest = places.into_iter().max().unwrap();
            assert!(fullest <= per_shard, "{fullest} of {per_shard} in one of {shards}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let error = check(|config| {
            config.store.readers = 1;
            config.listen.tcp = "nonsense".into();
            config.listen.tls = "nonsense".into();
            config.issuers.insert("app".into(), super::super::Issuer::default());
            config.tokens.access_lifetime_s = 0;
        });
        let error = error.expect_err("five settings are wrong");
        for key in ["store.readers", "listen.tcp", "listen.tls", "issuers.app", "tokens.access_"] {
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
