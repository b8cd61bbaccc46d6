//! Looking through files: what of them is alive?

use std::io;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::store::StoreError;

use super::super::Shared;
use super::super::segment::files::Location;
use super::super::segment::record::{LogState, RecordHead, RecordKind};
use super::super::segment::{SEGMENT_HEAD_BYTES, Span};
use super::chunk::ChunkHead;
use super::guide::{self, GUIDE_BLOCK_BYTES};
use super::life::Died;
use super::pace::Pace;
use super::pieces::{Bounds, Piece, Pieces, damaged, records_of};

/// Logs whose state is kept in mind while files are looked through. Most records of a segment belong to
/// a part of the logs.
const STATES_MAX: usize = 64 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The chunks that a cleaned file would have.
    pub chunks: Vec<ChunkHead>,
    /// What is dead, by segment.
    pub dead: Vec<Died>,
}

impl Survey {
    /// The size of a file with what is alive.
    pub(super) fn cleaned_bytes(&self) -> u64 {
        let chunks: u64 = self.chunks.iter().map(ChunkHead::bytes).sum();
        let blocks = guide::blocks(self.chunks.len() as u64);
        let guide = blocks * (GUIDE_BLOCK_BYTES as u64 + 8);
        2 * SEGMENT_HEAD_BYTES as u64 + chunks + guide
    }

    /// Whether there is anything to leave out.
    pub(super) fn has_dead(&self) -> bool {
        self.dead.iter().any(|died| died.bytes > 0)
    }
}

/// Looks through the files of a row.
pub(super) struct Surveyor<'a> {
    shared: &'a Shared,
    pace: &'a Pace<'a>,
    states: HashMap<LogId, LogState, RandomState>,
    survey: Survey,
}

impl<'a> Surveyor<'a> {
    pub(super) fn new(shared: &'a Shared, pace: &'a Pace<'a>) -> Surveyor<'a> {
        Surveyor { shared, pace, states: HashMap::default(), survey: Survey::default() }
    }

    /// Looks through the next file, which ends before a batch. Fails with the kind `InvalidData` if not
    /// all of it is whole: a damaged file stays as it is, since somebody may still want to save from
    /// it what can be saved.
    pub(super) fn file(&mut self, span: Span, batches: std::ops::Range<u64>) -> io::Result<()> {
        let file = self.shared.segments.open(span.first)?;
        let is_plain = matches!(file, super::super::segment::files::SegmentFile::Plain(_));
        let offset = if is_plain { SEGMENT_HEAD_BYTES as u32 } else { 0 };
        let begin = Location { segment: span.first, offset };
        let bounds = Bounds { end: None, next_first: Some(batches.end) };
        let identity = &self.shared.identity;
        let Some(mut pieces) = Pieces::from(identity, file, begin, bounds)? else { return Ok(()) };
        let mut expected = batches.start;
        while let Some(piece) = pieces.next()? {
            self.pace.spend(piece.bytes)?;
            let batch = piece.batch.ok_or_else(damaged)?;
            if is_plain && batch != expected {
                return Err(damaged());
            }
            expected = batch + 1;
            self.piece(&piece, batch, pieces.records(&piece)?)?;
        }
        if is_plain && expected != batches.end { Err(damaged()) } else { Ok(()) }
    }

    pub(super) fn finish(self) -> Survey {
        self.survey
    }

    fn piece(&mut self, piece: &Piece, batch: u64, records: &[u8]) -> io::Result<()> {
        let mut kept: Option<ChunkHead> = None;
        let identity = &self.shared.identity;
        for record in records_of(identity, piece.place, records) {
            let (place, head, _) = record?;
            let bytes = head.record_bytes() as u32;
            if self.is_alive(place, &head)? {
                let chunk =
                    kept.get_or_insert(ChunkHead { place, batch, payload_bytes: 0, records: 0 });
                chunk.payload_bytes += bytes;
                chunk.records += 1;
            } else {
                self.survey.chunks.extend(kept.take());
                self.died(place, u64::from(bytes));
            }
        }
        self.survey.chunks.extend(kept);
        Ok(())
    }

    fn died(&mut self, place: Location, bytes: u64) {
        match self.survey.dead.last_mut() {
            Some(last) if last.segment == place.segment => last.bytes += bytes,
            _ => self.survey.dead.push(Died::record(place, bytes)),
        }
    }

    fn is_alive(&mut self, place: Location, head: &RecordHead) -> io::Result<bool> {
        let state = self.state(head.log)?;
        // A log is what its newest record says, whatever that is.
        if head.state == state {
            return Ok(true);
        }
        Ok(match head.kind {
            RecordKind::Entry => head.state.seq >= state.floors.entries_from,
            RecordKind::Register => {
                head.state.version >= state.floors.registers_from
                    && self.leads_to(place, head, &state)?
            }
            RecordKind::Floor | RecordKind::Erasure => false,
        })
    }

    /// Whether the index leads to a register's record.
    fn leads_to(&self, place: Location, head: &RecordHead, state: &LogState) -> io::Result<bool> {
        let Some(key) = &head.register else { return Ok(true) };
        let newest = self.shared.index.register(head.log, key).map_err(unanswered)?;
        // A removal leaves the index when it is forgotten and no older value is left anywhere. Otherwise one
        // that the index does not know at all is not for cleaning to judge.
        let is_forgotten = head.gone && head.state.version <= state.floors.marks_from;
        Ok(newest.map_or(!is_forgotten, |newest| newest.place == place))
    }

    fn state(&mut self, log: LogId) -> io::Result<LogState> {
        if let Some(state) = self.states.get(&log) {
            return Ok(*state);
        }
        let state = self.shared.index.state(log).map_err(unanswered)?;
        if self.states.len() >= STATES_MAX {
            self.states.clear();
        }
        self.states.insert(log, state);
        Ok(state)
    }
}

fn unanswered(error: StoreError) -> io::Error {
    io::Error::other(error)
}
