//! Nobody waits for ever, and nothing that was taken is forgotten, whatever the interleaving: loom
//! tries them all. The code is the engine's own, compiled with the atomics and locks of loom; the
//! models around it promise no more than they must. Each has a twin that is weakened on purpose and
//! has to fail, so that the models can't go blind.
//!
//! What sleeps in a worker is crossbeam's `Select`, which has no flag of ours. The models leave out
//! what needs more than three preemptions; `LOOM_MAX_PREEMPTIONS` names another number.

/// For `queue.rs`, which finds it here.
use dunlin_core::store;

mod engine;
mod lane;

use loom::model::Builder;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}
