//! `dunlin new-epoch`: what has to follow when a data folder was put back from a copy.

use dunlin_core::store::embedded::{OpenError, begin_epoch};

use super::{Failure, SettingsArgs, printed};
use crate::node::data::DataFolder;

pub(super) fn run(settings: &SettingsArgs) -> Result<(), Failure> {
    let checked = settings.for_command()?;
    let data = DataFolder::existing(&checked.config.data.folder)?;
    data.ensure_own()?;
    let epoch = begin_epoch(&data.store()).map_err(|error| -> Failure {
        match error {
            // Those who are connected would go on in the old one.
            OpenError::Locked { .. } => format!("{error}; stop the server first").into(),
            other => other.into(),
        }
    })?;
    printed(|out| writeln!(out, "the epoch is new ({epoch}): clients will sync from the beginning"))
}
