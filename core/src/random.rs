//! Chance, injected.

use ring::rand::{SecureRandom, SystemRandom};

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

/// The random source of the operating system.
#[derive(Debug)]
pub struct SystemSource(SystemRandom);

impl Default for SystemSource {
    fn default() -> SystemSource {
        SystemSource(SystemRandom::new())
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
        self.0.fill(bytes).expect("the operating system gives random bytes");
    }
}
