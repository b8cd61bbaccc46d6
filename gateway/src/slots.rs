//! The connections of a shard: slots in chunks that are made when they are needed and given back
//! when they are empty.
//!
//! One vector of all slots has up to twice the room, and moves all of them when it grows: with a
//! million connections a pause, and three times their memory for a moment. And it stays as large
//! as the shard ever was. New connections go to the lowest chunk with room, so that the upper
//! ones empty themselves as people come and go.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

use slab::Slab;

/// See the module. A chunk should fill a size class of the allocator: it is what is allocated.
#[derive(Debug)]
pub(crate) struct Slots<T, const CHUNK: usize> {
    chunks: Vec<Slab<T>>,
    /// Chunks with room.
    with_room: BTreeSet<usize>,
    len: usize,
}

impl<T, const CHUNK: usize> Slots<T, CHUNK> {
    pub(crate) fn new() -> Self {
        Slots { chunks: Vec::new(), with_room: BTreeSet::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The key that the next [`insert`](Self::insert) will use.
    pub(crate) fn next_key(&self) -> usize {
        match self.with_room.first() {
            Some(&chunk) => chunk * CHUNK + self.chunks[chunk].vacant_key(),
            None => self.chunks.len() * CHUNK,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        let index = self.with_room.first().copied().unwrap_or(self.chunks.len());
        if index == self.chunks.len() {
            self.chunks.push(Slab::new());
            self.with_room.insert(index);
        }
        let chunk = &mut self.chunks[index];
        chunk.reserve_exact(CHUNK - chunk.len());
        let key = chunk.insert(value);
        if chunk.len() == CHUNK {
            self.with_room.remove(&index);
        }
        self.len += 1;
        index * CHUNK + key
    }

    /// Removes what is there; a key without anything is a defect.
    pub(crate) fn remove(&mut self, key: usize) -> T {
        let index = key / CHUNK;
        let chunk = &mut self.chunks[index];
        let value = chunk.remove(key % CHUNK);
        if chunk.is_empty() {
            *chunk = Slab::new();
        }
        self.with_room.insert(index);
        self.len -= 1;
        value
    }

    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        self.chunks.get(key / CHUNK)?.get(key % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.chunks.get_mut(key / CHUNK)?.get_mut(key % CHUNK)
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(index, chunk)| {
            chunk.iter().map(move |(key, value)| (index * CHUNK + key, value))
        })
    }
}

impl<T, const CHUNK: usize> Index<usize> for Slots<T, CHUNK> {
    type Output = T;

    fn index(&self, key: usize) -> &T {
        &self.chunks[key / CHUNK][key % CHUNK]
    }
}

impl<T, const CHUNK: usize> IndexMut<usize> for Slots<T, CHUNK> {
    fn index_mut(&mut self, key: usize) -> &mut T {
        &mut self.chunks[key / CHUNK][key % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const CHUNK: usize = 64;

    fn room(slots: &Slots<u64, CHUNK>) -> usize {
        slots.chunks.iter().map(Slab::capacity).sum()
    }

    #[test]
    fn there_is_room_for_those_who_are_here_and_little_more() {
        let mut slots = Slots::<u64, CHUNK>::new();
        let keys: Vec<usize> = (0..10_000).map(|number| slots.insert(number)).collect();
        assert!(room(&slots) < 10_000 + CHUNK, "{}", room(&slots));
        // A few stay, together as they came.
        keys[100..].iter().for_each(|&key| assert_eq!(slots.remove(key), key as u64));
        assert!(room(&slots) <= 2 * CHUNK, "{}", room(&slots));
        // Who comes then fills the lowest chunks first.
        assert_eq!((0..1000).map(|number| slots.insert(number)).max(), Some(1099));
        assert!(room(&slots) < 1100 + CHUNK, "{}", room(&slots));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Each key is told beforehand, is that of nobody else, and leads to what was put there.
        #[test]
        fn keys_lead_to_what_was_put_there(
            steps in proptest::collection::vec((0..3u8, any::<proptest::sample::Index>()), 1..500),
            before in 0..300u64,
        ) {
            let mut slots = Slots::<u64, CHUNK>::new();
            let mut model: HashMap<usize, u64> = HashMap::new();
            for number in 0..before {
                model.insert(slots.insert(number), number);
            }
            for (number, (action, which)) in (1000..).zip(steps) {
                if action < 2 && !model.is_empty() {
                    let mut keys: Vec<usize> = model.keys().copied().collect();
                    keys.sort_unstable();
                    let key = keys[which.index(keys.len())];
                    prop_assert_eq!(Some(slots.remove(key)), model.remove(&key));
                    prop_assert!(!slots.contains(key));
                } else {
                    let key = slots.next_key();
                    prop_assert_eq!(slots.insert(number), key);
                    prop_assert_eq!(model.insert(key, number), None);
                }
            }
            prop_assert_eq!(slots.len(), model.len());
            prop_assert_eq!(slots.is_empty(), model.is_empty());
            for (&key, value) in &model {
                prop_assert_eq!(&slots[key], value);
                let found = slots.get_mut(key);
                prop_assert_eq!(found.map(|value| *value), Some(*value));
            }
            let all: HashMap<usize, u64> = slots.iter().map(|(key, &value)| (key, value)).collect();
            prop_assert_eq!(all, model);
        }
    }
}
