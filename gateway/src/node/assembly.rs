//! From a configuration to the parts of a node: the one place that knows which there are.
//!
//! ```text
//! Checked ─► open_store ─► Stored ─► Parts (with signing keys, and other nodes if there are any)
//!                                      │
//!                                      ▼ mailboxes, transport, engine with its hosted workers
//!                                   Assembly ─► Server: the shards, from start to end
//! ```
//!
//! A store that is kept elsewhere is another arm in [`open_store`]. Nothing after it asks which one
//! there is.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use dunlin_core::bus::{Bus, NodeId};
use dunlin_core::config::EngineConfig;
use dunlin_core::engine::hosted::{HostedWorker, Wake};
use dunlin_core::engine::{Engine, EngineBuilder};
use dunlin_core::presence::Presence;
use dunlin_core::store::Store;
use dunlin_core::store::embedded::{
    EmbeddedConfig, EmbeddedStore, OpenError, RecoveryReport, last_written_ms,
};
use dunlin_core::transport::Transport;

use super::data::{DataError, DataFolder};
use super::keeper::Keeper;
use super::server::ServerError;
use super::signing_key::SigningKeys;
use crate::config::{self, Checked};
use crate::shard::mailbox::{Behind, MailReceiver, MailSender, mailbox};
use crate::transport::{ShardTransport, ShardWaker};

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error("{0}")]
    Embedded(#[from] OpenError),
    #[error("{0}")]
    Data(#[from] DataError),
}

impl OpenStoreError {
    /// Whether another process uses it.
    pub(crate) fn is_locked(&self) -> bool {
        match self {
            OpenStoreError::Embedded(error) => matches!(error, OpenError::Locked { .. }),
            OpenStoreError::Data(_) => false,
        }
    }
}

/// A store that is open.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) store: Arc<dyn Store>,
    /// What copies and verifies it, if it is kept here.
    pub(crate) keeper: Option<Arc<dyn Keeper>>,
    /// When something was last written to it before, if that is known. Unix time in milliseconds.
    pub(crate) written_ms: Option<u64>,
}

/// Opens the store that the configuration names. To be called on a thread that is no shard:
/// descriptors of the store belong to the process.
pub(crate) fn open_store(
    store: &config::Store,
    data: &DataFolder,
) -> Result<Stored, OpenStoreError> {
    match store {
        config::Store::Embedded(config) => open_embedded(config, data),
    }
}

fn open_embedded(config: &EmbeddedConfig, data: &DataFolder) -> Result<Stored, OpenStoreError> {
    // Who knows its secret can make entries that look like those of this store.
    data.ensure_secret(&data.store_identity_file())?;
    let is_new = !data.store_identity_file().exists();
    let written_ms = last_written_ms(&data.store());
    let store = Arc::new(EmbeddedStore::open(&data.store(), config.clone())?);
    tell_of_recovery(store.recovery());
    if is_new {
        // Whoever makes the store makes its key, a command too: a key that is missing later was lost.
        data.signing_keys()?;
    }
    Ok(Stored { store: store.clone(), keeper: Some(store), written_ms })
}

fn tell_of_recovery(report: &RecoveryReport) {
    tracing::info!(
        segments_scanned = report.segments_scanned,
        indexes_rebuilt = report.indexes_rebuilt,
        batches = report.batches,
        entries = report.entries,
        unfinished_bytes = report.unfinished_bytes,
        damaged_places = report.damage.len(),
        history_lost = report.history_lost,
        "the store is open"
    );
}

/// What the engine of a node is made of.
pub struct Parts {
    store: Arc<dyn Store>,
    keys: SigningKeys,
    neighbours: Option<Neighbours>,
    /// See [`EngineConfig::known_ms`].
    known_ms: u64,
}

/// Other nodes that share the store and the signing keys.
struct Neighbours {
    node: Option<NodeId>,
    bus: Arc<dyn Bus>,
    presence: Arc<dyn Presence>,
}

impl Parts {
    /// A node by itself, over a store that is open.
    pub fn new(store: Arc<dyn Store>, keys: SigningKeys) -> Parts {
        Parts { store, keys, neighbours: None, known_ms: 0 }
    }

    /// A node by itself, with the keys of its data folder. They are made when the store is open, so
    /// that of two servers on one folder only the one that has its lock makes any.
    pub(crate) fn of_folder(stored: &Stored, data: &DataFolder) -> Result<Parts, DataError> {
        let is_missed = !data.has_signing_key();
        let keys = data.signing_keys()?;
        // An operator who changes the key leaves the one of before under another name.
        if is_missed && keys.retired.is_empty() {
            tracing::warn!(
                "there was no signing key beside the store, and a new one is made: who was logged in \
                 has to log in again"
            );
        }
        let known_ms = stored.written_ms.unwrap_or(0);
        Ok(Parts { known_ms, ..Parts::new(Arc::clone(&stored.store), keys) })
    }

    /// Makes it one of several nodes that have the same store and the same signing keys. Its name
    /// on the bus is `node`, or a random number, which is what it should be.
    ///
    /// A worker that a shard runs sends from the shard's thread, which has a descriptor table of
    /// its own. So the bus must bring envelopes on threads of its own; a
    /// [`LocalBus`](dunlin_core::bus::LocalBus), which has none, needs `engine.worker_threads`.
    #[must_use]
    pub fn beside(
        mut self,
        node: Option<NodeId>,
        bus: Arc<dyn Bus>,
        presence: Arc<dyn Presence>,
    ) -> Parts {
        self.neighbours = Some(Neighbours { node, bus, presence });
        self
    }

    fn engine(self, config: EngineConfig, transport: Arc<dyn Transport>) -> EngineBuilder {
        let builder = Engine::builder(self.store, transport)
            .config(EngineConfig { known_ms: self.known_ms, ..config })
            .signing_key(self.keys.current)
            .retired_keys(self.keys.retired);
        match self.neighbours {
            Some(Neighbours { node, bus, presence }) => builder.cluster(node, bus, presence),
            None => builder,
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let neighbours = self.neighbours.is_some();
        f.debug_struct("Parts").field("neighbours", &neighbours).finish_non_exhaustive()
    }
}

/// An engine, and what each shard needs of it.
pub(super) struct Assembly {
    pub(super) engine: Engine,
    pub(super) transport: Arc<ShardTransport>,
    pub(super) seats: Vec<Seat>,
    /// The eventfds of all shards, which know each other's.
    pub(super) wake_fds: Arc<[RawFd]>,
}

/// The place of one shard.
pub(super) struct Seat {
    pub(super) mailbox: MailReceiver,
    /// A worker to run beside the connections.
    pub(super) worker: Option<HostedWorker>,
}

impl Assembly {
    /// Starts the engine. The shards are started by who has this, and end before it does.
    pub(super) fn new(checked: &Checked, parts: Parts) -> Result<Assembly, ServerError> {
        let behind = Arc::<Behind>::default();
        let (senders, receivers) = mailboxes(checked.shards, &behind)?;
        let transport = Arc::new(ShardTransport::new(senders, behind));
        let hosts = hosts(checked, &transport);
        let builder = parts.engine(checked.engine.clone(), transport.clone());
        let (engine, hosted) = builder.start_hosted(&hosts)?;
        let wake_fds = receivers.iter().map(MailReceiver::wake_fd).collect::<Arc<[_]>>();
        let mut hosted = hosted.into_iter();
        let seat = |mailbox| Seat { mailbox, worker: hosted.next() };
        let seats = receivers.into_iter().map(seat).collect();
        Ok(Assembly { engine, transport, seats, wake_fds })
    }
}

/// The shards that run a worker each: all, if there is one for each; none otherwise, since with more
/// shards than cores a worker would have to share its thread with connections that it serves no
/// better than the others.
fn hosts(checked: &Checked, transport: &Arc<ShardTransport>) -> Vec<Arc<dyn Wake>> {
    if checked.config.engine.worker_threads || checked.engine.workers != checked.shards {
        return Vec::new();
    }
    let waker = |shard| Arc::new(ShardWaker::new(Arc::clone(transport), shard)) as Arc<dyn Wake>;
    (0..checked.shards).map(waker).collect()
}

/// Both ends of every shard's mailbox: the eventfds must exist before the shards part with the
/// process's descriptor table.
fn mailboxes(
    shards: usize,
    behind: &Arc<Behind>,
) -> io::Result<(Vec<MailSender>, Vec<MailReceiver>)> {
    let pairs = (0..shards).map(|_| mailbox(behind)).collect::<io::Result<Vec<_>>>()?;
    Ok(pairs.into_iter().unzip())
}
