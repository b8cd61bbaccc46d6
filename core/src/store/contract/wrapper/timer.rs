//! Time in earnest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Deed, Later};

/// A thread that does things when they are due, as long as the timer is there.
pub struct Timer {
    began: Instant,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    deeds: BinaryHeap<Reverse<Due>>,
    asked: u64,
    is_over: bool,
}

struct Due {
    /// The time, and then the order in which it was asked for.
    when: (u64, u64),
    deed: Deed,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.when == other.when
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        self.when.cmp(&other.when)
    }
}

impl Timer {
    /// Starts the thread.
    ///
    /// # Panics
    /// If there can be no more threads.
    pub fn start() -> Timer {
        let timer = Timer { began: Instant::now(), shared: Arc::default() };
        let (shared, began) = (Arc::clone(&timer.shared), timer.began);
        let thread = thread::Builder::new().name("timer".into());
        thread.spawn(move || run(&shared, began)).expect("a thread for a test");
        timer
    }
}

fn run(shared: &Shared, began: Instant) {
    let mut waiting = shared.waiting.lock();
    while !waiting.is_over {
        let Some(Reverse(first)) = waiting.deeds.peek() else {
            shared.changed.wait(&mut waiting);
            continue;
        };
        let due = began + Duration::from_millis(first.when.0);
        if Instant::now() < due {
            // Whether it is due or something else was asked for: look again.
            let _timed_out = shared.changed.wait_until(&mut waiting, due);
            continue;
        }
        if let Some(Reverse(Due { deed, .. })) = waiting.deeds.pop() {
            parking_lot::MutexGuard::unlocked(&mut waiting, deed);
        }
    }
}

impl Later for Timer {
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn at(&self, time_ms: u64, deed: Deed) {
        let mut waiting = self.shared.waiting.lock();
        waiting.asked += 1;
        let when = (time_ms, waiting.asked);
        waiting.deeds.push(Reverse(Due { when, deed }));
        self.shared.changed.notify_one();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.waiting.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}
