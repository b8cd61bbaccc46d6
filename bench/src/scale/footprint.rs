//! What a store takes of the disk, and a process of the memory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// The kernel counts blocks of files in these, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// Bytes that files of a kind have on the disk, and how many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// Files.
    pub(super) files: u64,
    /// Bytes that they take.
    pub(super) bytes: u64,
}

/// The files of a store, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DiskUse {
    /// Segments.
    pub(super) segments: Kind,
    /// Index files.
    pub(super) index: Kind,
    /// Everything else: what is kept ready, what the store knows of itself.
    pub(super) others: Kind,
}

impl DiskUse {
    /// Looks at a folder.
    pub(super) fn look(folder: &Path) -> io::Result<DiskUse> {
        let mut found = DiskUse::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // One that has gone since its name was read takes nothing.
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = match entry.path().extension().and_then(|end| end.to_str()) {
                Some("log") => &mut found.segments,
                Some("idx") => &mut found.index,
                Some(_) | None => &mut found.others,
            };
            kind.files += 1;
            kind.bytes += metadata.blocks() * BLOCK_BYTES;
        }
        Ok(found)
    }
}

/// Takes the files of a folder out of the page cache, so that they are read from the disk again.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        // Pages that are not written yet would stay.
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Memory of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessMemory {
    /// What it has allocated and touched, without its program and the files that it has mapped.
    pub(super) anonymous_bytes: u64,
    /// The most that was resident of it at any time.
    pub(super) peak_bytes: u64,
}

impl ProcessMemory {
    /// Looks at this process.
    pub(super) fn look() -> io::Result<ProcessMemory> {
        let status = fs::read_to_string("/proc/self/status")?;
        parse(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no RssAnon"))
    }
}

fn parse(status: &str) -> Option<ProcessMemory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(ProcessMemory { anonymous_bytes: bytes("RssAnon:")?, peak_bytes: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("1.log", 5000), ("2.log", 1), ("1-2.idx", 9000), ("STORE", 64)] {
            fs::write(folder.path().join(name), vec![1; bytes]).unwrap();
        }
        forget(folder.path()).unwrap();
        let found = DiskUse::look(folder.path()).unwrap();
        assert_eq!((found.segments.files, found.index.files, found.others.files), (2, 1, 1));
        assert!(found.segments.bytes >= 5001 && found.index.bytes >= 9000, "{found:?}");
    }

    #[test]
    fn memory_is_read_from_the_status() {
        let status = "VmPeak:\t  9 kB\nVmHWM:\t     7 kB\nVmRSS:\t 5 kB\nRssAnon:\t       3 kB\n";
        let expected = ProcessMemory { anonymous_bytes: 3072, peak_bytes: 7168 };
        assert_eq!(parse(status), Some(expected));
        assert_eq!(parse("VmRSS:\t 5 kB\n"), None);
        assert!(ProcessMemory::look().unwrap().anonymous_bytes > 0);
    }
}
