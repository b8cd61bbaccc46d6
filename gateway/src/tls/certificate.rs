//! What the server shows: a certificate from files, or one of its own, made on first start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::validity::{Untimely, untimely};
use crate::node::data::{DataError, DataFolder, Mode};

/// What both sides call this protocol during the handshake.
pub(crate) const ALPN: &[u8] = b"dunlin";

/// Whom the certificate of the first start is for. Others need one of their own.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What can be wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{path}: {error}", path = path.display())]
    Pem { path: PathBuf, error: rustls_pki_types::pem::Error },
    #[error("{path}: there is no certificate in it", path = path.display())]
    Empty { path: PathBuf },
    #[error("the certificate and its key: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("a certificate can't be made: {0}")]
    Made(#[from] rcgen::Error),
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Certificate {
    /// The files that the operator names.
    pub(crate) fn of_files(certificate_file: &Path, key_file: &Path) -> Certificate {
        Certificate { certificate_file: certificate_file.into(), key_file: key_file.into() }
    }

    /// The one in the data folder; made now if there is none.
    pub(crate) fn own(data: &DataFolder) -> Result<Certificate, TlsError> {
        let (certificate_file, key_file) = (data.certificate_file(), data.key_file());
        data.ensure_secret(&key_file)?;
        if !certificate_file.exists() || !key_file.exists() {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(OWN_NAMES.map(String::from))?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "dunlin");
            let certificate = params.self_signed(&key)?;
            // The key first: a certificate without its key would not be replaced.
            data.write(&key_file, key.serialize_pem().as_bytes(), Mode::Secret)?;
            data.write(&certificate_file, certificate.pem().as_bytes(), Mode::Public)?;
        }
        Ok(Certificate { certificate_file, key_file })
    }

    /// Reads the files. `tickets` outlives a reload, so that clients can resume after it.
    pub(crate) fn load(
        &self,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<(Arc<ServerConfig>, String), TlsError> {
        let chain = self.chain()?;
        let print = fingerprint(&chain[0]);
        let key = self.key()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Tickets carry the session to the client and back: nothing is kept here per client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets;
        config.send_tls13_tickets = 1;
        // What is said in early data can be replayed by a third party.
        config.max_early_data_size = 0;
        Ok((Arc::new(config), print))
    }

    /// What is wrong with the files: with each by itself, then with both together.
    pub(crate) fn wrong(&self) -> Vec<TlsError> {
        let (chain, key) = (self.chain().err(), self.key().err());
        let wrong: Vec<TlsError> = chain.into_iter().chain(key).collect();
        if wrong.is_empty() {
            return ticketer().and_then(|tickets| self.load(tickets)).err().into_iter().collect();
        }
        wrong
    }

    /// Whether it is good now, and for some time. One that can't be read is none to tell that of.
    pub(crate) fn untimely(&self) -> Option<Untimely> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        untimely(&self.chain().ok()?[0], now.as_secs().try_into().ok()?)
    }

    /// The file of the certificate.
    pub(crate) fn path(&self) -> &Path {
        &self.certificate_file
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(|error| TlsError::Pem { path: self.key_file.clone(), error })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let path = &self.certificate_file;
        let unreadable = |error| TlsError::Pem { path: path.clone(), error };
        let chain: Vec<_> = CertificateDer::pem_file_iter(path)
            .map_err(unreadable)?
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        if chain.is_empty() {
            return Err(TlsError::Empty { path: path.clone() });
        }
        Ok(chain)
    }
}

/// Keys of tickets; rustls changes them every six hours.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    Ok(ring::Ticketer::new()?)
}

/// SHA-256 of a certificate, as people compare it.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_certificate_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(&folder.path().join("data")).unwrap();
        let load = || Certificate::own(&data).unwrap().load(ticketer().unwrap()).unwrap().1;
        let first = load();
        assert_eq!(first.len(), 32 * 3 - 1);
        assert_eq!(load(), first);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| {
            let data = DataFolder::open(&folder.path().join(name)).unwrap();
            Certificate::own(&data).unwrap()
        });
        let mixed = Certificate::of_files(&one.certificate_file, &other.key_file);
        assert!(matches!(mixed.load(ticketer().unwrap()), Err(TlsError::Rustls(_))));
        let swapped = Certificate::of_files(&one.key_file, &one.certificate_file);
        assert!(matches!(swapped.load(ticketer().unwrap()), Err(TlsError::Empty { .. })));
    }
}
