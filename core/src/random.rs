//! Chance, injected.

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

/// Numbers that are drawn at once: a call of the system costs as much for all of them as for one.
const NUMBERS_DRAWN: usize = 64;

/// Where the engine gets unpredictable bytes: ids, keys, salts.
pub trait Random: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]);

    /// 64 random bits.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The random source of the operating system. Numbers, which name users and sessions, are drawn some at a
/// time, and forgotten when they are given out; keys and salts are drawn when they are needed.
pub struct SystemSource {
    system: SystemRandom,
    numbers: Mutex<Vec<u64>>,
}

impl std::fmt::Debug for SystemSource {
    /// Without the numbers: they are secrets until they are used.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemSource")
    }
}

impl Default for SystemSource {
    fn default() -> SystemSource {
        SystemSource { system: SystemRandom::new(), numbers: Mutex::default() }
    }
}

impl SystemSource {
    /// A handle to it; cheap.
    pub fn new() -> SystemSource {
        SystemSource::default()
    }
}

impl Random for SystemSource {
    /// # Panics
    /// If the operating system has no randomness to give: no key or id could be made safely.
    fn fill(&self, bytes: &mut [u8]) {
        self.system.fill(bytes).expect("the operating system gives random bytes");
    }

    /// # Panics
    /// As above.
    fn next_u64(&self) -> u64 {
        let mut numbers = self.numbers.lock();
        if let Some(number) = numbers.pop() {
            return number;
        }
        let mut bytes = [0; NUMBERS_DRAWN * 8];
        self.fill(&mut bytes);
        let drawn = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes);
        numbers.extend(drawn);
        numbers.pop().expect("some were drawn")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_number_is_given_out_twice() {
        let source = SystemSource::new();
        let drawn: HashSet<u64> = (0..3 * NUMBERS_DRAWN).map(|_| source.next_u64()).collect();
        assert_eq!(drawn.len(), 3 * NUMBERS_DRAWN);
    }
}
