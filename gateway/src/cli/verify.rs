//! `dunlin verify`: is all that was stored still there, and whole?

use std::path::Path;

use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Missing, Reply, Request};
use crate::backup;

pub(super) fn run(settings: &SettingsArgs, of_backup: Option<&Path>) -> Result<(), Failure> {
    let checked = settings.for_command()?;
    if let Some(folder) = of_backup {
        let report = backup::check(folder)?;
        return printed(|out| {
            let (entries, segments) = (report.entries, report.segments);
            writeln!(out, "the backup is whole: {entries} entries in {segments} segments")
        });
    }
    let mut access = Access::open(&checked, Missing::Refuse)?;
    let answer = access.ask(Request::Verify);
    access.close();
    let Reply::Verified { segments, entries, logs, bytes, damage } = answer? else {
        return Err("the server answered something else".into());
    };
    printed(|out| {
        writeln!(out, "{entries} entries of {logs} logs in {segments} segments, {bytes} bytes")?;
        damage.iter().try_for_each(|place| writeln!(out, "{place}"))
    })?;
    if damage.is_empty() {
        return printed(|out| writeln!(out, "all of it is whole"));
    }
    let hint = "docs/operating.md says what to do";
    Err(format!("{} places of damage; {hint}", damage.len()).into())
}
