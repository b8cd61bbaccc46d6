//! The engine: workers and the threads that drive them, between a store and a transport.

pub mod door;
pub mod hosted;
pub mod submitter;

mod calls;
mod commands;
mod door_error;
mod driver;
mod gate;
mod mailbox;

use std::io;
use std::sync::Arc;
// Under a name that `core/tests/hand_overs` can give to loom's: see `gate`.
use std::sync::atomic::{self, AtomicUsize};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use dunlin_protocol::wire::DeviceKind;
use parking_lot::Mutex;

use crate::admin::{AdminError, AdminReply, AdminRequest};
use crate::attempt::Attempts;
use crate::auth::issuer::{IssuerConfigError, Issuers};
use crate::auth::password::PasswordThreads;
use crate::auth::token::TokenKeys;
use crate::bus::{Bus, Member, NodeId};
use crate::clock::{Clock, SystemClock};
use crate::cluster::ClusterNode;
use crate::config::EngineConfig;
use crate::limits::{DRAIN_MS_MAX, WORKERS_MAX};
use crate::placement;
use crate::presence::Presence;
use crate::random::{Random, SystemSource};
use crate::statistics::{EngineStatistics, WorkerStatistics};
use crate::store::Store;
use crate::transport::{ConnId, Session, Transport};
use crate::worker::effect::Effects;
use crate::worker::input::Input;
use crate::worker::{Shared, Worker};
use calls::Calls;
use commands::{CommandReceiver, CommandSender};
use door::Door;
use driver::{ClusterLinks, Driver, Letter, Mailroom};
use gate::Gate;
use hosted::{HostedWorker, WorkerThreads};
use mailbox::{Mailbox, Wake};
use submitter::Submitter;

/// Why an engine can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The number of workers is out of range.
    #[error("{workers} workers, where 1 to {WORKERS_MAX} are possible")]
    Workers {
        /// What the configuration says.
        workers: usize,
    },
    /// An issuer can't be used.
    #[error(transparent)]
    Issuer(#[from] IssuerConfigError),
    /// The system has no thread to give.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] io::Error),
}

/// A running engine. See the crate's page for what it is made of.
///
/// It must be stopped by [`Engine::stop`]; if it is only dropped, its threads run on until the
/// process ends.
///
/// A server that knows its users by its own means needs a [`Transport`], an account for each user,
/// and a session for each connection. (With [`Connection`](crate::connection::Connection) clients
/// log in by themselves, and speak the whole protocol: `examples/websocket` shows that.) Where there
/// is no connection at all, there is the [`Door`].
///
/// ```
/// use std::sync::{Arc, mpsc};
///
/// use dunlin_core::arrival::Arrival;
/// use dunlin_core::admin::{AdminReply, AdminRequest};
/// use dunlin_core::engine::Engine;
/// use dunlin_core::request::{Command, Message};
/// use dunlin_core::store::memory::MemoryStore;
/// use dunlin_core::transport::{ConnId, Delivery, Outbound, Session, Transport};
/// use dunlin_protocol::wire::{DeviceKind, Notice, frame::Body};
/// use dunlin_protocol::{ClientMessageId, LogId, SessionId, frame};
///
/// /// Whatever the engine has for a connection goes into a channel.
/// struct Channel(mpsc::Sender<Outbound>);
///
/// impl Transport for Channel {
///     fn deliver(&self, _shard: u16, batch: Vec<Outbound>) {
///         for outbound in batch {
///             self.0.send(outbound).expect("somebody listens");
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, outbounds) = mpsc::channel();
/// let store = Arc::new(MemoryStore::default());
/// let engine = Engine::builder(store, Arc::new(Channel(sender))).start()?;
///
/// let reply = engine.administer(AdminRequest::AddUser {
///     username: "ada".into(),
///     password: "correct horse".into(),
///     display_name: "Ada".into(),
/// })?;
/// let AdminReply::UserAdded { user } = reply else { unreachable!("it was asked to add one") };
///
/// // A connection of hers. The transport numbers connections as it likes.
/// let conn = ConnId { shard: 0, slot: 0, generation: 0 };
/// let session = Session { user, session: SessionId::new(1)? };
/// engine.open_session(conn, session, DeviceKind::Desktop);
///
/// // She writes a note to herself.
/// let note = Message {
///     client_message_id: ClientMessageId([7; 16]),
///     content_type: String::new(),
///     content: "Hello, engine!".into(),
///     notice: Notice::Loud,
/// };
/// let mut submitter = engine.submitter();
/// let request = note.to(LogId::direct(user, user));
/// let (session, arrived) = (Some(session), Arrival::UNKNOWN);
/// submitter.command(Command { conn, session, request_id: 1, may_deflate: false, arrived, request });
/// assert!(submitter.flush(), "the queue of a worker has room");
///
/// // The response comes when the note is stored.
/// let Delivery::Response(response) = outbounds.recv()?.delivery else { panic!("no response") };
/// let Some(Body::Sent(sent)) = frame::decode(response.body())?.body else { panic!("not sent") };
/// assert_eq!(sent.seq, 1);
///
/// submitter.disconnected(conn, session);
/// submitter.flush();
/// engine.stop();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Engine {
    gate: Arc<Gate>,
    calls: Arc<Calls>,
    attempts: Arc<Attempts>,
    transport: TransportHandle,
    commands: Vec<CommandSender>,
    mailboxes: Vec<Mailbox<Letter>>,
    statistics: Vec<Arc<Mutex<WorkerStatistics>>>,
    threads: WorkerThreads,
    /// A worker on a thread of the transport must not be the last to hold the store: its threads
    /// would be waited for there.
    _store: StoreHandle,
    cluster: Option<ClusterLinks>,
    /// Bytes of envelopes in the mail of each worker.
    envelopes_waiting: Vec<Arc<AtomicUsize>>,
}

struct StoreHandle(#[allow(dead_code, reason = "it is there to be held")] Arc<dyn Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Store")
    }
}

#[derive(Clone)]
struct TransportHandle(Arc<dyn Transport>);

impl std::fmt::Debug for TransportHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Transport")
    }
}

/// Makes an [`Engine`].
pub struct EngineBuilder {
    store: Arc<dyn Store>,
    transport: Arc<dyn Transport>,
    config: EngineConfig,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    signing_key: Option<[u8; 32]>,
    retired_keys: Vec<[u8; 32]>,
    cluster: Option<ClusterLinks>,
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Settings; without them, what a single node wants.
    #[must_use]
    pub fn config(mut self, config: EngineConfig) -> EngineBuilder {
        self.config = config;
        self
    }

    /// Where the time comes from; the clock of the system without it.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> EngineBuilder {
        self.clock = clock;
        self
    }

    /// Where chance comes from; the system without it.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> EngineBuilder {
        self.random = random;
        self
    }

    /// The secret that signs tokens. Without it a random one is used, and all tokens end with the
    /// process. All nodes of a service have the same.
    #[must_use]
    pub fn signing_key(mut self, key: [u8; 32]) -> EngineBuilder {
        self.signing_key = Some(key);
        self
    }

    /// Keys that signed in the past and are believed still.
    #[must_use]
    pub fn retired_keys(mut self, keys: Vec<[u8; 32]>) -> EngineBuilder {
        self.retired_keys = keys;
        self
    }

    /// Makes the engine a node among others, that share its store (and its signing key). Without
    /// it there are no others. Its name on the bus is `node`, or a random number, which is what it
    /// should be: a node that comes back is another one.
    #[must_use]
    pub fn cluster(
        mut self,
        node: Option<NodeId>,
        bus: Arc<dyn Bus>,
        presence: Arc<dyn Presence>,
    ) -> EngineBuilder {
        let node = node.unwrap_or_else(|| NodeId(self.random.next_u64()));
        self.cluster = Some(ClusterLinks { place: ClusterNode { node, presence }, bus });
        self
    }

    /// Starts the threads.
    pub fn start(self) -> Result<Engine, EngineError> {
        let (engine, hosted) = self.start_hosted(&[])?;
        debug_assert!(hosted.is_empty(), "there are no hosts");
        Ok(engine)
    }

    /// Starts, but leaves the first workers to threads of the transport, one for each of `hosts`.
    /// See [`hosted`].
    pub fn start_hosted(
        self,
        hosts: &[Arc<dyn Wake>],
    ) -> Result<(Engine, Vec<HostedWorker>), EngineError> {
        let workers = self.config.workers;
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(EngineError::Workers { workers });
        }
        let shared = Arc::new(self.shared()?);
        let passwords = PasswordThreads::start(&shared.config.passwords, &self.random)?;
        let passwords = Arc::new(passwords);
        let queue = shared.config.worker_queue_batches.max(1);
        let host = |index: usize| hosts.get(index).cloned();
        let (commands, takers): (Vec<_>, Vec<_>) =
            (0..workers).map(|index| commands::queue(queue, host(index))).unzip();
        let (mailboxes, mails): (Vec<_>, Vec<_>) = (0..workers)
            .map(|index| {
                let (sender, receiver) = crossbeam_channel::unbounded();
                (Mailbox::new(sender, host(index)), receiver)
            })
            .unzip();
        let mut engine = Engine {
            gate: Arc::new(Gate::default()),
            calls: Arc::default(),
            attempts: Arc::default(),
            transport: TransportHandle(Arc::clone(&self.transport)),
            commands,
            mailboxes,
            statistics: Vec::new(),
            threads: WorkerThreads::default(),
            cluster: self.cluster.clone(),
            envelopes_waiting: (0..workers).map(|_| Arc::default()).collect(),
            _store: StoreHandle(Arc::clone(&self.store)),
        };
        let mut hosted = Vec::new();
        for (index, (commands, mail)) in takers.into_iter().zip(mails).enumerate() {
            let driver = engine.driver(index, &shared, &self, commands, mail, &passwords);
            if index < hosts.len() {
                hosted.push(HostedWorker::new(driver, Arc::clone(&engine.threads)));
                continue;
            }
            match driver.start_thread() {
                Ok(thread) => engine.threads.lock().push(thread),
                Err(error) => {
                    engine.stop();
                    return Err(EngineError::Thread(error));
                }
            }
        }
        engine.join_cluster();
        Ok((engine, hosted))
    }

    fn shared(&self) -> Result<Shared, EngineError> {
        let signing_key = self.signing_key.unwrap_or_else(|| {
            let mut key = [0; 32];
            self.random.fill(&mut key);
            key
        });
        Ok(Shared {
            config: self.config.clone(),
            epoch: self.store.epoch(),
            run: self.random.next_u64(),
            random: Arc::clone(&self.random),
            tokens: TokenKeys::new(&signing_key, &self.retired_keys),
            issuers: Issuers::new(&self.config.issuers)?,
            cluster: self.cluster.as_ref().map(|cluster| cluster.place.clone()),
        })
    }
}

impl Engine {
    /// Begins to make an engine, between a store and a transport.
    pub fn builder(store: Arc<dyn Store>, transport: Arc<dyn Transport>) -> EngineBuilder {
        EngineBuilder {
            store,
            transport,
            config: EngineConfig::default(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemSource::new()),
            signing_key: None,
            retired_keys: Vec::new(),
            cluster: None,
        }
    }

    fn driver(
        &mut self,
        index: usize,
        shared: &Arc<Shared>,
        builder: &EngineBuilder,
        commands: CommandReceiver,
        mail: Receiver<Letter>,
        passwords: &Arc<PasswordThreads>,
    ) -> Driver {
        let statistics = Arc::new(Mutex::new(WorkerStatistics::default()));
        self.statistics.push(Arc::clone(&statistics));
        let worker = u16::try_from(index).expect("there are at most 256 workers");
        let worker = Worker::new(worker, Arc::clone(shared));
        let (gate, mailbox) = (Arc::clone(&self.gate), self.mailboxes[index].clone());
        worker.wake_by(move || driver::wake_for_room(&gate, &mailbox));
        Driver {
            worker,
            commands,
            mail,
            mailboxes: self.mailboxes.clone(),
            index,
            gate: Arc::clone(&self.gate),
            store: Arc::clone(&builder.store),
            transport: Arc::clone(&builder.transport),
            clock: Arc::clone(&builder.clock),
            passwords: Arc::clone(passwords),
            statistics,
            effects: Effects::new(),
            calls: Arc::clone(&self.calls),
            next_timer: Instant::now(),
            began: Instant::now(),
            cluster: builder.cluster.clone(),
            envelopes_waiting: Arc::clone(&self.envelopes_waiting[index]),
            uncounted: 0,
            was_answered: false,
        }
    }

    /// A way in, for one thread of the transport.
    pub fn submitter(&self) -> Submitter {
        let transport = Arc::clone(&self.transport.0);
        let attempts = Arc::clone(&self.attempts);
        Submitter::new(Arc::clone(&self.gate), transport, attempts, &self.commands)
    }

    /// Opens a session for a user whom the embedding server knows by its own means; commands on the
    /// connection then carry this session. (Login opens sessions by itself.) The user must have an
    /// account. Commands that are submitted after this returns find the session open.
    pub fn open_session(&self, conn: ConnId, session: Session, kind: DeviceKind) {
        if self.gate.enter() {
            let worker = placement::worker_of_user(session.user, self.mailboxes.len());
            let letter = Letter::Input(Input::OpenSession { conn, session, kind });
            if self.mailboxes[usize::from(worker)].send(letter).is_err() {
                self.gate.leave(1);
            }
        }
    }

    /// The way in for the program around the engine, which has no connection.
    pub fn door(&self) -> Door {
        let (gate, calls) = (Arc::clone(&self.gate), Arc::clone(&self.calls));
        Door::new(gate, calls, &self.commands, &self.mailboxes, &self.statistics)
    }

    /// Carries out a request of the operator: [`Door::administer_and_wait`].
    pub fn administer(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        self.door().administer_and_wait(request)
    }

    /// The name of this node on the bus, if it is one of several.
    pub fn node(&self) -> Option<NodeId> {
        self.cluster.as_ref().map(|cluster| cluster.place.node)
    }

    /// Nobody has a way in yet, so the workers hear of the members before they hear of a command.
    fn join_cluster(&self) {
        let Some(ClusterLinks { place, bus }) = &self.cluster else { return };
        let workers = u16::try_from(self.mailboxes.len()).expect("there are at most 256 workers");
        let (gate, mailboxes) = (Arc::clone(&self.gate), self.mailboxes.clone());
        let waiting = self.envelopes_waiting.clone();
        let receiver = Arc::new(Mailroom { gate, mailboxes, waiting });
        bus.join(Member { node: place.node, workers }, receiver);
    }

    /// Nothing can come from the bus any more. What waits for another node is done here: nobody is
    /// left to answer it.
    fn leave_cluster(&self) {
        let Some(ClusterLinks { place, bus }) = &self.cluster else { return };
        bus.leave(place.node);
        for mailbox in &self.mailboxes {
            self.gate.add(1);
            if mailbox.send(Letter::Input(Input::Members(Vec::new()))).is_err() {
                self.gate.leave(1);
            }
        }
    }

    /// What the engine has counted, as of a moment ago.
    pub fn statistics(&self) -> EngineStatistics {
        self.door().statistics()
    }

    /// Stops: nothing more is taken, what was taken is answered, then the threads end. Submitters
    /// that are still used answer `SHUTTING_DOWN` by themselves. A store that does not answer is
    /// not waited for longer than [`DRAIN_MS_MAX`]. It blocks for that time. A second call does
    /// nothing.
    pub fn stop(&self) {
        self.gate.close();
        self.leave_cluster();
        let deadline = Instant::now() + Duration::from_millis(DRAIN_MS_MAX);
        while !self.gate.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        for mailbox in &self.mailboxes {
            // Its thread may not have been started.
            drop(mailbox.send(Letter::Stop));
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
        self.calls.stop();
        // Until now a login that was under way may have announced its user.
        if let Some(ClusterLinks { place, .. }) = &self.cluster {
            place.presence.node_left(place.node);
        }
    }
}
