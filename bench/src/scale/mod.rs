//! What a store costs when it is large: disk, memory, the time of a start, of a look-up, of what an
//! operator does with all of it.
//!
//! A store of a given `Population` is made once, and then looked at by one process after the other: so
//! the memory that each of them tells is its own.

mod care;
mod fill;
mod footprint;
mod look;
mod population;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use clap::{Args, Subcommand};
use dunlin_core::store::StoreError;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::question::{self, Question};
use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::process::SmallPages;
use serde::Serialize;

use fill::FillOptions;
use footprint::ProcessMemory;
use look::LookOptions;
use population::Population;

/// Says which population was written; beside the store.
const POPULATION: &str = "population.json";

/// Options of the command.
#[derive(Debug, Clone, Args)]
pub struct ScaleOptions {
    /// Write the report as JSON to this file; "-" for standard output, and nothing else there.
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Memory for the filters of the index.
    #[arg(long, value_name = "BYTES", global = true)]
    filter_bytes_max: Option<usize>,
    /// Take what is in the page cache of the store's files out of it first.
    #[arg(long, global = true)]
    cold: bool,
    /// Where the store is, and copies of it: a data folder of which a server can be started.
    folder: PathBuf,
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Clone, Subcommand)]
enum Step {
    /// Fill a new store.
    Fill(FillOptions),
    /// Start the store, look things up in it, and stop it.
    Look(LookOptions),
    /// Read everything, as `dunlin verify` does while a server runs.
    Verify,
    /// Back it up twice, the second time since the first, with a few messages between them.
    Backup,
    /// Restore the first backup, and start it: its index files are all made anew.
    Restore,
}

/// What was seen, in the order in which it was.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ScaleReport {
    figures: Vec<Figure>,
}

/// One thing that was measured.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
}

impl ScaleReport {
    fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.into(), value, unit });
    }

    /// So many of something.
    fn count(&mut self, what: impl Into<String>, value: u64) {
        self.add(what, value as f64, "");
    }

    fn bytes(&mut self, what: impl Into<String>, value: u64) {
        self.add(what, value as f64, "B");
    }

    /// What this process has in memory now, and had at most.
    fn memory(&mut self, when: &str) -> Result<(), LoadtestError> {
        let look =
            ProcessMemory::look().map_err(LoadtestError::machine("looking at the memory"))?;
        self.bytes(format!("memory {when}"), look.anonymous_bytes);
        self.bytes(format!("memory {when}, the most until then"), look.peak_bytes);
        Ok(())
    }
}

/// The folder that is worked in.
struct Place {
    folder: PathBuf,
    config: EmbeddedConfig,
    is_cold: bool,
}

impl Place {
    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn open(&self, path: &Path) -> Result<EmbeddedStore, LoadtestError> {
        EmbeddedStore::open(path, self.config.clone()).map_err(failed("opening the store"))
    }

    fn population(&self) -> Result<Population, LoadtestError> {
        let what = "reading what was filled in";
        let content =
            fs::read(self.folder.join(POPULATION)).map_err(LoadtestError::machine(what))?;
        serde_json::from_slice(&content).map_err(failed(what))
    }
}

/// Does one step.
pub fn measure(options: &ScaleOptions) -> Result<ScaleReport, LoadtestError> {
    // Pages of 2 MiB would hide what is really needed.
    let _small = SmallPages::ask().map_err(LoadtestError::machine("asking for small pages"))?;
    let mut config = EmbeddedConfig::default();
    config.filter_bytes_max = options.filter_bytes_max.unwrap_or(config.filter_bytes_max);
    let place = Place { folder: options.folder.clone(), config, is_cold: options.cold };
    if options.cold {
        footprint::forget(&place.store()).map_err(LoadtestError::machine("emptying the cache"))?;
    }
    let mut report = ScaleReport::default();
    match &options.step {
        Step::Fill(options) => fill::fill(&place, options, &mut report),
        Step::Look(options) => look::look(&place, options, &mut report),
        Step::Verify => care::verify(&place, &mut report),
        Step::Backup => care::backup(&place, &mut report),
        Step::Restore => care::restore(&place, &mut report),
    }?;
    Ok(report)
}

/// Prints the report for people.
pub fn print(report: &ScaleReport) {
    for Figure { what, value, unit } in &report.figures {
        let decimals = if value.fract() == 0.0 { 0 } else { 1 };
        println!("{what:<58} {value:>16.decimals$} {unit}");
    }
}

/// Asks the store, and waits for the answer.
fn ask<Q: Question>(store: &EmbeddedStore, question: Q) -> Result<Q::Answer, StoreError>
where
    Q::Answer: Send,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    // The receiver waits below.
    question::ask(store, question, move |answer| drop(sender.send(answer)));
    let closed = |_| Err(StoreError::Unavailable { reason: "it is closed".into() });
    receiver.recv().unwrap_or_else(closed)
}

/// For `map_err`: what could not be done.
fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl Fn(E) -> LoadtestError {
    move |error| LoadtestError::machine(what)(io::Error::other(error))
}
