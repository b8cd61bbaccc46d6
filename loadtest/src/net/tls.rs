//! TLS of a client connection, without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// A TLS session; the socket under it is given with each call.
#[derive(Debug)]
pub(crate) struct TlsSession(ClientConnection);

impl TlsSession {
    pub(crate) fn new(
        config: &Arc<ClientConfig>,
        address: std::net::IpAddr,
    ) -> io::Result<TlsSession> {
        let name = ServerName::IpAddress(address.into());
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        // What waits here is bounded by the requests that may be outstanding.
        session.set_buffer_limit(None);
        Ok(TlsSession(session))
    }

    pub(crate) fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.0.read_tls(socket)? == 0 {
                return Ok(0);
            }
            self.0
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    /// Whether the handshake took up an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes all of `bytes`; `flush` sends them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.writer().write_all(bytes)
    }

    /// Writes what the socket takes now; the rest goes when it is writable again.
    pub(crate) fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
