//! How a shard comes to life: its thread, its descriptor table, its sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use dunlin_core::engine::hosted::HostedWorker;
use dunlin_core::engine::submitter::Submitter;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::accept::{Budget, Listener};
use super::control::{Node, Settings};
use super::handover::Handover;
use super::mailbox::MailReceiver;
use super::read_queues::ReadQueues;
use super::shard_clock::ShardClock;
use super::strangers::Strangers;
use super::tally::Tally;
use super::timer_wheel::TimerWheel;
use super::{MAILBOX, Shard};
use crate::slots::Slots;
use crate::stream::Streams;
use crate::stream::buffers::Buffers;
use crate::stream::entrance::ListenOn;
use crate::transport::ShardTransport;

/// What a shard needs to begin.
pub(crate) struct ShardStart {
    pub(crate) index: u16,
    pub(crate) node: Arc<Node>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) mailbox: MailReceiver,
    /// The way to the other shards.
    pub(crate) transport: Arc<ShardTransport>,
    pub(crate) submitter: Submitter,
    /// A worker to run beside the connections.
    pub(crate) worker: Option<HostedWorker>,
    /// The eventfds of all shards: whoever has something for them wakes them.
    pub(crate) wake_fds: Arc<[RawFd]>,
    pub(crate) listen_on: Vec<ListenOn>,
    pub(crate) backlog: i32,
    /// Told when the thread ends, however it ends.
    pub(crate) ended: Sender<u16>,
}

/// A shard's thread, and where it listens.
pub(crate) struct Started {
    pub(crate) thread: JoinHandle<io::Result<()>>,
    /// With the ports that were found for port 0.
    pub(crate) listens_on: Vec<ListenOn>,
}

/// Starts the thread and waits until it listens.
pub(crate) fn spawn(start: ShardStart) -> io::Result<Started> {
    let (ready, started) = bounded(1);
    let name = format!("shard-{}", start.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || run(start, &ready))?;
    match listens_on(&started) {
        Ok(listens_on) => Ok(Started { thread, listens_on }),
        Err(error) => {
            // The thread has nothing else to say: it ended with the error that it sent.
            let _ended = thread.join();
            Err(error)
        }
    }
}

/// Where a shard listens, or why it does not.
type Listening = io::Result<Vec<ListenOn>>;

fn listens_on(started: &Receiver<Listening>) -> Listening {
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the shard's thread panicked")))
}

/// Says that the thread has ended when it is dropped: after a panic too.
struct Ending(Sender<u16>, u16);

impl Drop for Ending {
    fn drop(&mut self) {
        // If nobody listens, the server is going down already.
        let _nobody = self.0.send(self.1);
    }
}

fn run(start: ShardStart, ready: &Sender<Listening>) -> io::Result<()> {
    let _ending = Ending(start.ended.clone(), start.index);
    let shared = start.wake_fds.iter().copied().chain(start.node.places.descriptors());
    if let Err(error) = crate::sys::unshare_descriptor_table(&shared.collect::<Vec<_>>()) {
        tracing::info!(shard = start.index, %error, "shards share one descriptor table");
    }
    let shard = match Shard::new(start) {
        Ok(shard) => shard,
        Err(error) => {
            let told = ready.send(Err(error));
            debug_assert!(told.is_ok(), "the starter waits");
            return Ok(());
        }
    };
    let listening = shard.listeners.iter().map(Listener::listens_on).collect();
    let told = ready.send(listening);
    debug_assert!(told.is_ok(), "the starter waits");
    shard.run().inspect_err(|error| tracing::error!(%error, "a shard failed"))
}

impl Shard {
    /// Opens what the shard needs, on its own thread and so in its own descriptor table.
    pub(crate) fn new(start: ShardStart) -> io::Result<Shard> {
        let poll = Poll::new()?;
        let wake_fd = start.mailbox.wake_fd();
        poll.registry().register(&mut SourceFd(&wake_fd), MAILBOX, Interest::READABLE)?;
        let mut listeners = Vec::new();
        for (index, (entrance, address)) in start.listen_on.into_iter().enumerate() {
            let mut socket = listen(address, start.backlog)?;
            let token = Token(MAILBOX.0 - 1 - index);
            poll.registry().register(&mut socket, token, Interest::READABLE)?;
            let listener = Listener { socket, token, entrance, ready: true, paused_until_ms: 0 };
            listeners.push(listener);
        }
        let outbox_limits = start.settings.outbox;
        let tally = Tally::new(&start.node.counters);
        let clock = ShardClock::new(start.node.started);
        Ok(Shard {
            index: start.index,
            node: start.node,
            settings: start.settings,
            poll,
            listeners,
            accept_budget: Budget::default(),
            mailbox: start.mailbox,
            transport: start.transport,
            handover: Handover::new(start.submitter),
            worker: start.worker,
            slots: Slots::new(),
            streams: Streams::new(),
            strangers: Strangers::default(),
            next_generation: 0,
            wheel: TimerWheel::new(),
            due: Vec::new(),
            buffers: Buffers::new(),
            read_queues: ReadQueues::default(),
            login_ended: false,
            dirty: Vec::new(),
            tally,
            outbox_limits,
            relieved: 0,
            drain: None,
            ended: false,
            clock,
        })
    }
}

/// A listening socket that shares its port with those of the other shards: the kernel spreads
/// the connections over them.
fn listen(address: SocketAddr, backlog: i32) -> io::Result<mio::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // What is accepted inherits it: a call less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Fails if something listens there already. The shards' own sockets would share the port even
/// with another server of the same user, and half of the connections would go astray.
pub(crate) fn ensure_free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}
