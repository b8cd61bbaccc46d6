//! A shard without a thread, under a clock that the script moves.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_core::connection::ConnectionContext;
use dunlin_core::engine::submitter::{Intercepted, Submitter};
use dunlin_core::transport::Transport;
use dunlin_protocol::wire::CloseReason;
use mio::Events;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::{Limits, Rates, Timeouts};
use crate::node::data::DataFolder;
use crate::proxy::networks::Networks;
use crate::shard::control::{Control, Deadlines, DrainPlan, Node, Settings};
use crate::shard::mailbox::mailbox;
use crate::shard::{Shard, ShardStart};
use crate::stream::entrance::{Entrance, ListenOn};
use crate::stream::outbox::OutboxLimits;
use crate::stream::web::Origins;
use crate::tls::{Certificate, TlsConfigs, ticketer};
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
    frame_timeout_ms: 30_000,
    write_timeout_ms: WRITE_TIMEOUT_MS,
};

pub(super) const WRITE_TIMEOUT_MS: u64 = 30_000;

/// Both sides of TLS, made once.
struct BothSides {
    server: TlsConfigs,
    client: Arc<ClientConfig>,
}

fn tls_configs() -> &'static BothSides {
    static CONFIGS: OnceLock<BothSides> = OnceLock::new();
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
        BothSides { server, client: Arc::new(client) }
    })
}

/// See the module.
pub(super) struct Stage {
    pub(super) shard: Shard,
    pub(super) node: Arc<Node>,
    pub(super) transport: Arc<ShardTransport>,
    events: Events,
    listens_on: Vec<ListenOn>,
    /// It was told to end, and so need not tell everyone.
    pub(super) is_going_down: bool,
}

impl Stage {
    /// A shard that listens, and what comes out of it.
    pub(super) fn new() -> (Stage, Intercepted) {
        let behind = Arc::default();
        let (sender, mailbox) = mailbox(&behind).expect("there are descriptors");
        let transport = Arc::new(ShardTransport::new(vec![sender], behind));
        let answers: Arc<dyn Transport> = transport.clone();
        let (submitter, intercepted) = Submitter::intercepted(answers, QUEUE_BATCHES);
        let node = Arc::new(Node::new(1, usize::MAX).expect("there are descriptors"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let shard = Shard::new(ShardStart {
            index: 0,
            node: Arc::clone(&node),
            settings: Arc::new(settings(0)),
            mailbox,
            transport: Arc::clone(&transport),
            submitter,
            worker: None,
            wake_fds: Arc::new([]),
            listen_on: vec![(Entrance::Tcp, address), (Entrance::Tls, address)],
            backlog: 64,
            ended: crossbeam_channel::unbounded().0,
        });
        let shard = shard.expect("there are descriptors and ports");
        shard.set_send_buffers(SEND_BUFFER_BYTES).expect("the listeners are open");
        let listens_on = shard.listens_on().expect("it listens");
        let events = Events::with_capacity(64);
        let is_going_down = false;
        let stage = Stage { shard, node, transport, events, listens_on, is_going_down };
        (stage, intercepted)
    }

    /// Where to connect, and how.
    pub(super) fn address(&self, entrance: Entrance) -> (SocketAddr, Option<&Arc<ClientConfig>>) {
        let found = self.listens_on.iter().find(|(way_in, _)| *way_in == entrance);
        let (_, address) = found.expect("it listens everywhere");
        let tls = match entrance {
            Entrance::Tcp | Entrance::Web => None,
            Entrance::Tls | Entrance::WebTls => Some(&tls_configs().client),
        };
        (*address, tls)
    }

    /// Time passes, without anything being done.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.shard.pass(milliseconds);
    }

    /// One tick, if the shard would wake up for anything now. False if it would sleep.
    pub(super) fn tick(&mut self, wait: Duration) -> bool {
        let timeout = self.shard.would_sleep();
        self.shard.wait(&mut self.events, wait).expect("the poll works");
        let wakes =
            timeout == Some(Duration::ZERO) || !self.events.is_empty() || self.shard.has_mail();
        if wakes && !self.shard.has_ended() {
            self.shard.turn(&self.events);
            self.shard.assert_counted();
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
            leave_ms: timeout_ms / 2,
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
        self.shard.assert_idle();
        let Node { admission, counters, places, .. } = &*self.node;
        assert_eq!(admission.connections(), 0, "connections that are counted");
        assert_eq!(places.taken(), 0, "places that are taken");
        assert_eq!(admission.strangers(), 0, "strangers that are counted");
        assert_eq!(admission.handshakes(), 0, "handshakes that are counted");
        assert_eq!(counters.outbox_bytes(), 0, "bytes in outboxes");
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
    let deadlines = Deadlines::new(&TIMEOUTS, 2 * heartbeat_ms);
    let tls = Some(tls_configs().server.clone());
    let context = ConnectionContext {
        heartbeat_interval_ms: 10_000,
        frame_bytes_max: 20_000,
        requests_outstanding_max: 4,
        ..ConnectionContext::new("a server under fire")
    };
    let rates = Rates {
        messages_per_s: 50,
        messages_burst: 20,
        signals_per_s: 1,
        signals_burst: 10,
        requests_per_s: 50,
        requests_burst: 100,
        ..Rates::default()
    };
    let rates = rates.of_node();
    Settings {
        context,
        limits,
        rates,
        proxies: Networks::default(),
        connections_max: 6,
        outbox,
        deadlines,
        tls,
        origins: Origins::default(),
    }
}
