//! What comes out of a run, and where to.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::problem::Problem;
use crate::report::{Threshold, figure};

/// The section of a file.
pub(crate) const SECTION: &str = "output";

/// What comes out.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputArguments {
    /// Write the report as JSON to this file; "-" for standard output, and nothing else there.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page with plots, which needs no network, to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// What a figure of the report must keep, by its way in the JSON; may be repeated. For example
    /// "acknowledge.p99_ms<=50", "closes<=0", "rates.acknowledged_per_s>=1000".
    #[arg(long, value_name = "FIGURE<=BOUND")]
    pub threshold: Vec<Threshold>,
    /// Neither the live view on a terminal nor the lines of progress elsewhere.
    #[arg(long)]
    pub quiet: bool,
}

impl OutputArguments {
    /// Everything that makes no sense for a report with these figures.
    pub(crate) fn problems(&self, specimen: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        let unknown = self.threshold.iter().filter(|threshold| !threshold.is_about(specimen));
        let reasons = unknown.map(|threshold| {
            let nearest = figure::nearest(specimen, threshold.figure()).join(", ");
            format!("{threshold}: there will be no such figure; the nearest are {nearest}")
        });
        let reasons: Vec<_> = reasons.collect();
        if !reasons.is_empty() {
            problems.push(Problem::new(SECTION, "threshold", reasons.join("; ")));
        }
        if self.html.is_some() && self.html == self.json {
            problems.push(Problem::new(SECTION, "html", "the same file as json"));
        }
        problems
    }

    /// Files that can't be written on this machine.
    pub(crate) fn missing(&self) -> Vec<Problem> {
        let files = [("json", &self.json), ("html", &self.html)];
        let named = files.into_iter().filter_map(|(field, file)| Some((field, file.as_deref()?)));
        let named = named.filter(|&(field, file)| field != "json" || file != Path::new("-"));
        let problem = |(field, file): (&'static str, &Path)| {
            let error = writable(file).err()?;
            Some(Problem::new(SECTION, field, format!("{}: {error}", file.display())))
        };
        named.filter_map(problem).collect()
    }
}

/// Whether a file could be written; nothing in it is changed, and none is made.
fn writable(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(file) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_threshold_of_a_figure_that_will_not_be_is_refused_with_the_nearest_names() {
        let specimen =
            json!({ "latency": { "deliver": { "count": 0, "p99_us": 0 } }, "closes": {} });
        let mut output = OutputArguments {
            threshold: ["delivr.p99_ms<=5", "deliver.p99_ms<=5", "closes.gone<=0"]
                .map(|text| text.parse().unwrap())
                .into(),
            ..OutputArguments::default()
        };
        let problems = output.problems(&specimen);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].reason.contains("the nearest are latency.deliver.p99_us"),
            "{problems:?}"
        );
        output.threshold.remove(0);
        assert_eq!(output.problems(&specimen), []);
    }

    #[test]
    fn files_that_cannot_be_written_are_named_and_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("report.json");
        let mut output = OutputArguments {
            json: Some(inside.clone()),
            html: Some(folder.path().join("none/report.html")),
            ..OutputArguments::default()
        };
        let fields = |output: &OutputArguments| -> Vec<_> {
            output.missing().into_iter().map(|problem| problem.field).collect()
        };
        assert_eq!(fields(&output), ["html"]);
        assert!(!inside.exists());
        output.json = Some("-".into());
        output.html = Some(folder.path().to_owned());
        assert_eq!(fields(&output), ["html"], "a folder is no file");
        output.html = Some(inside.clone());
        std::fs::write(&inside, "kept").unwrap();
        assert_eq!(fields(&output), [""; 0]);
        assert_eq!(std::fs::read_to_string(&inside).unwrap(), "kept");
        output.json = Some(inside);
        assert_eq!(output.problems(&json!({})).len(), 1, "both reports in one file");
    }
}
