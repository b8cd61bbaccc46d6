//! What is wrong with a configuration: all of it at once, each with the place where it was said.

use std::fmt;
use std::path::PathBuf;

use super::key::{Key, Origin, Place};

/// Everything that is wrong with a configuration, in the order of its sources. Never empty.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// Why not.
        reason: String,
    },
    /// A key or a value is wrong.
    #[error("{}{key}: {fault}", prefix(origin.as_ref()))]
    Setting {
        /// Which setting.
        key: Key,
        /// Where it was said; `None` if it was not, or if nobody knows: a configuration that was
        /// made by a program.
        origin: Option<Origin>,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such key.
    #[error("there is no such key; {hint}")]
    Unknown {
        /// What was meant, perhaps.
        hint: Hint,
    },
    /// The value has another type.
    #[error("is {}, not {}", with_article(found), with_article(wanted))]
    WrongType {
        /// The type of the value.
        found: &'static str,
        /// The type of the setting.
        wanted: &'static str,
    },
    /// The value is negative, which makes no sense anywhere.
    #[error("is negative")]
    Negative,
    /// The value is too small or too large.
    #[error("{value} is not in {min} to {max}")]
    OutOfRange {
        /// What it is.
        value: u64,
        /// The least that it can be.
        min: u64,
        /// The most that it can be.
        max: u64,
    },
    /// Anything else.
    #[error("{0}")]
    Refused(String),
}

/// What somebody may have meant who wrote a key that there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A key that looks like it, or that has its name in another section.
    Meant(Key),
    /// None does: the keys that there are.
    Known(Vec<String>),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Meant(key) => write!(f, "did you mean {key}?"),
            Hint::Known(keys) => write!(f, "there are {}", keys.join(", ")),
        }
    }
}

/// "an integer", "a string".
fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn prefix(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, |origin| format!("{origin}: "))
}

impl ConfigError {
    /// Says where the setting was said.
    fn locate(&mut self, find: impl Fn(&Key) -> Option<Origin>) {
        match self {
            ConfigError::Setting { key, origin, fault: _ } => *origin = find(key),
            ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => {}
        }
    }

    /// The file comes first, from top to bottom.
    fn source(&self) -> Option<Origin> {
        match self {
            ConfigError::Unreadable { path, .. } => {
                Some(Origin::File(Place { path: path.clone(), line: 0, column: 0 }))
            }
            ConfigError::Syntax { place, .. } => Some(Origin::File(place.clone())),
            ConfigError::Setting { origin, .. } => origin.clone(),
        }
    }
}

impl ConfigErrors {
    /// Each thing that is wrong.
    pub fn each(&self) -> &[ConfigError] {
        &self.0
    }
}

/// In one line, as a log wants it.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&errors.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

/// Gathers what is wrong.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<ConfigError>);

impl Faults {
    pub(super) fn push(&mut self, error: ConfigError) {
        self.0.push(error);
    }

    pub(super) fn setting(&mut self, key: Key, origin: Option<Origin>, fault: Fault) {
        self.push(ConfigError::Setting { key, origin, fault });
    }

    /// What is wrong with one section.
    pub(super) fn section(&mut self, name: &'static str) -> SectionFaults<'_> {
        SectionFaults { section: Key::new(&[name]), faults: self }
    }

    /// Says of all settings where they were said.
    pub(super) fn locate(&mut self, find: impl Fn(&Key) -> Option<Origin>) {
        self.0.iter_mut().for_each(|error| error.locate(&find));
    }

    /// Adds what was found elsewhere.
    pub(super) fn append(&mut self, mut other: Faults) {
        self.0.append(&mut other.0);
    }

    pub(super) fn into_result<T>(mut self, good: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() {
            return Ok(good);
        }
        // What has no place is about how settings go together, and comes last.
        self.0.sort_by_cached_key(|error| (error.source().is_none(), error.source()));
        Err(ConfigErrors(self.0))
    }
}

/// Gathers what is wrong with the settings of a section, which know nothing of other sections.
#[derive(Debug)]
pub(super) struct SectionFaults<'a> {
    section: Key,
    faults: &'a mut Faults,
}

impl SectionFaults<'_> {
    /// The setting must be in this range.
    pub(super) fn within(
        &mut self,
        key: &str,
        value: impl Into<u64>,
        range: std::ops::RangeInclusive<u64>,
    ) {
        self.range(&[key], value.into(), range);
    }

    /// The same for what counts things in memory.
    pub(super) fn count_within(
        &mut self,
        key: &str,
        count: usize,
        range: std::ops::RangeInclusive<u64>,
    ) {
        self.range(&[key], count as u64, range);
    }

    /// The same for a setting that is deeper in the section.
    pub(super) fn range(&mut self, key: &[&str], value: u64, range: std::ops::RangeInclusive<u64>) {
        if !range.contains(&value) {
            let (min, max) = range.into_inner();
            self.fault(key, Fault::OutOfRange { value, min, max });
        }
    }

    /// A setting is wrong, for this reason.
    pub(super) fn refuse(&mut self, key: &[&str], reason: impl Into<String>) {
        self.fault(key, Fault::Refused(reason.into()));
    }

    fn fault(&mut self, key: &[&str], fault: Fault) {
        let key = key.iter().fold(self.section.clone(), |key, segment| key.inside(segment));
        self.faults.setting(key, None, fault);
    }
}
