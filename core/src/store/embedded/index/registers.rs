//! Registers, looked for in all parts of the index.

use std::sync::Arc;

use dunlin_protocol::LogId;

use crate::store::{
    ChangeRange, Register, RegisterKey, Registers, StoreError, StoreReply, StoreRequest,
};

use super::super::segment::files::Location;
use super::super::segment::record::LogState;
use super::found::{Found, FoundChanges, FoundRegisters, KeyRange};
use super::layout::RegisterAt;
use super::run::Run;
use super::{Index, Live};

/// What one part has of a range, and whether that is all of it.
type Taken<T> = (Vec<T>, bool);

/// The parts of the index that a question about one log concerns, all at one moment.
struct Snapshot<T> {
    state: LogState,
    /// Of each part, the newest first.
    parts: Vec<Taken<T>>,
}

impl Live {
    /// The state of a log, if it is in memory.
    fn state(&self, log: &LogId) -> Option<LogState> {
        self.in_memory().find_map(|part| part.state(log))
    }

    /// A register, if all of it is in memory.
    fn register(&self, name: &(LogId, RegisterKey)) -> Option<Register> {
        let state = self.state(&name.0)?;
        let found = self.in_memory().find_map(|part| part.register(name))?;
        let key = name.1.clone();
        if !found.is_known(&state.floors) {
            return Some(Register { key, version: 0, value: None });
        }
        let value = if found.gone { None } else { Some(found.value?.to_bytes()) };
        Some(Register { key, version: found.version, value })
    }
}

impl Index {
    /// A register, whatever the floors of its log are; `None` if it was never set.
    pub(in super::super) fn register(
        &self,
        log: LogId,
        key: &RegisterKey,
    ) -> Result<Option<Found>, StoreError> {
        let name = (log, key.clone());
        let live = self.live.read();
        if let Some(newest) = live.in_memory().find_map(|part| part.register(&name)) {
            return Ok(Some(newest));
        }
        if live.runs.is_empty() {
            return Ok(None);
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        let mut found = None;
        self.ask_runs(&runs, self.hash_key.of_register(log, key), |run| {
            found = run.register(log, key)?.map(|register| found_in_run(register).1);
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// Where the index files say that a register was set last: what the segments in memory say is newer.
    pub(in super::super) fn register_in_files(
        &self,
        log: LogId,
        key: &RegisterKey,
    ) -> Result<Option<Location>, StoreError> {
        let mut found = None;
        self.ask_runs(&self.runs(), self.hash_key.of_register(log, key), |run| {
            found = run.register(log, key)?.map(|register| register.place);
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// The state of a log and the places of its registers, at most so many of a file, as the index
    /// files know them.
    pub(in super::super) fn log_in_files(
        &self,
        log: LogId,
        registers_max: usize,
    ) -> Result<(LogState, Vec<Location>), StoreError> {
        let range = KeyRange { log, prefix: &[], after: None };
        let (mut state, mut places) = (None, Vec::new());
        self.ask_runs(&self.runs(), self.hash_key.of_log(log), |run| {
            let Some(span) = run.log(log)? else { return Ok(false) };
            state.get_or_insert(span.state);
            if registers_max > 0 {
                let (registers, _) = run.registers(&range, registers_max)?;
                places.extend(registers.into_iter().map(|register| register.place));
            }
            Ok(registers_max == 0)
        })?;
        Ok((state.unwrap_or_default(), places))
    }

    /// The answer to a question that needs no file: heads, small registers, and that nothing has
    /// changed.
    pub(in super::super) fn answer_in_memory(&self, request: &StoreRequest) -> Option<StoreReply> {
        match request {
            StoreRequest::Heads(logs) => {
                let heads = self.heads_in_memory(logs)?;
                Some(StoreReply::Heads(heads.into_iter().map(Ok).collect()))
            }
            StoreRequest::Register(questions) => {
                let live = self.live.read();
                let registers = questions.iter().map(|name| live.register(name).map(Ok));
                registers.collect::<Option<_>>().map(StoreReply::Register)
            }
            StoreRequest::Changes(ranges) => {
                let live = self.live.read();
                let nothing_new = |range: &ChangeRange| {
                    let version = live.state(&range.log)?.version;
                    let nothing = Registers { version, ..Registers::default() };
                    (version == range.since).then_some(Ok(nothing))
                };
                let answers = ranges.iter().map(nothing_new);
                answers.collect::<Option<_>>().map(StoreReply::Registers)
            }
            StoreRequest::Write(_)
            | StoreRequest::Ranges(_)
            | StoreRequest::Changed { .. }
            | StoreRequest::Keys(_)
            | StoreRequest::Registers(_)
            | StoreRequest::Delete(_)
            | StoreRequest::Feed(_)
            | StoreRequest::Consumer(_)
            | StoreRequest::Consumers
            | StoreRequest::Logs { .. } => None,
        }
    }

    /// The first registers of a range, at most so many.
    pub(in super::super) fn registers(
        &self,
        range: &KeyRange<'_>,
        registers_max: usize,
    ) -> Result<FoundRegisters, StoreError> {
        self.registers_that(range, registers_max, |found| !found.gone)
    }

    /// The register of a log, or its removal, whose record is at a place; `None` if none is there any
    /// more. It goes through all registers of the log.
    pub(in super::super) fn register_at(
        &self,
        log: LogId,
        place: Location,
    ) -> Result<Option<(RegisterKey, Found)>, StoreError> {
        let range = KeyRange { log, prefix: &[], after: None };
        let found = self.registers_that(&range, usize::MAX - 1, |_| true)?;
        Ok(found.registers.into_iter().find(|(_, found)| found.place == place))
    }

    /// The first registers of a range that are asked for, at most so many.
    fn registers_that(
        &self,
        range: &KeyRange<'_>,
        registers_max: usize,
        are_asked_for: impl Fn(&Found) -> bool,
    ) -> Result<FoundRegisters, StoreError> {
        // One more, to know whether there is one; and parts may have some that were removed.
        let mut of_part_max = registers_max.saturating_add(1);
        loop {
            let Snapshot { state, parts } = self.snapshot(
                range.log,
                |part| part.registers(range, of_part_max),
                |run| {
                    let (registers, all) = run.registers(range, of_part_max)?;
                    Ok((registers.into_iter().map(found_in_run).collect(), all))
                },
                0,
            )?;
            let horizon = parts.iter().filter(|(_, all)| !all);
            let horizon = horizon.filter_map(|(taken, _)| Some(taken.last()?.0.clone())).min();
            let mut registers = merged(parts);
            // Behind the horizon, a part has more than was taken of it.
            let is_within = |key: &RegisterKey| horizon.as_ref().is_none_or(|end| key <= end);
            let known = |found: &Found| are_asked_for(found) && found.is_known(&state.floors);
            registers.retain(|(key, found)| is_within(key) && known(found));
            if registers.len() > registers_max || horizon.is_none() {
                let more = registers.len() > registers_max;
                registers.truncate(registers_max);
                return Ok(FoundRegisters { state, registers, more });
            }
            of_part_max = of_part_max.saturating_mul(2);
        }
    }

    /// The first changes of a log after a version, at most so many, but all of a version.
    pub(in super::super) fn changes(
        &self,
        log: LogId,
        since: u64,
        changes_max: usize,
    ) -> Result<FoundChanges, StoreError> {
        let Snapshot { state, parts } = self.snapshot(
            log,
            |part| part.changes(&log, since, changes_max),
            |run| {
                let (changes, all) = run.changes(log, since, changes_max)?;
                let changes = changes.into_iter().map(|change| (change.when.1, change.place));
                Ok((changes.collect(), all))
            },
            since,
        )?;
        let mut found = FoundChanges { state, changes: Vec::new(), more: false };
        // Versions go upwards from part to part.
        for (changes, all) in parts.into_iter().rev() {
            if found.more {
                break;
            }
            found.changes.extend(changes);
            found.more = !all;
        }
        if found.more {
            found.leave_out_last_version();
        }
        Ok(found)
    }

    /// Asks all parts that know the log, as it was at one moment, but for those that have nothing
    /// behind `since`.
    fn snapshot<T>(
        &self,
        log: LogId,
        of_part: impl Fn(&super::SegmentIndex) -> Taken<T>,
        of_run: impl Fn(&Run) -> std::io::Result<Taken<T>>,
        since: u64,
    ) -> Result<Snapshot<T>, StoreError> {
        let live = self.live.read();
        let mut newest = None;
        let mut parts = Vec::new();
        let mut goes_on = true;
        for part in live.in_memory() {
            let Some(state) = part.state(&log) else { continue };
            newest.get_or_insert(state);
            goes_on = state.version > since;
            if !goes_on {
                break;
            }
            parts.push(of_part(part));
        }
        let runs = Arc::clone(&live.runs);
        drop(live);
        if goes_on {
            self.ask_runs(&runs, self.hash_key.of_log(log), |run| {
                let Some(span) = run.log(log)? else { return Ok(false) };
                newest.get_or_insert(span.state);
                if span.state.version > since {
                    parts.push(of_run(run)?);
                }
                // What no version was given before has no registers either.
                Ok(span.state.version <= since)
            })?;
        }
        Ok(Snapshot { state: newest.unwrap_or_default(), parts })
    }
}

/// What the parts have, each register as the first of them says that has it: the newest part comes first.
/// (Each is sorted, mostly there is one, and to sort what is sorted in parts is to merge it.)
fn merged(parts: Vec<Taken<(RegisterKey, Found)>>) -> Vec<(RegisterKey, Found)> {
    let mut parts = parts.into_iter().map(|(taken, _)| taken);
    let mut merged = parts.next().unwrap_or_default();
    let newest = merged.len();
    merged.extend(parts.flatten());
    if merged.len() > newest {
        merged.sort_by(|(one, _), (other, _)| one.cmp(other));
        merged.dedup_by(|(later, _), (first, _)| later == first);
    }
    merged
}

impl FoundChanges {
    /// Some of the last version may be missing.
    fn leave_out_last_version(&mut self) {
        let Some(&(last, _)) = self.changes.last() else { return };
        self.changes.retain(|(version, _)| *version < last);
    }
}

fn found_in_run(register: RegisterAt) -> (RegisterKey, Found) {
    let RegisterAt { name: (_, key), version, place, gone } = register;
    (key, Found { version, place, gone, value: None })
}
