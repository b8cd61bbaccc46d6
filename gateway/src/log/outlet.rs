//! Bytes to a descriptor that may be anything: a file, a pipe that nobody reads, a full disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes of whole lines that are written at once. A pipe takes so many in one piece, so that lines of
/// programs that share it are not mixed up (PIPE_BUF of Linux).
pub(super) const CHUNK_BYTES: usize = 4096;

/// From one try to the next, where a descriptor says that it takes something and then does not.
const RETRY: Duration = Duration::from_millis(10);

/// A descriptor, and whether a line was begun on it that never ended.
#[derive(Debug)]
pub(super) struct Outlet<'a> {
    descriptor: BorrowedFd<'a>,
    is_within_line: bool,
}

impl Outlet<'_> {
    pub(super) fn new(descriptor: BorrowedFd<'_>) -> Outlet<'_> {
        Outlet { descriptor, is_within_line: false }
    }

    /// Writes whole lines, for however long that takes. After an error, as of a disk that is full,
    /// some of them may have been written; the next line begins a new one all the same.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_within_line {
            self.write_all(b"\n")?;
        }
        self.write_all(lines)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut is_retry = false;
        while !bytes.is_empty() {
            match rustix::io::write(self.descriptor, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.is_within_line = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                    is_retry = false;
                }
                Err(Errno::INTR) => {}
                // Somebody who shares the descriptor wants it so.
                Err(Errno::AGAIN) => {
                    self.wait_for_room(is_retry)?;
                    is_retry = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self, is_retry: bool) -> io::Result<()> {
        if is_retry {
            std::thread::sleep(RETRY);
        }
        let mut watched = [PollFd::from_borrowed_fd(self.descriptor, PollFlags::OUT)];
        match poll(&mut watched, None) {
            // What is wrong with it, if anything is, the next write says.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Cuts lines into pieces of [`CHUNK_BYTES`] that end with a line; a longer line is a piece alone.
pub(super) fn chunks(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let fitting = &rest[..rest.len().min(CHUNK_BYTES)];
        let end = match fitting.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => last + 1,
            None => rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1),
        };
        let (chunk, others) = rest.split_at(end);
        rest = others;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_chunk_ends_with_a_line() {
        let long = format!("{}\n", "x".repeat(2 * CHUNK_BYTES));
        let lines = format!("{}{long}short\n{long}", "0123456789\n".repeat(1000));
        let cut: Vec<&[u8]> = chunks(lines.as_bytes()).collect();
        assert_eq!(cut.concat(), lines.as_bytes());
        assert!(cut.iter().all(|chunk| chunk.ends_with(b"\n")));
        assert_eq!(cut.iter().filter(|chunk| chunk.len() > CHUNK_BYTES).count(), 2);
        assert!(chunks(b"").next().is_none());
    }

    #[test]
    fn a_full_disk_and_a_reader_that_is_gone_are_errors() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = Outlet::new(full.as_fd()).write(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let error = Outlet::new(writer.as_fd()).write(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_descriptor_that_would_block_is_waited_for() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let lines = vec![b'\n'; 8 * 1024 * 1024];
        let written = std::thread::scope(|threads| {
            let writing = threads.spawn(|| Outlet::new(writer.as_fd()).write(&lines));
            let mut read = vec![0; lines.len()];
            reader.read_exact(&mut read).unwrap();
            writing.join().unwrap()
        });
        written.unwrap();
    }

    #[test]
    fn a_line_after_half_of_one_begins_anew() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let mut outlet = Outlet::new(writer.as_fd());
        outlet.write_all(b"half of").unwrap();
        outlet.write(b"whole\n").unwrap();
        outlet.write(b"next\n").unwrap();
        drop(writer.shutdown(std::net::Shutdown::Write));
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "half of\nwhole\nnext\n");
        // Of use to nobody else, but the other direction is open still.
        drop(reader.write(b"x"));
    }
}
