//! The data folder: what is in it, and the keys that are made on first start.
//!
//! ```text
//! data/                  0700
//!   signing.key          0600  32 random bytes that sign this server's tokens
//!   admin.sock           0600  for `dunlin user` and `dunlin backup` while the server runs
//!   tls/certificate.pem  the certificate of the first start
//!   tls/key.pem          0600  its key
//!   store/               the logs
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dunlin_core::random::{Random, SystemSource};

/// Bytes of the signing key.
pub(crate) const SIGNING_KEY_BYTES: usize = 32;

/// What is wrong with the data folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: {bytes} bytes, where a signing key has 32", path = path.display())]
    SigningKey { path: PathBuf, bytes: usize },
    #[error("{path}: others may read it (mode {mode:o}); chmod 600 it", path = path.display())]
    Exposed { path: PathBuf, mode: u32 },
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The owner alone.
    Secret,
    /// Anyone who may enter the folder.
    Public,
}

/// The data folder, which exists.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Opens it; makes it if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<DataFolder, DataError> {
        make_folder(path)?;
        make_folder(&path.join("tls"))?;
        Ok(DataFolder { path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.path.join("tls/certificate.pem")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path.join("tls/key.pem")
    }

    fn signing_key_file(&self) -> PathBuf {
        self.path.join("signing.key")
    }

    /// The key that signs tokens; made now if there is none. Whoever reads it can be anyone, so
    /// one that others may read is refused.
    pub(crate) fn signing_key(&self) -> Result<[u8; SIGNING_KEY_BYTES], DataError> {
        let path = self.signing_key_file();
        if !path.exists() {
            let mut key = [0; SIGNING_KEY_BYTES];
            SystemSource::new().fill(&mut key);
            self.write(&path, &key, Mode::Secret)?;
        }
        let io_error = |error| DataError::Io { path: path.clone(), error };
        let mode = fs::metadata(&path).map_err(io_error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(DataError::Exposed { path, mode });
        }
        let key = fs::read(&path).map_err(io_error)?;
        let bytes = key.len();
        key.try_into().map_err(|_| DataError::SigningKey { path, bytes })
    }

    /// Writes a file whole or not at all: another name first, then a rename, both durable.
    pub(crate) fn write(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), DataError> {
        let write = || {
            let unfinished = path.with_extension("new");
            let bits = if mode == Mode::Secret { 0o600 } else { 0o644 };
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(bits);
            let mut file = options.open(&unfinished)?;
            file.set_permissions(fs::Permissions::from_mode(bits))?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| DataError::Io { path: path.to_owned(), error })
    }
}

fn make_folder(path: &Path) -> Result<(), DataError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| DataError::Io { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_are_secret() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let data = DataFolder::open(&path).unwrap();
        let key = data.signing_key().unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(DataFolder::open(&path).unwrap().signing_key().unwrap(), key);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&data.signing_key_file()), 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_cut_off_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let data = DataFolder::open(&parent.path().join("data")).unwrap();
        let file = data.signing_key_file();
        data.write(&file, &[1; 32], Mode::Public).unwrap();
        assert!(matches!(data.signing_key(), Err(DataError::Exposed { mode: 0o644, .. })));
        data.write(&file, &[1; 31], Mode::Secret).unwrap();
        assert!(matches!(data.signing_key(), Err(DataError::SigningKey { bytes: 31, .. })));
    }
}
