//! Stores that are slow, or have each log elsewhere, keep the contract.

use std::sync::Arc;

use dunlin_core::store::Store;
use dunlin_core::store::contract::wrapper::{Later, Reordering, Slow, Timer};
use dunlin_core::store::contract::{self, Answers};
use dunlin_core::store::memory::MemoryStore;

fn keeps_the_contract(wrap: impl Fn(Arc<dyn Store>, Arc<dyn Later>) -> Arc<dyn Store>) {
    let make = || wrap(Arc::new(MemoryStore::default()), Arc::new(Timer::start()));
    contract::check(Answers::Elsewhere, &make);
}

#[test]
fn a_slow_store_keeps_the_contract() {
    keeps_the_contract(|store, later| Arc::new(Slow::over(store, later, 1)));
}

#[test]
fn a_store_of_many_parts_keeps_the_contract() {
    keeps_the_contract(|store, later| Arc::new(Reordering::over(store, later, 2)));
}

#[test]
fn so_does_one_over_the_other() {
    keeps_the_contract(|store, later| {
        let parts = Arc::new(Reordering::over(store, Arc::clone(&later), 3));
        Arc::new(Slow::over(parts, later, 4))
    });
}
