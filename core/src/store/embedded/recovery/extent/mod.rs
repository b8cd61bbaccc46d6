//! The file `EXTENT`: how far the store had come, so that nothing can be missing unnoticed.
//!
//! A log can't tell from itself that it was longer once. So beside it stands a lower bound that stays
//! true: which segments there are, how far each that was sealed reaches, and how far the newest one
//! did at least. It is written when a segment gets its first batch, before that is acknowledged, and
//! by an orderly stop, after which the bound is exact.
//!
//! The file has two slots, written in turn, of which the one with the higher count is true, and a row
//! for each sealed segment behind them. Slots and rows lie within sectors, which a disk writes whole
//! or not at all: so one that is neither whole nor zeros was changed by the medium.

mod content;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::config::OpenError;
use super::super::disk::{Disk, DiskFile};
use super::super::identity::Identity;
use super::super::segment::Span;

pub(in super::super) use content::{Bound, Content, Found, Row};
use content::{ROW_BYTES, ROWS_AT, slot_at};

/// The name of the file.
pub(in super::super) const NAME: &str = "EXTENT";

/// The open file.
#[derive(Debug)]
pub(in super::super) struct Extent {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Arc<dyn DiskFile>,
    identity: Identity,
    content: Content,
    /// Segments that were sealed since it was written.
    unwritten: Vec<(u32, Row)>,
}

/// Saves it. With a new epoch, that stands here first: if saving the identity is interrupted, the
/// next start finishes it.
pub(in super::super) fn save(
    disk: &dyn Disk,
    content: &mut Content,
    identity: &Identity,
    epoch_is_new: bool,
) -> Result<(), OpenError> {
    let path = disk.path().join(NAME);
    let io = OpenError::io("can't write", path);
    content.bound.epoch = identity.epoch;
    if epoch_is_new {
        content.bound.epoch_is_new = true;
        content.save(disk, identity).map_err(&io)?;
        identity.save(disk)?;
        content.bound.epoch_is_new = false;
    }
    content.save(disk, identity).map_err(&io)
}

impl Extent {
    /// Opens the file, which says this.
    pub(in super::super) fn open(
        disk: &dyn Disk,
        identity: Identity,
        content: Content,
    ) -> io::Result<Extent> {
        let file = disk.open(NAME)?;
        let state = State { file, identity, content, unwritten: Vec::new() };
        Ok(Extent { state: Mutex::new(state) })
    }

    /// A segment is sealed. If that can't be written, it is with what comes next.
    pub(in super::super) fn seal(&self, segment: u32, row: Row) {
        let mut state = self.state.lock();
        state.unwritten.push((segment, row));
        if let Err(error) = state.write_rows() {
            tracing::warn!(%error, segment, "can't write that a segment is sealed yet");
        }
    }

    /// It was found while the store is open that something of a sealed segment is lost: this is its row
    /// now, durably.
    pub(in super::super) fn lose(&self, segment: u32, row: Row) -> io::Result<()> {
        let mut state = self.state.lock();
        state.unwritten.push((segment, row));
        state.write_rows()
    }

    /// A cleaned file has its name, durably. Where that can't be written, it is with what comes next; and
    /// a start finds that the file is newer than this.
    pub(in super::super) fn cleaned(&self, span: Span, generation: u32, cleaned_by: u64) {
        let mut state = self.state.lock();
        for segment in span.first..=span.last {
            if let Some(row) = state.newest_row(segment) {
                state.unwritten.push((segment, Row { generation, cleaned_by, ..row }));
            }
        }
        if let Err(error) = state.write_rows() {
            let file = span.name();
            tracing::warn!(%error, file, "can't write that a file was cleaned yet");
        }
    }

    /// What is known of a sealed segment, whether or not that could be written.
    pub(in super::super) fn row(&self, segment: u32) -> Option<Row> {
        self.state.lock().newest_row(segment)
    }

    /// Whether something is lost of a row of segments.
    pub(in super::super) fn has_loss(&self, first: u32, last: u32) -> bool {
        let state = self.state.lock();
        (first..=last).any(|segment| state.content.row(segment).is_some_and(Row::has_loss))
    }

    /// The segments whose files are lost.
    pub(in super::super) fn lost_files(&self) -> Vec<(u32, Row)> {
        let state = self.state.lock();
        let lost = state.content.sealed().filter(|(_, row)| row.file_lost);
        lost.map(|(segment, row)| (segment, *row)).collect()
    }

    /// The newest segment that is sealed; 0 if none is.
    pub(in super::super) fn newest_sealed(&self) -> u32 {
        let state = self.state.lock();
        let unwritten = state.unwritten.iter().map(|(segment, _)| *segment);
        state.content.sealed().map(|(segment, _)| segment).chain(unwritten).max().unwrap_or(0)
    }

    /// Where a sealed segment ends.
    pub(in super::super) fn end_of(&self, segment: u32) -> Option<u64> {
        self.state.lock().content.row(segment).map(|row| row.end)
    }

    /// Whether it is written, durably, that a segment is sealed: only then may its file be cut.
    pub(in super::super) fn has_sealed(&self, segment: u32) -> bool {
        self.state.lock().content.row(segment).is_some()
    }

    /// A segment has got its first batch, which is durable and ends at `end`; its file was made so
    /// long. It was begun in this life of the store.
    pub(in super::super) fn begin(
        &self,
        segment: u32,
        end: u64,
        next_batch: u64,
        file_bytes: u64,
        life: u64,
    ) -> io::Result<()> {
        self.state.lock().write(|bound| {
            let (epoch, epoch_is_new) = (bound.epoch, bound.epoch_is_new);
            *bound = Bound {
                segment,
                end,
                next_batch,
                file_bytes,
                is_exact: false,
                epoch,
                epoch_is_new,
                life,
                written_by: life,
            };
        })
    }

    /// The store ends in order. `active_end` is where the segment that began last ends, if it was
    /// not sealed.
    pub(in super::super) fn stop(
        &self,
        active_end: Option<u64>,
        next_batch: u64,
        life: u64,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        state.write(|bound| {
            bound.written_by = life;
            bound.end = active_end.unwrap_or(bound.end);
            (bound.next_batch, bound.is_exact) = (next_batch, true);
        })
    }
}

impl State {
    /// The row of a segment, written or not.
    fn newest_row(&self, segment: u32) -> Option<Row> {
        let unwritten = self.unwritten.iter().rev().find(|(number, _)| *number == segment);
        unwritten.map(|(_, row)| *row).or_else(|| self.content.row(segment).copied())
    }

    fn write_rows(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        for (segment, row) in &self.unwritten {
            let at = (ROWS_AT + *segment as usize * ROW_BYTES) as u64;
            self.file.write_at(&row.encode(&self.identity, *segment), at)?;
        }
        self.file.sync()?;
        for (segment, row) in std::mem::take(&mut self.unwritten) {
            self.content.set_row(segment, row);
        }
        Ok(())
    }

    /// Writes the bound, durably, after all rows: once a segment is said to have begun, those before
    /// it have theirs.
    fn write(&mut self, change: impl FnOnce(&mut Bound)) -> io::Result<()> {
        self.write_rows()?;
        let (mut bound, count) = (self.content.bound, self.content.count + 1);
        change(&mut bound);
        // If it fails, the next attempt goes to the same slot: the other one stays good.
        let rows = self.content.sealed_rows();
        let slot = bound.encode(self.identity.store_id, count, rows);
        self.file.write_at(&slot, slot_at(count) as u64)?;
        self.file.sync()?;
        (self.content.bound, self.content.count) = (bound, count);
        Ok(())
    }
}
