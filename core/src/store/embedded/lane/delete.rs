//! Deletions: floors, and what is overwritten where it is.

use dunlin_protocol::LogId;

use crate::store::{Deleted, Deletion, RunningCounts, StoreError};

use super::super::read::{HeadRead, read_head, read_head_bytes};
use super::super::segment::erasure::Erasure;
use super::super::segment::record::{Floors, LogState, NewRecord, RecordHead};
use super::{Answers, Lane, unavailable};

/// Entries below a new floor that are looked at for one that is not damaged.
const EXPIRED_LOOKED_AT_MAX: u64 = 64;

impl Lane {
    /// Does what can be done at once, and puts the rest into the frame.
    pub(super) fn plan_deletions(&mut self, deletions: &[Deletion]) {
        for deletion in deletions {
            let planned = self.plan_deletion(deletion);
            self.answer_deletion(planned);
        }
    }

    fn answer_deletion(&mut self, planned: Result<Deleted, StoreError>) {
        let verdict = planned.unwrap_or_else(|error| {
            self.note(error);
            Deleted::Unknown
        });
        let current = self.unanswered.last_mut().expect("the job was just pushed");
        match &mut current.answers {
            Answers::Deleted(verdicts) => verdicts.push(verdict),
            Answers::Written(_) => unreachable!("a job that deletes has answers to deletions"),
        }
    }

    /// Raises the floors of removals.
    pub(super) fn plan_forgetting(&mut self, logs: &[(LogId, u64)]) {
        for &(log, version) in logs {
            let planned = self.forget_marks(log, version);
            self.answer_deletion(planned);
        }
    }

    fn forget_marks(&mut self, log: LogId, version: u64) -> Result<Deleted, StoreError> {
        let mut state = self.state(log)?;
        let marks_from = version.min(state.version);
        if marks_from > state.floors.marks_from {
            state.floors.marks_from = marks_from;
            let record = NewRecord::forgotten(log, state);
            let mark = self.make_room(record.bytes())?;
            self.frame.add_floor(mark, &record, log, state);
        }
        Ok(Deleted::Done { head: state.head() })
    }

    fn plan_deletion(&mut self, deletion: &Deletion) -> Result<Deleted, StoreError> {
        let state = self.state(deletion.log())?;
        let state = match *deletion {
            Deletion::Truncate { log, below } => {
                let below = below.min(state.seq + 1);
                if below <= state.floors.entries_from.max(1) {
                    state
                } else {
                    let expired = self.expired(log, below)?;
                    let state = self.state(log)?;
                    let floors = Floors { entries_from: below, expired, ..state.floors };
                    self.raise(log, LogState { floors, ..state })?
                }
            }
            Deletion::Drop { log } => {
                if is_empty(&state) {
                    state
                } else {
                    self.raise(log, dropped(state))?
                }
            }
            Deletion::Erase { log, seq } => {
                let there = state.floors.entries_from.max(1)..=state.seq;
                if !there.contains(&seq) {
                    return Ok(Deleted::NoSuchEntry { head: state.head() });
                }
                self.erase(log, seq)?;
                state
            }
        };
        Ok(Deleted::Done { head: state.head() })
    }

    /// The counts of the newest entry that expires if those below a sequence do. What is damaged must not
    /// stay for ever because its counts can't be read: then they are those of the newest one below it
    /// that can be.
    fn expired(&mut self, log: LogId, below: u64) -> Result<RunningCounts, StoreError> {
        let state = self.state(log)?;
        if below == state.seq + 1 {
            return Ok(state.meta.into());
        }
        if self.frame.state(&log).is_some() {
            // The entry may be in the frame, and has no place yet.
            self.commit_for_room()?;
        }
        let lowest =
            state.floors.entries_from.max(1).max(below.saturating_sub(EXPIRED_LOOKED_AT_MAX));
        for seq in (lowest..below).rev() {
            let place = self.shared.index.places(log, seq, seq)?.pop().flatten();
            let Some(place) = place else { continue };
            match read_head(&self.shared, place)? {
                HeadRead::Whole(head) if head.log == log && head.state.seq == seq => {
                    return Ok(head.state.meta.into());
                }
                HeadRead::Whole(_) | HeadRead::Damaged | HeadRead::Gone => {}
            }
        }
        Ok(state.floors.expired)
    }

    fn raise(&mut self, log: LogId, state: LogState) -> Result<LogState, StoreError> {
        let record = NewRecord::floor(log, state);
        let mark = self.make_room(record.bytes())?;
        self.frame.add_floor(mark, &record, log, state);
        Ok(state)
    }

    /// Puts an erasure into the frame; after the commit, the entry is overwritten.
    fn erase(&mut self, log: LogId, seq: u64) -> Result<(), StoreError> {
        if self.frame.state(&log).is_some() {
            // The entry may be in the frame, and has no place yet.
            self.commit_for_room()?;
        }
        let place = self.shared.index.places(log, seq, seq)?.pop().flatten();
        let lost = || unavailable("the head of the entry is damaged");
        let target = place.ok_or_else(lost)?;
        let bytes = read_head_bytes(&self.shared, target)?.unwrap_or_default();
        let mark = self.shared.identity.mark(target.segment);
        match RecordHead::decode(mark, &bytes) {
            Some(head) if head.log != log || head.state.seq != seq => return Err(lost()),
            // Also one that was erased: whoever asks again may have been told nothing the first time, and
            // others have to hear of it after that.
            Some(_) => {}
            None => return Err(lost()),
        }
        let erasure = Erasure::of(target, mark, &bytes).ok_or_else(lost)?;
        let state = self.state(log)?;
        let body = erasure.to_body();
        let mark = self.make_room(NewRecord::erasure(log, state, &body).bytes())?;
        self.frame.add_erasure(mark, log, state, erasure, &body);
        Ok(())
    }
}

/// Whether nothing was written since the log was dropped, or ever.
fn is_empty(state: &LogState) -> bool {
    let Floors { entries_from, registers_from, .. } = state.floors;
    let no_entries = state.seq == 0 || entries_from == state.seq + 1;
    // The version that a log is dropped with sets nothing.
    let no_registers = state.version == 0 || registers_from == state.version;
    no_entries && no_registers
}

/// A log without anything. It takes a version, so that whoever asks for changes hears of it.
fn dropped(state: LogState) -> LogState {
    let version = state.version + 1;
    let entries_from = if state.seq == 0 { 0 } else { state.seq + 1 };
    // Without an entry the numbers of the newest one are zeros.
    let expired = state.meta.into();
    let floors = Floors { entries_from, registers_from: version, marks_from: version, expired };
    LogState { version, floors, ..state }
}
