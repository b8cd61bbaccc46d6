//! What the file says, and its bytes. docs/storage-format.md draws them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::super::super::cleaning::file::CleanedFile;
use super::super::super::disk::{Disk, DiskFile, read_all, write_whole};
use super::super::super::identity::{FORMAT, Identity};
use super::super::super::segment::bytes::{u32_at, u64_at};
use super::super::scan::Scan;
use super::NAME;

/// The distance of the slots: each has a block of its own.
const SLOT_BYTES: usize = 4096;
/// The part of a slot that is used, which is no more than a sector.
const SLOT_USED_BYTES: usize = 512;
pub(super) const ROWS_AT: usize = 2 * SLOT_BYTES;
pub(super) const ROW_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"DUNLINEX";

// No row lies in two sectors.
const _: () = assert!(SLOT_USED_BYTES.is_multiple_of(ROW_BYTES) && ROWS_AT.is_multiple_of(512));

const EXACT: u32 = 1;
const NEW_EPOCH: u32 = 2;
const LOSS_TOLD: u32 = 1;
const FILE_LOST: u32 = 2;
const FORGOTTEN: u32 = 4;

/// How far the log had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super::super) struct Bound {
    /// The newest segment that had a durable batch; 0 if none had.
    pub segment: u32,
    /// Up to where that segment was durable, at least.
    pub end: u64,
    /// The batch after the last one that was durable for certain.
    pub next_batch: u64,
    /// How long its file was made. It is cut only after it has a row.
    pub file_bytes: u64,
    /// The segment ends exactly there: the store was stopped in order, or was read back after a crash.
    pub is_exact: bool,
    /// The epoch of the store.
    pub epoch: u64,
    /// `STORE` may still have the epoch before this one: a change of it was interrupted.
    pub epoch_is_new: bool,
    /// The life of the store in which the segment was begun: see [`Row::life`].
    pub life: u64,
    /// The life of the store in which this was written; 0 if it was written for a copy.
    pub written_by: u64,
}

/// A segment that was sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super::super) struct Row {
    /// The batch that it begins with.
    pub first_batch: u64,
    /// The batch that the next segment begins with.
    pub next_batch: u64,
    /// Where its last frame begins; 0 if it has none. If something of it is lost, where the last record
    /// begins that can be told: so much of it must stay.
    pub last_frame: u64,
    /// Where that ends.
    pub end: u64,
    /// Something of it is lost, and was told.
    pub loss_told: bool,
    /// The whole file is lost, which was told.
    pub file_lost: bool,
    /// No index file knows any more what is lost, so that its sequences may be given again: there is
    /// a new epoch for that.
    pub forgotten: bool,
    /// The life of the store in which it was begun: a random number of the process that had it open. An
    /// older copy of the store that goes on writing has other segments under the same numbers, and they
    /// have another life. 0 if it is not known.
    pub life: u64,
    /// How often its file was cleaned, at least: one that was cleaned less often is an earlier state.
    pub generation: u32,
    /// The life of the store in which it was cleaned that often.
    pub cleaned_by: u64,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super::super) struct Content {
    pub bound: Bound,
    /// The rows by the number of their segment, from 0; `None` where there is none.
    rows: Vec<Option<Row>>,
    pub(super) count: u64,
    /// A slot or a row was changed by the medium.
    pub damaged: bool,
}

/// What is known of the file when a store opens.
#[derive(Debug)]
pub(in super::super::super) enum Found {
    /// It is not there.
    Missing,
    /// It is no file of this kind, or of another store, or neither slot is whole.
    Unreadable,
    /// It says this.
    Read(Content),
}

impl Bound {
    /// `rows` is how many rows there are: without it, nobody would notice that the file ends before
    /// them.
    pub(super) fn encode(
        &self,
        store_id: [u8; 16],
        count: u64,
        rows: u32,
    ) -> [u8; SLOT_USED_BYTES] {
        let flags = [(self.is_exact, EXACT), (self.epoch_is_new, NEW_EPOCH)];
        let mut bytes = [0; SLOT_USED_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&sum(&flags).to_le_bytes());
        bytes[16..32].copy_from_slice(&store_id);
        bytes[32..40].copy_from_slice(&count.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.segment.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.end.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.next_batch.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[80..84].copy_from_slice(&rows.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.life.to_le_bytes());
        bytes[96..104].copy_from_slice(&self.written_by.to_le_bytes());
        let at = SLOT_USED_BYTES - 4;
        let checksum = crc32c::crc32c(&bytes[..at]);
        bytes[at..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a slot with its count and the number of rows; `None` if it is not whole, or of another
    /// store.
    fn decode(store_id: [u8; 16], bytes: &[u8]) -> Option<(Bound, u64, u32)> {
        let at = SLOT_USED_BYTES - 4;
        let valid = bytes.len() == SLOT_USED_BYTES
            && &bytes[..8] == MAGIC
            && u32_at(bytes, at) == crc32c::crc32c(&bytes[..at])
            && u32_at(bytes, 8) == FORMAT
            && bytes[16..32] == store_id;
        let flags = valid.then(|| u32_at(bytes, 12))?;
        let bound = Bound {
            segment: u32_at(bytes, 48),
            end: u64_at(bytes, 56),
            next_batch: u64_at(bytes, 64),
            file_bytes: u64_at(bytes, 72),
            is_exact: flags & EXACT != 0,
            epoch: u64_at(bytes, 40),
            epoch_is_new: flags & NEW_EPOCH != 0,
            life: u64_at(bytes, 88),
            written_by: u64_at(bytes, 96),
        };
        Some((bound, u64_at(bytes, 32), u32_at(bytes, 80)))
    }
}

fn sum(flags: &[(bool, u32)]) -> u32 {
    flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum()
}

impl Row {
    /// Of a segment that was read.
    pub(in super::super::super) fn of(first_batch: u64, scan: &Scan, loss_told: bool) -> Row {
        let last = if loss_told { scan.last_record } else { scan.last_frame };
        Row {
            first_batch,
            next_batch: scan.index.next_batch,
            last_frame: last.unwrap_or(0) as u64,
            loss_told,
            end: scan.index.end,
            ..Row::default()
        }
    }

    /// Of any segment of a cleaned file.
    pub(in super::super::super) fn of_cleaned(cleaned: &CleanedFile) -> Row {
        Row {
            first_batch: cleaned.head.first_batch,
            next_batch: cleaned.cleaned().next_batch,
            generation: cleaned.cleaned().generation,
            cleaned_by: cleaned.head.life,
            ..Row::default()
        }
    }

    /// Something of it is lost.
    pub(in super::super::super) fn has_loss(&self) -> bool {
        self.loss_told || self.file_lost
    }

    pub(super) fn encode(&self, identity: &Identity, segment: u32) -> [u8; ROW_BYTES] {
        let flags =
            [(self.loss_told, LOSS_TOLD), (self.file_lost, FILE_LOST), (self.forgotten, FORGOTTEN)];
        let mut bytes = [0; ROW_BYTES];
        bytes[4..8].copy_from_slice(&sum(&flags).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_batch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.next_batch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last_frame.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.end.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.life.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.generation.to_le_bytes());
        bytes[52..60].copy_from_slice(&self.cleaned_by.to_le_bytes());
        let checksum = identity.mark(segment).checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(identity: &Identity, segment: u32, bytes: &[u8]) -> Option<Row> {
        let whole = u32_at(bytes, 0) == identity.mark(segment).checksum(&bytes[4..]);
        let flags = whole.then(|| u32_at(bytes, 4))?;
        Some(Row {
            first_batch: u64_at(bytes, 8),
            next_batch: u64_at(bytes, 16),
            last_frame: u64_at(bytes, 24),
            end: u64_at(bytes, 32),
            loss_told: flags & LOSS_TOLD != 0,
            file_lost: flags & FILE_LOST != 0,
            forgotten: flags & FORGOTTEN != 0,
            life: u64_at(bytes, 40),
            generation: u32_at(bytes, 48),
            cleaned_by: u64_at(bytes, 52),
        })
    }
}

impl Content {
    /// Of a store in which nothing was written.
    pub(in super::super::super) fn new(epoch: u64) -> Content {
        let bound = Bound {
            segment: 0,
            end: 0,
            next_batch: 1,
            file_bytes: 0,
            is_exact: false,
            epoch,
            epoch_is_new: false,
            life: 0,
            written_by: 0,
        };
        Content { bound, rows: Vec::new(), count: 0, damaged: false }
    }

    /// Of a store that has these segments and no others.
    pub(in super::super::super) fn of_segments(epoch: u64, segments: &[(u32, Row)]) -> Content {
        let mut content = Content::new(epoch);
        for (segment, row) in segments {
            content.set_row(*segment, *row);
            let Row { end, next_batch, life, .. } = *row;
            let bound = &mut content.bound;
            (bound.segment, bound.end, bound.next_batch) = (*segment, end, next_batch);
            bound.life = life;
            bound.is_exact = true;
        }
        content
    }

    /// Reads the file, if it could be opened.
    pub(in super::super::super) fn load(
        file: io::Result<Arc<dyn DiskFile>>,
        identity: &Identity,
    ) -> io::Result<Found> {
        match file.and_then(|file| read_all(&*file)) {
            Ok(bytes) => Ok(Content::decode(identity, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }

    pub(in super::super::super) fn decode(identity: &Identity, bytes: &[u8]) -> Found {
        let slot = |at: usize| bytes.get(at..at + SLOT_USED_BYTES).unwrap_or(&[]);
        let slots = [slot(0), slot(SLOT_BYTES)];
        let bounds = slots.map(|slot| Bound::decode(identity.store_id, slot));
        let newest = bounds.iter().flatten().max_by_key(|(_, count, _)| *count);
        let Some(&(bound, count, rows_min)) = newest else { return Found::Unreadable };
        let mut content = Content { bound, rows: Vec::new(), count, damaged: false };
        for (slot, bound) in slots.into_iter().zip(bounds) {
            content.damaged |= bound.is_none() && (slot.is_empty() || !is_zero(slot));
        }
        let rows = bytes.get(ROWS_AT..).unwrap_or(&[]);
        for (segment, row) in (0..).zip(rows.chunks(ROW_BYTES)) {
            let decoded = <&[u8; ROW_BYTES]>::try_from(row)
                .ok()
                .and_then(|row| Row::decode(identity, segment, row));
            content.damaged |= decoded.is_none() && !is_zero(row);
            content.rows.push(decoded);
        }
        // A row is written before the slot that counts it, and none is ever taken away.
        content.damaged |= content.sealed_rows() < rows_min;
        Found::Read(content)
    }

    pub(super) fn encode(&self, identity: &Identity) -> Vec<u8> {
        let mut bytes = vec![0; ROWS_AT];
        let at = slot_at(self.count);
        let slot = self.bound.encode(identity.store_id, self.count, self.sealed_rows());
        bytes[at..at + SLOT_USED_BYTES].copy_from_slice(&slot);
        for (segment, row) in (0..).zip(&self.rows) {
            let row = row.map_or([0; ROW_BYTES], |row| row.encode(identity, segment));
            bytes.extend_from_slice(&row);
        }
        bytes
    }

    /// What it says of a sealed segment.
    pub(in super::super::super) fn row(&self, segment: u32) -> Option<&Row> {
        self.rows.get(segment as usize)?.as_ref()
    }

    /// All sealed segments, the oldest first.
    pub(in super::super::super) fn sealed(&self) -> impl Iterator<Item = (u32, &Row)> {
        let rows = (0..).zip(&self.rows);
        rows.filter_map(|(segment, row)| Some((segment, row.as_ref()?)))
    }

    pub(super) fn sealed_rows(&self) -> u32 {
        self.sealed().count() as u32
    }

    /// The life in which a segment was begun.
    pub(in super::super::super) fn life_of(&self, segment: u32) -> u64 {
        let active = (segment == self.bound.segment).then_some(self.bound.life);
        self.row(segment).map(|row| row.life).or(active).unwrap_or(0)
    }

    /// Takes the lives that headers say: of segments of which nothing else does, or of all, if this is not
    /// what it was.
    pub(in super::super::super) fn know_lives(&mut self, lives: &BTreeMap<u32, u64>, all: bool) {
        for (&segment, &life) in lives {
            let row = self.rows.get_mut(segment as usize).and_then(Option::as_mut);
            let row = row.map(|row| &mut row.life);
            let bound = (segment == self.bound.segment).then_some(&mut self.bound.life);
            for known in row.into_iter().chain(bound).filter(|known| all || **known == 0) {
                *known = life;
            }
        }
    }

    /// Segments of which it is not known in which life they were begun, since it ended before that was
    /// written, belong to this one from now on.
    pub(in super::super::super) fn adopt(&mut self, life: u64, is_unread: impl Fn(u32) -> bool) {
        // A file that is lost or can't be read may come back, and says itself when it was begun.
        let rows =
            (0..).zip(&mut self.rows).filter_map(|(number, row)| Some((number, row.as_mut()?)));
        let rows = rows.filter(|(number, row)| !row.file_lost && !is_unread(*number));
        let rows = rows.map(|(_, row)| &mut row.life);
        let bound = (!is_unread(self.bound.segment)).then_some(&mut self.bound.life);
        let unknown = rows.chain(bound).filter(|known| **known == 0);
        unknown.for_each(|known| *known = life);
    }

    /// A row that does not say in which life its segment was begun leaves that as it was known.
    pub(in super::super::super) fn set_row(&mut self, segment: u32, mut row: Row) {
        if row.life == 0 {
            row.life = self.life_of(segment);
        }
        let at = segment as usize;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, None);
        }
        self.rows[at] = Some(row);
    }

    /// Puts it in the place of the file, whole or not at all.
    pub(in super::super::super) fn save(
        &mut self,
        disk: &dyn Disk,
        identity: &Identity,
    ) -> io::Result<()> {
        self.count += 1;
        self.damaged = false;
        write_whole(disk, NAME, &self.encode(identity))
    }
}

/// Where the slot of this count is.
pub(super) fn slot_at(count: u64) -> usize {
    if count.is_multiple_of(2) { 0 } else { SLOT_BYTES }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    fn identity() -> Identity {
        Identity::random(&SystemSource::new())
    }

    fn row(number: u64) -> Row {
        let (first_batch, next_batch) = (number * 10, number * 10 + 10);
        let (last_frame, end) = (4096 + number, 5000 + number);
        let (loss_told, forgotten) = (number == 2, number == 4);
        let (file_lost, life, generation) = (number == 4, number << 40, number as u32 / 2);
        let row = Row { first_batch, next_batch, last_frame, end, ..Row::default() };
        let cleaned_by = number << 50;
        Row { loss_told, file_lost, forgotten, life, generation, cleaned_by, ..row }
    }

    fn content(identity: &Identity) -> Content {
        let mut content = Content::new(identity.epoch);
        for segment in [1, 2, 4] {
            content.set_row(segment, row(u64::from(segment)));
        }
        let (segment, end, next_batch, file_bytes) = (5, 4200, 51, 65536);
        let (life, written_by) = (5 << 40, 6 << 40);
        content.bound =
            Bound { segment, end, next_batch, file_bytes, life, written_by, ..content.bound };
        content.count = 7;
        content
    }

    fn read(identity: &Identity, bytes: &[u8]) -> Content {
        match Content::decode(identity, bytes) {
            Found::Read(content) => content,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_comes_back() {
        let identity = identity();
        let written = content(&identity);
        let back = read(&identity, &written.encode(&identity));
        assert_eq!((back.bound, back.count, back.damaged), (written.bound, 7, false));
        let rows: Vec<_> = back.sealed().map(|(segment, row)| (segment, *row)).collect();
        assert_eq!(rows, [(1, row(1)), (2, row(2)), (4, row(4))]);
        assert_eq!((back.row(3), back.row(9)), (None, None));
        assert!(matches!(Content::decode(&self::identity(), &[]), Found::Unreadable));
        let foreign = written.encode(&self::identity());
        assert!(matches!(Content::decode(&identity, &foreign), Found::Unreadable));
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let identity = identity();
        let mut bytes = content(&identity).encode(&identity);
        let used = (0..SLOT_USED_BYTES).chain(SLOT_BYTES..SLOT_BYTES + SLOT_USED_BYTES);
        for place in used.chain(ROWS_AT..bytes.len()) {
            bytes[place] ^= 0x10;
            let found = Content::decode(&identity, &bytes);
            let seen = match found {
                Found::Read(content) => content.damaged,
                Found::Missing | Found::Unreadable => true,
            };
            assert!(seen, "at {place}");
            bytes[place] ^= 0x10;
        }
        let cut = read_cut(&identity, &bytes);
        assert!(cut.iter().all(|seen| *seen));
    }

    /// Whether each file that is cut within its slots, between them and its rows, or within the rows
    /// is noticed.
    fn read_cut(identity: &Identity, bytes: &[u8]) -> Vec<bool> {
        let slots = [0, 1, 511, 512, SLOT_BYTES, SLOT_BYTES + 511, SLOT_BYTES + 512];
        let rows = ROWS_AT..bytes.len();
        let lengths: Vec<usize> = slots.into_iter().chain(rows).collect();
        let seen =
            lengths.into_iter().map(|length| match Content::decode(identity, &bytes[..length]) {
                Found::Read(content) => content.damaged,
                Found::Missing | Found::Unreadable => true,
            });
        seen.collect()
    }

    #[test]
    fn of_two_slots_the_newer_one_is_true() {
        let identity = identity();
        let older = content(&identity);
        let mut bytes = older.encode(&identity);
        let newer = Bound { segment: 6, ..older.bound };
        let slot = newer.encode(identity.store_id, 8, 3);
        bytes[..SLOT_USED_BYTES].copy_from_slice(&slot);
        assert_eq!(read(&identity, &bytes).bound, newer);
        // One that is half written is none: but a disk does not do that to a sector.
        bytes[100] ^= 1;
        let back = read(&identity, &bytes);
        assert_eq!((back.bound, back.damaged), (older.bound, true));
    }
}
