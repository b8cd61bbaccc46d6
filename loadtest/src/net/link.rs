//! One connection: a socket, and whatever waits for it.

use std::io::{self, ErrorKind, Read, Write};

use dunlin_protocol::FrameError;
use mio::net::TcpStream;
use thiserror::Error;

use crate::net::tls::TlsSession;
use crate::net::web::{self, Web};
use crate::shortage::shortage;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseCause {
    /// It was never there.
    #[error("no connection: {0}")]
    NotConnected(ErrorKind),
    /// This machine lacks something for it: the number of the error.
    #[error("this machine: {}", io::Error::from_raw_os_error(*.0))]
    Machine(i32),
    /// The server closed it in good order.
    #[error("closed by the server")]
    End,
    /// Reading or writing failed.
    #[error("broken: {0}")]
    Broken(ErrorKind),
    /// The server sent bytes that are no frame.
    #[error("{0}")]
    Frame(FrameError),
    /// The server sent bytes that are no WebSocket, or refused to begin one.
    #[error("no WebSocket: {0}")]
    Web(String),
}

impl CloseCause {
    /// Connecting failed.
    pub(crate) fn not_connected(error: &io::Error) -> CloseCause {
        shortage(error).map_or(CloseCause::NotConnected(error.kind()), CloseCause::Machine)
    }

    /// Reading or writing failed.
    pub(crate) fn broken(error: &io::Error) -> CloseCause {
        shortage(error).map_or(CloseCause::Broken(error.kind()), CloseCause::Machine)
    }

    /// Whether the harness's machine is to blame.
    pub fn is_of_machine(&self) -> bool {
        matches!(self, CloseCause::Machine(_))
    }

    /// The end by the name that the server gave it before, or else by what was seen.
    pub(crate) fn named(&self, farewell: Option<&str>) -> String {
        let named = farewell.and_then(|farewell| farewell.split(':').next());
        named.map_or_else(|| self.to_string(), str::to_owned)
    }
}

/// Bytes that wait in user memory, in one direction or the other.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The start of a frame whose end has not come yet.
    pub(crate) partial: Vec<u8>,
    /// Frames that go out at the end of the tick, and what the socket did not take of them.
    pub(crate) outbox: Vec<u8>,
    /// What is made of them for a WebSocket, and what the socket did not take of that.
    pub(crate) messages: Vec<u8>,
}

/// A thread has one of these for each of its slots, so it holds only what an idle connection
/// needs; what a busy one needs besides is lent by the thread.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    pub(crate) connected: bool,
    pub(crate) dirty: bool,
    /// Nothing is read until the handler says so.
    pub(crate) paused: bool,
    pub(crate) web: Web,
    pub(crate) backlog: Option<Box<Backlog>>,
    pub(crate) tls: Option<Box<TlsSession>>,
}

/// A million idle plaintext connections keep 24 MB here: a descriptor, three flags and two pointers
/// each. In a debug build, sockets of mio carry eight bytes more and are aligned to them.
const _: () = assert!(size_of::<Option<Link>>() <= size_of::<TcpStream>().next_multiple_of(8) + 24);
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Option<Link>>() == 24);

impl Link {
    pub(crate) fn new(socket: TcpStream, tls: Option<Box<TlsSession>>, web: Web) -> Link {
        Link { socket, connected: false, dirty: false, paused: false, web, backlog: None, tls }
    }

    /// Whether the connection stands; an error if it can't be made.
    pub(crate) fn finish_connect(&mut self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => {
                self.connected = true;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Bytes of a frame whose end has not come yet.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.partial.len())
    }

    /// Whether a write has something to do.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.tls.is_some()
            || self
                .backlog
                .as_ref()
                .is_some_and(|backlog| !backlog.outbox.is_empty() || !backlog.messages.is_empty())
    }

    /// Takes the backlog away if nothing waits in it.
    pub(crate) fn take_idle_backlog(&mut self) -> Option<Box<Backlog>> {
        let is_idle = |backlog: &mut Box<Backlog>| {
            let Backlog { partial, outbox, messages } = &**backlog;
            partial.is_empty() && outbox.is_empty() && messages.is_empty()
        };
        self.backlog.take_if(is_idle)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(session) => session.read(&mut self.socket, buffer),
        }
    }

    /// Writes as much of the outbox as the socket takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let outbox = self.backlog.as_mut().map(|backlog| match self.web {
            Web::None => &mut backlog.outbox,
            Web::Upgrading => &mut backlog.messages,
            Web::Open => {
                web::seal(&mut backlog.outbox, &mut backlog.messages);
                &mut backlog.messages
            }
        });
        match (&mut self.tls, outbox) {
            (None, None) => Ok(()),
            (None, Some(outbox)) => write_plain(&mut self.socket, outbox),
            (Some(session), outbox) => {
                if let Some(outbox) = outbox {
                    session.take(outbox)?;
                    outbox.clear();
                }
                session.flush(&mut self.socket)
            }
        }
    }
}

fn write_plain(socket: &mut TcpStream, outbox: &mut Vec<u8>) -> io::Result<()> {
    let mut written = 0;
    while written < outbox.len() {
        match socket.write(&outbox[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if written == outbox.len() {
        outbox.clear();
    } else {
        outbox.drain(..written);
    }
    Ok(())
}
