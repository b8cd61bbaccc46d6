//! A client for programs that block: one thread runs the [machine](crate::machine) over a socket.
//!
//! ```text
//!  application                      │ thread "dunlin-client"
//!                                   │
//!  Client::request ─► commands ─────┼─► Machine ◄──► Link (TCP, TLS) ◄──► server
//!                     + one wake    │      │
//!  Client::events ◄── events ◄──────┼──────┘
//!                    (bounded: who does not take them stops the reading, not the thread)
//! ```

mod event_loop;
mod link;
mod trust;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use dunlin_protocol::wire::Notice;
use dunlin_protocol::{ClientMessageId, DeviceId, LogId};
use mio::{Poll, Waker};
use ring::rand::{SecureRandom, SystemRandom};

use crate::machine::{Config, Credentials, Event, Machine, Request, Ticket};
use event_loop::{Command, EventLoop, WAKER};

pub use trust::{Fingerprint, NotAFingerprint, Trust, TrustError};

/// Events that may wait for the application.
const EVENTS_MAX: usize = 1024;
/// Commands that may wait for the thread; it takes them all whenever it wakes.
const COMMANDS_MAX: usize = 1024;

/// Everything that a client needs to begin.
#[derive(Debug)]
pub struct ClientConfig {
    /// Who and where.
    pub machine: Config,
    /// Plain TCP, or TLS.
    pub transport: Transport,
    /// What to log in with.
    pub credentials: Credentials,
}

/// What carries the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// For the same machine: anyone on the way can read and change everything.
    Tcp,
    /// For everything else.
    Tls(Trust),
}

/// Why a client can't begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// TLS can't be set up.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no address to connect to.
    #[error("there is no address to connect to")]
    NoAddress,
    /// The system has no thread or descriptor left.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}

/// The thread has ended: the client was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is closed")]
pub struct Closed;

/// A user on a server, connected again and again until it is closed or dropped.
///
/// Nothing here waits for the network. Take the events steadily: a client whose events are not
/// taken stops reading, and is disconnected by the server in the end.
#[derive(Debug)]
pub struct Client {
    commands: Sender<Command>,
    events: Receiver<Event>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    next_ticket: AtomicU64,
    random: SystemRandom,
    started: Instant,
}

impl Client {
    /// Starts the thread, which connects and logs in. How that goes on is told by events.
    pub fn connect(config: ClientConfig) -> Result<Client, StartError> {
        if config.machine.addresses.is_empty() {
            return Err(StartError::NoAddress);
        }
        let tls = match &config.transport {
            Transport::Tcp => None,
            Transport::Tls(trust) => Some(trust.client_config()?),
        };
        let random = SystemRandom::new();
        let seed = u64::from_le_bytes(random_bytes(&random)?);
        let mut machine = Machine::new(config.machine, seed);
        machine.log_in(config.credentials);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, inbox) = bounded(COMMANDS_MAX);
        let (outbox, events) = bounded(EVENTS_MAX);
        let started = Instant::now();
        let event_loop = EventLoop::new(machine, poll, tls, inbox, outbox, started);
        let thread = std::thread::Builder::new()
            .name("dunlin-client".into())
            .spawn(move || event_loop.run())?;
        let (thread, next_ticket) = (Some(thread), AtomicU64::new(1));
        Ok(Client { commands, events, waker, thread, next_ticket, random, started })
    }

    /// What happens, in order. The channel ends when the client is closed.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The clock of the times in events, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks for something. The answer comes as an [`Event::Completed`] with the ticket.
    pub fn request(&self, request: Request) -> Result<Ticket, Closed> {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        self.command(Command::Request(ticket, request))?;
        Ok(ticket)
    }

    /// Sends a text. Returns the ticket, and the id by which the message is known when it comes
    /// back as an entry.
    pub fn send_text(
        &self,
        conversation: LogId,
        text: &str,
    ) -> Result<(Ticket, ClientMessageId), Closed> {
        let message_id = ClientMessageId(random_bytes(&self.random).map_err(|_| Closed)?);
        let content = Bytes::copy_from_slice(text.as_bytes());
        let content_type = String::new();
        let notice = Notice::Loud;
        let request = Request::Send { conversation, message_id, content_type, content, notice };
        Ok((self.request(request)?, message_id))
    }

    /// Tells the other member something momentary ("typing"), if that is possible now.
    pub fn signal(&self, conversation: LogId, kind: &str, payload: Bytes) -> Result<(), Closed> {
        self.command(Command::Signal(conversation, kind.to_owned(), payload))
    }

    /// Logs in with other credentials: the way on after
    /// [`Status::Stopped`](crate::machine::Status::Stopped).
    pub fn log_in(&self, credentials: Credentials) -> Result<(), Closed> {
        self.command(Command::LogIn(credentials))
    }

    /// Asks for what the client knows, for a later run: see [`Event::Saved`].
    pub fn save(&self) -> Result<(), Closed> {
        self.command(Command::Save)
    }

    /// Connects at once, if the client waits to do so: the network is back, say.
    pub fn hurry(&self) -> Result<(), Closed> {
        self.command(Command::Hurry)
    }

    /// Closes the connection and ends the thread. Requests without an answer get
    /// [`Failure::Closed`](crate::machine::Failure::Closed); that, and all other events that
    /// nobody has taken, is returned. May have to wait for the system's resolver of names.
    pub fn close(mut self) -> Vec<Event> {
        // An error says that it is closed already.
        let _ = self.command(Command::Close);
        let rest = self.events.iter().collect();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by its hook.
            let _ = thread.join();
        }
        rest
    }

    fn command(&self, command: Command) -> Result<(), Closed> {
        self.commands.send(command).map_err(|_| Closed)?;
        self.waker.wake().map_err(|_| Closed)
    }
}

/// Without waiting: the thread ends by itself.
impl Drop for Client {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.command(Command::Close);
        }
    }
}

/// An id for this installation; to be made once, and kept.
pub fn new_device_id() -> Result<DeviceId, StartError> {
    random_bytes(&SystemRandom::new()).map(DeviceId)
}

/// An id for a message, for a program that keeps what it sends: with [`Request::Send`] of the same id
/// and content, even of a later run, it is stored once.
pub fn new_message_id() -> Result<ClientMessageId, StartError> {
    random_bytes(&SystemRandom::new()).map(ClientMessageId)
}

fn random_bytes<const LENGTH: usize>(random: &SystemRandom) -> Result<[u8; LENGTH], StartError> {
    let mut bytes = [0; LENGTH];
    random.fill(&mut bytes).map_err(|_| StartError::NoRandomness)?;
    Ok(bytes)
}
