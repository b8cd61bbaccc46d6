//! Stores over a store that are as slow, as unordered and as unreliable as one beyond a network may be.
//!
//! What stands over a store is tested over these: none of them does anything that the contract does
//! not allow (but [`Losing`], which answers nothing at times: whoever asks must not wait for ever).
//! They can be put over each other. Time is that of a [`Later`]: a [`Timer`] in earnest, the clock of
//! the simulation there.

mod failing;
mod losing;
mod reordering;
mod slow;
mod timer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_protocol::LogId;
use parking_lot::Mutex;

pub use failing::Failing;
pub use losing::Losing;
pub use reordering::Reordering;
pub use slow::Slow;
pub use timer::Timer;

use super::super::{Deletion, StoreRequest};

/// Something that is done later.
pub type Deed = Box<dyn FnOnce() + Send>;

/// Time as a wrapper has it.
pub trait Later: Send + Sync {
    /// Milliseconds since whenever.
    fn now_ms(&self) -> u64;

    /// Does something at a time, or soon after it; of what is due at the same time, that first which was
    /// asked for first.
    fn at(&self, time_ms: u64, deed: Deed);
}

/// How long a request is under way, in each direction.
pub(super) const DELAY_MS: (u64, u64) = (1, 10);

/// Random numbers from a seed (splitmix64), so that a run can be had again.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(AtomicU64::new(seed ^ 0x1d8e_4e27_c47d_124f))
    }

    /// 0 up to, not including, `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let value = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % end.max(1)
    }

    pub(super) fn delay_ms(&self) -> u64 {
        DELAY_MS.0 + self.below(DELAY_MS.1 - DELAY_MS.0 + 1)
    }
}

/// How often something goes wrong: in so many of a thousand cases. It can be changed at any time, so
/// that trouble ends.
#[derive(Debug, Clone, Default)]
pub struct Rate(Arc<Luck>);

#[derive(Debug, Default)]
struct Luck {
    permille: AtomicU64,
    struck: AtomicU64,
}

impl Rate {
    /// In so many of a thousand cases.
    pub fn permille(permille: u64) -> Rate {
        let rate = Rate::default();
        rate.set(permille);
        rate
    }

    /// From now on in so many.
    pub fn set(&self, permille: u64) {
        self.0.permille.store(permille, Ordering::Relaxed);
    }

    /// How often something went wrong.
    pub fn struck(&self) -> u64 {
        self.0.struck.load(Ordering::Relaxed)
    }

    pub(super) fn strikes(&self, dice: &Dice) -> bool {
        let strikes = dice.below(1000) < self.0.permille.load(Ordering::Relaxed);
        self.0.struck.fetch_add(u64::from(strikes), Ordering::Relaxed);
        strikes
    }
}

/// When what is written to each log is due: never before what was submitted earlier.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<HashMap<LogId, u64>>);

impl Order {
    /// The time for something that is written to these logs and could be done at `time_ms`.
    pub(super) fn due(&self, time_ms: u64, logs: &[LogId]) -> u64 {
        let mut last = self.0.lock();
        let before = logs.iter().filter_map(|log| last.get(log)).max().copied();
        let due = before.map_or(time_ms, |before| before.max(time_ms));
        last.extend(logs.iter().map(|log| (*log, due)));
        due
    }
}

/// The logs that a request writes to.
pub fn written_logs(request: &StoreRequest) -> Vec<LogId> {
    match request {
        StoreRequest::Write(writes) => writes.iter().map(|write| write.log).collect(),
        StoreRequest::Delete(deletions) => deletions.iter().map(Deletion::log).collect(),
        StoreRequest::Ranges(_)
        | StoreRequest::Register(_)
        | StoreRequest::Registers(_)
        | StoreRequest::Changes(_)
        | StoreRequest::Feed(_)
        | StoreRequest::Consumer(_)
        | StoreRequest::Consumers
        | StoreRequest::Heads(_)
        | StoreRequest::Changed { .. }
        | StoreRequest::Keys(_)
        | StoreRequest::Logs { .. } => Vec::new(),
    }
}
