//! What comes out of a run, and where to.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

/// The section of a file.
pub(crate) const SECTION: &str = "output";

/// What comes out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputArguments {
    /// Write the report as JSON to this file; "-" for standard output, and nothing else there.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page with plots, which needs no network, to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No lines of progress.
    #[arg(long)]
    pub quiet: bool,
}
