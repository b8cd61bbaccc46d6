//! A map for tables that hold something of every user: what is in it lies close together.
//!
//! A hash table that keeps its entries in its own places has between one and a bit and more than
//! two places for each, and while it grows, the old ones besides: with half a million sessions of
//! 80 bytes that is 170 bytes each. Here the hash table holds four bytes per place, and the
//! entries lie in chunks without a gap. The price is a second cache miss for a look-up.
//!
//! An entry that is removed gives its place to the last one, so that the memory of a crowd that
//! has gone is given back, chunk by chunk, whoever stays.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::limits::TABLE_ROOM_MIN;

/// Entries of a chunk: the most that may be unused at the end. 64 entries of a multiple of 16 bytes
/// fill a size class of most allocators.
const CHUNK: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct DenseMap<K, V> {
    hasher: RandomState,
    places: HashTable<u32>,
    entries: Chunks<(K, V)>,
}

/// A vector that never moves what it holds, but for the first chunk.
#[derive(Debug)]
struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<K, V> Default for DenseMap<K, V> {
    fn default() -> DenseMap<K, V> {
        DenseMap {
            hasher: RandomState::default(),
            places: HashTable::new(),
            entries: Chunks { chunks: Vec::new(), len: 0 },
        }
    }
}

impl<K: Copy + Eq + Hash, V> DenseMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let index = self.find(key)?;
        Some(&self.entries.get(index).1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let index = self.find(key)?;
        Some(&mut self.entries.get_mut(index).1)
    }

    /// The value of a key; made if there is none. True if it was.
    pub(crate) fn get_or_insert_with(
        &mut self,
        key: K,
        make: impl FnOnce() -> V,
    ) -> (&mut V, bool) {
        let DenseMap { hasher, places, entries } = self;
        let is_key = |&index: &u32| entries.get(index).0 == key;
        let hash_of = |&index: &u32| hasher.hash_one(entries.get(index).0);
        let (index, is_new) = match places.entry(hasher.hash_one(key), is_key, hash_of) {
            Place::Occupied(place) => (*place.get(), false),
            Place::Vacant(place) => {
                let index = u32::try_from(entries.len).expect("fewer than 2^32 entries fit");
                place.insert(index);
                (index, true)
            }
        };
        if is_new {
            entries.push((key, make()));
        }
        (&mut entries.get_mut(index).1, is_new)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let is_key = |&index: &u32| self.entries.get(index).0 == *key;
        let place = self.places.find_entry(hash, is_key).ok()?;
        let (index, _) = place.remove();
        let last = self.entries.len as u32 - 1;
        if index != last {
            let hash = self.hasher.hash_one(self.entries.get(last).0);
            let moved = self.places.find_mut(hash, |&index| index == last);
            *moved.expect("every entry has a place") = index;
        }
        let (_, value) = self.entries.swap_remove(index);
        self.give_room_back();
        Some(value)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.entries.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.chunks.iter_mut().flatten().map(|(_, value)| value)
    }

    fn find(&self, key: &K) -> Option<u32> {
        let is_key = |&index: &u32| self.entries.get(index).0 == *key;
        self.places.find(self.hasher.hash_one(key), is_key).copied()
    }

    /// Shrinks the table of places when it is nearly empty, to a quarter: so it happens after so
    /// many removals that they stay cheap.
    fn give_room_back(&mut self) {
        let DenseMap { hasher, places, entries } = self;
        if places.capacity() > 2 * TABLE_ROOM_MIN && places.len() < places.capacity() / 8 {
            let room = (places.len() * 2).max(TABLE_ROOM_MIN);
            places.shrink_to(room, |&index| hasher.hash_one(entries.get(index).0));
        }
    }
}

impl<T> Chunks<T> {
    fn get(&self, index: u32) -> &T {
        let index = index as usize;
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    fn get_mut(&mut self, index: u32) -> &mut T {
        let index = index as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    fn push(&mut self, entry: T) {
        if self.len.is_multiple_of(CHUNK) {
            // Small maps stay small: the first chunk grows as it is needed.
            let room = if self.len == 0 { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        self.chunks[self.len / CHUNK].push(entry);
        self.len += 1;
    }

    /// Removes an entry, and puts the last one in its place.
    fn swap_remove(&mut self, index: u32) -> T {
        let chunk = self.chunks.last_mut().expect("there is an entry");
        let last = chunk.pop().expect("chunks are never empty");
        if chunk.is_empty() {
            self.chunks.pop();
        }
        self.len -= 1;
        if index as usize == self.len { last } else { std::mem::replace(self.get_mut(index), last) }
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn filled(count: u64) -> DenseMap<u64, u64> {
        let mut map = DenseMap::default();
        for key in 0..count {
            assert!(map.get_or_insert_with(key, || key).1);
        }
        map
    }

    #[test]
    fn the_room_of_a_crowd_is_given_back_whoever_stays() {
        let mut map = filled(100_000);
        assert_eq!(map.entries.chunks.len(), 100_000_usize.div_ceil(CHUNK));
        let full = map.places.capacity();
        let stays = |key: u64| key.is_multiple_of(100);
        (0..100_000)
            .filter(|&key| !stays(key))
            .for_each(|key| assert_eq!(map.remove(&key), Some(key)));
        assert_eq!(map.entries.chunks.len(), 1000_usize.div_ceil(CHUNK));
        assert!(map.places.capacity() < full / 8, "{} of {full}", map.places.capacity());
        assert!((0..100_000).all(|key| map.get(&key).is_some() == stays(key)));
        (0..100_000).for_each(|key| assert_eq!(map.remove(&key).is_some(), stays(key)));
        assert_eq!((map.len(), map.entries.chunks.len()), (0, 0));
    }

    #[test]
    fn there_is_little_beside_the_entries() {
        let map = filled(100_000);
        let chunks: usize = map.entries.chunks.iter().map(Vec::capacity).sum();
        assert!(chunks < 100_000 + CHUNK);
        // Four bytes and a tag per place.
        assert!(map.places.allocation_size() < 12 * 100_000, "{}", map.places.allocation_size());
    }

    proptest! {
        /// It does what a hash map does. Few keys, so that they meet; more than one chunk.
        #[test]
        fn it_is_a_map(
            steps in proptest::collection::vec((0..4u8, 0..600u64), 1..2000),
            before in 0..600u64,
        ) {
            let mut map = filled(before);
            let mut model: HashMap<u64, u64> = (0..before).map(|key| (key, key)).collect();
            for (number, (action, key)) in (1000..).zip(steps) {
                match action {
                    0 => {
                        let is_new = !model.contains_key(&key);
                        let value = *model.entry(key).or_insert(number);
                        let (found, made) = map.get_or_insert_with(key, || number);
                        prop_assert_eq!((*found, made), (value, is_new));
                    }
                    1 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    2 => {
                        if let Some(value) = map.get_mut(&key) {
                            *value = number;
                        }
                        model.entry(key).and_modify(|value| *value = number);
                    }
                    _ => prop_assert_eq!(map.get(&key), model.get(&key)),
                }
            }
            map.values_mut().for_each(|value| *value += 1);
            let mut all: Vec<(u64, u64)> = map.iter().map(|&(key, value)| (key, value - 1)).collect();
            all.sort_unstable();
            let mut expected: Vec<(u64, u64)> = model.into_iter().collect();
            expected.sort_unstable();
            prop_assert_eq!(map.len(), expected.len());
            prop_assert_eq!(map.keys().count(), expected.len());
            prop_assert_eq!(all, expected);
        }
    }
}
