//! Names of settings, and where a setting was said.

use std::fmt;
use std::path::{Path, PathBuf};

/// The name of a setting or of a section: `listen.tcp` has two segments. What an operator names,
/// as issuers, may contain any character, dots too, so segments are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<String>);

impl Key {
    /// A key of these segments.
    pub fn new(segments: &[&str]) -> Key {
        Key(segments.iter().map(|segment| (*segment).to_owned()).collect())
    }

    /// A key as it is written on a command line, with a dot between its segments.
    pub fn dotted(text: &str) -> Key {
        Key(text.split('.').map(str::to_owned).collect())
    }

    /// Its segments, outermost first.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The key of something inside of this one.
    #[must_use]
    pub fn inside(&self, segment: &str) -> Key {
        let mut segments = self.0.clone();
        segments.push(segment.to_owned());
        Key(segments)
    }

    /// The key without what comes after so many segments.
    pub(super) fn outer(&self, segments: usize) -> Key {
        Key(self.0[..segments].to_vec())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Where a setting was said, in the order in which sources win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file.
    File(Place),
    /// In a variable of the environment, by its name.
    Variable(String),
    /// On the command line, by the name of the flag.
    Flag(String),
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which file.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl Place {
    /// The place of a byte of a text.
    pub(super) fn of(path: &Path, text: &str, byte: usize) -> Place {
        // A place that is inside of a character, or behind the end, is no place to begin at.
        let before = text.get(..byte).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            path: path.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before[start..].chars().count(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(place) => place.fmt(f),
            Origin::Variable(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_in_characters() {
        let place = |byte| Place::of(Path::new("f"), "ä = 1\nöö = 2\n", byte).to_string();
        assert_eq!((place(0), place(3)), ("f:1:1".into(), "f:1:3".into()));
        assert_eq!((place(7), place(12)), ("f:2:1".into(), "f:2:4".into()));
        assert_eq!((place(16), place(99)), ("f:3:1".into(), "f:3:1".into()));
    }

    #[test]
    fn what_an_operator_names_may_have_dots() {
        let key = Key::new(&["issuers", "https://a.example", "key"]);
        assert_eq!(key.segments().len(), 3);
        assert_eq!(key.outer(1).inside("x").to_string(), "issuers.x");
        assert_ne!(key, Key::dotted(&key.to_string()));
    }
}
