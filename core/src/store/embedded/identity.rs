//! The file `STORE`: who this store is.

use crate::random::Random;

use super::config::OpenError;
use super::disk::{Disk, read_all, write_whole};
use super::hash::HashKey;
use super::segment::bytes::{u32_at, u64_at};
use super::segment::frame::Mark;

/// The name of the file.
pub(super) const NAME: &str = "STORE";
/// The format of all files of a store. A change that an older version can't read makes it larger.
pub(super) const FORMAT: u32 = 2;

const MAGIC: &[u8; 8] = b"DUNLINST";
const BYTES: usize = 64;

/// Who a store is. Backups keep all of it but the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub store_id: [u8; 16],
    pub epoch: u64,
    pub hash_key: HashKey,
}

impl Identity {
    /// A new store.
    pub(super) fn random(random: &dyn Random) -> Identity {
        let mut store_id = [0; 16];
        random.fill(&mut store_id);
        let hash_key = HashKey([random.next_u64(), random.next_u64()]);
        Identity { store_id, epoch: 0, hash_key }.with_new_epoch(random)
    }

    /// The same store after its history changed: an epoch that it never had.
    pub(super) fn with_new_epoch(self, random: &dyn Random) -> Identity {
        let epoch = loop {
            let epoch = random.next_u64();
            if epoch != 0 && epoch != self.epoch {
                break epoch;
            }
        };
        Identity { epoch, ..self }
    }

    /// The mark of a segment.
    pub(super) fn mark(&self, segment: u32) -> Mark {
        Mark(self.hash_key.of_segment(segment))
    }

    /// Writes it, durably.
    pub(super) fn save(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        let saved = write_whole(disk, NAME, &self.encode());
        saved.map_err(OpenError::io("can't write", disk.path().join(NAME)))
    }

    /// Reads it from the disk.
    pub(super) fn load(disk: &dyn Disk) -> Result<Identity, OpenError> {
        let content = disk.open(NAME).and_then(|file| read_all(&*file));
        let content = content.map_err(OpenError::io("can't read", disk.path().join(NAME)))?;
        Identity::decode(&content)
    }

    pub(super) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.hash_key.0[0].to_le_bytes());
        bytes[48..56].copy_from_slice(&self.hash_key.0[1].to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Identity, OpenError> {
        let damaged = |what| OpenError::Damaged { name: NAME.into(), what };
        if bytes.len() != BYTES || &bytes[..8] != MAGIC {
            return Err(damaged("it is no file of this kind"));
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(damaged("its checksum is wrong"));
        }
        let found = u32_at(bytes, 8);
        if found != FORMAT {
            return Err(OpenError::Version { name: NAME.into(), found, known: FORMAT });
        }
        Ok(Identity {
            store_id: bytes[16..32].try_into().expect("a slice of 16 bytes"),
            epoch: u64_at(bytes, 32),
            hash_key: HashKey([u64_at(bytes, 40), u64_at(bytes, 48)]),
        })
    }
}
