//! The registers of a segment that is in memory, by log: most logs have a few (two read a
//! conversation), and some have many.

use std::collections::BTreeMap;
use std::ops::Bound;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::store::RegisterKey;

use super::memory::RegisterSlot;

/// Registers of a log that are kept in a row: to go through so many costs less than to descend a tree.
const FEW_MAX: usize = 12;

/// The registers, each as it was set last.
#[derive(Debug, Default)]
pub(in super::super) struct HeldRegisters {
    logs: HashMap<LogId, OfLog, RandomState>,
    count: usize,
}

/// Those of one log, by key.
#[derive(Debug)]
enum OfLog {
    Few(SmallVec<[(RegisterKey, RegisterSlot); 2]>),
    Many(BTreeMap<RegisterKey, RegisterSlot>),
}

impl HeldRegisters {
    /// How many there are.
    pub(in super::super) fn len(&self) -> usize {
        self.count
    }

    /// How many logs have any.
    pub(super) fn logs(&self) -> usize {
        self.logs.len()
    }

    /// Sets a register. Gives back what it was before.
    pub(super) fn set(
        &mut self,
        log: LogId,
        key: RegisterKey,
        slot: RegisterSlot,
    ) -> Option<RegisterSlot> {
        let of_log = self.logs.entry(log).or_insert_with(|| OfLog::Few(SmallVec::new()));
        let before = of_log.set(key, slot);
        self.count += usize::from(before.is_none());
        before
    }

    /// A register.
    pub(in super::super) fn get(&self, log: &LogId, key: &RegisterKey) -> Option<&RegisterSlot> {
        match self.logs.get(log)? {
            OfLog::Few(row) => row.iter().find(|(held, _)| held == key).map(|(_, slot)| slot),
            OfLog::Many(tree) => tree.get(key),
        }
    }

    /// The registers of a log from a place on, by the bytes of their keys.
    pub(super) fn of_log<'a>(
        &'a self,
        log: LogId,
        begin: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&'a RegisterKey, &'a RegisterSlot)> + use<'a> {
        let (mut row, mut tree) = (None, None);
        match self.logs.get(&log) {
            Some(OfLog::Few(held)) => {
                let is_before = |(key, _): &(RegisterKey, RegisterSlot)| match begin {
                    Bound::Included(bytes) => key.as_bytes() < bytes,
                    Bound::Excluded(bytes) => key.as_bytes() <= bytes,
                    Bound::Unbounded => false,
                };
                row = Some(held[held.partition_point(is_before)..].iter());
            }
            Some(OfLog::Many(held)) => {
                tree = Some(held.range((key_bound(begin), Bound::Unbounded)));
            }
            None => {}
        }
        let row = row.into_iter().flatten().map(|(key, slot)| (key, slot));
        row.chain(tree.into_iter().flatten())
    }

    /// All of them, the logs in no order.
    pub(in super::super) fn iter(
        &self,
    ) -> impl Iterator<Item = (LogId, &RegisterKey, &RegisterSlot)> {
        self.of_logs(self.logs.keys().copied())
    }

    /// All of them, by log and key.
    pub(in super::super) fn sorted(
        &self,
    ) -> impl Iterator<Item = (LogId, &RegisterKey, &RegisterSlot)> {
        let mut logs: Vec<LogId> = self.logs.keys().copied().collect();
        logs.sort_unstable();
        self.of_logs(logs.into_iter())
    }

    fn of_logs(
        &self,
        logs: impl Iterator<Item = LogId>,
    ) -> impl Iterator<Item = (LogId, &RegisterKey, &RegisterSlot)> {
        logs.flat_map(move |log| {
            let of_log = self.of_log(log, Bound::Unbounded);
            of_log.map(move |(key, slot)| (log, key, slot))
        })
    }
}

impl OfLog {
    fn set(&mut self, key: RegisterKey, slot: RegisterSlot) -> Option<RegisterSlot> {
        match self {
            OfLog::Few(row) => match row.iter().position(|(held, _)| *held >= key) {
                Some(place) if row[place].0 == key => {
                    Some(std::mem::replace(&mut row[place].1, slot))
                }
                place if row.len() < FEW_MAX => {
                    row.insert(place.unwrap_or(row.len()), (key, slot));
                    None
                }
                Some(_) | None => {
                    let mut tree: BTreeMap<_, _> = row.drain(..).collect();
                    tree.insert(key, slot);
                    *self = OfLog::Many(tree);
                    None
                }
            },
            OfLog::Many(tree) => tree.insert(key, slot),
        }
    }
}

/// Where a key begins, as a tree is asked.
fn key_bound(begin: Bound<&[u8]>) -> Bound<RegisterKey> {
    // A key has at least one byte: no bytes are before all keys.
    let key = |bytes: &[u8]| RegisterKey::new(bytes).ok();
    match begin {
        Bound::Included(bytes) => key(bytes).map_or(Bound::Unbounded, Bound::Included),
        Bound::Excluded(bytes) => key(bytes).map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;

    use super::*;

    fn log(user: u64) -> LogId {
        LogId::account(UserId::new(user).expect("a user id"))
    }

    fn slot(version: u64) -> RegisterSlot {
        RegisterSlot { version, offset: version as u32, gone: false, value: None }
    }

    fn versions(held: &HeldRegisters, user: u64, begin: Bound<&[u8]>) -> Vec<u64> {
        held.of_log(log(user), begin).map(|(_, slot)| slot.version).collect()
    }

    /// The same for a log of few and for one of many.
    #[test]
    fn registers_come_by_their_keys_from_a_place_on() {
        for count in [FEW_MAX as u64, FEW_MAX as u64 * 5] {
            let mut held = HeldRegisters::default();
            let key = |number| RegisterKey::numbered(b'k', number);
            // Neither in their order nor all from the first log.
            for number in (1..=count).map(|number| number * 7 % (count + 1)).filter(|n| *n > 0) {
                held.set(log(1), key(number), slot(number));
                held.set(log(2), key(number), slot(number));
            }
            let known: Vec<u64> = versions(&held, 1, Bound::Unbounded);
            assert!(known.is_sorted() && known.len() > 5, "{known:?}");
            assert_eq!(held.len(), 2 * known.len());
            let middle = known[known.len() / 2];
            let bytes = key(middle);
            let from = |begin| versions(&held, 1, begin);
            assert_eq!(from(Bound::Included(bytes.as_bytes()))[0], middle);
            assert_eq!(from(Bound::Excluded(bytes.as_bytes()))[0], known[known.len() / 2 + 1]);
            assert_eq!(from(Bound::Included(b"")), known);
            assert_eq!(from(Bound::Excluded(b"l")), Vec::<u64>::new());
            assert_eq!(versions(&held, 3, Bound::Unbounded), Vec::<u64>::new());
            let sorted: Vec<_> = held.sorted().map(|(log, _, slot)| (log, slot.version)).collect();
            assert!(sorted.is_sorted() && sorted.len() == held.len());
        }
    }

    #[test]
    fn what_is_set_again_is_there_once() {
        for count in [2, FEW_MAX as u64 * 3] {
            let mut held = HeldRegisters::default();
            for number in 1..=count {
                assert!(held.set(log(1), RegisterKey::numbered(b'k', number), slot(1)).is_none());
            }
            let key = RegisterKey::numbered(b'k', 2);
            assert_eq!(held.set(log(1), key.clone(), slot(9)).map(|slot| slot.version), Some(1));
            assert_eq!(held.get(&log(1), &key).map(|slot| slot.version), Some(9));
            assert_eq!((held.len() as u64, held.logs()), (count, 1));
            assert!(held.get(&log(2), &key).is_none());
        }
    }
}
