//! Settings of the embedded store, and why it can't be opened.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::recovery::damage::{Damage, said};

/// The smallest segment: with smaller ones, headers would dominate. An entry must fit into a
/// segment, so whoever chooses a small one must know how large entries are; tests do.
pub const SEGMENT_BYTES_MIN: u32 = 16 * 1024;

/// The largest segment: recovery reads a whole segment into memory, and offsets are 32 bits.
pub const SEGMENT_BYTES_MAX: u32 = 1024 * 1024 * 1024;

/// The lowest rate of cleaning: below it the largest piece would take longer than anybody waits for a
/// store that stops.
pub const CLEANING_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// The longest pause between commits: every answer waits for it.
pub const COMMIT_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Settings of the embedded store; [`Default`] is what a server wants.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Bytes of a segment file, allocated in advance. At a crash at most one segment has to be
    /// scanned, and at a clean end at most one is partly empty.
    pub segment_bytes: u32,
    /// A batch is committed when it has so many bytes, even if more appends wait: it bounds the
    /// buffer, and how long the first one waits for the last.
    pub batch_bytes_max: u32,
    /// From the beginning of a commit that several writes share to the next one: so that far below
    /// full load more of them share an fsync. docs/decisions/0014-commits-keep-apart.md says why.
    pub commit_pause: Duration,
    /// Threads that read.
    pub readers: usize,
    /// Index runs that are merged into one of the next level. More means less writing in the
    /// background, and more files that a look-up has to ask.
    pub merge_runs: usize,
    /// Memory for the filters of the index in bytes: 2 bytes for each entry with a key, each log and each
    /// register of an index file. The filters of the oldest files are read from these when all of
    /// them need more; the statistics say whether they do.
    pub filter_bytes_max: usize,
    /// Memory in bytes, about, for the index of the segment that is being written: when it has more, the
    /// next segment is begun, full or not. Entries in few logs never take so much; many users who log
    /// in for the first time, or many registers, may. When more than twice as much waits for its index
    /// files, writing waits for them.
    pub index_bytes_max: usize,
    /// When nothing was written for so long, the segment that is being written is left, and its index
    /// goes to a file, if it has a mebibyte in memory: what a storm of logins needed is given back.
    /// (Cleaning joins small files again.)
    pub index_quiet: Duration,
    /// After a failed write or fsync, how long appends are refused before the next attempt: each
    /// attempt takes a new segment file.
    pub retry_interval: Duration,
    /// How fast files are read and written in the background to clean them, in bytes per second: what
    /// is left of the disk is for messages.
    pub cleaning_bytes_per_second: u64,
    /// How often it is looked whether there is something to clean.
    pub cleaning_interval: Duration,
    /// Old values of registers, removed ones and expired entries are gone from the disk within this
    /// time and the one that cleaning takes. What is erased is gone at once.
    pub gone_within: Duration,
    /// For so long at least it is known which registers were removed: whoever asks what has changed since an
    /// older version may have to read all of them.
    pub marks_kept: Duration,
}

impl Default for EmbeddedConfig {
    fn default() -> EmbeddedConfig {
        EmbeddedConfig {
            segment_bytes: 64 * 1024 * 1024,
            batch_bytes_max: 4 * 1024 * 1024,
            commit_pause: Duration::from_micros(250),
            readers: 2,
            merge_runs: 4,
            filter_bytes_max: 256 * 1024 * 1024,
            index_bytes_max: 64 * 1024 * 1024,
            index_quiet: Duration::from_secs(30),
            retry_interval: Duration::from_millis(250),
            cleaning_bytes_per_second: 16 * 1024 * 1024,
            cleaning_interval: Duration::from_secs(5),
            gone_within: Duration::from_hours(7 * 24),
            marks_kept: Duration::from_hours(30 * 24),
        }
    }
}

impl EmbeddedConfig {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let wrong = |name, value| Err(OpenError::Setting { name, value });
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return wrong("segment_bytes", self.segment_bytes as usize);
        }
        if self.batch_bytes_max == 0 {
            return wrong("batch_bytes_max", 0);
        }
        if self.commit_pause > COMMIT_PAUSE_MAX {
            return wrong("commit_pause", self.commit_pause.as_micros() as usize);
        }
        if !(1..=256).contains(&self.readers) {
            return wrong("readers", self.readers);
        }
        if !(2..=64).contains(&self.merge_runs) {
            return wrong("merge_runs", self.merge_runs);
        }
        if self.cleaning_bytes_per_second < CLEANING_BYTES_PER_SECOND_MIN {
            return wrong("cleaning_bytes_per_second", self.cleaning_bytes_per_second as usize);
        }
        Ok(())
    }
}

/// Why a store can't be opened, made, saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is out of its range.
    #[error("{name} can't be {value}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// What it was.
        value: usize,
    },
    /// Another process has the folder open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has files, but no store.
    #[error("{} is not empty and holds no store of Dunlin", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// Others could change what is written to the folder.
    #[error("{} belongs to somebody else, or others may write to it; name a folder of your own with mode 700", path.display())]
    NotOwn {
        /// The folder.
        path: PathBuf,
    },
    /// A link in the place of a folder that is to be written to: whoever can change it could lead
    /// elsewhere.
    #[error("{} is a symbolic link; name the folder itself", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The file that says who the store is is missing beside its other files.
    #[error("{}: STORE is missing, without which nothing in it can be read; take it from a backup", path.display())]
    NoIdentity {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has something in it where there should be nothing.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Written by another version of Dunlin.
    #[error("{name} has format {found}; this version reads format {known}")]
    Version {
        /// The file.
        name: String,
        /// The format of the file.
        found: u32,
        /// The format that is known here.
        known: u32,
    },
    /// A file of another store has been put into the folder.
    #[error("{name} belongs to another store")]
    Foreign {
        /// The file.
        name: String,
    },
    /// The store was damaged when the backup was made.
    #[error("the store was damaged when this backup was made: {}", places(damage))]
    DamagedSource {
        /// What is not whole.
        damage: Vec<Damage>,
    },
    /// A file of segments has the name of another one of the same store.
    #[error("{name} {} of this store, under a name that is not its own", said(*first, *last))]
    Misplaced {
        /// The file.
        name: String,
        /// The first segment that its header names.
        first: u32,
        /// The last one: the same, but for a file that was cleaned together with others.
        last: u32,
    },
    /// A file that nothing can be read without is damaged. Restore a backup.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The disk can't read files that vouch for each other, or nothing at all of a segment that no other file vouches
    /// for, so that nobody could say what is there. Nothing was changed.
    #[error("{}: the disk can't read {}; what was in there, nothing that can be read says, so the store is not opened and nothing was changed. Look at the disk. If it will never read them again, move {way_out} elsewhere: the rest is served without, as far as it can be", path.display(), names.join(", "))]
    Unread {
        /// The folder.
        path: PathBuf,
        /// The files.
        names: Vec<String>,
        /// Without which of them the store opens.
        way_out: String,
    },
    /// The system refused something.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The first places, and how many there are more.
fn places(damage: &[Damage]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut shown: Vec<String> = damage.iter().take(SHOWN_MAX).map(Damage::to_string).collect();
    if damage.len() > SHOWN_MAX {
        shown.push(format!("and {} places more", damage.len() - SHOWN_MAX));
    }
    shown.join("; ")
}

impl OpenError {
    /// For `map_err`: what was attempted, and with what.
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl Fn(io::Error) -> Self {
        let path = path.into();
        move |error| OpenError::Io { doing, path: path.clone(), error }
    }
}
