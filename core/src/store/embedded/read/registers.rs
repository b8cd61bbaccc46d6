//! Registers, and what has changed of them.

use bytes::Bytes;
use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::store::write::SETS_MAX;
use crate::store::{ChangeRange, Register, RegisterKey, RegisterRange, Registers, StoreError};

use super::super::Shared;
use super::super::index::found::{Found, FoundChanges, FoundRegisters, KeyRange};
use super::super::segment::files::Location;
use super::super::segment::record::{Floors, LogState, RecordKind};
use super::unreadable;
use super::window::{Look, Window};

/// What a question meets that the index had answered before the files were read.
enum Miss {
    /// What it led to was cleaned away, since something newer has taken its place: to be asked again.
    Stale(LogId, RegisterKey, Location),
    Error(StoreError),
}

impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Miss {
        Miss::Error(error)
    }
}

/// Asks again for as long as something newer has taken the place of what the index said. What it says
/// twice is not cleaned away, but lost: a cleaned file that was cut has no more than that to say.
fn retry<T>(shared: &Shared, mut ask: impl FnMut() -> Result<T, Miss>) -> Result<T, StoreError> {
    let mut before = None;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(Miss::Error(error)) => return Err(error),
            Err(Miss::Stale(log, key, place)) if before == Some(place) => {
                return Err(tell_damage(shared, log, &key, place));
            }
            Err(Miss::Stale(_, _, place)) => before = Some(place),
        }
    }
}

/// Reads one register.
pub(in super::super) fn read_register(
    shared: &Shared,
    log: LogId,
    key: &RegisterKey,
) -> Result<Register, StoreError> {
    retry(shared, || {
        let floors = shared.index.state(log)?.floors;
        let found = shared.index.register(log, key)?;
        let found = found.filter(|found| found.is_known(&floors));
        let Some(found) = found else {
            return Ok(Register { key: key.clone(), version: 0, value: None });
        };
        let value = value_of(shared, log, key, &found, &mut Window::default())?;
        Ok(Register { key: key.clone(), version: found.version, value })
    })
}

/// Reads registers in the order of their keys.
pub(in super::super) fn read_registers(
    shared: &Shared,
    range: &RegisterRange,
) -> Result<Registers, StoreError> {
    retry(shared, || {
        let found = shared.index.registers(&KeyRange::of(range), range.registers_max.max(1))?;
        let mut window = Window::default();
        fill(range, found, |key, found| value_of(shared, range.log, key, found, &mut window))
    })
}

/// The same, if they are few, small, and in memory.
pub(super) fn registers_in_memory(shared: &Shared, range: &RegisterRange) -> Option<Registers> {
    let registers_max = range.registers_max.clamp(1, super::LITTLE_ITEMS_MAX);
    let found = shared.index.registers_in_memory(&KeyRange::of(range), registers_max)?;
    if found.more && registers_max < range.registers_max {
        return None;
    }
    let small = |_: &RegisterKey, found: &Found| found.value.map(|value| Some(value.to_bytes()));
    fill(range, found, |key, found| small(key, found).ok_or(())).ok()
}

/// As many of the registers as the question has room for.
fn fill<E>(
    range: &RegisterRange,
    found: FoundRegisters,
    mut value_of: impl FnMut(&RegisterKey, &Found) -> Result<Option<Bytes>, E>,
) -> Result<Registers, E> {
    let FoundRegisters { state, registers, more } = found;
    let mut answer = Registers { version: state.version, more, ..Registers::default() };
    let mut bytes = 0;
    for (key, found) in registers {
        let value = value_of(&key, &found)?;
        let register = Register { key, version: found.version, value };
        bytes += register.bytes();
        if bytes > range.bytes_max && !answer.registers.is_empty() {
            answer.more = true;
            break;
        }
        answer.registers.push(register);
    }
    Ok(answer)
}

/// Reads what has changed since a version.
pub(super) fn read_changes(shared: &Shared, range: &ChangeRange) -> Result<Registers, StoreError> {
    let version = shared.index.state(range.log)?.version;
    if range.since == version {
        return Ok(Registers { version, ..Registers::default() });
    }
    // Some of what is found may have been overwritten since; and a version more must be there, to know
    // that all of the one before it is.
    let mut found_max = range.registers_max.saturating_add(SETS_MAX + 1);
    loop {
        let changes = retry(shared, || {
            let found = shared.index.changes(range.log, range.since, found_max)?;
            Changes::new(shared, range, &found.state).read(&found)
        })?;
        match changes {
            // What was removed may have been forgotten while it was looked for.
            Some(answer) if !answer.afresh => {
                let LogState { version, floors, .. } = shared.index.state(range.log)?;
                return Ok(if is_forgotten(range.since, &floors) {
                    Registers { version, afresh: true, ..Registers::default() }
                } else {
                    answer
                });
            }
            Some(answer) => return Ok(answer),
            None => found_max = found_max.saturating_mul(2),
        }
    }
}

/// Whether registers may have been removed since a version that nobody knows of any more.
fn is_forgotten(since: u64, floors: &Floors) -> bool {
    since > 0 && since < floors.marks_from
}

/// An answer that is being made.
struct Changes<'a> {
    shared: &'a Shared,
    range: &'a ChangeRange,
    state: LogState,
    window: Window,
    answer: Registers,
    bytes: usize,
}

impl Changes<'_> {
    fn new<'a>(shared: &'a Shared, range: &'a ChangeRange, state: &LogState) -> Changes<'a> {
        let answer = Registers { version: state.version, ..Registers::default() };
        let window = Window::default();
        Changes { shared, range, state: *state, window, answer, bytes: 0 }
    }

    /// `None` if there may be more than was found, and room for it.
    fn read(mut self, found: &FoundChanges) -> Result<Option<Registers>, Miss> {
        let since = self.range.since;
        if since > self.state.version || is_forgotten(since, &self.state.floors) {
            let version = self.state.version;
            return Ok(Some(Registers { version, afresh: true, ..Registers::default() }));
        }
        for together in found.changes.chunk_by(|one, other| one.0 == other.0) {
            if !self.add_version(together)? {
                self.answer.more = true;
                break;
            }
        }
        if found.more && !self.answer.more {
            return Ok(None);
        }
        self.keep_newest();
        Ok(Some(self.answer))
    }

    /// Adds what one version has set and no later one since; false if there is no room for it.
    fn add_version(&mut self, changes: &[(u64, Location)]) -> Result<bool, Miss> {
        let mut registers = Vec::with_capacity(changes.len());
        for &(version, place) in changes {
            registers.extend(self.read_change(version, place)?);
        }
        registers.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let bytes = self.bytes + registers.iter().map(Register::bytes).sum::<usize>();
        let count = self.answer.registers.len() + registers.len();
        let fits = count <= self.range.registers_max && bytes <= self.range.bytes_max;
        if !fits && !registers.is_empty() && !self.answer.registers.is_empty() {
            return Ok(false);
        }
        self.bytes = bytes;
        self.answer.registers.extend(registers);
        Ok(true)
    }

    /// `None` if it was set again since.
    fn read_change(&mut self, version: u64, place: Location) -> Result<Option<Register>, Miss> {
        let log = self.range.log;
        let read = self.window.read(self.shared, place).map_err(|error| unreadable(&error))?;
        let (head, value) = match read {
            Look::Record(head, value)
                if head.kind == RecordKind::Register
                    && head.log == log
                    && head.state.version == version =>
            {
                (head, value)
            }
            // If it was cleaned away, the index has something newer.
            Look::Cleaned | Look::Record(..) | Look::Damaged => return self.damaged(place),
        };
        let Some(key) = head.register else { return self.damaged(place) };
        let newest = self.shared.index.register(log, &key)?;
        let newest = newest.map_or(version, |newest| newest.version);
        // What came after the moment of this answer belongs to the next one.
        let set_again = newest > version && newest <= self.state.version;
        let found = Found { version, place, gone: head.gone, value: None };
        let counts = !set_again && found.is_known(&self.state.floors);
        Ok(counts.then_some(Register { key, version, value: (!head.gone).then_some(value) }))
    }

    /// A register whose record is damaged is an error, if it was removed the index says so without it; one
    /// that was set again since is not missed.
    fn damaged(&self, place: Location) -> Result<Option<Register>, Miss> {
        let log = self.range.log;
        match self.shared.index.register_at(log, place)? {
            Some((key, Found { version, gone: true, .. })) => {
                Ok(Some(Register { key, version, value: None }))
            }
            Some((key, _)) => Err(Miss::Error(tell_damage(self.shared, log, &key, place))),
            None => Ok(None),
        }
    }

    /// A register that was set while the answer was made may be there twice: the later one counts.
    fn keep_newest(&mut self) {
        let mut seen: HashSet<RegisterKey, RandomState> = HashSet::default();
        self.answer.registers.reverse();
        self.answer.registers.retain(|register| seen.insert(register.key.clone()));
        self.answer.registers.reverse();
    }
}

/// What a register holds.
fn value_of(
    shared: &Shared,
    log: LogId,
    key: &RegisterKey,
    found: &Found,
    window: &mut Window,
) -> Result<Option<Bytes>, Miss> {
    if found.gone {
        return Ok(None);
    }
    if let Some(value) = found.value {
        return Ok(Some(value.to_bytes()));
    }
    let place = found.place;
    match window.read(shared, place).map_err(|error| unreadable(&error))? {
        Look::Record(head, value) if head.log == log && head.register.as_ref() == Some(key) => {
            Ok(Some(value))
        }
        Look::Cleaned => Err(Miss::Stale(log, key.clone(), place)),
        Look::Record(..) | Look::Damaged => Err(Miss::Error(tell_damage(shared, log, key, place))),
    }
}

/// Reads the value of a register that nobody overwrites meanwhile.
pub(in super::super) fn read_value(
    shared: &Shared,
    log: LogId,
    key: &RegisterKey,
    place: Location,
) -> Result<Bytes, StoreError> {
    let found = Found { version: 0, place, gone: false, value: None };
    match value_of(shared, log, key, &found, &mut Window::default()) {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(Miss::Error(error)) => Err(error),
        Err(Miss::Stale(..)) => Err(tell_damage(shared, log, key, place)),
    }
}

fn tell_damage(shared: &Shared, log: LogId, key: &RegisterKey, place: Location) -> StoreError {
    shared.counters.damaged_reads.add(1);
    tracing::error!(%log, ?key, segment = place.segment, offset = place.offset, "a register is damaged");
    StoreError::CorruptRegister { log, key: key.clone() }
}
