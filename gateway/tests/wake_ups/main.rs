//! Nobody who hands something to a sleeping shard is overlooked, whatever the interleaving, on any
//! machine that keeps to the memory model: loom tries them all. The code is the server's own
//! `sleep_flag.rs`; the queue and the eventfd around it promise no more than they must.
//!
//! A lost wake-up shows as a deadlock, and the weakened models show that it does. The larger models
//! leave out what needs more than three preemptions; `LOOM_MAX_PREEMPTIONS` names another number.
//!
//! In the other direction, from shards to workers, the sleep is crossbeam's, and a shard whose
//! worker has no room asks again by a timer: no flag of ours. The gate that counts what is under
//! way there has its models in `core/tests/hand_overs`.

mod mailbox;

use std::sync::Arc;

use loom::model::Builder;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, Thread};
use mailbox::atomic::{Weakness, weaken};
use mailbox::sleep_flag::SleepFlag;

/// A shard's end and the senders' ends in one.
#[derive(Default)]
struct Inbox {
    flag: SleepFlag,
    queue: Queue,
}

/// A queue as weak as can be: items are ordered among themselves and bring their contents along,
/// but a look at its length may be late.
#[derive(Default)]
struct Queue {
    put: AtomicUsize,
}

impl Queue {
    fn put(&self) {
        self.put.fetch_add(1, Ordering::Release);
    }

    fn has_only(&self, taken: usize) -> bool {
        self.put.load(Ordering::Relaxed) == taken
    }

    /// How many there are to take, with those that were taken before.
    fn arrived(&self) -> usize {
        self.put.load(Ordering::Acquire)
    }
}

impl Inbox {
    /// A write to an eventfd in an edge-triggered epoll is what an unpark is: if it comes before the
    /// sleep, that ends at once.
    fn post(&self, shard: &Thread) {
        let put = || {
            self.queue.put();
            true
        };
        self.flag.hand_over(put, || shard.unpark());
    }

    /// What a shard does, until it has taken so many. Its first sleeps may end by a timer.
    fn take(&self, items: usize, mut timers: usize) {
        let mut taken = 0;
        while taken < items {
            if self.flag.may_sleep(|| self.queue.has_only(taken)) {
                match timers.checked_sub(1) {
                    Some(left) => timers = left,
                    None => thread::park(),
                }
            }
            self.flag.awake();
            taken = self.queue.arrived();
        }
    }
}

#[derive(Clone, Copy)]
struct Model {
    senders: usize,
    items_each: usize,
    /// Sleeps that end by themselves.
    timers: usize,
}

impl Model {
    fn check(self, weakness: Weakness) {
        let Model { senders, items_each, timers } = self;
        let mut builder = Builder::new();
        if senders * items_each > 1 && builder.preemption_bound.is_none() {
            builder.preemption_bound = Some(3);
        }
        builder.check(move || {
            weaken(weakness);
            let inbox = Arc::new(Inbox::default());
            for _ in 0..senders {
                let (inbox, shard) = (Arc::clone(&inbox), thread::current());
                thread::spawn(move || (0..items_each).for_each(|_| inbox.post(&shard)));
            }
            inbox.take(senders * items_each, timers);
        });
    }
}

const ONE: Model = Model { senders: 1, items_each: 1, timers: 0 };

#[test]
fn one_item() {
    ONE.check(Weakness::Nothing);
}

#[test]
fn one_item_after_another() {
    Model { items_each: 3, ..ONE }.check(Weakness::Nothing);
}

#[test]
fn two_senders_at_once() {
    Model { senders: 2, ..ONE }.check(Weakness::Nothing);
}

#[test]
fn a_sleep_that_ends_by_itself() {
    Model { items_each: 2, timers: 1, ..ONE }.check(Weakness::Nothing);
}

#[test]
fn two_senders_and_a_sleep_that_ends_by_itself() {
    Model { senders: 2, timers: 1, ..ONE }.check(Weakness::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_fence_that_only_acquires_and_releases_loses_a_wake_up() {
    ONE.check(Weakness::AcquireRelease);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_shard_without_its_fence_loses_a_wake_up() {
    ONE.check(Weakness::ShardWithout);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sender_without_its_fence_loses_a_wake_up() {
    ONE.check(Weakness::SendersWithout);
}
