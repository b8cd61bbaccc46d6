//! What comes out of a run, and where to.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::report::Threshold;

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
