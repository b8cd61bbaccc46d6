//! The data folder: what is in it, and the keys that are made on first start.
//!
//! ```text
//! data/                  0700
//!   signing.key          0600  signs this server's tokens
//!   signing.key.1 ..     0600  keys that signed in the past; what they signed is believed still
//!   admin.sock           0600  for `dunlin user` and `dunlin backup` while the server runs
//!   tls/certificate.pem  the certificate of the first start
//!   tls/key.pem          0600  its key
//!   store/               the logs
//!   RESTORING            a restore has begun and has not ended
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dunlin_core::random::{Random, SystemSource};
use rustix::fs::OFlags;

use super::signing_key::{self, SIGNING_KEY_BYTES, SigningKeys};
use super::{ownership, secrecy};

/// What is wrong with the data folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: {bytes} bytes, where a signing key has 32, and 8 of its checksum",
        path = path.display())]
    SigningKey { path: PathBuf, bytes: usize },
    #[error("{path}: its checksum is wrong: the disk has changed it; take it from a backup, or remove \
        it, and everybody has to log in again", path = path.display())]
    DamagedKey { path: PathBuf },
    #[error("{path}: others may read it (mode {mode:o}); chmod 600 it", path = path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} holds half of a backup: its restore did not end; empty it and restore again",
        path = path.display())]
    HalfRestored { path: PathBuf },
    #[error("can't work on {path}: it belongs to user {owner}; run it as that user",
        path = path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("{path} holds no data of a server; --data names another folder", path = path.display())]
    NoServer { path: PathBuf },
    #[error("{path}: {error}; run it as the user of the server", path = path.display())]
    Closed { path: PathBuf, error: io::Error },
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The owner alone.
    Secret,
    /// Anyone who may enter the folder.
    Public,
}

impl Mode {
    /// As the system knows it.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Mode::Secret => 0o600,
            Mode::Public => 0o644,
        }
    }
}

/// Says that a restore has begun and has not ended.
pub(crate) const RESTORING: &str = "RESTORING";

/// What a backup keeps beside the store, if it is there: what can't be made again, or only so
/// that every client notices. Signing keys, so that tokens stay good; the certificate of the first
/// start, since clients may have pinned it.
const KEPT: [(&str, Mode); 3] = [
    (SIGNING_KEY, Mode::Secret),
    ("tls/certificate.pem", Mode::Public),
    ("tls/key.pem", Mode::Secret),
];

const SIGNING_KEY: &str = "signing.key";

/// Who may read a file of a backup, by its name in the data folder; `None` if backups have no
/// such file.
pub(crate) fn mode_of_kept(name: &str) -> Option<Mode> {
    let kept = KEPT.iter().find(|(kept, _)| *kept == name).map(|(_, mode)| *mode);
    kept.or_else(|| is_retired_key(name).then_some(Mode::Secret))
}

/// `signing.key.` and a number.
fn is_retired_key(name: &str) -> bool {
    let number = name.strip_prefix(SIGNING_KEY).and_then(|rest| rest.strip_prefix('.'));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The data folder.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Opens it; makes it if it does not exist. Nothing is made in what belongs to another user.
    pub(crate) fn open(path: &Path) -> Result<DataFolder, DataError> {
        let folder = DataFolder::unopened(path);
        folder.ensure_restored()?;
        folder.ensure_own()?;
        make_folder(path)?;
        make_folder(&folder.tls())?;
        Ok(folder)
    }

    /// One that a server has used. Nothing is made.
    pub(crate) fn existing(path: &Path) -> Result<DataFolder, DataError> {
        let folder = DataFolder::unopened(path);
        folder.ensure_restored()?;
        if !is_there(&folder.store())? {
            return Err(DataError::NoServer { path: path.to_owned() });
        }
        Ok(folder)
    }

    /// One that may not exist, to look at. Nothing is made.
    pub(crate) fn unopened(path: &Path) -> DataFolder {
        DataFolder { path: path.to_owned() }
    }

    /// A restore that has begun here has ended.
    pub(crate) fn ensure_restored(&self) -> Result<(), DataError> {
        if is_there(&self.path.join(RESTORING))? {
            return Err(DataError::HalfRestored { path: self.path.clone() });
        }
        Ok(())
    }

    /// What is made here, this user and the next server can open.
    pub(crate) fn ensure_own(&self) -> Result<(), DataError> {
        ownership::ensure_own(&self.path, &self.store())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Who the store is, with the secret that its checksums begin with.
    pub(crate) fn store_identity_file(&self) -> PathBuf {
        self.path.join("store/STORE")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        DataFolder::admin_socket_in(&self.path)
    }

    /// Where a server would listen that runs on this folder, which may not exist.
    pub(crate) fn admin_socket_in(path: &Path) -> PathBuf {
        path.join("admin.sock")
    }

    pub(super) fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.tls().join("certificate.pem")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.tls().join("key.pem")
    }

    fn signing_key_file(&self) -> PathBuf {
        self.path.join(SIGNING_KEY)
    }

    pub(super) fn has_signing_key(&self) -> bool {
        self.signing_key_file().exists()
    }

    /// The keys that sign tokens, and that did; one is made now if there is none.
    pub(crate) fn signing_keys(&self) -> Result<SigningKeys, DataError> {
        let current = self.signing_key()?;
        Ok(SigningKeys { current, retired: self.retired_keys()? })
    }

    /// The key that signs tokens; made now if there is none.
    fn signing_key(&self) -> Result<[u8; SIGNING_KEY_BYTES], DataError> {
        let path = self.signing_key_file();
        if !path.exists() {
            let mut key = [0; SIGNING_KEY_BYTES];
            SystemSource::new().fill(&mut key);
            write_whole(&path, &signing_key::encode(&key), Mode::Secret)?;
        }
        signing_key::read(&path)
    }

    /// Keys that signed in the past: `signing.key` is changed by giving it the name
    /// `signing.key.1`, and users stay logged in.
    fn retired_keys(&self) -> Result<Vec<[u8; SIGNING_KEY_BYTES]>, DataError> {
        let names = self.names_at_the_top()?;
        let retired = names.iter().filter(|name| is_retired_key(name));
        retired.map(|name| signing_key::read(&self.path.join(name))).collect()
    }

    /// What is wrong with the keys that are there.
    pub(super) fn wrong_keys(&self) -> Vec<DataError> {
        let names = match self.names_at_the_top() {
            Ok(names) => names,
            Err(error) => return vec![error],
        };
        let mut keys: Vec<&String> =
            names.iter().filter(|name| *name == SIGNING_KEY || is_retired_key(name)).collect();
        keys.sort_unstable();
        keys.into_iter().filter_map(|name| signing_key::read(&self.path.join(name)).err()).collect()
    }

    /// The names of the files that a backup keeps beside the store, as far as they are there.
    pub(crate) fn kept_files(&self) -> Result<Vec<String>, DataError> {
        let mut kept = self.names_at_the_top()?;
        kept.retain(|name| is_retired_key(name));
        kept.extend(KEPT.iter().map(|(name, _)| (*name).to_owned()));
        kept.retain(|name| self.path.join(name).exists());
        kept.sort_unstable();
        Ok(kept)
    }

    fn names_at_the_top(&self) -> Result<Vec<String>, DataError> {
        let names = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name()));
            // A name that is no text is none of ours.
            let names =
                names.filter_map(|name| name.map(|name| name.into_string().ok()).transpose());
            names.collect()
        };
        names().map_err(|error| DataError::Io { path: self.path.clone(), error })
    }

    /// Refuses a secret of the folder that others may read.
    pub(crate) fn ensure_secret(&self, path: &Path) -> Result<(), DataError> {
        secrecy::ensure_own(path)
    }

    /// Writes a file of the folder; see [`write_whole`].
    pub(crate) fn write(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), DataError> {
        write_whole(path, content, mode)
    }
}

/// Whether something is there. That nobody may look is another answer than that there is nothing.
fn is_there(path: &Path) -> Result<bool, DataError> {
    match path.try_exists() {
        // A part of the path is a file: whoever opens it says so.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(DataError::Closed { path: path.to_owned(), error }),
        Ok(is_there) => Ok(is_there),
    }
}

/// Writes a file whole or not at all: another name first, then a rename, both durable.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: Mode) -> Result<(), DataError> {
    let write = || {
        let unfinished = path.with_extension("new");
        let bits = mode.bits();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(bits);
        // A link that somebody has put there would have another file written.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = options.open(&unfinished)?;
        file.set_permissions(fs::Permissions::from_mode(bits))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| DataError::Io { path: path.to_owned(), error })
}

/// Makes a folder for the owner alone, and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), DataError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| DataError::Io { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_has_another_file_written() {
        let folder = tempfile::tempdir().unwrap();
        let (other, path) = (folder.path().join("other"), folder.path().join("signing.key"));
        fs::write(&other, "somebody's").unwrap();
        std::os::unix::fs::symlink(&other, path.with_extension("new")).unwrap();
        assert!(write_whole(&path, b"a secret", Mode::Secret).is_err());
        assert_eq!(fs::read(&other).unwrap(), b"somebody's");
        assert!(!path.exists());
    }

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

    #[test]
    fn a_key_that_was_renamed_is_believed_still() {
        let parent = tempfile::tempdir().unwrap();
        let data = DataFolder::open(parent.path()).unwrap();
        let first = data.signing_key().unwrap();
        assert_eq!(data.retired_keys().unwrap(), Vec::<[u8; 32]>::new());
        fs::rename(data.signing_key_file(), parent.path().join("signing.key.1")).unwrap();
        assert_ne!(data.signing_key().unwrap(), first);
        assert_eq!(data.retired_keys().unwrap(), [first]);
        assert_eq!(data.kept_files().unwrap(), ["signing.key", "signing.key.1"]);
    }

    #[test]
    fn only_known_names_are_kept() {
        assert_eq!(mode_of_kept("tls/certificate.pem"), Some(Mode::Public));
        assert_eq!(mode_of_kept("signing.key.12"), Some(Mode::Secret));
        for other in ["signing.key.", "signing.key.new", "signing.key1", "../signing.key", ""] {
            assert_eq!(mode_of_kept(other), None, "{other}");
        }
    }

    #[test]
    fn a_folder_that_was_half_restored_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(RESTORING), "").unwrap();
        let refused = DataFolder::open(parent.path());
        assert!(matches!(refused, Err(DataError::HalfRestored { .. })));
        let refused = DataFolder::existing(parent.path());
        assert!(matches!(refused, Err(DataError::HalfRestored { .. })));
    }

    #[test]
    fn a_folder_that_no_server_has_used_is_not_made() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let refused = DataFolder::existing(&path);
        assert!(matches!(refused, Err(DataError::NoServer { .. })));
        assert!(!path.exists());
        // One in which nobody can look; root can, but not for a name that is too long.
        let path = parent.path().join("x".repeat(300));
        assert!(matches!(DataFolder::existing(&path), Err(DataError::Closed { .. })));
    }
}
