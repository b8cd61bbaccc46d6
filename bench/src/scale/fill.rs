//! Writing everything: batch after batch, several of them on the way, so that the store is never idle.

use std::fs;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use clap::Args;
use dunlin_core::store::embedded::EmbeddedStore;
use dunlin_core::store::{Store, StoreError, StoreReply, StoreRequest, Write, Written};
use dunlin_loadtest::LoadtestError;
use rustix::process::{Signal, getpid, kill_process};

use super::footprint::DiskUse;
use super::population::Population;
use super::{POPULATION, Place, ScaleReport, failed};

/// Writes of a request, about.
const BATCH: usize = 2048;

/// Requests that are not answered yet: some megabytes.
const ON_THE_WAY_MAX: usize = 8;

/// Options of the step.
#[derive(Debug, Clone, Args)]
pub(super) struct FillOptions {
    #[command(flatten)]
    population: Population,
    /// End by a kill, when all is acknowledged: the next start is one after a crash.
    #[arg(long)]
    killed: bool,
}

pub(super) fn fill(
    place: &Place,
    options: &FillOptions,
    report: &mut ScaleReport,
) -> Result<(), LoadtestError> {
    let population = options.population;
    if let Some(problem) = population.problem() {
        let reason = problem.to_owned();
        return Err(LoadtestError::Scenario { field: "population", reason });
    }
    let what = "making the folder of the store";
    fs::create_dir_all(place.store()).map_err(LoadtestError::machine(what))?;
    let store = place.open(&place.store())?;
    let mut writer = Writer::new(&store);
    let start = Instant::now();
    for number in 0..population.users {
        population.account(number).into_iter().try_for_each(|write| writer.write(write))?;
    }
    writer.finish()?;
    let users_s = start.elapsed().as_secs_f64();
    let (start, mut writes) = (Instant::now(), Vec::new());
    for number in 0..population.visits() {
        population.visit(number, |write| writes.push(write));
        writes.drain(..).try_for_each(|write| writer.write(write))?;
    }
    writer.finish()?;
    let messages_s = start.elapsed().as_secs_f64();
    // Last, so that there is none beside a store that was not filled.
    let content = serde_json::to_vec(&population).map_err(failed("writing what was filled in"))?;
    let written = fs::write(place.folder.join(POPULATION), content);
    written.map_err(LoadtestError::machine("writing what was filled in"))?;

    report.count("users", population.users);
    report.count("messages", population.stored_messages());
    report.count("conversations", population.begun());
    report.add("users, per second", population.users as f64 / users_s, "/s");
    report.add("messages, per second", population.stored_messages() as f64 / messages_s, "/s");
    report.bytes("index files, written in all", store.statistics().index_bytes);
    report.memory("after filling")?;
    if options.killed {
        super::print(report);
        let killed = kill_process(getpid(), Signal::KILL);
        return Err(failed("ending by a kill")(killed.err().unwrap_or(rustix::io::Errno::INTR)));
    }
    let start = Instant::now();
    drop(store);
    report.add("orderly stop", start.elapsed().as_secs_f64() * 1e3, "ms");
    disk(place, report)
}

/// What the store takes on the disk.
pub(super) fn disk(place: &Place, report: &mut ScaleReport) -> Result<(), LoadtestError> {
    let found = DiskUse::look(&place.store());
    let found = found.map_err(LoadtestError::machine("looking at the files of the store"))?;
    for (name, kind) in
        [("segments", found.segments), ("index files", found.index), ("other files", found.others)]
    {
        report.bytes(format!("{name}, {} of them", kind.files), kind.bytes);
    }
    Ok(())
}

/// Writes what it is given, some requests ahead of the answers.
pub(super) struct Writer<'a> {
    store: &'a EmbeddedStore,
    batch: Vec<Write>,
    on_the_way: usize,
    answers: (SyncSender<Answer>, Receiver<Answer>),
}

type Answer = Result<StoreReply, StoreError>;

impl Writer<'_> {
    pub(super) fn new(store: &EmbeddedStore) -> Writer<'_> {
        let batch = Vec::with_capacity(BATCH);
        Writer { store, batch, on_the_way: 0, answers: sync_channel(ON_THE_WAY_MAX) }
    }

    pub(super) fn write(&mut self, write: Write) -> Result<(), LoadtestError> {
        self.batch.push(write);
        if self.batch.len() == BATCH { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), LoadtestError> {
        if self.on_the_way == ON_THE_WAY_MAX {
            self.wait()?;
        }
        let writes = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let sender = self.answers.0.clone();
        // There is room for each that is on the way, and nobody waits any more after a failure.
        let done = move |answer| drop(sender.try_send(answer));
        self.store.submit(StoreRequest::Write(writes), Box::new(done));
        self.on_the_way += 1;
        Ok(())
    }

    /// Takes one answer.
    fn wait(&mut self) -> Result<(), LoadtestError> {
        let answer = self.answers.1.recv().map_err(failed("waiting for the store"))?;
        self.on_the_way -= 1;
        let StoreReply::Written(all) = answer.map_err(failed("writing"))? else {
            return Err(failed("writing")(StoreError::Mismatched));
        };
        match all.iter().find(|one| !matches!(one, Written::Stored { .. })) {
            None => Ok(()),
            Some(refused) => Err(failed("writing")(format!("{refused:?}"))),
        }
    }

    /// Waits until all of it is durable.
    pub(super) fn finish(&mut self) -> Result<(), LoadtestError> {
        if !self.batch.is_empty() {
            self.send()?;
        }
        while self.on_the_way > 0 {
            self.wait()?;
        }
        Ok(())
    }
}
