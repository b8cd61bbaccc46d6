//! One connection: a socket, with TLS over it or not.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::machine::{Disconnect, Machine};

/// A connection, from the first attempt to the end.
#[derive(Debug)]
pub(super) struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    stage: Stage,
    /// What the socket did not take yet.
    unwritten: Bytes,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Handshaking,
    Open,
}

impl Link {
    /// Begins to connect to one of the addresses of a host.
    pub(super) fn connect(
        address: SocketAddr,
        host: &str,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Link, Disconnect> {
        let socket = TcpStream::connect(address).map_err(network)?;
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| Disconnect::Network(format!("{host} is no name of a host")))?;
                let connection = ClientConnection::new(Arc::clone(config), name);
                Some(Box::new(connection.map_err(|error| tls_failed(&error))?))
            }
        };
        Ok(Link { socket, tls, stage: Stage::Connecting, unwritten: Bytes::new() })
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Goes on with connecting, as far as that is possible now.
    pub(super) fn advance(&mut self) -> Result<Stage, Disconnect> {
        if self.stage == Stage::Connecting {
            if let Some(error) = self.socket.take_error().map_err(network)? {
                return Err(network(error));
            }
            match self.socket.peer_addr() {
                // When nobody listens on a port that the system gives to connections, it may give
                // it to this one, which is then connected to itself.
                Ok(peer) if self.socket.local_addr().ok() == Some(peer) => {
                    return Err(Disconnect::Network("nobody listens there".into()));
                }
                Ok(_) => self.stage = Stage::Handshaking,
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(self.stage),
                Err(error) => return Err(network(error)),
            }
            // Messages are small, and somebody waits for each.
            self.socket.set_nodelay(true).map_err(network)?;
        }
        if self.stage == Stage::Handshaking && self.shake_hands()? {
            self.stage = Stage::Open;
        }
        Ok(self.stage)
    }

    /// Returns whether the handshake is over.
    fn shake_hands(&mut self) -> Result<bool, Disconnect> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if would_block(&error) => break,
                    Err(error) => return Err(network(error)),
                }
            }
            if !tls.is_handshaking() {
                return Ok(true);
            }
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(closed()),
                Ok(_) => {}
                Err(error) if would_block(&error) => return Ok(false),
                Err(error) => return Err(network(error)),
            }
            if let Err(error) = tls.process_new_packets() {
                // The server shall know why, if it can be told.
                let _ = tls.write_tls(&mut self.socket);
                return Err(tls_failed(&error));
            }
        }
    }

    /// Reads what there is; `None`: nothing now.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Disconnect> {
        loop {
            let read = match &mut self.tls {
                None => self.socket.read(buffer),
                Some(tls) => tls.reader().read(buffer),
            };
            match read {
                Ok(0) => return Err(closed()),
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(network(error)),
            }
            let Some(tls) = &mut self.tls else { return Ok(None) };
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(closed()),
                Ok(_) => {}
                Err(error) if would_block(&error) => return Ok(None),
                Err(error) => return Err(network(error)),
            }
            tls.process_new_packets().map_err(|error| tls_failed(&error))?;
        }
    }

    /// Writes what the machine has to say, until the socket takes no more.
    pub(super) fn write(&mut self, machine: &mut Machine) -> Result<(), Disconnect> {
        loop {
            if self.unwritten.is_empty() {
                match machine.poll_output() {
                    Some(bytes) => self.unwritten = bytes,
                    None => return self.flush().map(|_| ()),
                }
            }
            let written = match &mut self.tls {
                None => self.socket.write(&self.unwritten),
                Some(tls) => tls.writer().write(&self.unwritten),
            };
            match written {
                // The buffer of TLS is full.
                Ok(0) if self.flush()? => {}
                Ok(0) => return Ok(()),
                Ok(bytes) => self.unwritten.advance(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) => return Err(network(error)),
            }
        }
    }

    /// Returns whether the socket took everything.
    fn flush(&mut self) -> Result<bool, Disconnect> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if would_block(&error) => return Ok(false),
                Err(error) => return Err(network(error)),
            }
        }
        Ok(true)
    }
}

/// Says goodbye, so that the server knows that nobody cut the connection.
impl Drop for Link {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
pub(super) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The addresses of a host. Asks the resolver of the system, which may take its time.
pub(super) fn resolve(address: &str) -> Result<Vec<SocketAddr>, Disconnect> {
    let found: Vec<SocketAddr> = address.to_socket_addrs().map_err(network)?.collect();
    if found.is_empty() {
        return Err(Disconnect::Network(format!("{address} has no address")));
    }
    Ok(found)
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn network(error: io::Error) -> Disconnect {
    Disconnect::Network(error.to_string())
}

fn closed() -> Disconnect {
    Disconnect::Network("the connection was closed".into())
}

/// A certificate that is not believed now will not be believed in a second either.
fn tls_failed(error: &rustls::Error) -> Disconnect {
    match error {
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::ApplicationVerificationFailure,
        ) => Disconnect::Untrusted("its certificate has another fingerprint".into()),
        rustls::Error::InvalidCertificate(_) => Disconnect::Untrusted(error.to_string()),
        _ => Disconnect::Network(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_from_addresses() {
        assert_eq!(host_of("example.org:7411"), "example.org");
        assert_eq!(host_of("127.0.0.1:7411"), "127.0.0.1");
        assert_eq!(host_of("[::1]:7411"), "::1");
    }
}
