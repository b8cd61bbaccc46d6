//! The file of a signing key: 32 random bytes and a checksum of them.
//!
//! Without the checksum a flipped bit would be another key, which nobody would notice: every token
//! would be refused, as if all users had been logged out. A file of 32 bytes has none and is believed;
//! that is how one looks that was made by hand, for several nodes say.

use std::fs;
use std::path::Path;

use ring::digest::{SHA256, digest};

use super::data::DataError;
use super::secrecy;

/// Bytes of a key.
pub(crate) const SIGNING_KEY_BYTES: usize = 32;

/// The first bytes of its SHA-256: enough to see damage, and none of a key that is damaged can be
/// guessed from it.
const CHECKSUM_BYTES: usize = 8;

/// The secrets that sign tokens. All nodes of a service have the same.
#[derive(Clone)]
pub struct SigningKeys {
    /// Signs, and is believed.
    pub current: [u8; SIGNING_KEY_BYTES],
    /// Signed in the past, and are believed still.
    pub retired: Vec<[u8; SIGNING_KEY_BYTES]>,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("retired", &self.retired.len()).finish_non_exhaustive()
    }
}

/// What the file of a key has in it.
pub(super) fn encode(key: &[u8; SIGNING_KEY_BYTES]) -> Vec<u8> {
    [&key[..], &checksum(key)].concat()
}

/// Reads a key. Whoever else reads it can be anyone, so one that others may read is refused.
pub(super) fn read(path: &Path) -> Result<[u8; SIGNING_KEY_BYTES], DataError> {
    secrecy::ensure_own(path)?;
    let content = fs::read(path);
    let content = content.map_err(|error| DataError::Io { path: path.to_owned(), error })?;
    let bytes = content.len();
    let wrong_length = || DataError::SigningKey { path: path.to_owned(), bytes };
    let (key, rest) = content.split_first_chunk().ok_or_else(wrong_length)?;
    match rest.len() {
        0 => Ok(*key),
        CHECKSUM_BYTES if rest == checksum(key) => Ok(*key),
        CHECKSUM_BYTES => Err(DataError::DamagedKey { path: path.to_owned() }),
        _ => Err(wrong_length()),
    }
}

fn checksum(key: &[u8; SIGNING_KEY_BYTES]) -> [u8; CHECKSUM_BYTES] {
    let digest = digest(&SHA256, key);
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let read_back = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            read(&path)
        };
        let mut content = encode(&[7; 32]);
        assert_eq!(read_back(&content).unwrap(), [7; 32]);
        for bit in 0..content.len() * 8 {
            content[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read_back(&content), Err(DataError::DamagedKey { .. })), "bit {bit}");
            content[bit / 8] ^= 1 << (bit % 8);
        }
        for bytes in (0..content.len()).filter(|bytes| *bytes != SIGNING_KEY_BYTES) {
            let cut = read_back(&content[..bytes]);
            assert!(
                matches!(cut, Err(DataError::SigningKey { bytes: found, .. }) if found == bytes)
            );
        }
        assert_eq!(read_back(&[7; 32]).unwrap(), [7; 32], "made by hand");
    }
}
