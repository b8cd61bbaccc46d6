//! The one source of chance of a run: what a seed decides, it decides again.

use dunlin_core::random::Random;
use parking_lot::Mutex;

/// splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed ^ 0x5bf0_3635_dcd1_b1a5)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// 0 up to, not including, `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True in so many of a thousand cases.
    pub(crate) fn permille(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize) }
    }
}

/// Chance for the workers.
#[derive(Debug)]
pub(crate) struct SeededSource(Mutex<Chance>);

impl SeededSource {
    pub(crate) fn new(seed: u64) -> SeededSource {
        SeededSource(Mutex::new(Chance::new(seed)))
    }
}

impl Random for SeededSource {
    fn fill(&self, bytes: &mut [u8]) {
        let mut chance = self.0.lock();
        for chunk in bytes.chunks_mut(8) {
            let number = chance.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}
