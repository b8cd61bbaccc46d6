//! What every [`Store`] must do, as a suite that any crate can run against its own.
//!
//! It is there with the feature `contract`, which is for tests: a check that fails panics, as an
//! assertion does. A crate with a store depends on `dunlin-core` with this feature among its
//! `dev-dependencies`, and has a test like this one:
//!
//! ```
//! use std::sync::Arc;
//!
//! use dunlin_core::store::contract::{self, Answers};
//! use dunlin_core::store::memory::MemoryStore;
//!
//! // The store in memory answers within `submit`; one with threads or a network answers elsewhere.
//! contract::check(Answers::Within, &|| Arc::new(MemoryStore::default()));
//! ```
//!
//! Each part gets a store of its own, which must be empty: a fresh folder, a fresh database.
//! [`PARTS`] can be run one by one as well, so that each is a test with a name.
//!
//! What a suite from outside can't see stays with the store: that what it called durable survives
//! a kill and a loss of power, and that its [epoch](Store::epoch) changes with its history.
//!
//! That the suite is able to fail is tested as well: `core/tests/store_contract_fails.rs` runs it
//! against stores with one defect each.

pub mod ask;
pub mod sample;
pub mod wrapper;

mod changes;
mod deletion;
mod entries;
mod feed;
mod moments;
mod reads;
mod registers;
mod submission;

use std::sync::Arc;

use super::Store;

/// Where a store calls the `done` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Within [`Store::submit`]: allowed to a store that needs nothing but the memory of this
    /// process, and so never waits.
    Within,
    /// On a thread of its own, after `submit` has returned or meanwhile. All others: a thread that
    /// submits has sockets or conversations to look after.
    Elsewhere,
}

/// One thing that a store must do.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// What it is, as a name of a test.
    pub name: &'static str,
    /// Panics if the store, which must be empty at the beginning, does not do it.
    pub check: fn(&dyn Store),
    /// It is asked only of stores that answer [elsewhere](Answers::Elsewhere).
    pub elsewhere_only: bool,
}

/// Names a part as its function is named.
macro_rules! part {
    ($module:ident :: $check:ident) => {
        Part { name: stringify!($check), check: $module::$check, elsewhere_only: false }
    };
    ($module:ident :: $check:ident, elsewhere only) => {
        Part { name: stringify!($check), check: $module::$check, elsewhere_only: true }
    };
}

/// All parts.
pub const PARTS: &[Part] = &[
    part!(entries::sequences_are_dense),
    part!(entries::the_entries_of_a_batch_are_done_in_order),
    part!(entries::what_counts_on_a_refused_entry_is_refused),
    part!(entries::a_key_is_used_once_in_a_log),
    part!(entries::ranges_of_several_logs_are_one_question),
    part!(registers::versions_count_up_and_are_shared_by_a_write),
    part!(registers::a_register_is_read_by_its_name),
    part!(registers::fences_are_kept),
    part!(registers::rules_are_kept),
    part!(registers::a_refused_write_does_nothing),
    part!(registers::a_write_is_seen_as_a_whole),
    part!(registers::registers_are_listed_by_their_keys),
    part!(registers::what_no_store_takes_is_named),
    part!(changes::changes_cost_what_changed),
    part!(changes::changes_of_one_version_are_not_parted),
    part!(changes::who_knows_what_is_gone_begins_afresh),
    part!(deletion::expired_entries_are_no_gap),
    part!(deletion::an_erased_entry_keeps_all_but_its_body),
    part!(deletion::a_dropped_log_goes_on_at_its_sequences),
    part!(deletion::what_has_expired_leaves_its_counts),
    part!(entries::an_entry_is_found_by_its_key),
    part!(moments::what_has_changed_since_a_moment_is_told),
    part!(moments::a_moment_is_passed_on_from_answer_to_answer),
    part!(moments::deletions_are_changes),
    part!(moments::a_range_begins_after_a_moment),
    part!(moments::a_moment_of_nowhere_is_unknown),
    part!(feed::the_feed_has_all_that_was_written),
    part!(feed::the_feed_goes_on_where_it_was),
    part!(feed::what_no_consumer_has_passed_is_kept),
    part!(feed::consumers_are_known_by_name),
    part!(reads::ranges_keep_their_limits),
    part!(reads::heads_tell_the_newest_numbers),
    part!(reads::logs_are_listed_by_kind_and_id),
    part!(reads::a_read_sees_what_was_stored_before),
    part!(submission::writes_of_one_caller_to_one_log_keep_their_order),
    part!(submission::many_threads_share_one_log),
    part!(submission::submitting_waits_for_no_answer, elsewhere only),
];

/// Runs the whole suite; `make` makes an empty store for each part.
///
/// # Panics
/// If the store does not keep the contract; the name of the part is printed before.
pub fn check(answers: Answers, make: &dyn Fn() -> Arc<dyn Store>) {
    let asked = |part: &&Part| !part.elsewhere_only || answers == Answers::Elsewhere;
    for Part { name, check, .. } in PARTS.iter().filter(asked) {
        println!("store contract: {name}");
        check(&*make());
    }
}
