//! Where a report goes: to people on the terminal, into files as JSON and as a page.

use std::io::{self, Write};
use std::path::Path;

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::plan::OutputArguments;
use dunlin_loadtest::report::{Report, Verdict, html, judge};

use crate::arguments::RenderArguments;

/// Holds a report against the thresholds, puts it wherever the arguments want it, and returns its
/// verdict.
pub(crate) fn print<R: Report>(
    output: &OutputArguments,
    mut report: R,
    for_people: impl FnOnce(&R),
) -> Result<Verdict, LoadtestError> {
    let judged = judge(&mut report, &output.threshold);
    // Also if a threshold asks for a figure that is not there: the run took its time.
    write(output, &report, for_people).map_err(LoadtestError::machine("writing the report"))?;
    judged.map(|()| *report.judgement().0)
}

fn write<R: Report>(
    output: &OutputArguments,
    report: &R,
    for_people: impl FnOnce(&R),
) -> io::Result<()> {
    let value = serde_json::to_value(report)?;
    if let Some(path) = &output.html {
        std::fs::write(path, html::render(&value))?;
    }
    let is_piped = output.json.as_deref() == Some(Path::new("-"));
    if !is_piped {
        for_people(report);
    }
    // Not of `value`, which has forgotten the order of the fields.
    let json = || serde_json::to_string_pretty(report).map(|json| json + "\n");
    match &output.json {
        None => Ok(()),
        Some(_) if is_piped => io::stdout().write_all(json()?.as_bytes()),
        Some(path) => std::fs::write(path, json()?),
    }
}

/// Makes the page of a report that was written earlier.
pub(crate) fn render(arguments: &RenderArguments) -> Result<(), LoadtestError> {
    let json =
        std::fs::read(&arguments.report).map_err(LoadtestError::machine("reading the report"))?;
    let value = serde_json::from_slice(&json).map_err(|error| LoadtestError::Scenario {
        field: "the report",
        reason: format!("no JSON: {error}"),
    })?;
    let beside = || arguments.report.with_extension("html");
    let path = arguments.output.clone().unwrap_or_else(beside);
    std::fs::write(path, html::render(&value)).map_err(LoadtestError::machine("writing the page"))
}
