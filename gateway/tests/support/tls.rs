//! TLS clients that trust the certificate of the server under test and nothing else.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::client::{Client, Stream, connect};

/// A configuration of these versions, with tickets to resume sessions.
pub fn config(
    certificate: &Path,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub fn both_versions(certificate: &Path) -> Arc<ClientConfig> {
    config(certificate, &[&rustls::version::TLS13, &rustls::version::TLS12])
}

pub fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// Shakes hands over a socket.
pub fn over(config: &Arc<ClientConfig>, socket: TcpStream) -> std::io::Result<Client> {
    let mut stream = StreamOwned::new(connection(config), socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Client::over(Stream::Tls(Box::new(stream))))
}

pub fn connect_to(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    over(config, connect(address)).expect("the handshake succeeds")
}
