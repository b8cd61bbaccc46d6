//! Reading what a disk can't read any more.
//!
//! A sector that can't be read must be no worse than one whose bytes have changed: so it is read as
//! bytes that are certainly not what was written. Checksums fail, and whatever handles changed bytes
//! handles it: the one place is told, and all else is served, copied and checked.

use std::collections::BTreeSet;
use std::io;

use parking_lot::Mutex;
use rustix::io::Errno;

/// What is read at a time where something can't be read: what goes through the cache of the system is
/// read from the disk in pages, so less would find no more.
const PART_BYTES: u64 = 4096;

/// What is read in the place of what can't be. Not zeros: those look like what was never written. It is
/// the same wherever a read begins, and nothing that is read without a checksum means anything with it.
pub(in super::super) const FILLER: u8 = b'?';

/// Places of a file that are told while it is open. A disk that can't read so many has said enough.
const TOLD_MAX: usize = 64;

/// A file as the system gives it, with the errors of its medium.
pub trait RawFile {
    /// What it is called, for messages.
    fn name(&self) -> String;
    /// Reads something from `offset`; nothing only where the file ends.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all the bytes at `offset`.
    fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Sets the length.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
    /// The length.
    fn length(&self) -> io::Result<u64>;
}

/// The places of an open file that its medium could not read.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// Those that were told.
    told: Mutex<BTreeSet<u64>>,
}

/// Whether a part that could not be read seems to be among these bytes, which begin at `offset` of their file.
pub(in super::super) fn holds_unread(bytes: &[u8], offset: u64) -> bool {
    let begin = to_end_of_part(offset) % PART_BYTES as usize;
    let parts = bytes.get(begin..).unwrap_or(&[]).chunks(PART_BYTES as usize);
    parts.into_iter().any(|part| part.iter().all(|byte| *byte == FILLER))
}

/// Whether it is the medium that can't do it: what is there is lost, and to ask for it again later is
/// no use.
fn is_of_medium(error: &io::Error) -> bool {
    let of_medium = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN, Errno::ILSEQ];
    Errno::from_io_error(error).is_some_and(|errno| of_medium.contains(&errno))
}

/// How far it is from a place to the end of its part.
fn to_end_of_part(at: u64) -> usize {
    (PART_BYTES - at % PART_BYTES) as usize
}

impl Unreadable {
    /// Whether there was such a place.
    pub fn is_known(&self) -> bool {
        !self.told.lock().is_empty()
    }

    /// Fills the buffer from `offset`, less only where the file ends. What can't be read is tried again
    /// in parts, and then filled.
    pub fn read_at(
        &self,
        file: &impl RawFile,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        let (mut filled, mut in_parts) = (0, false);
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let rest = &mut buffer[filled..];
            let part = rest.len().min(to_end_of_part(at));
            let wanted = if in_parts { part } else { rest.len() };
            match file.read_some(&mut rest[..wanted], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if !is_of_medium(&error) => return Err(error),
                Err(_) if !in_parts => in_parts = true,
                Err(error) => {
                    // No more than there is: a file does not become longer by it.
                    let left = file.length()?.saturating_sub(at);
                    let lost = part.min(usize::try_from(left).unwrap_or(usize::MAX));
                    if lost == 0 {
                        break;
                    }
                    rest[..lost].fill(FILLER);
                    self.tell(file, at, lost, &error);
                    filled += lost;
                }
            }
        }
        Ok(filled)
    }

    /// Writes all the bytes at `offset`. To write a part of a page the system reads the rest of it: where
    /// that can't be read, all of it is written anew, with which a disk puts another sector in its place.
    pub fn write_at(&self, file: &impl RawFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        match file.write_all(bytes, offset) {
            Err(error) if is_of_medium(&error) => self.write_parts(file, bytes, offset),
            written => written,
        }
    }

    /// Sets the length, for which the system may have to read the page that it ends in, too.
    pub fn truncate(&self, file: &impl RawFile, bytes: u64) -> io::Result<()> {
        match file.set_length(bytes) {
            Err(error) if is_of_medium(&error) => {
                self.write_parts(file, &[], bytes)?;
                file.set_length(bytes)
            }
            set => set,
        }
    }

    /// Writes whole parts: what was there of them, as far as it can be read, with the bytes over it.
    fn write_parts(&self, file: &impl RawFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let begin = offset - offset % PART_BYTES;
        let end = offset + bytes.len() as u64;
        let whole = end - begin + to_end_of_part(end) as u64;
        let mut parts = vec![0; usize::try_from(whole).map_err(|_| io::ErrorKind::FileTooLarge)?];
        let there = self.read_at(file, &mut parts, begin)?;
        let inside = (offset - begin) as usize;
        parts[inside..inside + bytes.len()].copy_from_slice(bytes);
        file.write_all(&parts[..there.max(inside + bytes.len())], begin)
    }

    /// Says which place it was, once while the file is open.
    fn tell(&self, file: &impl RawFile, offset: u64, bytes: usize, error: &io::Error) {
        let mut told = self.told.lock();
        if told.len() >= TOLD_MAX || !told.insert(offset - offset % PART_BYTES) {
            return;
        }
        let name = file.name();
        tracing::error!(%error, file = name, offset, bytes, "the disk can't read a part of a file");
        if told.len() == TOLD_MAX {
            tracing::error!(file = name, "of this file, no more such places are told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in memory of which some pages can't be read, before all of them is written.
    struct Spoilt {
        content: Mutex<Vec<u8>>,
        lost: Mutex<Vec<u64>>,
        errno: Errno,
    }

    impl Spoilt {
        fn new(bytes: usize, lost: impl IntoIterator<Item = u64>, errno: Errno) -> Spoilt {
            let content = (0..bytes).map(|at| at as u8).collect();
            Spoilt {
                content: Mutex::new(content),
                lost: Mutex::new(lost.into_iter().collect()),
                errno,
            }
        }

        fn check(&self, is_touched: impl Fn(u64) -> bool) -> io::Result<()> {
            let is_lost = self.lost.lock().iter().any(|page| is_touched(*page));
            if is_lost { Err(self.errno.into()) } else { Ok(()) }
        }
    }

    impl RawFile for Spoilt {
        fn name(&self) -> String {
            "spoilt".into()
        }

        fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let content = self.content.lock();
            let rest = content.get(offset as usize..).unwrap_or(&[]);
            let read = rest.len().min(buffer.len());
            let pages = offset / PART_BYTES..(offset + read as u64).div_ceil(PART_BYTES);
            self.check(|page| read > 0 && pages.contains(&page))?;
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        }

        fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let end = offset + bytes.len() as u64;
            let is_cut =
                |at: u64, page: u64| !at.is_multiple_of(PART_BYTES) && at / PART_BYTES == page;
            self.check(|page| is_cut(offset, page) || is_cut(end, page))?;
            let whole = offset / PART_BYTES..end / PART_BYTES;
            self.lost.lock().retain(|page| !whole.contains(page));
            let mut content = self.content.lock();
            let length = content.len().max(end as usize);
            content.resize(length, 0);
            content[offset as usize..end as usize].copy_from_slice(bytes);
            Ok(())
        }

        fn set_length(&self, bytes: u64) -> io::Result<()> {
            self.check(|page| !bytes.is_multiple_of(PART_BYTES) && bytes / PART_BYTES == page)?;
            self.content.lock().resize(bytes as usize, 0);
            Ok(())
        }

        fn length(&self) -> io::Result<u64> {
            Ok(self.content.lock().len() as u64)
        }
    }

    #[test]
    fn all_but_the_part_that_cannot_be_read_is_as_it_was() {
        for bytes in [8192, 8200, 12_288, 20_000] {
            let file = Spoilt::new(bytes, [2], Errno::IO);
            for from in [0, 1, 4096, 8191, 8192, bytes - 1, bytes] {
                let mut read = vec![0; bytes];
                let unreadable = Unreadable::default();
                let length = unreadable.read_at(&file, &mut read, from as u64).unwrap();
                assert_eq!(length, bytes - from);
                for (at, byte) in (from..).zip(&read[..length]) {
                    let is_lost = (8192..12_288).contains(&at);
                    assert_eq!(*byte, if is_lost { FILLER } else { at as u8 }, "{at} from {from}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_fault_of_the_medium_is_an_error() {
        let file = Spoilt::new(100, [0], Errno::NOMEM);
        let error = Unreadable::default().read_at(&file, &mut [0; 8], 0).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOMEM));
    }

    #[test]
    fn what_is_written_over_it_can_be_read_again() {
        let unreadable = Unreadable::default();
        for (offset, bytes) in [(0, 20_000), (4090, 10), (5000, 3), (8190, 7), (9000, 11_000)] {
            let file = Spoilt::new(20_000, [1, 2], Errno::NODATA);
            unreadable.write_at(&file, &vec![7; bytes], offset).unwrap();
            let mut read = vec![0; 20_001];
            assert_eq!(unreadable.read_at(&file, &mut read, 0).unwrap(), 20_000);
            let range = offset as usize..offset as usize + bytes;
            assert!(read[range.clone()].iter().all(|byte| *byte == 7));
            for at in (0..20_000).filter(|at| !range.contains(at)) {
                let is_lost = (4096..12_288).contains(&at) && read[at] == FILLER;
                assert!(is_lost || read[at] == at as u8, "{at}");
            }
        }
        let file = Spoilt::new(20_000, [1], Errno::IO);
        unreadable.truncate(&file, 4700).unwrap();
        assert_eq!(file.length().unwrap(), 4700);
    }

    #[test]
    fn each_place_is_told_once_and_not_all_of_a_lost_disk() {
        let file = Spoilt::new(1 << 20, 0..256, Errno::IO);
        let unreadable = Unreadable::default();
        for _ in 0..2 {
            let mut read = vec![0; 1 << 20];
            assert_eq!(unreadable.read_at(&file, &mut read, 0).unwrap(), 1 << 20);
            assert!(read.iter().all(|byte| *byte == FILLER));
        }
        assert_eq!(unreadable.told.lock().len(), TOLD_MAX);
    }
}
