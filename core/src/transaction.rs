//! Changing what the registers of a log hold: one change after another, each decided on what is
//! durable.
//!
//! ```text
//! waiting ─► read the registers ─► decide ─► write those that differ ─► carry it out ─► the next change
//!                     ▲               │            │
//!                     │               └── nothing changed ─► carry it out
//!                     └──── Conflict: somebody else was faster
//! ```
//!
//! A decision is pure: nothing is told to anybody before the change is durable, and after a conflict
//! the same change is decided again on what another node has written. One change of an owner is made
//! at a time, so that what follows from one is done before the next one is decided. Nothing is kept
//! of the log in between: the store is the truth, and a million owners cost nothing here.
//!
//! What is read, decided and written is the business of whoever has such changes.

use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// How often somebody else may be faster before it is given up.
const ATTEMPTS_MAX: u8 = 8;

/// The owners of whom a change is being made, with the changes that wait for it.
#[derive(Debug)]
pub(crate) struct Transactions<K, C> {
    owners: HashMap<K, VecDeque<C>, RandomState>,
    /// Changes of one owner that may wait.
    waiting_max: usize,
}

/// A change that is being made.
#[derive(Debug)]
pub(crate) struct Running<C> {
    pub(crate) change: C,
    attempts: u8,
}

/// What becomes of a change that comes.
#[derive(Debug)]
#[must_use]
pub(crate) enum Taken<C> {
    /// It is to be begun, by reading.
    Begins(Running<C>),
    /// It waits for others.
    Waits,
    /// Too many wait already.
    Refused(C),
}

impl<K: Copy + Eq + Hash, C> Transactions<K, C> {
    /// So many changes of one owner may wait.
    pub(crate) fn new(waiting_max: usize) -> Transactions<K, C> {
        Transactions { owners: HashMap::default(), waiting_max }
    }

    /// Whether a change of this owner is being made.
    pub(crate) fn is_busy(&self, owner: K) -> bool {
        self.owners.contains_key(&owner)
    }

    /// The owners of whom a change is being made.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &K> {
        self.owners.keys()
    }

    /// Takes a change.
    pub(crate) fn take(&mut self, owner: K, change: C) -> Taken<C> {
        match self.owners.entry(owner) {
            Entry::Vacant(none_before) => {
                none_before.insert(VecDeque::new());
                Taken::Begins(Running::new(change))
            }
            Entry::Occupied(waiting) if waiting.get().len() >= self.waiting_max => {
                Taken::Refused(change)
            }
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(change);
                Taken::Waits
            }
        }
    }

    /// The change of an owner was carried out: the next one, if there is one, is to be begun.
    pub(crate) fn next(&mut self, owner: K) -> Option<Running<C>> {
        let Entry::Occupied(mut waiting) = self.owners.entry(owner) else { return None };
        let next = waiting.get_mut().pop_front();
        if next.is_none() {
            waiting.remove();
        }
        next.map(Running::new)
    }

    /// Takes out those that nobody wants any more, if they are in the way of the next one.
    pub(crate) fn make_room(&mut self, owner: K, is_unwanted: impl Fn(&C) -> bool) -> VecDeque<C> {
        match self.owners.get_mut(&owner) {
            Some(waiting) if waiting.len() >= self.waiting_max => {
                let (unwanted, wanted) =
                    std::mem::take(waiting).into_iter().partition(|change| is_unwanted(change));
                *waiting = wanted;
                unwanted
            }
            Some(_) | None => VecDeque::new(),
        }
    }
}

impl<C> Running<C> {
    fn new(change: C) -> Running<C> {
        Running { change, attempts: 0 }
    }

    /// Somebody else was faster: it is to be begun again, or was too often.
    pub(crate) fn again(self) -> Result<Running<C>, C> {
        let Running { change, attempts } = self;
        if attempts < ATTEMPTS_MAX {
            Ok(Running { change, attempts: attempts + 1 })
        } else {
            Err(change)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING_MAX: usize = 32;

    fn begun(taken: Taken<usize>) -> usize {
        match taken {
            Taken::Begins(running) => running.change,
            Taken::Waits | Taken::Refused(_) => panic!("{taken:?}"),
        }
    }

    #[test]
    fn one_change_of_an_owner_is_made_after_another() {
        let mut transactions = Transactions::new(WAITING_MAX);
        assert_eq!(begun(transactions.take('a', 1)), 1);
        assert!(matches!(transactions.take('a', 2), Taken::Waits));
        assert_eq!(begun(transactions.take('b', 3)), 3);
        assert_eq!(transactions.next('a').unwrap().change, 2);
        assert!(transactions.is_busy('a'));
        assert!(transactions.next('a').is_none());
        assert!(!transactions.is_busy('a') && transactions.is_busy('b'));
    }

    #[test]
    fn so_many_wait_and_who_is_not_wanted_makes_room() {
        let mut transactions = Transactions::new(WAITING_MAX);
        assert_eq!(begun(transactions.take('a', 0)), 0);
        for change in 1..=WAITING_MAX {
            assert!(transactions.make_room('a', |_| true).is_empty());
            assert!(matches!(transactions.take('a', change), Taken::Waits));
        }
        assert!(matches!(transactions.take('a', 99), Taken::Refused(99)));
        assert_eq!(transactions.make_room('a', |change| *change == 7), [7]);
        assert!(matches!(transactions.take('a', 100), Taken::Waits));
        let left: Vec<_> =
            std::iter::from_fn(|| transactions.next('a')).map(|running| running.change).collect();
        assert_eq!(left.len(), WAITING_MAX);
        assert!(left.is_sorted() && !left.contains(&7));
    }

    #[test]
    fn somebody_else_may_be_faster_so_often() {
        let mut running = Running::new('x');
        for _ in 0..ATTEMPTS_MAX {
            running = running.again().unwrap();
        }
        assert_eq!(running.again().unwrap_err(), 'x');
    }
}
