//! The feed: everything that was written, for whoever has to do something with all of it.
//!
//! A consumer (push notifications, webhooks, a search index) reads the feed from where it was, does
//! its work, and says how far it has come. What a registered consumer has not passed is kept, so one
//! that never comes back has to be removed.

use std::fmt;

use bytes::Bytes;
use dunlin_protocol::LogId;

use super::read::StoredEntry;
use super::register::Register;
use super::write::Malformed;

/// The most bytes of a consumer's name.
pub const CONSUMER_NAME_BYTES_MAX: usize = 32;

/// A place in the feed: made by a store, and understood by that store alone. It stays good over
/// restarts and while deleted things are cleaned away.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FeedPosition(pub Bytes);

impl fmt::Debug for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedPosition({})", self.0.escape_ascii())
    }
}

/// Where to read the feed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedFrom {
    /// The oldest that is there.
    Beginning,
    /// What comes from now on: the answer is an empty page with a position.
    End,
    /// After this.
    After(FeedPosition),
}

/// Which part of the feed to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRange {
    /// Where to begin.
    pub from: FeedFrom,
    /// At most so many items; 0 to be told a position alone.
    pub items_max: usize,
    /// At most so many bytes of bodies, keys and values, but always one item if there is one.
    pub bytes_max: usize,
}

/// Something that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedItem {
    /// To which log.
    pub log: LogId,
    /// What.
    pub what: FeedWhat,
}

impl FeedItem {
    /// What it counts for in a limit of bytes: its body, or its key and its value.
    pub fn bytes(&self) -> usize {
        match &self.what {
            FeedWhat::Entry(entry) => entry.body.len(),
            FeedWhat::Register(register) => register.bytes(),
            FeedWhat::Truncated { .. } | FeedWhat::Erased { .. } | FeedWhat::Dropped => 0,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedWhat {
    /// An entry was appended. If it was erased since, that shows.
    Entry(StoredEntry),
    /// A register was set or removed. (Of a write, the entry comes first, then the registers.)
    Register(Register),
    /// Entries below this sequence have expired.
    Truncated {
        /// The lowest sequence that stayed.
        below: u64,
    },
    /// An entry was erased.
    Erased {
        /// Which.
        seq: u64,
    },
    /// All entries and registers of the log were deleted.
    Dropped,
}

/// Part of the feed, in the order in which it was committed: for several writers, of each of them.
/// So what concerns one log is in order in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// Those after the place that was asked for. Something that the store has moved meanwhile may
    /// come again; nothing is left out that no consumer had passed.
    pub items: Vec<FeedItem>,
    /// Where to go on: also where the page is empty.
    pub position: FeedPosition,
    /// There is more.
    pub more: bool,
}

/// The name of a consumer: 1 to [`CONSUMER_NAME_BYTES_MAX`] of `a` to `z`, `0` to `9`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(Box<str>);

impl ConsumerName {
    /// A name of this text, if it can be one.
    pub fn new(name: &str) -> Result<ConsumerName, Malformed> {
        let fits = (1..=CONSUMER_NAME_BYTES_MAX).contains(&name.len());
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if fits && name.bytes().all(allowed) {
            Ok(ConsumerName(name.into()))
        } else {
            Err(Malformed::Consumer)
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A consumer as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: ConsumerName,
    /// How far it has come.
    pub position: FeedPosition,
    /// About how many bytes are kept that it has not passed.
    pub behind_bytes: u64,
}

/// What is done to the list of consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerChange {
    /// It has done all up to this place; it is registered if it was not. It never goes back.
    Passed {
        /// Which.
        name: ConsumerName,
        /// How far.
        position: FeedPosition,
    },
    /// It will not come back: nothing is kept for it any more.
    Removed {
        /// Which.
        name: ConsumerName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_consumers_are_plain_words() {
        for good in ["push", "webhooks-2", &"a".repeat(32)] {
            assert_eq!(
                ConsumerName::new(good).map(|name| name.as_str().to_owned()).as_deref(),
                Ok(good)
            );
        }
        for bad in ["", "Push", "a b", "é", &"a".repeat(33)] {
            assert_eq!(ConsumerName::new(bad), Err(Malformed::Consumer), "{bad}");
        }
    }
}
