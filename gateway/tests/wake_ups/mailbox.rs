//! The parent that `sleep_flag.rs` has here: atomics of loom, which a test can weaken.

#[path = "../../src/shard/mailbox/sleep_flag.rs"]
pub(crate) mod sleep_flag;

pub(crate) mod atomic {
    use std::cell::Cell;

    pub(crate) use loom::sync::atomic::Ordering;
    use loom::thread::{self, ThreadId};

    /// Loom orders two stores to one place only if one of them has seen the other, and so shows
    /// executions that no machine has. Only the shard stores; senders swap. So it costs no
    /// generality to let it swap as well, which takes its place in the one order of all.
    #[derive(Debug, Default)]
    pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn load(&self, order: Ordering) -> bool {
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: bool, order: Ordering) {
            self.0.swap(value, order);
        }

        pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
            self.0.swap(value, order)
        }
    }

    /// What is wrong with the fences.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Weakness {
        Nothing,
        /// They don't make one total order.
        AcquireRelease,
        /// The shard's is missing.
        ShardWithout,
        /// Those of the senders are missing.
        SendersWithout,
    }

    std::thread_local! {
        /// Loom runs all threads of a model on the thread of the test.
        static WEAKNESS: Cell<Weakness> = const { Cell::new(Weakness::Nothing) };
        static SHARD: Cell<Option<ThreadId>> = const { Cell::new(None) };
    }

    /// To be called by the thread that is the shard, before all else.
    pub(crate) fn weaken(weakness: Weakness) {
        WEAKNESS.set(weakness);
        SHARD.set(Some(thread::current().id()));
    }

    pub(crate) fn fence(order: Ordering) {
        let is_shard = SHARD.get() == Some(thread::current().id());
        match WEAKNESS.get() {
            Weakness::ShardWithout if is_shard => {}
            Weakness::SendersWithout if !is_shard => {}
            Weakness::AcquireRelease => loom::sync::atomic::fence(Ordering::AcqRel),
            Weakness::Nothing | Weakness::ShardWithout | Weakness::SendersWithout => {
                loom::sync::atomic::fence(order);
            }
        }
    }
}
