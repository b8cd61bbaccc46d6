//! One connection: a socket, what is left of the last read, and what waits to be written.

use std::io::{self, ErrorKind, Read, Write};

use dunlin_protocol::FrameError;
use mio::net::TcpStream;
use thiserror::Error;

use crate::net::tls::TlsStream;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseCause {
    /// It was never there.
    #[error("no connection: {0}")]
    NotConnected(ErrorKind),
    /// The server closed it in good order.
    #[error("closed by the server")]
    End,
    /// Reading or writing failed.
    #[error("broken: {0}")]
    Broken(ErrorKind),
    /// The server sent bytes that are no frame.
    #[error("{0}")]
    Frame(FrameError),
}

/// Plain or encrypted.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) wire: Wire,
    /// The start of a frame whose end has not come yet.
    pub(crate) partial: Vec<u8>,
    /// Frames that go out at the end of the tick, and what the socket did not take of them.
    pub(crate) outbox: Vec<u8>,
    pub(crate) connected: bool,
    pub(crate) dirty: bool,
}

impl Link {
    pub(crate) fn new(wire: Wire) -> Link {
        Link { wire, partial: Vec::new(), outbox: Vec::new(), connected: false, dirty: false }
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        match &mut self.wire {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => stream.socket(),
        }
    }

    /// Whether the connection stands; an error if it can't be made.
    pub(crate) fn finish_connect(&mut self) -> io::Result<bool> {
        let socket = self.socket();
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => {
                self.connected = true;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }

    /// Writes as much of the outbox as the socket takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(socket) => {
                let mut written = 0;
                while written < self.outbox.len() {
                    match socket.write(&self.outbox[written..]) {
                        Ok(0) => return Err(ErrorKind::WriteZero.into()),
                        Ok(bytes) => written += bytes,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                if written == self.outbox.len() {
                    self.outbox.clear();
                } else {
                    self.outbox.drain(..written);
                }
                Ok(())
            }
            Wire::Tls(stream) => {
                stream.take(&self.outbox)?;
                self.outbox.clear();
                stream.flush()
            }
        }
    }
}
