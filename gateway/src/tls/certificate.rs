//! What the server shows: a certificate from files, or one of its own, made on first start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::validity::{Untimely, untimely};
use crate::node::data::{DataError, DataFolder, Mode};

/// What both sides call this protocol during the handshake.
pub(crate) const ALPN: &[u8] = b"dunlin";

/// The same where a WebSocket comes in: it begins as a request of HTTP/1.1.
pub(crate) const WEB_ALPN: &[u8] = b"http/1.1";

/// What connections that come in shake hands by.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfigs {
    /// For frames.
    pub(crate) frames: Arc<ServerConfig>,
    /// For WebSockets.
    pub(crate) web: Arc<ServerConfig>,
}

impl TlsConfigs {
    fn new(config: ServerConfig) -> TlsConfigs {
        let spoken = |mut config: ServerConfig, alpn: &[u8]| {
            config.alpn_protocols = vec![alpn.to_vec()];
            Arc::new(config)
        };
        TlsConfigs { frames: spoken(config.clone(), ALPN), web: spoken(config, WEB_ALPN) }
    }
}

/// Whom the certificate of the first start is for. Others need one of their own.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What stands in front of a key that has a password.
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// What can be wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{path}: {}", pem_fault(error), path = path.display())]
    Pem { path: PathBuf, error: pem::Error },
    #[error("{path}: there is no certificate in it", path = path.display())]
    Empty { path: PathBuf },
    #[error("{path}: {}", pem_fault(error), path = path.display())]
    KeyPem { path: PathBuf, error: pem::Error },
    #[error("{path}: {}", no_key(*is_encrypted), path = path.display())]
    NoKey { path: PathBuf, is_encrypted: bool },
    #[error("{}", misfit(.0))]
    Rustls(#[from] rustls::Error),
    #[error("a certificate can't be made: {0}")]
    Made(#[from] rcgen::Error),
    #[error(transparent)]
    Data(#[from] DataError),
}

/// In the words of somebody who looks at the file.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let section = String::from_utf8_lossy(end_marker);
            format!("it ends too early: there is no -----END {section}-----")
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("this begins no section: {}", String::from_utf8_lossy(line).escape_debug())
        }
        pem::Error::Base64Decode(why) => format!("its base64 is broken: {why}"),
        pem::Error::Io(error) => error.to_string(),
        // What else there may be has words of its own.
        other => other.to_string(),
    }
}

fn no_key(is_encrypted: bool) -> &'static str {
    match is_encrypted {
        true => "the key in it is encrypted; the server needs one that it can read",
        false => "there is no key in it (PKCS #8, SEC1 or PKCS #1, as PEM)",
    }
}

fn misfit(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key is not that of the certificate".into()
        }
        other => format!("the certificate and its key: {other}"),
    }
}

impl TlsError {
    /// The setting that leads to what is wrong.
    pub(crate) fn setting(&self) -> &'static str {
        match self {
            TlsError::KeyPem { .. } | TlsError::NoKey { .. } => "tls.key_file",
            TlsError::Pem { .. }
            | TlsError::Empty { .. }
            | TlsError::Rustls(_)
            | TlsError::Made(_)
            | TlsError::Data(_) => "tls.certificate_file",
        }
    }
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
    ) -> Result<(TlsConfigs, String), TlsError> {
        let chain = self.chain()?;
        let print = fingerprint(&chain[0]);
        let key = self.key()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        // Tickets carry the session to the client and back: nothing is kept here per client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets;
        config.send_tls13_tickets = 1;
        // What is said in early data can be replayed by a third party.
        config.max_early_data_size = 0;
        Ok((TlsConfigs::new(config), print))
    }

    /// What is wrong with the files: with each by itself, then with both together. That one is not named
    /// at all is not for this to say.
    pub(crate) fn wrong(&self) -> Vec<TlsError> {
        let is_named = |path: &Path| !path.as_os_str().is_empty();
        let (has_chain, has_key) = (is_named(&self.certificate_file), is_named(&self.key_file));
        let chain = has_chain.then(|| self.chain().err()).flatten();
        let key = has_key.then(|| self.key().err()).flatten();
        let wrong: Vec<TlsError> = chain.into_iter().chain(key).collect();
        if wrong.is_empty() && has_chain && has_key {
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
        let path = self.key_file.clone();
        PrivateKeyDer::from_pem_file(&path).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                let text = fs::read(&path).unwrap_or_default();
                let is_encrypted = text.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED);
                TlsError::NoKey { path, is_encrypted }
            }
            error => TlsError::KeyPem { path, error },
        })
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
        let told = mixed.wrong()[0].to_string();
        assert_eq!(told, "the key is not that of the certificate");
        let swapped = Certificate::of_files(&one.key_file, &one.certificate_file);
        assert!(matches!(swapped.load(ticketer().unwrap()), Err(TlsError::Empty { .. })));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_of_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(&folder.path().join("data")).unwrap();
        let own = Certificate::own(&data).unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let told = |certificate_text: &str, key_text: &str| {
            fs::write(&certificate, certificate_text).unwrap();
            fs::write(&key, key_text).unwrap();
            let wrong = Certificate::of_files(&certificate, &key).wrong();
            let line = |error: &TlsError| format!("{}: {error}", error.setting());
            let lines: Vec<String> = wrong.iter().map(line).collect();
            lines.join("; ").replace(&folder.path().display().to_string(), "F")
        };
        let whole = fs::read_to_string(&own.certificate_file).unwrap();
        let key_text = fs::read_to_string(&own.key_file).unwrap();
        assert_eq!(told(&whole, &key_text), "");
        let no_key =
            "tls.key_file: F/k.pem: there is no key in it (PKCS #8, SEC1 or PKCS #1, as PEM)";
        assert_eq!(told(&whole, &whole), no_key);
        let encrypted = key_text.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(
            told(&whole, &encrypted).starts_with("tls.key_file: F/k.pem: the key in it is enc")
        );
        let cut = told(&whole[..whole.len() / 2], &key_text);
        assert!(cut.starts_with("tls.certificate_file: F/c.pem: it ends too early"), "{cut}");
        assert!(cut.ends_with("there is no -----END CERTIFICATE-----"), "{cut}");
    }
}
