//! The keyed hash of the store: SipHash-1-3 over words of 64 bits.
//!
//! The hashes are written to disk, so they must be the same for ever; and clients choose the ids
//! that are hashed, so without the secret key of the store nobody may be able to make them
//! collide. Both rule out the hash functions of hash maps.

use dunlin_protocol::LogId;
use smallvec::SmallVec;

use crate::store::{DedupeKey, RegisterKey};

/// The secret of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct HashKey(pub [u64; 2]);

impl HashKey {
    /// The hash of a message as its sender names it, in its log.
    pub(super) fn of_message(self, log: LogId, key: &DedupeKey) -> u64 {
        let [a, b] = words(log.as_bytes());
        let [c, d] = words(&key.client_message_id.0);
        self.hash(&[a, b, key.sender.get(), c, d])
    }

    /// The hash of a log. (Other lengths can't collide by construction: the length is hashed.)
    pub(super) fn of_log(self, log: LogId) -> u64 {
        self.hash(&words(log.as_bytes()))
    }

    /// The hash of a register: its log, its key filled up with zeros, and the length of the key.
    pub(super) fn of_register(self, log: LogId, key: &RegisterKey) -> u64 {
        let mut message: SmallVec<[u64; 12]> = SmallVec::from_slice(&words(log.as_bytes()));
        for part in key.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            message.push(u64::from_le_bytes(word));
        }
        message.push(key.as_bytes().len() as u64);
        self.hash(&message)
    }

    /// What distinguishes the frames of a segment from everything else: nobody who doesn't know
    /// the secret can put a false frame into the body of a message.
    pub(super) fn of_segment(self, number: u32) -> u64 {
        self.hash(&[u64::from(number)])
    }

    fn hash(self, message: &[u64]) -> u64 {
        let [k0, k1] = self.0;
        let mut state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let length = (message.len() as u64 * 8) << 56;
        for &word in message.iter().chain(std::iter::once(&length)) {
            state[3] ^= word;
            round(&mut state);
            state[0] ^= word;
        }
        state[2] ^= 0xff;
        for _ in 0..3 {
            round(&mut state);
        }
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

#[inline]
fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

fn words(bytes: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*bytes);
    [number as u64, (number >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// The standard library's default hasher is SipHash-1-3 with the key 0: an independent
    /// implementation to compare with.
    #[test]
    fn it_is_siphash_1_3() {
        for length in 0..6 {
            let message: Vec<u64> =
                (0..length).map(|word: u64| word.wrapping_mul(u64::MAX / 3)).collect();
            let mut reference = std::collections::hash_map::DefaultHasher::new();
            for word in &message {
                reference.write(&word.to_le_bytes());
            }
            assert_eq!(HashKey([0, 0]).hash(&message), reference.finish());
        }
        assert_ne!(HashKey([1, 0]).hash(&[7]), HashKey([0, 1]).hash(&[7]));
    }
}
