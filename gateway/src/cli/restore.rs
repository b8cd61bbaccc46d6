//! `dunlin restore`: a data folder from a backup.

use std::path::Path;

use super::{Failure, SettingsArgs, printed};
use crate::backup;

pub(super) fn run(settings: &SettingsArgs, from: &Path) -> Result<(), Failure> {
    let checked = settings.for_command()?;
    let folder = &checked.config.data.folder;
    let report = backup::restore(from, folder)?;
    printed(|out| {
        let (entries, segments) = (report.entries, report.segments);
        let folder = folder.display();
        writeln!(out, "restored {entries} entries in {segments} segments to {folder}")?;
        writeln!(out, "the epoch is new ({}): clients will sync from the beginning", report.epoch)
    })
}
