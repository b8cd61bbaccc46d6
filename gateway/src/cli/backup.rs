//! `dunlin backup`: a copy of everything, while the server runs.

use std::path::Path;

use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Missing, Reply, Request};

pub(super) fn run(settings: &SettingsArgs, folder: &Path) -> Result<(), Failure> {
    // The server may have been started elsewhere: a relative path means one from here.
    let folder = std::path::absolute(folder)?;
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let answer = access.ask(Request::Backup { folder: folder.clone() });
    access.close();
    let Reply::BackedUp { segments, bytes } = answer? else {
        return Err("the server answered something else".into());
    };
    printed(|out| {
        let folder = folder.display();
        writeln!(out, "backed up {segments} segments, {bytes} bytes in all, to {folder}")
    })
}
