//! A cluster in one thread: three nodes, a store, a bus that can't be trusted, and clients that check
//! what they were promised.
//!
//! A run is decided by its seed. `DUNLIN_SIMULATION_SEED=7` replays one,
//! `DUNLIN_SIMULATION_SEEDS=1000` runs so many instead of the usual number.

mod account;
mod accounts;
mod chance;
mod check;
mod client;
#[path = "../engine_support/mod.rs"]
mod engine_support;
mod log;
mod profile;
mod store;
mod world;

use dunlin_protocol::UserId;

use profile::{Between, Sabotage};
use world::{Counts, USERS, World};

const SEEDS: u64 = 30;

/// Runs with each of the things that may be between the nodes and their store.
const SEEDS_BETWEEN: u64 = 6;

/// What came of a run.
struct Outcome {
    violations: Vec<String>,
    trace: u64,
    counts: Counts,
    acknowledged: usize,
    struck: u64,
}

fn run(seed: u64, between: Between, sabotage: Option<Sabotage>) -> Outcome {
    let mut world = World::new(seed, between, sabotage);
    let mut violations = Vec::new();
    for _ in 0..world.profile.rounds {
        world.trouble();
        // Nobody is made to sync: hints alone must bring everybody to the end of each log.
        world.run_for(15_000 + between.patience_ms());
        violations.extend(check::left_behind(&world));
        world.clients.iter_mut().for_each(client::Client::wants_to_sync);
        world.run_for(3_000);
        violations.extend(check::not_synced(&world));
    }
    for id in 1..=USERS {
        let user = UserId::new(id).unwrap();
        let told = world.new_device(user);
        violations.extend(check::check_new_device(&world, user, told.as_ref()));
    }
    world.end();
    violations.extend(check::violations(&world));
    let acknowledged = world.clients.iter().map(client::Client::acknowledged_messages).sum();
    let (trace, counts, struck) = (world.trace, world.counts, world.struck());
    Outcome { violations, trace, counts, acknowledged, struck }
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}

/// What came of many runs.
#[derive(Default)]
struct Total {
    counts: Counts,
    acknowledged: usize,
    struck: u64,
}

/// Runs each seed, or the one that is asked for, and fails if one of them breaks the promise.
#[track_caller]
fn holds(between: Between, seeds: u64) -> Total {
    let seeds = match number_of("DUNLIN_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("DUNLIN_SIMULATION_SEEDS").unwrap_or(seeds),
    };
    let count = seeds.end - seeds.start;
    let mut total = Total::default();
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = run(seed, between, None);
        if !outcome.violations.is_empty() {
            let shown = if count == 1 { usize::MAX } else { 3 };
            let some: Vec<_> = outcome.violations.iter().take(shown).collect();
            eprintln!("{between:?}, DUNLIN_SIMULATION_SEED={seed}: {some:#?}");
            failed.push(seed);
        }
        total.counts.add(&outcome.counts);
        total.acknowledged += outcome.acknowledged;
        total.struck += outcome.struck;
    }
    let Total { counts, acknowledged, struck } = &total;
    eprintln!("{between:?}: {acknowledged} messages acknowledged, {struck} failed, {counts:?}");
    assert!(failed.is_empty(), "{between:?}: seeds {failed:?} break the promise");
    if count >= SEEDS {
        let Counts { crashes, envelopes_lost, forwarded, forwards_late, gaps, pushes } = *counts;
        // In so many runs everything happens; otherwise nothing was tried.
        let all = [crashes, envelopes_lost, forwarded, forwards_late, gaps, pushes];
        assert!(all.iter().all(|count| *count > 0), "{counts:?}");
    }
    total
}

#[test]
fn the_promise_holds_whatever_happens() {
    holds(Between::Nothing, SEEDS);
}

#[test]
fn it_holds_over_a_slow_store() {
    holds(Between::Slowness, SEEDS_BETWEEN);
}

#[test]
fn it_holds_over_a_store_of_many_parts() {
    holds(Between::Parts, SEEDS_BETWEEN);
}

#[test]
fn it_holds_over_a_store_that_fails_in_parts() {
    let total = holds(Between::Failures, SEEDS_BETWEEN);
    assert!(total.struck > 0, "nothing has failed");
}

#[test]
fn it_holds_over_a_store_that_loses_answers() {
    let total = holds(Between::LostAnswers, SEEDS_BETWEEN);
    assert!(total.struck > 0, "no answer was lost");
}

#[test]
fn a_seed_leads_to_the_same_run_each_time() {
    for (seed, between) in (1..).zip(Between::ALL) {
        let trace = || run(seed, between, None).trace;
        assert_eq!(trace(), trace(), "seed {seed}, {between:?}");
    }
}

/// What is broken on purpose is found by the checks, within a few seeds.
#[track_caller]
fn is_found(sabotage: Sabotage, what: &str) {
    is_found_over(Between::Nothing, sabotage, what);
}

#[track_caller]
fn is_found_over(between: Between, sabotage: Sabotage, what: &str) {
    let found = (0..SEEDS).any(|seed| {
        let violations = run(seed, between, Some(sabotage)).violations;
        violations.iter().any(|violation| violation.contains(what))
    });
    assert!(found, "{sabotage:?} was not noticed over {between:?}");
}

#[test]
fn a_store_that_forgets_keys_is_found() {
    for between in Between::ALL {
        is_found_over(between, Sabotage::NoDedupe, "is stored twice");
    }
}

#[test]
fn a_store_without_a_fence_is_found() {
    for between in Between::ALL {
        is_found_over(between, Sabotage::NoFence, "stands at");
    }
}

#[test]
fn a_store_that_forgets_appends_is_found() {
    for between in Between::ALL {
        is_found_over(between, Sabotage::ForgetsAppends, "is not stored at");
    }
}

#[test]
fn clients_that_are_not_told_that_they_are_behind_are_found() {
    is_found(Sabotage::DeafClients, "up to");
}

#[test]
fn sends_that_overtake_each_other_are_found() {
    is_found(Sabotage::UnorderedRequests, ", after");
}

#[test]
fn requests_without_an_answer_are_found() {
    is_found(Sabotage::LostRequests, "waits for");
}
