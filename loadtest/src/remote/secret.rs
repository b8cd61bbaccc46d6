//! The secret that coordinator and generators share.

use std::path::Path;

use ring::{aead, hkdf, hmac};

use crate::error::LoadtestError;

/// Shorter ones are found by trying.
const SECRET_BYTES_MIN: usize = 16;

/// Known to all who may work for each other. Both sides prove that they have it, and the keys of
/// each connection come from it.
#[derive(Clone)]
pub(super) struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads a file; white space around the secret does not count.
    pub(super) fn read(path: &Path) -> Result<Secret, LoadtestError> {
        let wrong = |reason: String| LoadtestError::Scenario {
            field: "secret file",
            reason: format!("{}: {reason}", path.display()),
        };
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let secret = text.trim_ascii();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(wrong(format!("a secret has at least {SECRET_BYTES_MIN} bytes")));
        }
        Ok(Secret(secret.to_vec()))
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Secret {
        Secret(bytes.to_vec())
    }

    /// Shows that whoever made it has the secret and takes part in this connection.
    pub(super) fn proof(&self, role: Role, nonces: &[u8]) -> Vec<u8> {
        hmac::sign(&self.hmac_key(), &proven(role, nonces)).as_ref().to_vec()
    }

    /// Compares in constant time.
    pub(super) fn is_proof(&self, role: Role, nonces: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.hmac_key(), &proven(role, nonces), proof).is_ok()
    }

    /// The key of what this role sends on this connection.
    pub(super) fn key(&self, role: Role, nonces: &[u8]) -> aead::LessSafeKey {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, nonces).extract(&self.0);
        let label = [role.label()];
        let okm = pseudorandom.expand(&label, &aead::CHACHA20_POLY1305);
        let key = okm.expect("32 bytes are fewer than HKDF can give");
        aead::LessSafeKey::new(key.into())
    }

    fn hmac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

fn proven(role: Role, nonces: &[u8]) -> Vec<u8> {
    [role.label(), nonces].concat()
}

/// Who speaks. Each has its own proof and key, so that nothing can be sent back to its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Coordinator,
    Generator,
}

impl Role {
    fn label(self) -> &'static [u8] {
        match self {
            Role::Coordinator => b"dunlin-loadtest coordinator",
            Role::Generator => b"dunlin-loadtest generator",
        }
    }

    pub(super) fn other(self) -> Role {
        match self {
            Role::Coordinator => Role::Generator,
            Role::Generator => Role::Coordinator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_one_role_one_connection_and_one_secret() {
        let (one, other) = (Secret(vec![1; 32]), Secret(vec![2; 32]));
        let proof = one.proof(Role::Coordinator, b"nonces");
        assert!(one.is_proof(Role::Coordinator, b"nonces", &proof));
        assert!(!one.is_proof(Role::Generator, b"nonces", &proof));
        assert!(!one.is_proof(Role::Coordinator, b"others", &proof));
        assert!(!other.is_proof(Role::Coordinator, b"nonces", &proof));
        assert!(!one.is_proof(Role::Coordinator, b"nonces", b""));
    }

    #[test]
    fn a_secret_is_read_without_the_space_around_it_and_not_if_it_is_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " 0123456789abcdef\n").unwrap();
        assert_eq!(Secret::read(&path).unwrap().0, b"0123456789abcdef");
        std::fs::write(&path, "0123456789abcde\n").unwrap();
        assert!(Secret::read(&path).is_err());
        assert!(Secret::read(&folder.path().join("none")).is_err());
    }
}
