//! Starting a store, and looking things up in it: each look-up alone, at places drawn by lot.

use std::time::{Duration, Instant};

use clap::Args;
use dunlin_core::store::embedded::EmbeddedStore;
use dunlin_core::store::question::{Heads, Logs, Question};
use dunlin_core::store::{
    ChangeRange, Head, Page, Range, Register, RegisterKey, RegisterRange, Registers, StoreError,
    Write, Written,
};
use dunlin_loadtest::LoadtestError;
use dunlin_protocol::{ClientMessageId, LogId, LogKind};
use smallvec::SmallVec;

use super::population::{Population, mixed};
use super::{Place, ScaleReport, ask, failed, fill, footprint};

/// Entries of a page.
const PAGE: usize = 50;

/// Names of a page.
const NAMES: usize = 100;

/// Options of the step.
#[derive(Debug, Clone, Args)]
pub(super) struct LookOptions {
    /// How often each kind of look-up is made.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Another number draws other places.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn look(
    place: &Place,
    options: &LookOptions,
    report: &mut ScaleReport,
) -> Result<(), LoadtestError> {
    let population = place.population()?;
    report.memory("before the start")?;
    let start = Instant::now();
    let store = place.open(&place.store())?;
    report.add("start", start.elapsed().as_secs_f64() * 1e3, "ms");
    report.count("segments that had to be read", store.recovery().segments_scanned as u64);
    report.memory("after the start")?;
    let mut looking = Looking { store: &store, population, draw: options.seed, report };
    for kind in KINDS {
        // Each kind meets a cache that the one before has not filled, as far as that was asked for.
        if place.is_cold {
            let forgotten = footprint::forget(&place.store());
            forgotten.map_err(LoadtestError::machine("emptying the cache"))?;
        }
        looking.many(kind, options.times)?;
    }
    report.memory("after looking up")?;
    let start = Instant::now();
    drop(store);
    report.add("orderly stop", start.elapsed().as_secs_f64() * 1e3, "ms");
    fill::disk(place, report)
}

/// What can be looked up.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Head,
    Page,
    UnknownKey,
    KnownKey,
    Name,
    Cursor,
    Account,
    Changes,
    Users,
}

const KINDS: [Kind; 9] = [
    Kind::Head,
    Kind::Page,
    Kind::UnknownKey,
    Kind::KnownKey,
    Kind::Name,
    Kind::Cursor,
    Kind::Account,
    Kind::Changes,
    Kind::Users,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Head => "head of a conversation",
            Kind::Page => "newest 50 messages of a conversation",
            Kind::UnknownKey => "message id that is new",
            Kind::KnownKey => "message id that was used",
            Kind::Name => "user by name",
            Kind::Cursor => "read cursor",
            Kind::Account => "all registers of an account",
            Kind::Changes => "that nothing of an account has changed",
            Kind::Users => "100 names of the list of all",
        }
    }
}

struct Looking<'a> {
    store: &'a EmbeddedStore,
    population: Population,
    draw: u64,
    report: &'a mut ScaleReport,
}

impl Looking<'_> {
    fn many(&mut self, kind: Kind, times: u32) -> Result<(), LoadtestError> {
        let mut took = Vec::new();
        for _ in 0..times {
            // The steps of splitmix64, whose output the population mixes.
            self.draw = self.draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
            took.push(self.once(kind, mixed(self.draw))?);
        }
        took.sort_unstable();
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("slowest", 1.0)] {
            let at = ((took.len() - 1) as f64 * part) as usize;
            let us = took[at].as_nanos() as f64 / 1e3;
            self.report.add(format!("{}, {name}", kind.name()), us, "us");
        }
        Ok(())
    }

    /// One look-up; how long it took. Fails if the answer is not what was written.
    fn once(&self, kind: Kind, drawn: u64) -> Result<Duration, LoadtestError> {
        let newest = self.population.newest(drawn);
        let log = self.population.conversation(newest.conversation);
        let user = drawn % self.population.users;
        let account = LogId::account(self.population.user(user));
        match kind {
            Kind::Head => {
                let seq = |head: &Head| head.seq;
                self.timed(Heads(vec![log]), |heads| heads[0].as_ref().map(seq) == Ok(newest.seq))
            }
            Kind::Page => {
                let (to, entries_max, bytes_max) = (newest.seq, PAGE, usize::MAX);
                let range = Range {
                    log,
                    from: 1,
                    to,
                    entries_max,
                    bytes_max,
                    backwards: true,
                    since: None,
                };
                let entries = |page: &Page| page.entries.len() as u64;
                let all = newest.seq.min(PAGE as u64);
                self.timed(vec![range], |pages| pages[0].as_ref().map(entries) == Ok(all))
            }
            // Both ask for a sequence that is taken, so nothing is stored.
            Kind::UnknownKey => {
                let write = renamed(self.population.message(log, newest), drawn);
                self.timed(vec![write], |all| matches!(all[0], Written::Conflict { .. }))
            }
            Kind::KnownKey => {
                let (write, first) = (self.population.message(log, newest), newest.seq);
                let known =
                    |one: &Written| matches!(one, Written::Duplicate { seq, .. } if *seq == first);
                self.timed(vec![write], |all| known(&all[0]))
            }
            Kind::Name => self.register(self.population.name_register(user)),
            Kind::Cursor => self.register(self.population.cursor_register(newest)),
            Kind::Account => {
                let (registers_max, bytes_max) = (1000, usize::MAX);
                let (prefix, after) = (SmallVec::new(), None);
                let range = RegisterRange { log: account, prefix, after, registers_max, bytes_max };
                let some = |all: &Registers| !all.registers.is_empty();
                self.timed(vec![range], |found| found[0].as_ref().is_ok_and(some))
            }
            Kind::Changes => {
                let heads = answered(ask(self.store, Heads(vec![account])))?;
                let version = answered(heads[0].clone())?.version;
                let (since, registers_max, bytes_max) = (version, 1000, usize::MAX);
                let range = ChangeRange { log: account, since, registers_max, bytes_max };
                let none = |all: &Registers| all.registers.is_empty() && !all.afresh;
                self.timed(vec![range], |found| found[0].as_ref().is_ok_and(none))
            }
            Kind::Users => {
                let after = Some(self.population.name_register(user).0);
                let logs = Logs { kind: LogKind::Name, after, limit: NAMES };
                self.timed(logs, |names| names.len() <= NAMES)
            }
        }
    }

    fn register(&self, name: (LogId, RegisterKey)) -> Result<Duration, LoadtestError> {
        let holds = |register: &Register| register.value.is_some();
        self.timed(vec![name], |found| found[0].as_ref().is_ok_and(holds))
    }

    /// How long the store took to answer, if the answer is right.
    fn timed<Q: Question>(
        &self,
        question: Q,
        is_right: impl FnOnce(&Q::Answer) -> bool,
    ) -> Result<Duration, LoadtestError>
    where
        Q::Answer: Send,
    {
        let start = Instant::now();
        let answer = ask(self.store, question);
        let took = start.elapsed();
        if is_right(&answered(answer)?) {
            return Ok(took);
        }
        Err(failed("looking up")("the store has answered something else than was written"))
    }
}

fn answered<T>(answer: Result<T, StoreError>) -> Result<T, LoadtestError> {
    answer.map_err(failed("looking up"))
}

/// A message with an id that nobody has used.
fn renamed(mut write: Write, drawn: u64) -> Write {
    let key = write.entry.as_mut().and_then(|entry| entry.key.as_mut());
    let key = key.expect("the messages of a population have keys");
    key.client_message_id = ClientMessageId((u128::from(drawn) << 64 | 1).to_be_bytes());
    write
}
