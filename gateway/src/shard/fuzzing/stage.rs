//! A shard without a thread, under a clock that the script moves.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_core::connection::ConnectionContext;
use dunlin_core::engine::submitter::{Intercepted, Submitter};
use dunlin_core::transport::Transport;
use dunlin_protocol::wire::CloseReason;
use mio::Events;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use socket2::SockRef;

use super::super::Shard;
use super::super::control::{Control, Deadlines, DrainPlan, Node, Settings};
use super::super::counters::Counters;
use super::super::mailbox::mailbox;
use super::super::start::ShardStart;
use crate::admission::Admission;
use crate::config::{Limits, Timeouts};
use crate::node::data::DataFolder;
use crate::stream::entrance::Entrance;
use crate::stream::outbox::OutboxLimits;
use crate::tls::{Certificate, ticketer};
use crate::transport::ShardTransport;

/// Small, so that who does not read is noticed soon.
const SEND_BUFFER_BYTES: usize = 4096;

/// Batches that wait until the shard stops reading.
const QUEUE_BATCHES: usize = 2;

/// Ticks without a sleep. A shard that makes more has nothing to do and does not notice.
const TICKS_MAX: usize = 10_000;

const TIMEOUTS: Timeouts = Timeouts {
    handshake_timeout_ms: 10_000,
    hurried_handshake_timeout_ms: 2000,
    login_timeout_ms: 30_000,
    write_timeout_ms: WRITE_TIMEOUT_MS,
};

pub(super) const WRITE_TIMEOUT_MS: u64 = 30_000;

/// Both sides of TLS, made once.
struct TlsConfigs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn tls_configs() -> &'static TlsConfigs {
    static CONFIGS: OnceLock<TlsConfigs> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("dunlin-fuzzing-{}", std::process::id()));
        let data = DataFolder::open(&folder).expect("a new folder can be made");
        let certificate = Certificate::own(&data).expect("a certificate can be made");
        let tickets = ticketer().expect("there is chance");
        let (server, _) = certificate.load(tickets).expect("the certificate is good");
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(data.certificate_file());
        roots.add(root.expect("it was just written")).expect("the certificate is good");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has both")
            .with_root_certificates(roots)
            .with_no_client_auth();
        drop(data);
        std::fs::remove_dir_all(&folder).expect("it is ours");
        TlsConfigs { server, client: Arc::new(client) }
    })
}

/// See the module.
pub(super) struct Stage {
    pub(super) shard: Shard,
    pub(super) node: Arc<Node>,
    pub(super) transport: Arc<ShardTransport>,
    events: Events,
    plain: SocketAddr,
    secure: SocketAddr,
    /// It was told to end, and so need not tell everyone.
    pub(super) is_going_down: bool,
}

impl Stage {
    /// A shard that listens, and what comes out of it.
    pub(super) fn new() -> (Stage, Intercepted) {
        let (sender, mailbox) = mailbox().expect("there are descriptors");
        let transport = Arc::new(ShardTransport::new(vec![sender]));
        let answers: Arc<dyn Transport> = transport.clone();
        let (submitter, intercepted) = Submitter::intercepted(answers, QUEUE_BATCHES);
        let context = ConnectionContext {
            heartbeat_interval_ms: 10_000,
            frame_bytes_max: 20_000,
            requests_outstanding_max: 4,
            ..ConnectionContext::new("a server under fire")
        };
        let (admission, counters) = (Admission::default(), Counters::default());
        let node = Arc::new(Node { context, admission, counters, shards: 1 });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let shard = Shard::new(ShardStart {
            index: 0,
            node: Arc::clone(&node),
            settings: Arc::new(settings(0)),
            mailbox,
            submitter,
            worker: None,
            wake_fds: Arc::new([]),
            listen_on: vec![(Entrance::Tcp, address), (Entrance::Tls, address)],
            backlog: 64,
            ended: crossbeam_channel::unbounded().0,
        });
        let shard = shard.expect("there are descriptors and ports");
        let address = |index: usize| {
            let socket = &shard.listeners[index].socket;
            // Connections inherit it.
            SockRef::from(socket).set_send_buffer_size(SEND_BUFFER_BYTES).expect("it is open");
            socket.local_addr().expect("it listens")
        };
        let (plain, secure) = (address(0), address(1));
        let events = Events::with_capacity(64);
        let is_going_down = false;
        let stage = Stage { shard, node, transport, events, plain, secure, is_going_down };
        (stage, intercepted)
    }

    /// Where to connect, and how.
    pub(super) fn address(&self, is_secure: bool) -> (SocketAddr, Option<&Arc<ClientConfig>>) {
        if is_secure { (self.secure, Some(&tls_configs().client)) } else { (self.plain, None) }
    }

    /// Time passes, without anything being done.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.shard.started -= Duration::from_millis(milliseconds);
    }

    /// One tick, if the shard would wake up for anything now. False if it would sleep.
    pub(super) fn tick(&mut self, wait: Duration) -> bool {
        let timeout = self.shard.timeout();
        let polled = self.shard.poll.poll(&mut self.events, Some(wait));
        polled.expect("the poll works");
        let wakes = timeout == Some(Duration::ZERO)
            || !self.events.is_empty()
            || self.shard.mailbox.waiting() > 0;
        if wakes && !self.shard.ended {
            self.shard.tick(&self.events);
            return true;
        }
        false
    }

    /// Ticks until the shard would sleep. True if it did anything.
    pub(super) fn run(&mut self) -> bool {
        let ticks = (0..TICKS_MAX).take_while(|_| self.tick(Duration::ZERO)).count();
        assert!(ticks < TICKS_MAX, "the shard does not come to rest");
        ticks > 0
    }

    /// Other limits are in force.
    pub(super) fn reload(&self, choice: usize) {
        self.transport.broadcast(&Control::Reload(Arc::new(settings(choice))));
    }

    /// So many may be there at once.
    #[cfg(test)]
    pub(super) fn make_room(&self, connections_max: usize) {
        let settings = Settings { connections_max, ..settings(2) };
        self.transport.broadcast(&Control::Reload(Arc::new(settings)));
    }

    pub(super) fn drain(&mut self, timeout_ms: u64) {
        self.is_going_down = true;
        self.transport.broadcast(&Control::Drain(DrainPlan {
            connections_per_second: 100,
            timeout_ms,
            reconnect_delay_ms: 10,
            address: String::new(),
        }));
    }

    pub(super) fn stop(&mut self) {
        self.is_going_down = true;
        self.transport.broadcast(&Control::Stop);
    }

    /// Connections that were closed, for whatever reason.
    fn closed(&self) -> u64 {
        let reasons = (0..=i32::from(u8::MAX)).filter_map(|it| CloseReason::try_from(it).ok());
        reasons.map(|reason| self.node.counters.closed(reason)).sum()
    }

    /// Panics unless everything is as it was before the first connection.
    pub(super) fn assert_idle(&self) {
        let Shard { slots, submitter, outbox_difference, .. } = &self.shard;
        let Shard { read_queue, transit_queue, .. } = &self.shard;
        let Node { admission, counters, .. } = &*self.node;
        assert!(slots.is_empty(), "{} slots are in use", slots.len());
        assert_eq!(admission.connections(), 0, "connections that are counted");
        assert_eq!(admission.handshakes(), 0, "handshakes that are counted");
        assert_eq!(*outbox_difference, 0);
        assert_eq!(counters.outbox_bytes(), 0, "bytes in outboxes");
        assert_eq!(submitter.waiting(), 0, "commands that were not handed over");
        let is_read = read_queue.is_empty() && transit_queue.is_empty();
        assert!(self.shard.ended || is_read, "{read_queue:?}, {transit_queue:?} wait to be read");
        let accepted = counters.accepted.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(self.closed(), accepted, "every end has one reason");
        assert_eq!(counters.closed(CloseReason::Unspecified), 0);
        assert_eq!(counters.closed(CloseReason::ServerError), 0);
    }
}

/// Small limits, so that they are reached; or others, to be reloaded.
fn settings(choice: usize) -> Settings {
    let limits = Limits {
        connections_per_address_max: [5, 2, 100][choice % 3],
        loopback_exempt: false,
        handshakes_max: 2,
        failed_logins_per_address_max: 4,
        failed_logins_per_connection_max: 2,
        outbox_bytes_soft: 4096,
        outbox_bytes_max: 30_000,
        outbox_bytes_node_max: [50_000, 5000, 1_000_000][choice % 3],
        ..Limits::default()
    };
    let outbox = OutboxLimits { soft: limits.outbox_bytes_soft, hard: limits.outbox_bytes_max };
    let heartbeat_ms = [10_000, 1000, 60_000][choice % 3];
    let deadlines = Deadlines::new(&TIMEOUTS, heartbeat_ms);
    let tls = Some(Arc::clone(&tls_configs().server));
    Settings { limits, connections_max: 6, outbox, deadlines, tls }
}
