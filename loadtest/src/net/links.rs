//! The connections of a thread: made, lent what they need, written, and closed.

use std::io;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, Type};

use crate::net::link::{Backlog, CloseCause, Link};
use crate::net::tls::TlsSession;
use crate::net::web::{self, Web};
use crate::net::{Clock, Route};
use crate::sys;

/// Backlogs that are kept for the next busy connections, and the largest buffer in them.
const SPARE_BACKLOGS_MAX: usize = 256;
const SPARE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The connections of a thread, by slot.
#[derive(Debug)]
pub struct Links {
    registry: Registry,
    route: Route,
    clock: Clock,
    pub(crate) slots: Vec<Option<Link>>,
    dirty: Vec<usize>,
    #[allow(clippy::vec_box, reason = "the boxes go to links and come back, whole")]
    spare: Vec<Box<Backlog>>,
    /// Connections to be read again.
    pub(crate) unpaused: Vec<usize>,
    /// Ends that were found while writing or connecting.
    pub(crate) ended: Vec<(usize, CloseCause)>,
}

impl Links {
    pub(crate) fn new(slots: usize, registry: Registry, route: Route, clock: Clock) -> Links {
        Links {
            registry,
            route,
            clock,
            slots: std::iter::repeat_with(|| None).take(slots).collect(),
            dirty: Vec::new(),
            spare: Vec::new(),
            unpaused: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// The time on the clock of the run.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Starts to connect; `opened` or `closed` follows.
    pub fn connect(&mut self, slot: usize) {
        match self.start_connect(slot) {
            Ok(link) => self.slots[slot] = Some(link),
            Err(error) => self.ended.push((slot, CloseCause::not_connected(&error))),
        }
    }

    /// Where to append frames; they go out at the end of the tick. `None` if there is no
    /// connection in this slot.
    pub fn outbox(&mut self, slot: usize) -> Option<&mut Vec<u8>> {
        let link = self.slots[slot].as_mut()?;
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(slot);
        }
        Some(&mut backlog(link, &mut self.spare).outbox)
    }

    /// Closes a connection without another word.
    pub fn close(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    /// Breaks a connection: the server gets a reset, and no port of this side stays taken.
    pub fn reset(&mut self, slot: usize) {
        if let Some(link) = self.slots[slot].take() {
            // Where it fails the connection is closed in good order, and that is the end of it, too.
            let _linger = SockRef::from(&link.socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Reads nothing from this connection until [`unpause`](Links::unpause), as if its user had no
    /// time. What is written goes out as ever.
    pub fn pause(&mut self, slot: usize) {
        if let Some(link) = &mut self.slots[slot] {
            link.paused = true;
        }
    }

    /// Reads on; what has come meanwhile is read in this tick.
    pub fn unpause(&mut self, slot: usize) {
        if let Some(link) = self.slots[slot].as_mut().filter(|link| link.paused) {
            link.paused = false;
            self.unpaused.push(slot);
        }
    }

    /// Lets the kernel keep no more than about this much for a connection that does not read.
    pub fn limit_receive_buffer(&self, slot: usize, bytes: usize) {
        if let Some(link) = &self.slots[slot] {
            // Where it fails more is kept, and the server sees the reader as slow a little later.
            let _limited = SockRef::from(&link.socket).set_recv_buffer_size(bytes);
        }
    }

    /// Whether a TLS connection took up an earlier session; `None` if there is no TLS.
    pub fn is_resumed(&self, slot: usize) -> Option<bool> {
        Some(self.slots[slot].as_ref()?.tls.as_ref()?.is_resumed())
    }

    /// Whether there is a connection in this slot.
    pub fn is_open(&self, slot: usize) -> bool {
        self.slots[slot].is_some()
    }

    fn start_connect(&self, slot: usize) -> io::Result<Link> {
        let address = self.route.address;
        let mut socket = match self.route.sources.as_slice() {
            [] => TcpStream::connect(address)?,
            sources => {
                let source = sources[slot % sources.len()];
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                sys::bind_without_port(&socket)?;
                socket.bind(&std::net::SocketAddr::new(source, 0).into())?;
                match socket.connect(&address.into()) {
                    Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                        return Err(error);
                    }
                    Ok(()) | Err(_) => TcpStream::from_std(socket.into()),
                }
            }
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut socket, Token(slot), interest)?;
        let session = |config| TlsSession::new(config, address.ip()).map(Box::new);
        let tls = self.route.tls.as_ref().map(session).transpose()?;
        let web = if self.route.web { Web::Upgrading } else { Web::None };
        Ok(Link::new(socket, tls, web))
    }

    /// Writes what ticks and frames have left in outboxes: one call for each connection.
    pub(crate) fn write_dirty(&mut self) {
        while let Some(slot) = self.dirty.pop() {
            self.write(slot);
        }
    }

    /// Asks for a WebSocket, if that is to be one.
    pub(crate) fn upgrade(&mut self, slot: usize) {
        if let Some(link) = self.slots[slot].as_mut().filter(|link| link.web == Web::Upgrading) {
            let host = self.route.address;
            web::ask(host, &mut backlog(link, &mut self.spare).messages);
        }
    }

    pub(crate) fn write(&mut self, slot: usize) {
        let Some(link) = self.slots[slot].as_mut() else {
            return;
        };
        link.dirty = false;
        if !link.connected {
            return; // Written when it is.
        }
        if let Err(error) = link.write() {
            return self.end(slot, CloseCause::broken(&error));
        }
        self.take_back(slot);
    }

    /// Keeps the start of a frame until the rest has come.
    pub(crate) fn keep(&mut self, slot: usize, partial: &[u8]) {
        if let Some(link) = &mut self.slots[slot] {
            backlog(link, &mut self.spare).partial.extend_from_slice(partial);
        }
    }

    /// A connection that has nothing to say and nothing half heard needs no backlog.
    pub(crate) fn take_back(&mut self, slot: usize) {
        let Some(backlog) = self.slots[slot].as_mut().and_then(Link::take_idle_backlog) else {
            return;
        };
        let Backlog { partial, outbox, messages } = &*backlog;
        let largest = partial.capacity().max(outbox.capacity()).max(messages.capacity());
        if self.spare.len() < SPARE_BACKLOGS_MAX && largest <= SPARE_BUFFER_BYTES_MAX {
            self.spare.push(backlog);
        }
    }

    pub(crate) fn end(&mut self, slot: usize, cause: CloseCause) {
        if self.slots[slot].take().is_some() {
            self.ended.push((slot, cause));
        }
    }
}

/// The backlog of a link, lent if it has none.
#[allow(clippy::vec_box, reason = "the boxes go to links and come back, whole")]
fn backlog<'a>(link: &'a mut Link, spare: &mut Vec<Box<Backlog>>) -> &'a mut Backlog {
    link.backlog.get_or_insert_with(|| spare.pop().unwrap_or_default())
}
