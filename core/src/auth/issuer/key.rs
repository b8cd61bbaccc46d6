//! The keys of issuers: each belongs to one algorithm, which no token can choose.

use ring::{hmac, signature};

use super::IssuerConfigError;
use crate::config::{IssuerConfig, IssuerKey};

/// HMAC-SHA256 has no use for a longer key, and a shorter one could be guessed (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// The key of an issuer, for the one algorithm that it is made for.
#[derive(Debug)]
pub(super) enum Verifier {
    Hs256(hmac::Key),
    EdDsa(signature::UnparsedPublicKey<Vec<u8>>),
    Es256(signature::UnparsedPublicKey<Vec<u8>>),
}

impl Verifier {
    /// Takes the configured key, if it can be one.
    pub(super) fn new(config: &IssuerConfig) -> Result<Verifier, IssuerConfigError> {
        let check = |key: &Vec<u8>, wanted: usize, longer: bool| {
            if key.len() == wanted || (longer && key.len() > wanted) {
                return Ok(());
            }
            let issuer = config.name.clone();
            Err(IssuerConfigError::KeyLength { issuer, bytes: key.len(), wanted })
        };
        Ok(match &config.key {
            IssuerKey::Hs256(secret) => {
                check(secret, SECRET_BYTES_MIN, true)?;
                Verifier::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))
            }
            IssuerKey::EdDsa(key) => {
                check(key, signature::ED25519_PUBLIC_KEY_LEN, false)?;
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, key.clone());
                Verifier::EdDsa(key)
            }
            IssuerKey::Es256(key) => {
                check(key, 65, false)?;
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED;
                Verifier::Es256(signature::UnparsedPublicKey::new(algorithm, key.clone()))
            }
        })
    }

    /// As `alg` names it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Verifier::Hs256(_) => "HS256",
            Verifier::EdDsa(_) => "EdDSA",
            Verifier::Es256(_) => "ES256",
        }
    }

    /// Whether the key made this signature.
    pub(super) fn accepts(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Hs256(key) => hmac::verify(key, signed, signature).is_ok(),
            Verifier::EdDsa(key) | Verifier::Es256(key) => key.verify(signed, signature).is_ok(),
        }
    }
}
