//! `[passwords]`: how passwords are hashed.

use dunlin_core::config::PasswordConfig;

use super::error::SectionFaults;
use super::section::{Section, section};

/// The most memory that one password hash may take: 1 GiB in KiB.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

section! {
    /// How passwords are hashed (argon2id).
    Passwords {
        /// Memory of one hash.
        memory_kib: u32 = 19 * 1024,
        /// Passes over it.
        iterations: u32 = 2,
        /// Threads that hash.
        threads: usize = 1,
        /// Logins that may wait for them.
        queue: usize = 256,
    }
}

impl Section for Passwords {
    const NAME: &'static str = "passwords";
    type Checked = PasswordConfig;

    fn check(&self, faults: &mut SectionFaults<'_>) -> PasswordConfig {
        faults.within("memory_kib", self.memory_kib, 8..=MEMORY_KIB_MAX.into());
        faults.within("iterations", self.iterations, 1..=100);
        faults.count_within("threads", self.threads, 1..=256);
        faults.count_within("queue", self.queue, 1..=1 << 20);
        PasswordConfig {
            memory_kib: self.memory_kib,
            iterations: self.iterations,
            threads: self.threads,
            queue: self.queue,
        }
    }
}
