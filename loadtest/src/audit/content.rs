//! What a test message says: who sent it, which one it is, when it should have been sent, and a
//! checksum over all of it, so that whoever gets it can tell that it is ours and whole.
//!
//! ```text
//! 0      8       12       16            24        28
//! | run  | sender | counter | intended ns | CRC-32C | filler ...
//! ```

use thiserror::Error;

use crate::weighted::Weighted;

/// The part of a content before the filler, in bytes: the smallest content.
pub const STAMP_BYTES: usize = 28;

const CHECKSUM_OFFSET: usize = 24;

/// What identifies a message within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the sending user within the run.
    pub sender: u32,
    /// Counts the messages of this sender from 1.
    pub counter: u32,
    /// When it should have been sent, in nanoseconds since the clock of the run started.
    pub intended_ns: u64,
}

/// Why a content is none that this run can have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ContentFault {
    /// Fewer bytes than a stamp has.
    #[error("{0} bytes are no stamp")]
    Short(usize),
    /// Of another run.
    #[error("it is of run {0:016x}")]
    OtherRun(u64),
    /// Whole, but longer or shorter than the message that it says it is.
    #[error("{found} bytes instead of {expected}")]
    Length {
        /// Of the message with this stamp.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// The checksum does not match.
    #[error("checksum {found:08x} instead of {expected:08x}")]
    Checksum {
        /// Of the bytes that came.
        expected: u32,
        /// What the content says.
        found: u32,
    },
}

/// Writes and reads the contents of one run.
#[derive(Debug, Clone)]
pub struct Contents {
    run: u64,
    lengths: Weighted<usize>,
    /// As long as the longest needs; the others take the beginning of it.
    filler: Vec<u8>,
}

impl Contents {
    /// For messages of so many bytes, or [`STAMP_BYTES`] where that is more.
    pub fn new(run: u64, lengths: impl Into<Weighted<usize>>) -> Contents {
        let lengths = lengths.into();
        let bytes = lengths.values().copied().max().unwrap_or(0);
        // Bytes that do not repeat, so that no layer can compress them away.
        let mut state = run | 1;
        let filler = (0..bytes.saturating_sub(STAMP_BYTES)).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        Contents { run, filler: filler.collect(), lengths }
    }

    /// Length of the content of a message, in bytes. It follows from who sent it and which one it
    /// is.
    pub fn length(&self, stamp: Stamp) -> usize {
        let key = u64::from(stamp.sender) << 32 | u64::from(stamp.counter);
        STAMP_BYTES.max(*self.lengths.choose(key))
    }

    /// Appends the content of a message. The same stamp gives the same bytes, so a retry needs
    /// only the stamp to be kept.
    pub fn write(&self, stamp: Stamp, output: &mut Vec<u8>) {
        let mut head = [0; STAMP_BYTES];
        head[..8].copy_from_slice(&self.run.to_be_bytes());
        head[8..12].copy_from_slice(&stamp.sender.to_be_bytes());
        head[12..16].copy_from_slice(&stamp.counter.to_be_bytes());
        head[16..24].copy_from_slice(&stamp.intended_ns.to_be_bytes());
        let filler = &self.filler[..self.length(stamp) - STAMP_BYTES];
        let checksum = checksum(&head[..CHECKSUM_OFFSET], filler);
        head[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_be_bytes());
        output.extend_from_slice(&head);
        output.extend_from_slice(filler);
    }

    /// Takes a content apart, if it is one of this run and whole.
    pub fn read(&self, content: &[u8]) -> Result<Stamp, ContentFault> {
        let Some((head, filler)) = content.split_first_chunk::<STAMP_BYTES>() else {
            return Err(ContentFault::Short(content.len()));
        };
        let four =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) << 32 | u64::from(four(at + 4));
        let expected = checksum(&head[..CHECKSUM_OFFSET], filler);
        let found = four(CHECKSUM_OFFSET);
        if expected != found {
            return Err(ContentFault::Checksum { expected, found });
        }
        if eight(0) != self.run {
            return Err(ContentFault::OtherRun(eight(0)));
        }
        let stamp = Stamp { sender: four(8), counter: four(12), intended_ns: eight(16) };
        let (expected, found) = (self.length(stamp), content.len());
        if expected != found {
            return Err(ContentFault::Length { expected, found });
        }
        Ok(stamp)
    }

    /// The client_message_id of a message: unique among all runs, and known from its stamp.
    pub fn message_id(&self, stamp: Stamp) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.run.to_be_bytes());
        id[8..12].copy_from_slice(&stamp.sender.to_be_bytes());
        id[12..].copy_from_slice(&stamp.counter.to_be_bytes());
        id
    }
}

fn checksum(head: &[u8], filler: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), filler)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { sender: 7, counter: 9, intended_ns: 1 << 40 };

    #[test]
    fn a_content_says_again_what_was_written() {
        for bytes in [0, 28, 29, 200, 4096] {
            let contents = Contents::new(11, bytes);
            let mut content = Vec::new();
            contents.write(STAMP, &mut content);
            assert_eq!(content.len(), bytes.max(STAMP_BYTES));
            assert_eq!(contents.read(&content), Ok(STAMP));
        }
    }

    #[test]
    fn any_changed_bit_and_any_cut_is_noticed() {
        let contents = Contents::new(11, 64);
        let mut content = Vec::new();
        contents.write(STAMP, &mut content);
        for bit in 0..content.len() * 8 {
            let mut changed = content.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(contents.read(&changed).is_err(), "bit {bit}");
        }
        for length in 0..content.len() {
            assert!(contents.read(&content[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn the_length_follows_from_the_message_and_another_is_noticed() {
        let lengths: Weighted<usize> = "10:1,100:1,2000:1".parse().unwrap();
        let contents = Contents::new(11, lengths);
        let mut lengths = std::collections::BTreeSet::new();
        for counter in 0..50 {
            let (stamp, mut content) = (Stamp { counter, ..STAMP }, Vec::new());
            contents.write(stamp, &mut content);
            assert_eq!(content.len(), contents.length(stamp));
            assert_eq!(contents.read(&content), Ok(stamp));
            lengths.insert(content.len());
            // Whole in itself, as a run with other lengths would have sent it.
            let (mut other, found) = (Vec::new(), content.len() + 1);
            Contents::new(11, found).write(stamp, &mut other);
            let expected = content.len();
            assert_eq!(contents.read(&other), Err(ContentFault::Length { expected, found }));
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [STAMP_BYTES, 100, 2000]);
    }

    #[test]
    fn contents_of_other_runs_are_foreign() {
        let mut content = Vec::new();
        Contents::new(11, 64).write(STAMP, &mut content);
        assert_eq!(Contents::new(12, 64).read(&content), Err(ContentFault::OtherRun(11)));
    }
}
