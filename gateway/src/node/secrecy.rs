//! Who else may read a file with a secret.
//!
//! Secrets of the data folder are made by the server for its user alone, and one that anybody else
//! may read is refused: it was copied carelessly, and may be known. Files that an operator names are
//! arranged by the operator: a group may be meant to read a key, and a file that all may read can be
//! in a folder that few may enter. So these are warned of, and only if really anybody can read them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::data::DataError;

/// A file with a secret that anybody on the machine can read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: there is a secret in it, and anybody on this machine can read it (mode \
    {mode:o}); chmod o-r it", path = path.display())]
pub(crate) struct Exposed {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
}

/// Which of these files anybody on the machine can read. What can't be looked at is left to who
/// reads it.
pub(crate) fn exposed(files: &[PathBuf]) -> Vec<Exposed> {
    let exposed = |path: &PathBuf| {
        let mode = mode(path).ok()?;
        let reachable = mode & 0o004 != 0 && all_may_enter(path).unwrap_or(true);
        reachable.then(|| Exposed { path: path.clone(), mode })
    };
    files.iter().filter_map(exposed).collect()
}

/// Whether everybody may go through all the folders to a file.
fn all_may_enter(path: &Path) -> io::Result<bool> {
    let path = path.canonicalize()?;
    for folder in path.ancestors().skip(1) {
        if mode(folder)? & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A file of the data folder is for its owner alone; one that is missing is no secret yet.
pub(super) fn ensure_own(path: &Path) -> Result<(), DataError> {
    let mode = match mode(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        mode => mode.map_err(|error| DataError::Io { path: path.to_owned(), error })?,
    };
    if mode & 0o077 != 0 {
        return Err(DataError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

fn mode(path: &Path) -> io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_exposed_if_all_may_read_it_and_reach_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        fs::write(&file, "secret").unwrap();
        let is_exposed = |of_folder, of_file| {
            chmod(folder.path(), of_folder);
            chmod(&file, of_file);
            !exposed(std::slice::from_ref(&file)).is_empty()
        };
        // Unless the folder for temporary files is a private one.
        assert_eq!(is_exposed(0o755, 0o644), all_may_enter(folder.path()).unwrap());
        assert!(!is_exposed(0o755, 0o640), "a group may be meant");
        assert!(!is_exposed(0o750, 0o644), "nobody gets there");
        chmod(folder.path(), 0o755);
        assert_eq!(exposed(&[folder.path().join("none")]), []);
    }

    #[test]
    fn a_secret_of_the_data_folder_is_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        assert!(ensure_own(&file).is_ok());
        fs::write(&file, "secret").unwrap();
        chmod(&file, 0o600);
        assert!(ensure_own(&file).is_ok());
        for mode in [0o640, 0o604, 0o620] {
            chmod(&file, mode);
            let refused = ensure_own(&file);
            assert!(
                matches!(refused, Err(DataError::Exposed { mode: found, .. }) if found == mode)
            );
        }
    }
}
