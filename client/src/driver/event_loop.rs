//! The thread: waits for the socket, the clock and commands, and turns the machine.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use dunlin_protocol::LogId;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use super::link::{self, Link, Stage};
use crate::machine::{Action, Credentials, Disconnect, Event, Machine, Request, Ticket};

pub(super) const WAKER: Token = Token(0);
const SOCKET: Token = Token(1);

/// For one address of a host, TLS handshake included.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// While the application does not take its events, they are offered again this often.
const OFFER_INTERVAL: Duration = Duration::from_millis(20);
/// The last events are offered this long to an application that closes.
const LAST_OFFER: Duration = Duration::from_secs(5);
/// Bytes that are read before others get their turn, so that a flood does not delay commands.
const READ_BYTES_MAX: usize = 256 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;

/// What the application asks of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Request(Ticket, Request),
    Signal(LogId, String, Bytes),
    LogIn(Credentials),
    Hurry,
    Save,
    Close,
}

/// An attempt to reach one of the addresses of a host.
#[derive(Debug)]
struct Attempt {
    host: String,
    /// Those that are left.
    addresses: VecDeque<SocketAddr>,
    deadline_ms: u64,
}

#[derive(Debug)]
pub(super) struct EventLoop {
    machine: Machine,
    poll: Poll,
    tls: Option<Arc<ClientConfig>>,
    commands: Receiver<Command>,
    events: Sender<Event>,
    /// The one that did not fit.
    held: Option<Event>,
    link: Option<Link>,
    attempt: Option<Attempt>,
    /// The socket may have more to read: it tells only once.
    is_readable: bool,
    is_closing: bool,
    started: Instant,
    buffer: Vec<u8>,
}

impl EventLoop {
    pub(super) fn new(
        machine: Machine,
        poll: Poll,
        tls: Option<Arc<ClientConfig>>,
        commands: Receiver<Command>,
        events: Sender<Event>,
        started: Instant,
    ) -> EventLoop {
        EventLoop {
            machine,
            poll,
            tls,
            commands,
            events,
            held: None,
            link: None,
            attempt: None,
            is_readable: false,
            is_closing: false,
            started,
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(8);
        while !self.is_closing {
            self.act();
            if self.offer_events().is_err() {
                break;
            }
            let timeout = self.timeout();
            match self.poll.poll(&mut ready, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Without it nothing can be done; what waits is answered below.
                Err(_) => break,
            }
            for event in &ready {
                if event.token() == SOCKET {
                    self.is_readable |= event.is_readable() || event.is_read_closed();
                }
            }
            self.take_commands();
            self.turn_link();
            self.machine.handle_timeout(self.now_ms());
        }
        self.finish();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn timeout(&self) -> Option<Duration> {
        if self.held.is_some() {
            return Some(OFFER_INTERVAL);
        }
        let is_open = self.link.as_ref().is_some_and(|link| link.stage() == Stage::Open);
        if self.is_readable && is_open {
            return Some(Duration::ZERO);
        }
        let attempt = self.attempt.as_ref().map(|attempt| attempt.deadline_ms);
        let deadline_ms = [attempt, self.machine.next_deadline()].into_iter().flatten().min()?;
        // A millisecond more, lest it be woken just before and turns for nothing.
        Some(Duration::from_millis(deadline_ms.saturating_sub(self.now_ms()) + 1))
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            let now_ms = self.now_ms();
            match command {
                Command::Request(ticket, request) => self.machine.request(now_ms, ticket, request),
                Command::Signal(conversation, kind, payload) => {
                    self.machine.signal(now_ms, conversation, &kind, payload);
                }
                Command::LogIn(credentials) => self.machine.log_in(credentials),
                Command::Hurry => self.machine.hurry(),
                Command::Save => self.machine.save(),
                Command::Close => self.is_closing = true,
            }
        }
    }

    /// Does what the machine wants done with the connection, and writes what it says.
    fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.drop_link();
            match action {
                Action::Connect { address } => self.connect(&address),
                Action::Disconnect => {}
            }
        }
        if let Some(link) = &mut self.link
            && link.stage() == Stage::Open
            && let Err(why) = link.write(&mut self.machine)
        {
            self.lose(why);
        }
    }

    fn connect(&mut self, address: &str) {
        match link::resolve(address) {
            Ok(addresses) => {
                let host = link::host_of(address).to_owned();
                let addresses = addresses.into();
                self.attempt = Some(Attempt { host, addresses, deadline_ms: 0 });
                self.try_next_address(Disconnect::Network("there is no address".into()));
            }
            Err(why) => self.lose(why),
        }
    }

    /// Tries the next address of the host; if there is none, it was for this reason.
    fn try_next_address(&mut self, why: Disconnect) {
        self.drop_socket();
        let now_ms = self.now_ms();
        let mut why = why;
        while let Some(attempt) = &mut self.attempt
            && let Some(address) = attempt.addresses.pop_front()
        {
            attempt.deadline_ms = now_ms + CONNECT_TIMEOUT_MS;
            let linked = Link::connect(address, &attempt.host, self.tls.as_ref());
            let registered = linked.and_then(|mut link| {
                let interests = Interest::READABLE | Interest::WRITABLE;
                let registry = self.poll.registry();
                let registered = registry.register(link.socket(), SOCKET, interests);
                registered.map(|()| link).map_err(|error| Disconnect::Network(error.to_string()))
            });
            match registered {
                Ok(link) => {
                    self.link = Some(link);
                    return;
                }
                Err(error) => why = error,
            }
        }
        self.lose(why);
    }

    /// Connects, reads: whatever the socket allows.
    fn turn_link(&mut self) {
        let now_ms = self.now_ms();
        let Some(link) = &mut self.link else { return };
        if link.stage() != Stage::Open {
            match link.advance() {
                Ok(Stage::Open) => {
                    self.attempt = None;
                    self.is_readable = true;
                    self.machine.connected(now_ms);
                }
                Ok(Stage::Connecting | Stage::Handshaking) => {
                    if self.attempt.as_ref().is_some_and(|it| now_ms >= it.deadline_ms) {
                        self.try_next_address(Disconnect::Network("no answer in time".into()));
                    }
                    return;
                }
                // Another address would be another server.
                Err(why @ Disconnect::Untrusted(_)) => return self.lose(why),
                Err(why @ Disconnect::Network(_)) => return self.try_next_address(why),
            }
        }
        self.read(now_ms);
    }

    fn read(&mut self, now_ms: u64) {
        let mut bytes_left = READ_BYTES_MAX;
        // Events that nobody takes must not pile up.
        while self.is_readable && self.held.is_none() && bytes_left > 0 {
            let Some(link) = &mut self.link else { return };
            match link.read(&mut self.buffer) {
                Ok(Some(bytes)) => {
                    bytes_left = bytes_left.saturating_sub(bytes);
                    self.machine.handle_input(now_ms, &self.buffer[..bytes]);
                    // What was read may have ended the connection, or want answers.
                    self.act();
                    if self.offer_events().is_err() {
                        self.is_closing = true;
                        return;
                    }
                }
                Ok(None) => self.is_readable = false,
                Err(why) => return self.lose(why),
            }
        }
    }

    fn lose(&mut self, why: Disconnect) {
        self.drop_link();
        self.machine.disconnected(self.now_ms(), why);
    }

    fn drop_link(&mut self) {
        self.attempt = None;
        self.drop_socket();
    }

    fn drop_socket(&mut self) {
        self.is_readable = false;
        if let Some(mut link) = self.link.take() {
            // It is closed by the next line, registered or not.
            let _ = self.poll.registry().deregister(link.socket());
        }
    }

    /// Gives the application its events, as many as fit. An error: it has gone.
    fn offer_events(&mut self) -> Result<(), ()> {
        while let Some(event) = self.held.take().or_else(|| self.machine.poll_event()) {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.held = Some(event);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(()),
            }
        }
        Ok(())
    }

    /// Answers everything that still waits.
    fn finish(mut self) {
        self.take_commands();
        self.machine.close();
        self.drop_link();
        while let Some(event) = self.held.take().or_else(|| self.machine.poll_event()) {
            if self.events.send_timeout(event, LAST_OFFER).is_err() {
                return;
            }
        }
    }
}
