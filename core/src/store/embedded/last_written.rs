//! When something was last written to a store that is closed.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::segment::Span;

/// The date of the last write, as the clock had it then, in Unix milliseconds: that of the file of the newest
/// segment. To be asked before the store is opened, which writes. `None` if there is none, or nobody can tell.
pub fn last_written_ms(folder: &Path) -> Option<u64> {
    let newest = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((Span::of_name(entry.file_name().to_str()?)?.last, entry))
        })
        .max_by_key(|(number, _)| *number)?;
    let written = newest.1.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(written.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn it_is_the_date_of_the_newest_segment() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_written_ms(folder.path()), None);
        assert_eq!(last_written_ms(&folder.path().join("nothing")), None);
        for (name, written_ms) in
            [("00000001-0000000a.log", 9000), ("0000000b.log", 5000), ("STORE", 7000)]
        {
            let file = File::create(folder.path().join(name)).unwrap();
            let written: SystemTime = UNIX_EPOCH + Duration::from_millis(written_ms);
            file.set_times(FileTimes::new().set_modified(written)).unwrap();
        }
        assert_eq!(last_written_ms(folder.path()), Some(5000));
    }
}
