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

/// The most registers of a question that are looked for in the filters of all files: whoever asks waits for
/// it, and 64 take some microseconds.
const NAMES_SOUGHT_MAX: usize = 64;

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

    /// Whether no index file has anything with this hash, as far as their filters are in memory.
    fn is_in_no_file(&self, hash: u64) -> bool {
        let of_run = |run: &Arc<Run>| run.filter().is_some_and(|filter| !filter.may_hold(hash));
        self.runs.iter().all(of_run)
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

    /// A register that was never set, if memory alone tells. (Filters tell it of nearly all that are new:
    /// the name of somebody who comes for the first time, say.)
    fn absent(&self, live: &Live, (log, key): &(LogId, RegisterKey)) -> Option<Register> {
        let is_in_memory = live.in_memory().any(|part| part.registers.get(log, key).is_some());
        let is_absent = !is_in_memory && live.is_in_no_file(self.hash_key.of_register(*log, key));
        is_absent.then(|| Register { key: key.clone(), version: 0, value: None })
    }

    /// The first registers of a range, at most so many, if all that is known of their log is in memory.
    pub(in super::super) fn registers_in_memory(
        &self,
        range: &KeyRange<'_>,
        registers_max: usize,
    ) -> Option<FoundRegisters> {
        let of_part = |of_part_max| {
            self.snapshot_in_memory(range.log, |part| part.registers(range, of_part_max)).ok_or(())
        };
        found_within(registers_max, |found| !found.gone, of_part).ok()
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
                let has_few = questions.len() <= NAMES_SOUGHT_MAX;
                let of_name = |name| match live.register(name) {
                    None if has_few => self.absent(&live, name),
                    known_or_not => known_or_not,
                };
                let registers = questions.iter().map(|name| of_name(name).map(Ok));
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
        let of_parts = |of_part_max| {
            self.snapshot(
                range.log,
                |part| part.registers(range, of_part_max),
                |run| {
                    let (registers, all) = run.registers(range, of_part_max)?;
                    Ok((registers.into_iter().map(found_in_run).collect(), all))
                },
                0,
            )
        };
        found_within(registers_max, are_asked_for, of_parts)
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

    /// The same of the parts in memory, if no file knows the log.
    fn snapshot_in_memory<T>(
        &self,
        log: LogId,
        of_part: impl Fn(&super::SegmentIndex) -> Taken<T>,
    ) -> Option<Snapshot<T>> {
        let live = self.live.read();
        if !live.is_in_no_file(self.hash_key.of_log(log)) {
            return None;
        }
        let (mut newest, mut parts) = (None, Vec::new());
        for part in live.in_memory() {
            let Some(state) = part.state(&log) else { continue };
            newest.get_or_insert(state);
            parts.push(of_part(part));
        }
        Some(Snapshot { state: newest.unwrap_or_default(), parts })
    }
}

/// The first registers that are asked for, at most so many, of parts of which so many are taken as is said.
fn found_within<E>(
    registers_max: usize,
    are_asked_for: impl Fn(&Found) -> bool,
    mut of_parts: impl FnMut(usize) -> Result<Snapshot<(RegisterKey, Found)>, E>,
) -> Result<FoundRegisters, E> {
    // One more, to know whether there is one; and parts may have some that were removed.
    let mut of_part_max = registers_max.saturating_add(1);
    loop {
        let Snapshot { state, parts } = of_parts(of_part_max)?;
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
