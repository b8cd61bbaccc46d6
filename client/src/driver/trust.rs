//! Which servers are believed to be who they say.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject};

/// How the server proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// By a certificate that one of those in this PEM file has signed, or that is one of them, and
    /// that names the host which we connect to.
    PemFile(PathBuf),
    /// By this very certificate, whatever names are in it.
    Fingerprint(Fingerprint),
    /// Not at all: anyone on the way can read and change everything. For experiments.
    Insecure,
}

/// SHA-256 of a certificate, as `dunlin serve` prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, with or without colons")]
pub struct NotAFingerprint;

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file can't be read.
    #[error("{path}: {error}", path = path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The file has no certificate, or one that is none.
    #[error("{path}: there is no usable certificate in it", path = path.display())]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// The library says no.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, NotAFingerprint> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| *character != ':')
            .map(|character| character.to_digit(16).map(|digit| digit as u8))
            .collect::<Option<_>>()
            .ok_or(NotAFingerprint)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        if digits.len() != 64 {
            return Err(NotAFingerprint);
        }
        bytes.try_into().map(Fingerprint).map_err(|_| NotAFingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Trust {
    /// The TLS side of all connections that trust alike; it resumes sessions between them.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match self {
            Trust::PemFile(path) => builder.with_root_certificates(roots(path)?),
            Trust::Fingerprint(fingerprint) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Pin {
                    expected: Some(*fingerprint),
                    provider,
                }))
            }
            Trust::Insecure => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pin { expected: None, provider })),
        };
        Ok(Arc::new(builder.with_no_client_auth()))
    }
}

fn roots(path: &PathBuf) -> Result<RootCertStore, TrustError> {
    let failed = |error| TrustError::Pem { path: path.clone(), error };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        let added = roots.add(certificate.map_err(failed)?);
        added.map_err(|_| TrustError::NoCertificate { path: path.clone() })?;
    }
    if roots.is_empty() {
        return Err(TrustError::NoCertificate { path: path.clone() });
    }
    Ok(roots)
}

/// Accepts one certificate, or any. That the server holds its key is proved in either case.
#[derive(Debug)]
struct Pin {
    expected: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = ::ring::digest::digest(&::ring::digest::SHA256, end_entity);
        match self.expected {
            Some(Fingerprint(expected)) if shown.as_ref() != expected => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_printed() {
        let fingerprint = Fingerprint(std::array::from_fn(|index| index as u8 * 7));
        let printed = fingerprint.to_string();
        assert_eq!(printed.parse(), Ok(fingerprint));
        assert_eq!(printed.replace(':', "").to_lowercase().parse(), Ok(fingerprint));
        for wrong in ["", "AB", "zz", &printed[3..], &format!("{printed}:00"), &printed[1..]] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NotAFingerprint), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        assert!(matches!(
            Trust::PemFile(path.clone()).client_config(),
            Err(TrustError::Pem { .. })
        ));
        std::fs::write(&path, "nothing").unwrap();
        let result = Trust::PemFile(path).client_config();
        assert!(matches!(result, Err(TrustError::NoCertificate { .. })));
    }
}
