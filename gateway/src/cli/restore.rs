//! `dunlin restore`: a data folder from a backup.

use std::path::Path;

use dunlin_core::store::embedded::DamagedSource;

use super::{Failure, SettingsArgs, printed};
use crate::admin::{damage_lines, dead_lines, loss_lines};
use crate::backup;

pub(super) fn run(
    settings: &SettingsArgs,
    from: &Path,
    accepts_damage: bool,
) -> Result<(), Failure> {
    let checked = settings.for_command()?;
    let folder = &checked.config.data.folder;
    let damaged = if accepts_damage { DamagedSource::Accept } else { DamagedSource::Refuse };
    let report = backup::restore(from, damaged, folder)?;
    printed(|out| {
        let (entries, segments) = (report.entries, report.segments);
        let folder = folder.display();
        writeln!(out, "restored {entries} entries in {segments} segments to {folder}")?;
        writeln!(out, "the epoch is new ({}): clients will sync from the beginning", report.epoch)?;
        let damage = damage_lines(&report.damage);
        let losses = loss_lines(&report.losses, report.losses_left_out);
        let mut before = damage.iter().chain(&losses);
        before.try_for_each(|line| writeln!(out, "before the backup: {line}"))?;
        dead_lines(&report.dead).iter().try_for_each(|line| writeln!(out, "{line}"))
    })
}
