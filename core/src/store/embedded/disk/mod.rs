//! The few things that the store asks of a disk, as a trait, so that tests can put a disk under
//! it that fails, tears writes and loses power.

pub(super) mod overlay;
pub mod unreadable;

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use super::config::OpenError;
use unreadable::{RawFile, Unreadable};

/// The file that is locked while a process has the folder open.
const LOCK_NAME: &str = "LOCK";

/// A folder of files.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Where it is, for messages.
    fn path(&self) -> PathBuf;
    /// Makes an empty file, in the place of one that has the name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, in the place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of all files, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// The names of all folders in it, in no order. A store has none.
    fn folders(&self) -> io::Result<Vec<String>>;
    /// Makes what was created, renamed and removed durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills the buffer from `offset`; less only where the file ends. What the medium can't read any more
    /// is read as something else than was written, and fails its checksum: see [`Unreadable`].
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all the bytes at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable, and the length of the file.
    fn sync(&self) -> io::Result<()>;
    /// Sets the length.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Fills the new file with so many zeros, durably, so that to write to it and to sync it
    /// later changes nothing but the contents: no allocation, no metadata, no full disk.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// The length.
    fn bytes(&self) -> io::Result<u64>;
    /// Whether there was something, since it was opened, that the medium could not read.
    fn has_unreadable(&self) -> bool;
}

/// How much of a new segment is written and synced at once. A megabyte takes a disk a few
/// milliseconds, and a sync is paid for once.
const RESERVE_PART_BYTES: usize = 1024 * 1024;

/// What file systems write at once. Whoever writes a whole block need not have read it before, so what
/// the lane writes ends with one: the zeros of a new segment never were in the cache.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Zeros that the disk can take from where they are, without a copy: aligned to a block.
#[repr(align(4096))]
struct Zeros([u8; RESERVE_PART_BYTES]);

static ZEROS: Zeros = Zeros([0; RESERVE_PART_BYTES]);

const _: () = assert!(align_of::<Zeros>() == BLOCK_BYTES);

/// A folder of the operating system. It and its files are for the owner alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// To sync the names.
    handle: File,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Folder {
    /// Opens a folder, making it if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Folder, OpenError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(OpenError::io("can't make the folder", path))?;
        Folder::open_existing(path)
    }

    /// Opens a folder that is there, and locks it.
    pub fn open_existing(path: &Path) -> Result<Folder, OpenError> {
        let handle = File::open(path).map_err(OpenError::io("can't open the folder", path))?;
        let lock_path = path.join(LOCK_NAME);
        let lock = file_options().create(true).open(&lock_path);
        let lock = lock.map_err(OpenError::io("can't open", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Folder { path: path.to_owned(), handle, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: path.to_owned() }),
            Err(error) => Err(OpenError::io("can't lock", lock_path)(error.into())),
        }
    }
}

/// A folder that is only read. Nobody is kept from writing to it.
#[derive(Debug)]
pub(super) struct ReadFolder {
    path: PathBuf,
    /// Locked together with others who read, for as long as it is open.
    _lock: Option<File>,
}

impl ReadFolder {
    /// Opens a folder that is there, unless a process has it open to write. Makes nothing in it.
    pub(super) fn open(path: &Path) -> Result<ReadFolder, OpenError> {
        let lock_path = path.join(LOCK_NAME);
        let lock = match File::open(&lock_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            lock => Some(lock.map_err(OpenError::io("can't open", &lock_path))?),
        };
        let locked = lock
            .as_ref()
            .map_or(Ok(()), |lock| rustix::fs::flock(lock, FlockOperation::NonBlockingLockShared));
        match locked {
            Ok(()) => Ok(ReadFolder { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: path.to_owned() }),
            Err(error) => Err(OpenError::io("can't lock", lock_path)(error.into())),
        }
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl Disk for ReadFolder {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(read_only())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FolderFile::new(File::open(self.path.join(name))?)))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(Listing::of(&self.path)?.files)
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        Ok(Listing::of(&self.path)?.folders)
    }

    fn sync_names(&self) -> io::Result<()> {
        Err(read_only())
    }
}

fn file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Disk for Folder {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = file_options().create(true).truncate(true).open(self.path.join(name))?;
        Ok(Arc::new(FolderFile::new(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FolderFile::new(file_options().open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(Listing::of(&self.path)?.files)
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        Ok(Listing::of(&self.path)?.folders)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// What is in a folder, in no order.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub files: Vec<String>,
    pub folders: Vec<String>,
}

impl Listing {
    pub(super) fn of(path: &Path) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            // A name that is no text is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let leads_to_folder = kind.is_symlink() && path.join(&name).is_dir();
            if kind.is_dir() || leads_to_folder {
                listing.folders.push(name);
            } else if (kind.is_file() || kind.is_symlink()) && name != LOCK_NAME {
                // Whoever opens a pipe may wait for ever.
                listing.files.push(name);
            }
        }
        Ok(listing)
    }
}

/// A file of the system.
#[derive(Debug)]
pub(super) struct FolderFile {
    pub file: File,
    unreadable: Unreadable,
}

impl FolderFile {
    pub(super) fn new(file: File) -> FolderFile {
        FolderFile { file, unreadable: Unreadable::default() }
    }

    /// Whether what is written from now on goes to the disk by itself, in whole blocks. Not all file
    /// systems can.
    fn go_past_the_cache(&self, past: bool) -> io::Result<()> {
        let mut flags = rustix::fs::fcntl_getfl(&self.file)?;
        flags.set(OFlags::DIRECT, past);
        Ok(rustix::fs::fcntl_setfl(&self.file, flags)?)
    }
}

impl RawFile for FolderFile {
    fn name(&self) -> String {
        // It may have got another one since it was opened. Threads may have descriptors of their own.
        let link = format!("/proc/thread-self/fd/{}", self.file.as_raw_fd());
        std::fs::read_link(link).map_or_else(|_| "?".into(), |path| path.display().to_string())
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl DiskFile for FolderFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.unreadable.read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unreadable.write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.unreadable.truncate(self, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        // The file system gives the space, all or nothing. Where it can't, the zeros ask for it.
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        // Allocated blocks are marked unwritten, and marking them as written is metadata, which
        // every fdatasync would have to flush: so they are written once in advance. Part by part:
        // a commit that comes meanwhile waits for one part, not for all of them.
        let past_the_cache = self.go_past_the_cache(true).is_ok();
        let mut offset = 0;
        while offset < bytes {
            let part = (bytes - offset).min(RESERVE_PART_BYTES as u64) as usize;
            if past_the_cache && !part.is_multiple_of(BLOCK_BYTES) {
                self.go_past_the_cache(false)?;
            }
            self.file.write_all_at(&ZEROS.0[..part], offset)?;
            self.file.sync_data()?;
            offset += part as u64;
        }
        if past_the_cache {
            self.go_past_the_cache(false)?;
        }
        self.file.sync_all()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.length()
    }

    fn has_unreadable(&self) -> bool {
        self.unreadable.is_known()
    }
}

/// Reads all of a range that must be there.
pub(super) fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<()> {
    let read = file.read_at(buffer, at)?;
    if read < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Reads a whole file.
pub(super) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; bytes];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// Writes a small file so that after a power cut it is there in full or not at all.
pub(super) fn write_whole(disk: &dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = format!("{name}.tmp");
    let file = disk.create(&unfinished)?;
    file.write_at(content, 0)?;
    file.sync()?;
    disk.rename(&unfinished, name)?;
    disk.sync_names()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether or not the file system can pass its cache by: the file is as long as it was asked for, and
    /// whoever writes to it afterwards needs no whole blocks.
    #[test]
    fn what_is_reserved_is_zeros_and_takes_any_write() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        let file = disk.create("file").unwrap();
        let bytes = 2 * RESERVE_PART_BYTES + BLOCK_BYTES + 100;
        file.reserve(bytes as u64).unwrap();
        let mut expected = vec![0; bytes];
        assert_eq!(read_all(&*file).unwrap(), expected);
        for (place, at) in [RESERVE_PART_BYTES - 3, bytes - 5, 7].into_iter().enumerate() {
            let part = [place as u8 + 1; 5];
            file.write_at(&part, at as u64).unwrap();
            expected[at..at + 5].copy_from_slice(&part);
        }
        file.sync().unwrap();
        assert_eq!(read_all(&*disk.open("file").unwrap()).unwrap(), expected);
    }

    /// The memory of a process, where nothing is mapped, is a file of the system that can't be read.
    #[test]
    fn what_the_system_cannot_read_is_filled() {
        let file = FolderFile::new(File::open("/proc/self/mem").unwrap());
        let mut read = [0; 8];
        let error = file.read_some(&mut read, 0).unwrap_err();
        assert_eq!(rustix::io::Errno::from_io_error(&error), Some(rustix::io::Errno::IO));
        // It says that it is empty, so there is nothing to be filled.
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 0);
        assert!(file.name().ends_with("/mem"), "{}", file.name());
    }
}
