//! A log as one reader meets it, reduced to a running hash.
//!
//! Sequences are dense, so a reader knows at each moment which entry comes next, and the log up to
//! there needs no memory but a hash. Two readers agree if their hashes do; a hash kept every
//! [`CHECKPOINT_ENTRIES`] says where they part. What comes too early waits in a bounded window.

use std::collections::BTreeMap;

/// Entries between two kept hashes: 8 bytes for each 1,024 entries is all that grows with a run.
pub(crate) const CHECKPOINT_ENTRIES: u64 = 1024;

/// Entries that may wait for those before them. What does not fit is fetched again by repair.
const EARLY_MAX: usize = 1024;

/// An entry, as far as order is concerned. That its bytes are what its sender wrote is checked
/// where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A message of one of the conversation's writers.
    Message {
        /// Which of them.
        writer: usize,
        /// Which of the writer's messages it is, from 1.
        counter: u32,
    },
    /// A sequence that carries nothing.
    Void,
    /// Something that is not of this run; reported when it is read.
    Unknown,
}

impl Item {
    fn word(self) -> u64 {
        match self {
            Item::Message { writer, counter } => {
                1 << 62 | (writer as u64) << 32 | u64::from(counter)
            }
            Item::Void => 2 << 62,
            Item::Unknown => 3 << 62,
        }
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is the next one, or waits for those before it.
    New,
    /// The reader is past it, or it waits already.
    Known,
    /// Another item waits under its sequence.
    Other,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    base: u64,
    next: u64,
    hash: u64,
    checkpoints: Vec<u64>,
    early: BTreeMap<u64, Item>,
}

impl View {
    /// A view of what comes after `base`.
    pub(crate) fn after(base: u64) -> View {
        View { base, next: base + 1, ..View::default() }
    }

    /// What it begins behind.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The sequence that it waits for.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The highest sequence that it was told of, in order or not.
    pub(crate) fn highest(&self) -> u64 {
        self.early.last_key_value().map_or(self.next - 1, |(&seq, _)| seq)
    }

    /// Whether something waits for what comes before it.
    pub(crate) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// Puts an item in its place and passes on, in order, all that is complete by it.
    pub(crate) fn place(&mut self, seq: u64, item: Item, mut pass: impl FnMut(Item)) -> Placed {
        if seq < self.next {
            return Placed::Known;
        }
        if seq > self.next {
            return match self.early.get(&seq) {
                Some(&other) if other == item => Placed::Known,
                Some(_) => Placed::Other,
                None if self.early.len() >= EARLY_MAX => Placed::Known,
                None => {
                    self.early.insert(seq, item);
                    Placed::New
                }
            };
        }
        self.advance(item);
        pass(item);
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() != self.next {
                break;
            }
            let item = entry.remove();
            self.advance(item);
            pass(item);
        }
        Placed::New
    }

    /// Goes on behind a hole that will not be filled.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        while self.next < seq {
            self.advance(Item::Unknown);
        }
    }

    /// The first range of sequences where two views differ, as far as both have got.
    pub(crate) fn differs_from(&self, other: &View) -> Option<(u64, u64)> {
        let common = self.checkpoints.len().min(other.checkpoints.len());
        let differs = (0..common).find(|&at| self.checkpoints[at] != other.checkpoints[at]);
        match differs {
            Some(at) => {
                let from = self.base + 1 + at as u64 * CHECKPOINT_ENTRIES;
                Some((from, from + CHECKPOINT_ENTRIES - 1))
            }
            None if self.next == other.next && self.hash != other.hash => {
                Some((self.base + 1 + common as u64 * CHECKPOINT_ENTRIES, self.next - 1))
            }
            None => None,
        }
    }

    fn advance(&mut self, item: Item) {
        self.hash = mix(self.hash ^ mix(self.next ^ item.word().rotate_left(17)));
        if (self.next - self.base).is_multiple_of(CHECKPOINT_ENTRIES) {
            self.checkpoints.push(self.hash);
        }
        self.next += 1;
    }
}

/// A bijection of 64 bits that spreads every bit over all (the finalizer of MurmurHash3).
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(counter: u32) -> Item {
        Item::Message { writer: 0, counter }
    }

    #[test]
    fn what_comes_early_waits_and_the_result_is_the_same() {
        let (mut straight, mut crooked) = (View::after(0), View::after(0));
        for seq in 1..=4 {
            straight.place(seq, message(seq as u32), |_| {});
        }
        let mut passed = Vec::new();
        for seq in [1, 4, 3, 2] {
            assert_eq!(
                crooked.place(seq, message(seq as u32), |item| passed.push(item)),
                Placed::New
            );
        }
        assert_eq!(passed, [message(1), message(2), message(3), message(4)]);
        assert_eq!(straight.differs_from(&crooked), None);
        assert_eq!((crooked.next(), crooked.has_gap()), (5, false));
    }

    #[test]
    fn two_logs_that_differ_in_one_entry_part_where_they_do() {
        let (mut one, mut other) = (View::after(10), View::after(10));
        for seq in 11..=5000 {
            one.place(seq, message(seq as u32), |_| {});
            let item = if seq == 3000 { Item::Void } else { message(seq as u32) };
            other.place(seq, item, |_| {});
        }
        let (from, to) = one.differs_from(&other).expect("one entry differs");
        assert!((from..=to).contains(&3000), "{from}..={to}");
        assert_eq!(one.differs_from(&one.clone()), None);
    }

    #[test]
    fn one_sequence_has_one_item() {
        let mut view = View::after(0);
        assert_eq!(view.place(3, message(1), |_| {}), Placed::New);
        assert_eq!(view.place(3, message(1), |_| {}), Placed::Known);
        assert_eq!(view.place(3, message(2), |_| {}), Placed::Other);
        assert_eq!(view.highest(), 3);
    }
}
