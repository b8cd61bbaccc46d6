//! The feed of the embedded store: the segments are it.
//!
//! Consumers are registers of a log of the store itself, which is in no answer. What they have not
//! passed is not cleaned.

mod position;
mod reader;

use std::collections::BTreeMap;
use std::io;

use dunlin_protocol::LogId;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::store::feed::ConsumerName;
use crate::store::{
    Consumer, ConsumerChange, Malformed, RegisterKey, RegisterRange, Rule, Set, StoreDone,
    StoreError, StoreReply, Write, Written,
};

use super::Shared;
use super::read::read_registers;
use super::segment::SegmentFiles;
use super::segment::files::Location;
pub(super) use reader::read_feed;

/// Consumers that there can be: each keeps what it has not passed, so they are few.
const CONSUMERS_MAX: usize = 1000;

/// Who reads the feed, and how far each has come.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    passed: Mutex<BTreeMap<ConsumerName, Location>>,
}

fn log() -> LogId {
    LogId::service(b"consumers")
}

impl Consumers {
    /// Reads them when the store is opened.
    pub(super) fn load(&self, shared: &Shared) -> Result<(), StoreError> {
        let range = RegisterRange {
            log: log(),
            prefix: SmallVec::new(),
            after: None,
            registers_max: CONSUMERS_MAX,
            bytes_max: usize::MAX,
        };
        let registers = read_registers(shared, &range)?.registers;
        let mut passed = self.passed.lock();
        for register in registers {
            let name = std::str::from_utf8(register.key.as_bytes()).ok();
            let name = name.and_then(|name| ConsumerName::new(name).ok());
            let value = register.value.unwrap_or_default();
            // Whoever can't be read has passed nothing.
            let place = position::from_bytes(&value).unwrap_or(Location { segment: 0, offset: 0 });
            passed.extend(name.map(|name| (name, place)));
        }
        Ok(())
    }

    /// The first segment that not all have passed.
    pub(super) fn kept_from(&self) -> Option<u32> {
        self.passed.lock().values().map(|place| place.segment).min()
    }

    /// The write that a change is.
    pub(super) fn write(shared: &Shared, change: &ConsumerChange) -> Result<Write, StoreError> {
        let (name, value, rule) = match change {
            ConsumerChange::Passed { name, position } => {
                let place = position::decode(position, reader::end(shared))?;
                let known = shared.consumers.passed.lock();
                if known.len() >= CONSUMERS_MAX && !known.contains_key(name) {
                    let reason = format!("there are {CONSUMERS_MAX} consumers of the feed");
                    return Err(StoreError::Unavailable { reason });
                }
                let value = position::to_bytes(place).to_vec();
                (name, Some(value.into()), Rule::IfGreater)
            }
            ConsumerChange::Removed { name } => (name, None, Rule::Always),
        };
        let key = RegisterKey::new(name.as_str().as_bytes());
        let key = key.map_err(|_| StoreError::Malformed(Malformed::Consumer))?;
        Ok(Write::registers(log(), [Set { key, value, rule }]))
    }

    /// Takes over a change that is durable, and says that it is done.
    pub(super) fn written(
        &self,
        change: ConsumerChange,
        reply: Result<StoreReply, StoreError>,
        done: StoreDone,
    ) {
        let written = match reply {
            Ok(StoreReply::Written(verdicts)) => verdicts.into_iter().next(),
            Ok(_) => None,
            Err(error) => return done(Err(error)),
        };
        match written {
            Some(Written::Stored { .. }) => {
                let mut passed = self.passed.lock();
                match change {
                    ConsumerChange::Passed { name, position } => {
                        passed.extend(position::from_bytes(&position.0).map(|at| (name, at)));
                    }
                    ConsumerChange::Removed { name } => drop(passed.remove(&name)),
                }
                drop(passed);
                done(Ok(StoreReply::Done));
            }
            // It was further already.
            Some(Written::Unmet { .. }) => done(Ok(StoreReply::Done)),
            Some(
                Written::Duplicate { .. }
                | Written::Conflict { .. }
                | Written::Corrupt
                | Written::Unknown,
            )
            | None => {
                let reason = "it is not known whether the consumer was changed".to_owned();
                done(Err(StoreError::Unavailable { reason }));
            }
        }
    }

    /// All of them by name, with what is kept for each.
    pub(super) fn list(&self, shared: &Shared) -> Result<Vec<Consumer>, StoreError> {
        let passed = self.passed.lock().clone();
        let listed = passed.into_iter().map(|(name, place)| {
            let behind_bytes = behind_bytes(shared, place)?;
            Ok(Consumer { name, position: position::encode(place), behind_bytes })
        });
        let listed: io::Result<Vec<Consumer>> = listed.collect();
        listed.map_err(|error| StoreError::Unavailable { reason: error.to_string() })
    }
}

/// About how many bytes are behind a place: exactly if it is soon found out, else those of the files.
fn behind_bytes(shared: &Shared, place: Location) -> io::Result<u64> {
    if let Some(bytes) = reader::bytes_behind(shared, place)? {
        return Ok(bytes);
    }
    let end = reader::end(shared);
    let names = shared.disk.names()?;
    let mut bytes = 0;
    for span in SegmentFiles::of_names(names.iter().map(String::as_str)).kept {
        if span.last < place.segment || span.first > end.segment {
            continue;
        }
        let size = match shared.segments.file(span.first) {
            Ok(file) => file.bytes()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let to = if span.holds(end.segment) { size.min(u64::from(end.offset)) } else { size };
        let from = if span.first == place.segment { u64::from(place.offset) } else { 0 };
        bytes += to.saturating_sub(from);
    }
    Ok(bytes)
}
