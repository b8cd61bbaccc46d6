//! The end of an engine: what got through the gate is handled before the workers are told to stop.

#[path = "../../src/engine/gate.rs"]
mod gate;

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::{self, Thread};

use gate::Gate;

/// The atomics of the gate, which a test can weaken.
mod atomic {
    use std::cell::Cell;

    pub(crate) use loom::sync::atomic::Ordering;

    std::thread_local! {
        /// Loom runs all threads of a model on the thread of the test.
        pub(crate) static TORN: Cell<bool> = const { Cell::new(false) };
    }

    #[derive(Debug, Default)]
    pub(crate) struct AtomicUsize(loom::sync::atomic::AtomicUsize);

    impl AtomicUsize {
        /// If it is torn, it returns what was there some time before.
        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            if TORN.get() {
                let before = self.0.load(Ordering::Acquire);
                self.0.fetch_add(value, order);
                return before;
            }
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_sub(value, order)
        }

        pub(crate) fn fetch_or(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_or(value, order)
        }

        pub(crate) fn load(&self, order: Ordering) -> usize {
            self.0.load(order)
        }
    }
}

const TOO_LATE: &str = "an item came too late";

#[derive(Default)]
struct Model {
    gate: Gate,
    /// Items put into the queue of the worker.
    put: AtomicUsize,
    stop: AtomicBool,
}

impl Model {
    fn submit(&self, worker: &Thread) {
        if self.gate.enter() {
            self.put.fetch_add(1, Ordering::Release);
            worker.unpark();
        }
    }

    /// Handles what comes, until it is told to stop; returns how many items that were. The first item has another one follow, as an
    /// append has an answer.
    fn work(&self) -> usize {
        let mut taken = 0;
        loop {
            // Looked at before the queue: nothing may come once it is set.
            let stops = self.stop.load(Ordering::Acquire);
            let arrived = self.put.load(Ordering::Acquire);
            if arrived != taken {
                assert!(!stops, "{TOO_LATE}");
                if taken == 0 {
                    self.gate.add(1);
                    self.put.fetch_add(1, Ordering::Release);
                }
                self.gate.leave(arrived - taken);
                taken = arrived;
            } else if stops {
                return taken;
            } else {
                thread::park();
            }
        }
    }

    fn end(&self, worker: &Thread) {
        self.gate.close();
        while !self.gate.is_empty() {
            thread::yield_now();
        }
        self.stop.store(true, Ordering::Release);
        worker.unpark();
    }
}

fn the_engine_ends(torn: bool) {
    super::check(move || {
        atomic::TORN.set(torn);
        let model = Arc::new(Model::default());
        let worker = thread::spawn({
            let model = Arc::clone(&model);
            move || model.work()
        });
        let submitter = thread::spawn({
            let (model, worker) = (Arc::clone(&model), worker.thread().clone());
            move || model.submit(&worker)
        });
        model.end(worker.thread());
        let taken = worker.join().unwrap();
        submitter.join().unwrap();
        assert_eq!(model.put.load(Ordering::Acquire), taken, "{TOO_LATE}");
        assert!(model.gate.is_empty() && !model.gate.enter());
    });
}

#[test]
fn what_was_let_in_is_handled_before_the_end() {
    the_engine_ends(false);
}

#[test]
#[should_panic(expected = "an item came too late")]
fn a_gate_that_looks_before_it_counts_lets_something_in_too_late() {
    the_engine_ends(true);
}
