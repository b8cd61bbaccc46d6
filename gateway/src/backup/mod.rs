//! Copies of the data folder: what a new machine needs to go on as the same server.
//!
//! ```text
//! BACKUP/                0700
//!   store/               the logs, as the store copies itself, with its own manifest
//!   signing.key ..       0600  so that tokens stay good
//!   tls/ ..              the certificate of the first start and its key, if there are any
//!   CONTENTS             what belongs to it, with checksums; written last
//! ```
//!
//! A folder without `CONTENTS` is no backup, so one that was interrupted can't be mistaken for
//! one. The configuration and certificates that are elsewhere are not in it: they are the
//! operator's, and he has them where he keeps such things.

mod contents;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dunlin_core::store::embedded::disk::Disk as _;
use dunlin_core::store::embedded::{
    self, BackupReport, DamagedSource, EarlierBackup, OpenError, OwnFolder,
};

use crate::node::data::{DataError, DataFolder, Mode, RESTORING, mode_of_kept};
use crate::node::keeper::Keeper;
use contents::{Contents, Listed};

/// What must be right about the store's part is in its manifest.
const STORE_MANIFEST: &str = "store/MANIFEST";

/// The file that makes it a backup.
const CONTENTS: &str = "CONTENTS";

/// Why there is no backup, or it can't be restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{path} is not empty; name a folder that is new or empty", path = path.display())]
    NotEmpty { path: PathBuf },
    #[error("{path} is inside of {outer}; it belongs elsewhere, a backup best on another disk",
        path = path.display())]
    Inside { path: PathBuf, outer: &'static str },
    #[error("{path} is no backup, or one that was not finished: there is no {CONTENTS} in it",
        path = path.display())]
    NotABackup { path: PathBuf },
    #[error("the backup is damaged: {name}: {what}")]
    Damaged { name: String, what: String },
    #[error("{0}; --accept-damage restores the rest")]
    DamagedSource(OpenError),
    #[error("the store: {0}")]
    Store(#[from] OpenError),
    #[error("{0}")]
    Data(#[from] DataError),
}

impl BackupError {
    fn damaged(name: &str, what: &impl ToString) -> BackupError {
        BackupError::Damaged { name: name.to_owned(), what: what.to_string() }
    }
}

/// For `map_err`.
fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::Data(DataError::Io { path: path.clone(), error })
}

/// Copies the data folder into an empty folder, while the store is in use. All that was
/// acknowledged when the call began is in it. What an earlier backup has of the store is shared with
/// that one.
///
/// The folder may be where others can make folders too: it must belong to this user, nobody else may
/// write to it, and nothing that is in it is followed or replaced.
pub(crate) fn backup(
    data: &DataFolder,
    store: &dyn Keeper,
    target: &Path,
    since: Option<&Path>,
) -> Result<BackupReport, BackupError> {
    ensure_outside(data.path(), "the data folder", target)?;
    let earlier = since.map(|since| open_earlier(store, since, target)).transpose()?;
    let folder = open_empty(target)?;
    let mut contents = Contents::default();
    for name in data.kept_files()? {
        let from = data.path().join(&name);
        let content = fs::read(&from).map_err(at(&from))?;
        write_kept(&folder, &name, &content, mode_of_kept(&name).unwrap_or(Mode::Secret))?;
        contents.files.push(Listed::new(&name, &content));
    }
    let mut report = store.backup(folder.folder("store")?, earlier)?;
    let manifest = target.join(STORE_MANIFEST);
    let content = folder.folder("store")?.read_secret("MANIFEST").map_err(at(&manifest))?;
    contents.files.push(Listed::new(STORE_MANIFEST, &content));
    folder.sync()?;
    folder.write(CONTENTS, contents.encode().as_bytes(), Mode::Secret.bits())?;
    folder.sync()?;
    report.bytes += contents.files.iter().map(|file| file.bytes).sum::<u64>();
    Ok(report)
}

/// Opens a folder to fill it.
fn open_empty(path: &Path) -> Result<OwnFolder, BackupError> {
    let folder = OwnFolder::open(path)?;
    folder.ensure_empty().map_err(|error| match error {
        OpenError::NotEmpty { path } => BackupError::NotEmpty { path },
        other => BackupError::Store(other),
    })?;
    Ok(folder)
}

/// Opens an earlier backup that was finished. Nothing is written to it, and whatever is in it can't
/// get into the new one unless the store has the same.
fn open_earlier(
    store: &dyn Keeper,
    path: &Path,
    target: &Path,
) -> Result<EarlierBackup, BackupError> {
    let folder = OwnFolder::open_existing(path)?;
    let contents = decode_contents(path, folder.read_secret(CONTENTS))?;
    ensure_outside(path, "the earlier backup", target)?;
    let of_store = folder.existing_folder("store")?;
    let manifest = of_store.read_secret("MANIFEST").map_err(at(&path.join(STORE_MANIFEST)))?;
    let listed = contents.files.iter().find(|file| file.name == STORE_MANIFEST);
    if !listed.is_some_and(|listed| listed.is(&manifest)) {
        return Err(not_as_listed(STORE_MANIFEST));
    }
    store.earlier_backup(of_store).map_err(of_backup)
}

/// What makes a folder a backup, as it was read.
fn decode_contents(backup: &Path, read: io::Result<Vec<u8>>) -> Result<Contents, BackupError> {
    let content = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::NotABackup { path: backup.to_owned() });
        }
        read => read.map_err(at(&backup.join(CONTENTS)))?,
    };
    Contents::decode(&content).map_err(|what| BackupError::damaged(CONTENTS, &what))
}

fn not_as_listed(name: &str) -> BackupError {
    BackupError::damaged(name, &format!("its checksum is not that of {CONTENTS}"))
}

/// Writes a file that stands beside the store.
fn write_kept(
    folder: &OwnFolder,
    name: &str,
    content: &[u8],
    mode: Mode,
) -> Result<(), BackupError> {
    let Some((inner, name)) = name.split_once('/') else {
        return Ok(folder.write(name, content, mode.bits())?);
    };
    let inner = folder.folder(inner)?;
    inner.write(name, content, mode.bits())?;
    Ok(inner.sync()?)
}

/// Checks all of a backup, every entry of its store included, and writes nothing.
pub(crate) fn check(backup: &Path) -> Result<BackupReport, BackupError> {
    read_files(backup)?;
    embedded::check_backup(&backup.join("store")).map_err(of_backup)
}

/// Makes a data folder from a backup, after checking all of it. The target must be empty, and neither
/// within the backup nor around it.
pub(crate) fn restore(
    backup: &Path,
    damaged: DamagedSource,
    target: &Path,
) -> Result<BackupReport, BackupError> {
    let files = read_files(backup)?;
    ensure_outside(backup, "the backup", target)?;
    DataFolder::unopened(target).ensure_restored()?;
    let folder = open_empty(target)?;
    // From here to the end, this folder is not to be served.
    folder.write(RESTORING, b"", Mode::Secret.bits())?;
    let mut has_begun = false;
    let restored = embedded::restore_to(&backup.join("store"), damaged, || {
        has_begun = true;
        folder.folder("store")
    });
    let report = restored.map_err(|error| {
        // It checks the whole backup before it makes the folder.
        if !has_begun
            && let Err(error) = folder.remove(RESTORING)
        {
            tracing::warn!(%error, file = RESTORING, "can't remove the mark of an unfinished restore");
        }
        of_backup(error)
    })?;
    folder.folder("tls")?;
    for (name, mode, content) in files {
        write_kept(&folder, &name, &content, mode)?;
    }
    folder.sync()?;
    folder.remove(RESTORING).map_err(at(&target.join(RESTORING)))?;
    folder.sync()?;
    Ok(report)
}

/// Damage is of the backup, not of a store of this server.
fn of_backup(error: OpenError) -> BackupError {
    match error {
        OpenError::Damaged { name, what } => BackupError::damaged(&format!("store/{name}"), &what),
        source @ OpenError::DamagedSource { .. } => BackupError::DamagedSource(source),
        other => BackupError::Store(other),
    }
}

/// The files beside the store's own, checked.
fn read_files(backup: &Path) -> Result<Vec<(String, Mode, Vec<u8>)>, BackupError> {
    let contents = decode_contents(backup, fs::read(backup.join(CONTENTS)))?;
    let mut files = Vec::new();
    let mut store = false;
    for listed in contents.files {
        let name = listed.name.as_str();
        let mode = mode_of_kept(name);
        if mode.is_none() && name != STORE_MANIFEST {
            return Err(BackupError::damaged(name, &"no backup has such a file"));
        }
        let path = backup.join(name);
        let content = fs::read(&path).map_err(|error| BackupError::damaged(name, &error))?;
        if !listed.is(&content) {
            return Err(not_as_listed(name));
        }
        match mode {
            Some(mode) => files.push((listed.name, mode, content)),
            None => store = true,
        }
    }
    if store { Ok(files) } else { Err(BackupError::damaged(CONTENTS, &"it names no store")) }
}

/// A backup inside of what it is a backup of would go down with it; a restore into its own backup
/// would be in it.
fn ensure_outside(folder: &Path, outer: &'static str, target: &Path) -> Result<(), BackupError> {
    let of_outer = folder.canonicalize().map_err(at(folder))?;
    let target = std::path::absolute(target).map_err(at(target))?;
    // The part of it that is there, whichever way it is written.
    let there = target.ancestors().find_map(|above| above.canonicalize().ok());
    if there.is_some_and(|there| there.starts_with(&of_outer)) {
        return Err(BackupError::Inside { path: target, outer });
    }
    Ok(())
}
