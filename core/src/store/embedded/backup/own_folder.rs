//! A folder that is filled with secrets: by a backup, or by a restore. It belongs to whoever fills it,
//! nobody else may write to it, and nothing in it is followed or replaced. All names are looked up in
//! the folder that was opened, whatever has become of its path meanwhile.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::super::config::OpenError;
use super::super::disk::{Disk, DiskFile, FolderFile};

/// Bits of a mode by which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Bits of a mode by which others than the owner may do anything with a file.
const OPEN_TO_OTHERS: u32 = 0o077;

/// A folder that is filled with secrets. It belongs to whoever fills it, nobody else may write to it,
/// and nothing in it is followed or replaced.
#[derive(Debug)]
pub struct OwnFolder {
    path: PathBuf,
    handle: File,
}

impl OwnFolder {
    /// Opens a folder; makes it if it is missing, but not those above it: where a disk should be mounted
    /// and is not, the copy would go elsewhere. Refuses one that belongs to somebody else or that others
    /// may write to, and a symbolic link.
    pub fn open(path: &Path) -> Result<OwnFolder, OpenError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(OpenError::io("can't make the folder", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        OwnFolder::open_existing(path)
    }

    /// Opens a folder that is there, and refuses what [`OwnFolder::open`] refuses.
    pub fn open_existing(path: &Path) -> Result<OwnFolder, OpenError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty());
        let handle = handle.map_err(|error| not_opened(error, path))?;
        OwnFolder { path: path.to_owned(), handle: handle.into() }.checked()
    }

    /// Opens a folder in this one; makes it if it is missing.
    pub fn folder(&self, name: &str) -> Result<OwnFolder, OpenError> {
        let path = self.path.join(name);
        let io =
            |error: rustix::io::Errno| OpenError::io("can't make the folder", &path)(error.into());
        match rustix::fs::mkdirat(&self.handle, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(io(error)),
        }
        self.existing_folder(name)
    }

    /// Opens a folder in this one that is there.
    pub fn existing_folder(&self, name: &str) -> Result<OwnFolder, OpenError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name, flags, Mode::empty());
        let handle = handle.map_err(|error| not_opened(error, &path))?;
        OwnFolder { handle: handle.into(), path }.checked()
    }

    fn checked(self) -> Result<OwnFolder, OpenError> {
        let io = OpenError::io("can't look at", &self.path);
        let found = self.handle.metadata().map_err(io)?;
        let own = rustix::process::geteuid().as_raw();
        if found.uid() != own || found.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(OpenError::NotOwn { path: self.path });
        }
        Ok(self)
    }

    /// Refuses a folder in which something is but what file systems make.
    pub fn ensure_empty(&self) -> Result<(), OpenError> {
        let names = self.names().map_err(OpenError::io("can't list", &self.path))?;
        if names.iter().any(|name| name != "lost+found") {
            return Err(OpenError::NotEmpty { path: self.path.clone() });
        }
        Ok(())
    }

    /// Writes a file that is not there yet, durably. Its name is durable with [`OwnFolder::sync`].
    pub fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), OpenError> {
        let written = self.make(name, mode).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        written.map_err(OpenError::io("can't write", self.path.join(name)))
    }

    /// Reads a file that is a secret of one's own: no link, and open to nobody else. Not as a file of the
    /// store: a key may have no checksum, by which it would be seen that a part of it can't be read.
    pub fn read_secret(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_secret(name)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Opens such a file, to read it.
    pub(in super::super) fn open_secret(&self, name: &str) -> io::Result<File> {
        // Whoever opens a pipe would wait for who writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(&self.handle, name, flags, Mode::empty())?.into();
        let found = file.metadata()?;
        let own = rustix::process::geteuid().as_raw();
        if !found.is_file() || found.uid() != own || found.mode() & OPEN_TO_OTHERS != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(file)
    }

    /// Gives a file of another folder the same name here too. Nothing is replaced, no link is followed.
    pub(in super::super) fn link_from(&self, other: &OwnFolder, name: &str) -> io::Result<()> {
        Ok(rustix::fs::linkat(&other.handle, name, &self.handle, name, AtFlags::empty())?)
    }

    /// Makes all names in it durable.
    pub fn sync(&self) -> Result<(), OpenError> {
        self.sync_names().map_err(OpenError::io("can't sync", &self.path))
    }

    fn make(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::openat(&self.handle, name, flags, mode)?.into())
    }
}

impl Disk for OwnFolder {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FolderFile::new(self.make(name, 0o600)?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::empty())?;
        Ok(Arc::new(FolderFile::new(file.into())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        // What is made in one is not looked for in it.
        Ok(Vec::new())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// Why a folder can't be opened: the system says of a link that it is no folder.
fn not_opened(error: rustix::io::Errno, path: &Path) -> OpenError {
    let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    if is_link {
        return OpenError::Link { path: path.to_owned() };
    }
    OpenError::io("can't open the folder", path)(error.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_and_files_that_are_there_are_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (own, victim) = (folder.path().join("own"), folder.path().join("victim"));
        std::fs::write(&victim, "as it was").unwrap();
        let opened = OwnFolder::open(&own).unwrap();
        opened.ensure_empty().unwrap();
        symlink(&victim, own.join("STORE")).unwrap();
        std::fs::write(own.join("other"), "as it was").unwrap();
        for name in ["STORE", "other"] {
            assert!(opened.write(name, b"new", 0o600).is_err());
            assert!(opened.create(name).is_err());
        }
        assert!(opened.open("STORE").is_err());
        assert!(matches!(opened.ensure_empty(), Err(OpenError::NotEmpty { .. })));
        for path in [victim, own.join("other")] {
            assert_eq!(std::fs::read_to_string(path).unwrap(), "as it was");
        }
        // A folder in it can be no link either, nor can itself.
        symlink(folder.path(), own.join("store")).unwrap();
        assert!(opened.folder("store").is_err());
        symlink(&own, folder.path().join("link")).unwrap();
        let refused = OwnFolder::open(&folder.path().join("link")).unwrap_err().to_string();
        assert!(refused.ends_with("/link is a symbolic link; name the folder itself"), "{refused}");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o770, 0o702] {
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
            let refused = OwnFolder::open(folder.path()).unwrap_err();
            assert!(matches!(refused, OpenError::NotOwn { .. }), "{refused}");
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        OwnFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn only_a_secret_of_ones_own_is_read_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let (own, elsewhere) = (folder.path().join("own"), folder.path().join("elsewhere"));
        let opened = OwnFolder::open(&own).unwrap();
        opened.write("secret", b"x", 0o600).unwrap();
        opened.write("open", b"x", 0o644).unwrap();
        symlink(own.join("secret"), own.join("link")).unwrap();
        rustix::fs::mkfifoat(&opened.handle, "pipe", Mode::RUSR).unwrap();
        opened.folder("folder").unwrap();
        assert_eq!(opened.read_secret("secret").unwrap(), b"x");
        let other = OwnFolder::open(&elsewhere).unwrap();
        for name in ["open", "link", "pipe", "folder", "missing"] {
            assert!(opened.read_secret(name).is_err(), "{name}");
        }
        // A link is taken as what it is, and nothing is replaced.
        other.link_from(&opened, "link").unwrap();
        assert!(other.read_secret("link").is_err());
        other.link_from(&opened, "secret").unwrap();
        assert!(other.link_from(&opened, "secret").is_err());
        assert_eq!(other.read_secret("secret").unwrap(), b"x");
        assert!(opened.existing_folder("none").is_err());
        assert!(OwnFolder::open_existing(&folder.path().join("none")).is_err());
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn what_is_written_goes_to_the_folder_that_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("own"), folder.path().join("moved"));
        let opened = OwnFolder::open(&path).unwrap();
        std::fs::rename(&path, &elsewhere).unwrap();
        std::fs::create_dir(&path).unwrap();
        opened.write("a", b"x", 0o600).unwrap();
        opened.folder("b").unwrap().write("c", b"y", 0o644).unwrap();
        assert!(elsewhere.join("a").exists() && elsewhere.join("b/c").exists());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }
}
