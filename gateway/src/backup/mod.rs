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

use dunlin_core::store::embedded::{self, BackupReport, OpenError};

use crate::node::data::{
    DataError, DataFolder, Mode, RESTORING, make_folder, mode_of_kept, write_whole,
};
use crate::node::keeper::Keeper;
use contents::{Contents, Listed};

/// What must be right about the store's part is in its manifest.
const STORE_MANIFEST: &str = "store/MANIFEST";

/// The file that makes it a backup.
const CONTENTS: &str = "CONTENTS";

/// Made by file systems at the root of a disk.
const LOST_AND_FOUND: &str = "lost+found";

/// Why there is no backup, or it can't be restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{path} is not empty; name a folder that is new or empty", path = path.display())]
    NotEmpty { path: PathBuf },
    #[error("{path} is inside of the data folder; a backup belongs elsewhere, best on another disk",
        path = path.display())]
    Inside { path: PathBuf },
    #[error("{path} is no backup, or one that was not finished: there is no {CONTENTS} in it",
        path = path.display())]
    NotABackup { path: PathBuf },
    #[error("the backup is damaged: {name}: {what}")]
    Damaged { name: String, what: String },
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
/// acknowledged when the call began is in it.
pub(crate) fn backup(
    data: &DataFolder,
    store: &dyn Keeper,
    target: &Path,
) -> Result<BackupReport, BackupError> {
    ensure_outside(data, target)?;
    make_folder(target)?;
    ensure_empty(target)?;
    let mut contents = Contents::default();
    for name in data.kept_files()? {
        let (from, to) = (data.path().join(&name), target.join(&name));
        let content = fs::read(&from).map_err(at(&from))?;
        if let Some(folder) = to.parent() {
            make_folder(folder)?;
        }
        write_whole(&to, &content, mode_of_kept(&name).unwrap_or(Mode::Secret))?;
        contents.files.push(Listed::new(&name, &content));
    }
    let mut report = store.backup(&target.join("store"))?;
    let manifest = target.join(STORE_MANIFEST);
    let content = fs::read(&manifest).map_err(at(&manifest))?;
    contents.files.push(Listed::new(STORE_MANIFEST, &content));
    write_whole(&target.join(CONTENTS), contents.encode().as_bytes(), Mode::Secret)?;
    report.bytes += contents.files.iter().map(|file| file.bytes).sum::<u64>();
    Ok(report)
}

/// Checks all of a backup, every entry of its store included, and writes nothing.
pub(crate) fn check(backup: &Path) -> Result<BackupReport, BackupError> {
    read_files(backup)?;
    embedded::check_backup(&backup.join("store")).map_err(of_backup)
}

/// Makes a data folder from a backup, after checking all of it. The target must be empty.
pub(crate) fn restore(backup: &Path, target: &Path) -> Result<BackupReport, BackupError> {
    let files = read_files(backup)?;
    make_folder(target)?;
    ensure_empty(target)?;
    // From here to the end, this folder is not to be served.
    let restoring = target.join(RESTORING);
    write_whole(&restoring, b"", Mode::Secret)?;
    let store = target.join("store");
    let report = embedded::restore(&backup.join("store"), &store).map_err(|error| {
        // It checks the whole backup before it makes the folder.
        if !store.exists()
            && let Err(error) = fs::remove_file(&restoring)
        {
            tracing::warn!(%error, file = RESTORING, "can't remove the mark of an unfinished restore");
        }
        of_backup(error)
    })?;
    make_folder(&target.join("tls"))?;
    for (name, mode, content) in files {
        write_whole(&target.join(&name), &content, mode)?;
    }
    fs::remove_file(&restoring).map_err(at(&restoring))?;
    fs::File::open(target).and_then(|folder| folder.sync_all()).map_err(at(target))?;
    Ok(report)
}

/// Damage is of the backup, not of a store of this server.
fn of_backup(error: OpenError) -> BackupError {
    match error {
        OpenError::Damaged { name, what } => BackupError::damaged(&format!("store/{name}"), &what),
        other => BackupError::Store(other),
    }
}

/// The files beside the store's own, checked.
fn read_files(backup: &Path) -> Result<Vec<(String, Mode, Vec<u8>)>, BackupError> {
    let path = backup.join(CONTENTS);
    let contents = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::NotABackup { path: backup.to_owned() });
        }
        read => read.map_err(at(&path))?,
    };
    let contents =
        Contents::decode(&contents).map_err(|what| BackupError::damaged(CONTENTS, &what))?;
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
            return Err(BackupError::damaged(
                name,
                &format!("its checksum is not that of {CONTENTS}"),
            ));
        }
        match mode {
            Some(mode) => files.push((listed.name, mode, content)),
            None => store = true,
        }
    }
    if store { Ok(files) } else { Err(BackupError::damaged(CONTENTS, &"it names no store")) }
}

fn ensure_empty(path: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(path).map_err(at(path))? {
        if entry.map_err(at(path))?.file_name() != LOST_AND_FOUND {
            return Err(BackupError::NotEmpty { path: path.to_owned() });
        }
    }
    Ok(())
}

/// A backup inside of what it is a backup of would go down with it.
fn ensure_outside(data: &DataFolder, target: &Path) -> Result<(), BackupError> {
    let of_data = data.path().canonicalize().map_err(at(data.path()))?;
    let target = std::path::absolute(target).map_err(at(target))?;
    // The part of it that is there, whichever way it is written.
    let there = target.ancestors().find_map(|above| above.canonicalize().ok());
    if there.is_some_and(|there| there.starts_with(&of_data)) {
        return Err(BackupError::Inside { path: target });
    }
    Ok(())
}
