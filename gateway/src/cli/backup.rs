//! `dunlin backup`: a copy of everything, while the server runs.

use std::path::Path;

use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Missing, Reply, Request};
use crate::log;

pub(super) fn run(
    settings: &SettingsArgs,
    folder: &Path,
    since: Option<&Path>,
) -> Result<(), Failure> {
    // The server may have been started elsewhere: a relative path means one from here.
    let folder = std::path::absolute(folder)?;
    let since = since.map(std::path::absolute).transpose()?;
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let answer = access.ask(Request::Backup { folder: folder.clone(), since: since.clone() });
    access.close();
    let Reply::BackedUp { segments, bytes, linked_bytes, damaged, damage, dead } = answer? else {
        return Err("the server answered something else".into());
    };
    printed(|out| {
        let folder = folder.display();
        writeln!(out, "backed up {segments} segments, {bytes} bytes in all, to {folder}")?;
        let Some(since) = &since else { return Ok(()) };
        let (copied_bytes, since) = (bytes - linked_bytes, since.display());
        writeln!(
            out,
            "{linked_bytes} bytes are linked to {since}, {copied_bytes} bytes were copied"
        )
    })?;
    if damaged > 0 {
        // The new backup is whole, so this is no failure; but the earlier one is of no use any more.
        log::last_words(&format!(
            "dunlin: warning: {damaged} files of the earlier backup are damaged, and were copied \
             from the store; look at it with dunlin verify --backup"
        ));
    }
    printed(|out| damage.iter().chain(&dead).try_for_each(|place| writeln!(out, "{place}")))?;
    if damage.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the backup was made, but the store is damaged: {} places, which are in the backup as they \
         are; docs/operating.md says what to do",
        damage.len()
    )
    .into())
}
