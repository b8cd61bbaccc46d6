//! Keys of the issuers whose tokens are believed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dunlin_core::config::{IssuerConfig, IssuerKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::{ConfigError, Issuer, MIN_SECRET_BYTES};

/// What stands before the key in a DER SubjectPublicKeyInfo of Ed25519 (RFC 8410) ...
const ED25519_PREFIX: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];

/// ... and of P-256 with an uncompressed point (RFC 5480).
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

pub(super) fn read(issuers: &BTreeMap<String, Issuer>) -> Result<Vec<IssuerConfig>, ConfigError> {
    let read = |(name, issuer): (&String, &Issuer)| {
        let key = key(name, issuer)?;
        Ok(IssuerConfig { name: name.clone(), key })
    };
    issuers.iter().map(read).collect()
}

fn key(name: &str, issuer: &Issuer) -> Result<IssuerKey, ConfigError> {
    let text = key_text(name, issuer)?;
    let refused = |reason: String| ConfigError::key(format!("issuers.{name}.key"), reason);
    match issuer.algorithm.as_str() {
        "HS256" => secret(&text).map(IssuerKey::Hs256).map_err(refused),
        "EdDSA" => public_key(&text, ED25519_PREFIX, 32).map(IssuerKey::EdDsa).map_err(refused),
        "ES256" => public_key(&text, P256_PREFIX, 65).map(IssuerKey::Es256).map_err(refused),
        other => {
            let reason = format!("{other:?} is none of HS256, EdDSA, ES256");
            Err(ConfigError::key(format!("issuers.{name}.algorithm"), reason))
        }
    }
}

fn key_text(name: &str, issuer: &Issuer) -> Result<String, ConfigError> {
    let file = &issuer.key_file;
    match (issuer.key.is_empty(), file.as_os_str().is_empty()) {
        (false, true) => Ok(issuer.key.clone()),
        (true, false) => std::fs::read_to_string(file).map_err(|error| {
            let reason = format!("{}: {error}", file.display());
            ConfigError::key(format!("issuers.{name}.key_file"), reason)
        }),
        _ => Err(ConfigError::key(format!("issuers.{name}"), "needs one of key and key_file")),
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

    use super::*;

    fn issuer(algorithm: &str, key: String) -> Issuer {
        Issuer { algorithm: algorithm.into(), key, key_file: std::path::PathBuf::new() }
    }

    fn error(issuer: &Issuer) -> String {
        key("app", issuer).expect_err("a bad key").to_string()
    }

    #[test]
    fn a_secret_must_be_long() {
        let good = issuer("HS256", STANDARD.encode([7; 32]));
        assert!(matches!(key("app", &good), Ok(IssuerKey::Hs256(secret)) if secret == [7; 32]));
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
        let read = key("app", &issuer("EdDSA", ed25519.public_key_pem()));
        assert!(matches!(read, Ok(IssuerKey::EdDsa(point)) if point == ed25519.der_bytes()));
        let read = key("app", &issuer("ES256", p256.public_key_pem()));
        assert!(matches!(read, Ok(IssuerKey::Es256(point)) if point == p256.der_bytes()));
        let mixed = error(&issuer("ES256", ed25519.public_key_pem()));
        assert_eq!(mixed, "issuers.app.key: is a public key of another algorithm");
    }
}
