//! `[issuers]`: whose tokens are believed, by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dunlin_core::auth::names::can_be_issued;
use dunlin_core::config::{IssuerConfig, IssuerKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::error::SectionFaults;
use super::section::{Section, section};

/// The shortest secret of an issuer: as many bytes as the hash has.
pub const MIN_SECRET_BYTES: usize = 32;

/// How long tokens may be good: at least as long as a client needs to use one.
const TOKEN_LIFETIMES_S: RangeInclusive<u64> = 60..=366 * 24 * 3600;

/// What stands before the key in a DER SubjectPublicKeyInfo of Ed25519 (RFC 8410) ...
const ED25519_PREFIX: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];

/// ... and of P-256 with an uncompressed point (RFC 5480).
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

section! {
    /// An issuer of tokens. Has one of `key` and `key_file`.
    Issuer {
        /// HS256, EdDSA or ES256.
        algorithm: String = String::new(),
        /// The key: base64 of a secret, PEM of a public key.
        key: String = String::new(),
        /// A file with the same.
        key_file: PathBuf = PathBuf::new(),
        /// The longest life of its tokens.
        token_lifetime_s_max: u64 = 30 * 24 * 3600,
        /// Names that begin so are kept for its users; empty for none.
        reserved_prefix: String = String::new(),
    }
}

/// All of them, by the names that the operator gave them.
pub type Issuers = BTreeMap<String, Issuer>;

impl Section for Issuers {
    const NAME: &'static str = "issuers";
    type Checked = Vec<IssuerConfig>;

    fn check(&self, faults: &mut SectionFaults<'_>) -> Vec<IssuerConfig> {
        let read = |(name, issuer): (&String, &Issuer)| {
            let key = issuer.read(name, faults)?;
            let (lifetime_max, reserved_prefix) =
                (issuer.lifetime_max(name, faults), issuer.prefix(name, faults));
            Some(IssuerConfig { lifetime_max, reserved_prefix, ..IssuerConfig::new(name, key) })
        };
        self.iter().filter_map(read).collect()
    }
}

/// How an issuer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Hs256,
    EdDsa,
    Es256,
}

impl Algorithm {
    fn from_name(name: &str) -> Option<Algorithm> {
        match name {
            "HS256" => Some(Algorithm::Hs256),
            "EdDSA" => Some(Algorithm::EdDsa),
            "ES256" => Some(Algorithm::Es256),
            _ => None,
        }
    }

    fn key(self, text: &str) -> Result<IssuerKey, String> {
        match self {
            Algorithm::Hs256 => secret(text).map(IssuerKey::Hs256),
            Algorithm::EdDsa => public_key(text, ED25519_PREFIX, 32).map(IssuerKey::EdDsa),
            Algorithm::Es256 => public_key(text, P256_PREFIX, 65).map(IssuerKey::Es256),
        }
    }
}

impl Issuer {
    /// Reads the key, wherever it is.
    fn read(&self, name: &str, faults: &mut SectionFaults<'_>) -> Option<IssuerKey> {
        let text = self.key_text(name, faults);
        let algorithm = Algorithm::from_name(&self.algorithm);
        if algorithm.is_none() {
            let reason = format!("{:?} is none of HS256, EdDSA, ES256", self.algorithm);
            faults.refuse(&[name, "algorithm"], reason);
        }
        match algorithm?.key(&text?) {
            Ok(key) => Some(key),
            Err(reason) if self.key.is_empty() => {
                self.refuse_file(name, reason, faults);
                None
            }
            Err(reason) => {
                faults.refuse(&[name, "key"], reason);
                None
            }
        }
    }

    fn lifetime_max(&self, name: &str, faults: &mut SectionFaults<'_>) -> Duration {
        let key = [name, "token_lifetime_s_max"];
        faults.range(&key, self.token_lifetime_s_max, TOKEN_LIFETIMES_S);
        Duration::from_secs(self.token_lifetime_s_max)
    }

    fn prefix(&self, name: &str, faults: &mut SectionFaults<'_>) -> String {
        let prefix = &self.reserved_prefix;
        if !prefix.is_empty() && !can_be_issued(prefix) {
            faults.refuse(&[name, "reserved_prefix"], "is no beginning of a name");
        }
        prefix.clone()
    }

    fn key_text(&self, name: &str, faults: &mut SectionFaults<'_>) -> Option<String> {
        match (self.key.is_empty(), self.key_file.as_os_str().is_empty()) {
            (false, true) => Some(self.key.clone()),
            (true, false) => std::fs::read_to_string(&self.key_file)
                .map_err(|error| self.refuse_file(name, error, faults))
                .ok(),
            (true, true) | (false, false) => {
                faults.refuse(&[name], "needs one of key and key_file");
                None
            }
        }
    }

    fn refuse_file(
        &self,
        name: &str,
        reason: impl std::fmt::Display,
        faults: &mut SectionFaults<'_>,
    ) {
        faults.refuse(&[name, "key_file"], format!("{}: {reason}", self.key_file.display()));
    }

    /// The file with its secret, if it has one. Public keys are no secrets.
    pub(super) fn secret_file(&self) -> Option<&Path> {
        let is_file = !self.key_file.as_os_str().is_empty();
        (self.is_secret() && is_file).then_some(self.key_file.as_path())
    }

    /// Whether who knows its key can sign with it.
    pub(crate) fn is_secret(&self) -> bool {
        Algorithm::from_name(&self.algorithm) == Some(Algorithm::Hs256)
    }
}

fn secret(text: &str) -> Result<Vec<u8>, String> {
    let secret = base64_decode(text)?;
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!("{} bytes, where {MIN_SECRET_BYTES} are needed", secret.len()));
    }
    Ok(secret)
}

/// A public key: PEM, or base64 of the bare key.
fn public_key(text: &str, prefix: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let key = if text.contains("-----BEGIN") {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|error| format!("is no PEM of a public key: {error}"))?;
        let bare = der.strip_prefix(prefix);
        bare.ok_or("is a public key of another algorithm")?.to_vec()
    } else {
        base64_decode(text)?
    };
    if key.len() == length {
        return Ok(key);
    }
    Err(format!("{} bytes, where {length} are needed", key.len()))
}

fn base64_decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text.trim()).map_err(|error| format!("is no base64: {error}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};

    use super::super::error::{ConfigErrors, Faults};
    use super::*;

    fn issuer(algorithm: &str, key: String) -> Issuer {
        Issuer { algorithm: algorithm.into(), key, ..Issuer::default() }
    }

    fn key(issuer: &Issuer) -> Result<IssuerKey, ConfigErrors> {
        let mut faults = Faults::default();
        let issuers = Issuers::from([("app".to_owned(), issuer.clone())]);
        let mut keys = faults.check(&issuers);
        faults.into_result(()).map(|()| keys.remove(0).key)
    }

    fn error(issuer: &Issuer) -> String {
        key(issuer).expect_err("a bad key").to_string()
    }

    #[test]
    fn a_secret_must_be_long() {
        let good = issuer("HS256", STANDARD.encode([7; 32]));
        assert!(matches!(key(&good), Ok(IssuerKey::Hs256(secret)) if secret == [7; 32]));
        let short = error(&issuer("HS256", STANDARD.encode([7; 31])));
        assert_eq!(short, "issuers.app.key: 31 bytes, where 32 are needed");
        assert!(error(&issuer("HS256", "?".into())).starts_with("issuers.app.key: is no base64"));
        assert!(error(&issuer("none", "x".into())).starts_with("issuers.app.algorithm: "));
        assert!(error(&issuer("HS256", String::new())).starts_with("issuers.app: needs one"));
    }

    #[test]
    fn public_keys_are_read_from_pem() {
        let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let read = key(&issuer("EdDSA", ed25519.public_key_pem()));
        assert!(matches!(read, Ok(IssuerKey::EdDsa(point)) if point == ed25519.der_bytes()));
        let read = key(&issuer("ES256", p256.public_key_pem()));
        assert!(matches!(read, Ok(IssuerKey::Es256(point)) if point == p256.der_bytes()));
        let mixed = error(&issuer("ES256", ed25519.public_key_pem()));
        assert_eq!(mixed, "issuers.app.key: is a public key of another algorithm");
    }

    #[test]
    fn an_issuer_tells_all_that_is_wrong_with_it_and_where_its_key_was() {
        let nothing = error(&Issuer::default());
        let expected = "issuers.app: needs one of key and key_file; \
             issuers.app.algorithm: \"\" is none of HS256, EdDSA, ES256";
        assert_eq!(nothing, expected);
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key");
        let of_file = Issuer { key_file: key_file.clone(), ..issuer("HS256", String::new()) };
        let missing = error(&of_file);
        assert!(missing.starts_with("issuers.app.key_file: ") && missing.contains("No such file"));
        std::fs::write(&key_file, STANDARD.encode([7; 31])).unwrap();
        let expected = format!("issuers.app.key_file: {}: 31 bytes, ", key_file.display());
        assert!(error(&of_file).starts_with(&expected), "{}", error(&of_file));
        assert_eq!(of_file.secret_file(), Some(key_file.as_path()));
        let public = Issuer { algorithm: "ES256".into(), ..of_file };
        assert_eq!(public.secret_file(), None);
    }
}
