//! The file `LIFE`: which process had the store open last.
//!
//! Each process that opens a store to write draws a random number, its *life*, which stands in the header of
//! each file that it begins. A copy of the folder that goes on by itself has other lives from then on; so a
//! file of that copy is told from one of this, and an `EXTENT` of it as well: that was written by the
//! process that `LIFE` names, or if its start was interrupted, by the last one before it that wrote there.

use std::io;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile, read_all, write_whole};
use super::super::identity::{FORMAT, Identity};
use super::super::segment::bytes::{u32_at, u64_at};

/// The name of the file.
pub(in super::super) const NAME: &str = "LIFE";

const MAGIC: &[u8; 8] = b"DUNLINLF";
/// Less than a sector, so that it is written whole or not at all.
const BYTES: usize = 64;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Lives {
    /// The process that had the store open last.
    pub life: u64,
    /// The one that had written `EXTENT` last when that began; [`NOBODY`] if `EXTENT` was not believed.
    pub before: u64,
    /// The last one whose start came to its end: the same, or that is not so yet.
    pub served: u64,
}

/// No process has this life.
pub(in super::super) const NOBODY: u64 = u64::MAX;

/// What is known of the file when a store opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum FoundLives {
    Missing,
    Damaged,
    Known(Lives),
}

impl Lives {
    pub(in super::super) fn load(
        file: io::Result<Arc<dyn DiskFile>>,
        identity: &Identity,
    ) -> io::Result<FoundLives> {
        match file {
            Ok(file) => {
                let content = read_all(&*file)?;
                Ok(Lives::decode(identity, &content).map_or(FoundLives::Damaged, FoundLives::Known))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FoundLives::Missing),
            Err(error) => Err(error),
        }
    }

    /// Whether its process may have written `EXTENT`, which was written by this one.
    pub(in super::super) fn allows(&self, written_by: u64) -> bool {
        written_by == self.life || (self.served != self.life && written_by == self.before)
    }

    /// Writes it, durably: in its place, for which a full disk has room.
    pub(in super::super) fn save(
        self,
        disk: &dyn Disk,
        identity: &Identity,
        found: FoundLives,
    ) -> io::Result<()> {
        match found {
            FoundLives::Known(_) => {
                let file = disk.open(NAME)?;
                file.write_at(&self.encode(identity), 0)?;
                file.sync()
            }
            FoundLives::Missing | FoundLives::Damaged => {
                write_whole(disk, NAME, &self.encode(identity))
            }
        }
    }

    fn encode(self, identity: &Identity) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&identity.store_id);
        bytes[32..40].copy_from_slice(&self.life.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.before.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.served.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(identity: &Identity, bytes: &[u8]) -> Option<Lives> {
        let is_whole = bytes.len() == BYTES
            && &bytes[..8] == MAGIC
            && u32_at(bytes, 60) == crc32c::crc32c(&bytes[..60])
            && u32_at(bytes, 8) == FORMAT
            && bytes[16..32] == identity.store_id;
        is_whole.then(|| Lives {
            life: u64_at(bytes, 32),
            before: u64_at(bytes, 40),
            served: u64_at(bytes, 48),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let identity = Identity::random(&SystemSource::new());
        let lives = Lives { life: 3 << 40, before: 5, served: 6 << 50 };
        let mut bytes = lives.encode(&identity);
        assert_eq!(Lives::decode(&identity, &bytes), Some(lives));
        for place in 0..BYTES {
            bytes[place] ^= 0x10;
            assert_eq!(Lives::decode(&identity, &bytes), None, "at {place}");
            bytes[place] ^= 0x10;
        }
        let other = Identity::random(&SystemSource::new());
        assert_eq!(Lives::decode(&other, &bytes), None);
    }
}
