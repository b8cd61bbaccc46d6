//! A folder before its segments are looked at: is it a store, can one be made in it, and what was left half made?

use std::path::Path;

use super::super::config::OpenError;
use super::super::disk::{Disk, Listing};
use super::super::identity::{self, Identity};
use super::super::index::run_segments;
use super::super::segment::{Span, UNFINISHED_SUFFIX};
use super::extent;
use crate::random::Random;

/// Made by file systems at the root of a disk.
const LOST_AND_FOUND: &str = "lost+found";

/// Whether a folder holds a store that this version reads, as far as its identity tells, or is empty
/// so that one can be made. Changes nothing and locks nothing: a server may have it open.
pub fn inspect(path: &Path) -> Result<(), OpenError> {
    let Listing { files, folders } =
        Listing::of(path).map_err(OpenError::io("can't list", path))?;
    if !files.iter().any(|name| name == identity::NAME) {
        return ensure_new(files.iter().chain(&folders), path);
    }
    let file = path.join(identity::NAME);
    let content = std::fs::read(&file).map_err(OpenError::io("can't read", file))?;
    Identity::decode(&content).map(drop)
}

/// Makes a new store, if the folder is empty.
pub(super) fn make(
    disk: &dyn Disk,
    names: &[String],
    random: &dyn Random,
) -> Result<Identity, OpenError> {
    let folders = disk.folders().map_err(OpenError::io("can't list", disk.path()))?;
    ensure_new(names.iter().chain(&folders), &disk.path())?;
    let identity = Identity::random(random);
    identity.save(disk)?;
    Ok(identity)
}

fn ensure_new<'a>(
    names: impl Iterator<Item = &'a String> + Clone,
    path: &Path,
) -> Result<(), OpenError> {
    if names.clone().any(|name| is_of_a_store(name)) {
        return Err(OpenError::NoIdentity { path: path.to_owned() });
    }
    let unfinished = format!("{}{UNFINISHED_SUFFIX}", identity::NAME);
    if names.into_iter().any(|name| name != LOST_AND_FOUND && *name != unfinished) {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    Ok(())
}

/// Whether it is a file that is beside `STORE` in every store that has something.
fn is_of_a_store(name: &str) -> bool {
    Span::of_name(name).is_some() || run_segments(name).is_some() || name == extent::NAME
}

/// Removes what a crash left half made.
pub(super) fn remove_unfinished(disk: &dyn Disk, names: &[String]) -> Result<(), OpenError> {
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED_SUFFIX)) {
        match disk.remove(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::io("can't remove", disk.path().join(name))(error));
            }
            _ => {}
        }
    }
    Ok(())
}
