//! The sleeps of the store: the commit lane before its queue, the indexer before its flag.

#[allow(dead_code, reason = "whatever the task is, it is handed over in one way")]
#[path = "../../src/store/embedded/lane/queue.rs"]
mod queue;
#[path = "../../src/store/embedded/wake.rs"]
mod wake;

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::store::StoreReply;
use locks::CARELESS;
use queue::{Job, Queue, Task};
use wake::Wake;

/// Locks with the interface of `parking_lot`, which a test can weaken.
mod locks {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    std::thread_local! {
        /// A wait lets others in before it has begun. (Loom runs all threads of a model on the
        /// thread of the test.)
        pub(crate) static CARELESS: Cell<bool> = const { Cell::new(false) };
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: &self.0, held: self.0.lock().ok() }
        }
    }

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a loom::sync::Mutex<T>,
        /// `None` only within a wait.
        held: Option<loom::sync::MutexGuard<'a, T>>,
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().unwrap()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    pub(crate) struct WaitTimeoutResult;

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let mut held = guard.held.take().unwrap();
            if CARELESS.get() {
                drop(held);
                held = guard.mutex.lock().unwrap();
            }
            guard.held = self.0.wait(held).ok();
        }

        /// The time never comes here: only a wake-up ends it.
        pub(crate) fn wait_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _timeout: Duration,
        ) -> WaitTimeoutResult {
            self.wait(guard);
            WaitTimeoutResult
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// Two that append, one lane, and an end that may come before they do.
fn the_lane_answers_every_job(careless: bool) {
    super::check(move || {
        CARELESS.set(careless);
        let queue = Arc::new(Queue::default());
        let answered = Arc::new(AtomicUsize::new(0));
        let appending = [(); 2].map(|()| {
            let (queue, answered) = (Arc::clone(&queue), Arc::clone(&answered));
            thread::spawn(move || {
                let done = Box::new(move |_| {
                    answered.fetch_add(1, Ordering::Relaxed);
                });
                queue.push(Job { task: Task::Write(Vec::new()), done });
            })
        });
        let lane = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let mut jobs = Vec::new();
                while queue.take(&mut jobs) {
                    for Job { task, done } in jobs.drain(..) {
                        assert!(matches!(task, Task::Write(writes) if writes.is_empty()));
                        done(Ok(StoreReply::Written(Vec::new())));
                    }
                }
            }
        });
        queue.close();
        lane.join().unwrap();
        appending.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(answered.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn every_job_is_answered() {
    the_lane_answers_every_job(false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_careless_wait_sleeps_for_ever() {
    the_lane_answers_every_job(true);
}

fn the_flag_is_seen(careless: bool) {
    super::check(move || {
        CARELESS.set(careless);
        let (wake, stop) = (Arc::new(Wake::default()), Arc::new(AtomicBool::new(false)));
        thread::spawn({
            let (wake, stop) = (Arc::clone(&wake), Arc::clone(&stop));
            move || {
                wake.wake();
                stop.store(true, Ordering::Relaxed);
                wake.wake();
            }
        });
        while !stop.load(Ordering::Relaxed) {
            wake.wait(None);
        }
    });
}

#[test]
fn what_was_set_before_a_wake_up_is_seen_after_it() {
    the_flag_is_seen(false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_careless_wait_does_not_see_it() {
    the_flag_is_seen(true);
}
