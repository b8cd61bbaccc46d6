//! A running node: its shards and its engine, from start to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};
use dunlin_core::clock::{Clock, SystemClock};
use dunlin_core::config::EngineConfig;
use dunlin_core::engine::{Engine, EngineError};
use dunlin_core::store::Store;
use dunlin_core::welcome::{TransportLimits, rules};
use dunlin_protocol::wire::{CloseReason, Rules};
use rustls::server::ProducesTickets;

use super::assembly::{Assembly, Parts, Seat};
use super::data::{DataError, DataFolder};
use crate::config::{Checked, Config};
use crate::shard::control::{Control, Deadlines, MemoryBounds, Node, Settings};
use crate::shard::{ShardStart, ensure_free, spawn};
use crate::status::Witness;
use crate::stream::entrance::{Entrance, ListenOn};
use crate::tls::{Certificate, TlsConfigs, TlsError, ticketer};
use crate::transport::ShardTransport;

/// Name and version of the server, for Welcome.
pub(crate) const SERVER_NAME: &str = concat!("dunlin/", env!("CARGO_PKG_VERSION"));

/// Why a server does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address can't be listened on.
    #[error("{key} {address}: {error}")]
    Listen {
        /// Which setting.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Something that the system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The engine does not start.
    #[error("the engine: {0}")]
    Engine(#[from] EngineError),
    /// The data folder or something in it.
    #[error("data.folder: {0}")]
    Data(String),
    /// The certificate or its key.
    #[error("tls: {0}")]
    Tls(String),
    /// A shard ended by itself.
    #[error("shard {0} failed; see the log")]
    ShardFailed(u16),
}

impl From<DataError> for ServerError {
    fn from(error: DataError) -> ServerError {
        ServerError::Data(error.to_string())
    }
}

impl From<TlsError> for ServerError {
    fn from(error: TlsError) -> ServerError {
        ServerError::Tls(error.to_string())
    }
}

/// A running node.
pub struct Server {
    config: Config,
    connections_max: usize,
    /// Of the engine, for Welcome.
    rules: Rules,
    data: DataFolder,
    node: Arc<Node>,
    transport: Arc<ShardTransport>,
    /// Until it is stopped.
    engine: Option<Engine>,
    tls: Option<TlsParts>,
    listen_on: Vec<ListenOn>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    ended: Receiver<u16>,
}

struct TlsParts {
    certificate: Certificate,
    tickets: Arc<dyn ProducesTickets>,
    fingerprint: String,
}

impl Server {
    /// Starts a node by itself, over a store, with the signing keys of its data folder. The store
    /// must have been opened on a thread that is no shard.
    pub fn start(checked: Checked, store: Arc<dyn Store>) -> Result<Server, ServerError> {
        let keys = DataFolder::open(&checked.config.data.folder)?.signing_keys()?;
        Server::of_parts(checked, Parts::new(store, keys))
    }

    /// Starts a node of these parts.
    pub fn of_parts(checked: Checked, parts: Parts) -> Result<Server, ServerError> {
        ensure_ports_are_free(&checked.listen_on)?;
        let data = DataFolder::open(&checked.config.data.folder)?;
        let is_secure = checked.listen_on.iter().any(|(entrance, _)| entrance.is_secure());
        let (tls, tls_config) = load_tls(&checked.config, is_secure, &data)?;
        let assembly = Assembly::new(&checked, parts)?;
        let rules = rules(&checked.engine);
        let Checked { config, listen_on, shards, places, connections_max, engine, .. } = checked;
        let settings = Arc::new(settings(&config, &rules, connections_max, tls_config));
        let node = node(&config, &engine, shards, places)?;
        node.set_connections_max(connections_max);
        let (ended_sender, ended) = unbounded();
        let mut server = Server {
            connections_max,
            data,
            node: Arc::new(node),
            rules,
            transport: assembly.transport,
            engine: Some(assembly.engine),
            tls,
            listen_on,
            threads: Vec::with_capacity(shards),
            ended,
            config,
        };
        for (index, Seat { mailbox, worker }) in (0..).zip(assembly.seats) {
            let start = ShardStart {
                index,
                node: Arc::clone(&server.node),
                settings: Arc::clone(&settings),
                mailbox,
                transport: Arc::clone(&server.transport),
                submitter: server.engine().submitter(),
                worker,
                wake_fds: Arc::clone(&assembly.wake_fds),
                listen_on: server.listen_on.clone(),
                backlog: server.config.listen.backlog,
                ended: ended_sender.clone(),
            };
            if let Err(error) = server.start_shard(start) {
                server.end_shards();
                return Err(error.into());
            }
        }
        Ok(server)
    }

    /// The first shard may find ports for port 0, which the others then share.
    fn start_shard(&mut self, start: ShardStart) -> io::Result<()> {
        let started = spawn(start)?;
        self.threads.push(started.thread);
        self.listen_on = started.listens_on;
        Ok(())
    }

    /// Where it listens at an entrance.
    pub(crate) fn address_of(&self, entrance: Entrance) -> Option<SocketAddr> {
        let found = self.listen_on.iter().find(|(way_in, _)| *way_in == entrance);
        found.map(|(_, address)| *address)
    }

    /// Where it listens for plain TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.address_of(Entrance::Tcp)
    }

    /// Where it listens for TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.address_of(Entrance::Tls)
    }

    /// Where it listens for WebSockets.
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.address_of(Entrance::Web)
    }

    /// Where it listens for WebSockets over TLS.
    pub fn web_tls_address(&self) -> Option<SocketAddr> {
        self.address_of(Entrance::WebTls)
    }

    /// How many I/O threads there are.
    pub fn shards(&self) -> usize {
        self.threads.len()
    }

    /// Where everything is kept.
    pub fn data_folder(&self) -> &std::path::Path {
        self.data.path()
    }

    /// SHA-256 of the certificate that it shows.
    pub fn certificate_fingerprint(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.fingerprint.as_str())
    }

    /// The engine, for administration.
    ///
    /// # Panics
    /// Never: it is there from start to finish.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine runs until the server is finished")
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.node.admission.connections()
    }

    /// Connections that were closed for a reason since the start.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.node.counters.closed(reason)
    }

    /// Bytes that wait to be written to clients.
    pub fn outbox_bytes(&self) -> usize {
        self.node.counters.outbox_bytes()
    }

    /// Memory of what clients have begun to send and not finished.
    pub fn unfinished_bytes(&self) -> usize {
        self.node.counters.unfinished.now().bytes
    }

    /// Who sees all parts of it.
    pub(crate) fn witness(&self) -> Witness {
        let (node, transport) = (Arc::clone(&self.node), Arc::clone(&self.transport));
        let queue_batches = self.config.engine.worker_queue_batches;
        Witness::new(node, transport, self.engine().door(), queue_batches, self.data.clone())
    }

    /// Takes limits, timeouts and drain settings from `checked`, and reads the certificate files
    /// again. After an error everything is as before. What else has changed waits for a restart.
    pub fn reload(&mut self, checked: Checked) -> Result<(), ServerError> {
        let mut tls_config = None;
        if let Some(tls) = &mut self.tls {
            let certificate = certificate(&checked.config, &self.data)?;
            let (config, fingerprint) = certificate.load(Arc::clone(&tls.tickets))?;
            (tls.certificate, tls.fingerprint) = (certificate, fingerprint);
            tls_config = Some(config);
        }
        self.config.limits = checked.config.limits;
        self.config.rates = checked.config.rates;
        self.config.timeouts = checked.config.timeouts;
        self.config.drain = checked.config.drain;
        self.config.web = checked.config.web;
        if checked.shards == self.threads.len() {
            self.connections_max = checked.connections_max;
        }
        let answers = self.node.memory_bounds().answers;
        self.node.set_memory_bounds(memory_bounds(&self.config, answers));
        self.node.set_connections_max(self.connections_max);
        let settings = settings(&self.config, &self.rules, self.connections_max, tls_config);
        self.transport.broadcast(&Control::Reload(Arc::new(settings)));
        Ok(())
    }

    /// Begins to go down in good order.
    pub fn drain(&mut self) {
        self.go_down();
        let plan = self.config.drain.plan(self.threads.len());
        self.transport.broadcast(&Control::Drain(plan));
    }

    /// To be called every few seconds: forgets budgets that are full. How many are left.
    pub fn forget_full_budgets(&self) -> usize {
        self.node.budgets.forget_full(SystemClock.monotonic_ms(Instant::now()))
    }

    /// Goes down at once: everyone gets one word, nobody is waited for.
    pub fn stop(&mut self) {
        self.go_down();
        self.transport.broadcast(&Control::Stop);
    }

    fn go_down(&mut self) {
        self.node.is_going_down.store(true, Ordering::Relaxed);
    }

    /// Gives one item per shard that has ended: to wait on, beside other things.
    pub fn shards_ended(&self) -> &Receiver<u16> {
        &self.ended
    }

    /// Whether [`drain`](Self::drain) or [`stop`](Self::stop) was called.
    pub fn is_going_down(&self) -> bool {
        self.node.is_going_down.load(Ordering::Relaxed)
    }

    /// Waits until all shards have ended, then stops the engine: what was submitted is carried
    /// out and stored.
    pub fn finish(mut self) -> Result<(), ServerError> {
        self.end().map_or(Ok(()), |index| Err(ServerError::ShardFailed(index)))
    }

    /// Waits for the shards, then for the engine; names the first shard that failed. Nothing that
    /// owns a descriptor of the process may be dropped on a shard's thread, so the shards end
    /// before the transport and the engine do.
    fn end(&mut self) -> Option<u16> {
        let mut failed = None;
        for (index, thread) in (0..).zip(self.threads.drain(..)) {
            if !matches!(thread.join(), Ok(Ok(()))) {
                failed = failed.or(Some(index));
            }
        }
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
        failed
    }

    fn end_shards(&mut self) {
        self.stop();
        if let Some(shard) = self.end() {
            // Not a panic: this may be the clean-up after one.
            tracing::error!(shard, "a shard had failed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.engine.is_some() {
            self.end_shards();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("shards", &self.threads.len()).finish_non_exhaustive()
    }
}

fn ensure_ports_are_free(listen_on: &[ListenOn]) -> Result<(), ServerError> {
    for &(entrance, address) in listen_on {
        let key = entrance.setting();
        let free = ensure_free(address);
        free.map_err(|error| ServerError::Listen { key, address, error })?;
    }
    Ok(())
}

fn certificate(config: &Config, data: &DataFolder) -> Result<Certificate, TlsError> {
    config.tls.certificate().map_or_else(|| Certificate::own(data), Ok)
}

type LoadedTls = (Option<TlsParts>, Option<TlsConfigs>);

fn load_tls(config: &Config, wanted: bool, data: &DataFolder) -> Result<LoadedTls, TlsError> {
    if !wanted {
        return Ok((None, None));
    }
    let (certificate, tickets) = (certificate(config, data)?, ticketer()?);
    let (tls_config, fingerprint) = certificate.load(Arc::clone(&tickets))?;
    Ok((Some(TlsParts { certificate, tickets, fingerprint }), Some(tls_config)))
}

fn node(config: &Config, engine: &EngineConfig, shards: usize, places: usize) -> io::Result<Node> {
    let node = Node::new(shards, places)?;
    let answers = engine.workers * engine.answer_bytes_of_worker();
    node.set_memory_bounds(memory_bounds(config, answers));
    Ok(node)
}

fn memory_bounds(config: &Config, answers: usize) -> MemoryBounds {
    MemoryBounds {
        unfinished: config.limits.input_bytes_node_max,
        outboxes: config.limits.outbox_bytes_node_max,
        answers,
    }
}

fn settings(
    config: &Config,
    rules: &Rules,
    connections_max: usize,
    tls: Option<TlsConfigs>,
) -> Settings {
    let limits = config.limits.clone();
    let outbox = limits.outbox();
    let deadlines = Deadlines::new(&config.timeouts, config.protocol.idle_timeout_ms());
    let transport = transport_limits(config);
    let context = config.protocol.context(SERVER_NAME, transport, rules.clone());
    let (rates, origins) = (config.rates.of_node(), config.web.origins());
    let proxies = config.listen.proxies();
    Settings { context, limits, rates, proxies, connections_max, outbox, deadlines, tls, origins }
}

/// What clients are told of it.
fn transport_limits(config: &Config) -> TransportLimits {
    let Config { limits, rates, timeouts, protocol, .. } = config;
    let told_ms = |timeout_ms: u64| u32::try_from(timeout_ms).unwrap_or(u32::MAX);
    TransportLimits {
        idle_timeout_ms: protocol.idle_timeout_ms(),
        login_timeout_ms: told_ms(timeouts.login_timeout_ms),
        frame_timeout_ms: timeouts.frame_timeout_ms,
        write_timeout_ms: told_ms(timeouts.write_timeout_ms),
        outbox_bytes_soft: limits.outbox_bytes_soft as u64,
        outbox_bytes_max: limits.outbox_bytes_max as u64,
        failed_logins_max: limits.failed_logins_per_connection_max.into(),
        connections_per_address_max: limits.connections_per_address_max,
        rates: rates.told(),
    }
}
