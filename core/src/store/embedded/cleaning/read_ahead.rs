//! Reading a file from one place on, most of it in the order in which it lies there.

use std::io;
use std::sync::Arc;

use super::super::disk::{DiskFile, read_exact_at};

/// What is read at once.
const BUFFER_BYTES: u64 = 256 * 1024;

/// A file and the part of it that was read last.
#[derive(Debug)]
pub(super) struct ReadAhead {
    file: Arc<dyn DiskFile>,
    /// Where the part that matters ends.
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl ReadAhead {
    /// What is behind `end`, or behind the end of the file, is not read.
    pub(super) fn new(file: Arc<dyn DiskFile>, end: u64) -> io::Result<ReadAhead> {
        let end = end.min(file.bytes()?);
        Ok(ReadAhead { file, end, buffer: Vec::new(), buffer_at: 0 })
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// So many bytes, which must be there.
    pub(super) fn read(&mut self, at: u64, bytes: u64) -> io::Result<&[u8]> {
        if at + bytes > self.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let held = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if !(held.contains(&at) && at + bytes <= held.end) {
            let wanted = bytes.max(BUFFER_BYTES).min(self.end - at);
            self.buffer.resize(wanted as usize, 0);
            self.buffer_at = at;
            if let Err(error) = read_exact_at(&*self.file, &mut self.buffer, at) {
                self.buffer.clear();
                return Err(error);
            }
        }
        let from = (at - self.buffer_at) as usize;
        Ok(&self.buffer[from..from + bytes as usize])
    }
}
