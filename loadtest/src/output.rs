//! Where a report goes: to people on the terminal, into files as JSON and as a page.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::compare;
use dunlin_loadtest::interrupt::Interrupt;
use dunlin_loadtest::plan::OutputArguments;
use dunlin_loadtest::report::{Circumstances, Report, ThresholdOutcome, Verdict, html, judge};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{CompareArguments, RenderArguments};
use crate::command_line;
use crate::terminal::{print_circumstances, print_thresholds};

/// What all runs of this process have in common.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) interrupt: Interrupt,
    command: String,
}

impl Session {
    /// Listens for signals from now on.
    pub(crate) fn begin() -> Result<Session, LoadtestError> {
        let interrupt =
            Interrupt::listen().map_err(LoadtestError::machine("listening for signals"))?;
        let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        Ok(Session { interrupt, command: command_line::line(words) })
    }

    /// A run begins.
    pub(crate) fn circumstances(&self) -> Circumstances {
        Circumstances::begin(self.command.clone())
    }

    /// Holds the report of a run against the thresholds, puts it wherever the arguments want it, and
    /// returns its verdict.
    pub(crate) fn print<R: Report>(
        &self,
        output: &OutputArguments,
        mut run: Circumstances,
        mut report: R,
        for_people: impl FnOnce(&R),
    ) -> Result<Verdict, LoadtestError> {
        run.end(self.interrupt.is_told());
        if run.interrupted {
            report.interrupt();
        }
        let (thresholds, judged) = match judge(&mut report, &output.threshold) {
            Ok(outcomes) => (outcomes, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let verdict = *report.judgement().0;
        let whole = Whole { run, thresholds, report };
        // Also if a threshold asks for a figure that is not there: the run took its time.
        write(output, &whole, for_people).map_err(LoadtestError::machine("writing the report"))?;
        judged.map(|()| verdict)
    }
}

/// A report with its circumstances, as it is written.
#[derive(Serialize)]
struct Whole<R> {
    run: Circumstances,
    thresholds: Vec<ThresholdOutcome>,
    #[serde(flatten)]
    report: R,
}

fn write<R: Report>(
    output: &OutputArguments,
    whole: &Whole<R>,
    for_people: impl FnOnce(&R),
) -> io::Result<()> {
    let value = serde_json::to_value(whole)?;
    if let Some(path) = &output.html {
        std::fs::write(path, html::render(&value))?;
    }
    let is_piped = output.json.as_deref() == Some(Path::new("-"));
    if !is_piped {
        for_people(&whole.report);
        print_thresholds(&whole.thresholds);
        print_circumstances(&whole.run);
    }
    // Not of `value`, which has forgotten the order of the fields.
    let json = || serde_json::to_string_pretty(whole).map(|json| json + "\n");
    match &output.json {
        None => Ok(()),
        Some(_) if is_piped => io::stdout().write_all(json()?.as_bytes()),
        Some(path) => std::fs::write(path, json()?),
    }
}

/// Reads a report that was written earlier.
fn read(path: &Path) -> Result<Value, LoadtestError> {
    let wrong = |reason| {
        let reason = format!("{}: {reason}", path.display());
        LoadtestError::Scenario { field: "the report", reason }
    };
    let json = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&json).map_err(|error| wrong(format!("no JSON: {error}")))
}

/// Says what is better and what is worse in the second of two reports.
pub(crate) fn compare(arguments: &CompareArguments) -> Result<ExitCode, LoadtestError> {
    let (a, b) = (read(&arguments.a)?, read(&arguments.b)?);
    let wrong = |reason| LoadtestError::Scenario { field: "the reports", reason };
    let comparison = compare::compare(&a, &b, &arguments.options()?).map_err(wrong)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&comparison).map(|json| json + "\n")
    } else {
        Ok(comparison.to_string())
    };
    let written = text.map_err(io::Error::other);
    let written = written.and_then(|text| io::stdout().write_all(text.as_bytes()));
    written.map_err(LoadtestError::machine("writing the comparison"))?;
    Ok(comparison.exit_code())
}

/// Makes the page of a report that was written earlier.
pub(crate) fn render(arguments: &RenderArguments) -> Result<(), LoadtestError> {
    let value = read(&arguments.report)?;
    let beside = || arguments.report.with_extension("html");
    let path = arguments.output.clone().unwrap_or_else(beside);
    std::fs::write(path, html::render(&value)).map_err(LoadtestError::machine("writing the page"))
}
