//! Whose a data folder is.
//!
//! Files that a server or a command makes belong to its user, and secrets are for their owner alone:
//! what one user makes in the store of another locks that one out. It is easily done, since root may
//! write everywhere.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::data::DataError;

/// Refuses to make anything in what is somebody else's.
pub(super) fn ensure_own(folder: &Path, store: &Path) -> Result<(), DataError> {
    let own = rustix::process::geteuid().as_raw();
    // There is nothing yet, or whoever opens it says why that is impossible.
    let owner = |path: &Path| fs::metadata(path).ok().map(|found| found.uid());
    match foreign((folder, owner(folder)), (store, owner(store)), own) {
        Some((path, owner)) => Err(DataError::Foreign { path: path.to_owned(), owner }),
        None => Ok(()),
    }
}

/// Which of the two is not this user's, though it would have to be. A folder without a store may
/// belong to another: a volume is often root's, and its group may write. But what root makes in the folder
/// of another user is of no use to that one.
fn foreign<'a>(
    (folder, folder_owner): (&'a Path, Option<u32>),
    (store, store_owner): (&'a Path, Option<u32>),
    own: u32,
) -> Option<(&'a Path, u32)> {
    match (store_owner, folder_owner) {
        (Some(owner), _) if owner != own => Some((store, owner)),
        (None, Some(owner)) if owner != own && own == ROOT => Some((folder, owner)),
        _ => None,
    }
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_a_store_works_on_it() {
        let (folder, store) = (Path::new("data"), Path::new("data/store"));
        let foreign = |folder_owner, store_owner, own| {
            foreign((folder, folder_owner), (store, store_owner), own)
        };
        for own in [0, 7] {
            assert_eq!(foreign(None, None, own), None);
            assert_eq!(foreign(Some(own), Some(own), own), None);
            assert_eq!(foreign(Some(own), None, own), None);
            assert_eq!(foreign(Some(8), Some(8), own), Some((store, 8)));
            assert_eq!(foreign(Some(own), Some(8), own), Some((store, 8)));
            assert_eq!(foreign(Some(8), Some(own), own), None);
        }
        assert_eq!(foreign(Some(8), None, 0), Some((folder, 8)));
        assert_eq!(foreign(Some(0), None, 7), None, "a volume that a group may write to");
        let refused = DataError::Foreign { path: store.to_owned(), owner: 7 }.to_string();
        assert_eq!(refused, "can't work on data/store: it belongs to user 7; run it as that user");
    }
}
