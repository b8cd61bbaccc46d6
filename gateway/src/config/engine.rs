//! `[engine]`: the messaging engine.

use dunlin_core::config::{EngineConfig, Registration};
use dunlin_core::limits::ANSWER_BYTES_MAX;

use super::error::SectionFaults;
use super::section::{Section, section};

section! {
    /// The messaging engine.
    Engine {
        /// Worker threads; 0 for one per core.
        workers: usize = 0,
        /// Workers run on threads of their own, even where each could run within a shard's.
        worker_threads: bool = false,
        /// Pages of 2 MiB for what is allocated, if the system has them: a little faster, but idle
        /// connections take up to twice the memory. (Only while the system lets a program choose.)
        huge_pages: bool = false,
        /// Batches that may wait for a worker until the shards stop reading.
        worker_queue_batches: usize = 1024,
        /// Memory for large answers, from when they are read to when they are written.
        answer_bytes_max: usize = ANSWER_BYTES_MAX,
        /// Who may register an account: open, invitation, closed, or auto.
        registration: String = "auto".into(),
    }
}

impl Section for Engine {
    const NAME: &'static str = "engine";
    /// The settings of the engine that have sections of their own are at their defaults in it.
    type Checked = EngineConfig;

    fn check(&self, faults: &mut SectionFaults<'_>) -> EngineConfig {
        faults.count_within("workers", self.workers, 0..=256);
        faults.count_within("worker_queue_batches", self.worker_queue_batches, 1..=1 << 20);
        faults.count_within("answer_bytes_max", self.answer_bytes_max, 1 << 20..=1 << 50);
        let defaults = EngineConfig::default();
        EngineConfig {
            workers: if self.workers == 0 { defaults.workers } else { self.workers },
            worker_queue_batches: self.worker_queue_batches,
            answer_bytes_max: self.answer_bytes_max,
            registration: self.registration(faults),
            ..defaults
        }
    }
}

impl Engine {
    /// What was said about it; nothing if it follows from the issuers.
    fn registration(&self, faults: &mut SectionFaults<'_>) -> Option<Registration> {
        match self.registration.as_str() {
            "auto" => None,
            "open" => Some(Registration::Open),
            "invitation" => Some(Registration::Invitation),
            "closed" => Some(Registration::Closed),
            other => {
                faults.refuse(
                    &["registration"],
                    format!("{other:?} is none of open, invitation, closed, auto"),
                );
                None
            }
        }
    }
}
