//! A cluster in one thread: three nodes, a store, a bus that can't be trusted, and clients that check
//! what they were promised.
//!
//! A run is decided by its seed. `DUNLIN_SIMULATION_SEED=7` replays one,
//! `DUNLIN_SIMULATION_SEEDS=1000` runs so many instead of the usual number.

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

use profile::Sabotage;
use world::{Counts, USERS, World};

const SEEDS: u64 = 30;

/// What came of a run.
struct Outcome {
    violations: Vec<String>,
    trace: u64,
    counts: Counts,
    acknowledged: usize,
}

fn run(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let mut world = World::new(seed, sabotage);
    let mut violations = Vec::new();
    for _ in 0..world.profile.rounds {
        world.trouble();
        // Nobody is made to sync: hints alone must bring everybody to the end of each log.
        world.run_for(15_000);
        violations.extend(check::left_behind(&world));
    }
    for id in 1..=USERS {
        let user = UserId::new(id).unwrap();
        let told = world.new_device(user);
        violations.extend(check::check_new_device(&world, user, told.as_ref()));
    }
    world.end();
    violations.extend(check::violations(&world));
    let acknowledged = world.clients.iter().map(client::Client::acknowledged_messages).sum();
    Outcome { violations, trace: world.trace, counts: world.counts, acknowledged }
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}

#[test]
fn the_promise_holds_whatever_happens() {
    let seeds = match number_of("DUNLIN_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("DUNLIN_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut total = Counts::default();
    let mut acknowledged = 0;
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = run(seed, None);
        if !outcome.violations.is_empty() {
            let shown = if count == 1 { usize::MAX } else { 3 };
            let some: Vec<_> = outcome.violations.iter().take(shown).collect();
            eprintln!("DUNLIN_SIMULATION_SEED={seed}: {some:#?}");
            failed.push(seed);
        }
        total.add(&outcome.counts);
        acknowledged += outcome.acknowledged;
    }
    eprintln!("{acknowledged} messages acknowledged, {total:?}");
    assert!(failed.is_empty(), "seeds {failed:?} break the promise");
    if count >= SEEDS {
        let Counts { crashes, envelopes_lost, forwarded, forwards_late, gaps, pushes } = total;
        // In so many runs everything happens; otherwise nothing was tried.
        let all = [crashes, envelopes_lost, forwarded, forwards_late, gaps, pushes];
        assert!(all.iter().all(|count| *count > 0), "{total:?}");
    }
}

#[test]
fn a_seed_leads_to_the_same_run_each_time() {
    for seed in 1..4 {
        assert_eq!(run(seed, None).trace, run(seed, None).trace, "seed {seed}");
    }
}

/// What is broken on purpose is found by the checks, within a few seeds.
#[track_caller]
fn is_found(sabotage: Sabotage, what: &str) {
    let found = (0..SEEDS).any(|seed| {
        run(seed, Some(sabotage)).violations.iter().any(|violation| violation.contains(what))
    });
    assert!(found, "{sabotage:?} was not noticed");
}

#[test]
fn a_store_that_forgets_keys_is_found() {
    is_found(Sabotage::NoDedupe, "is stored twice");
}

#[test]
fn a_store_without_a_fence_is_found() {
    is_found(Sabotage::NoFence, "stands at");
}

#[test]
fn a_store_that_forgets_appends_is_found() {
    is_found(Sabotage::ForgetsAppends, "is not stored at");
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
