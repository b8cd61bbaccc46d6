//! Which settings there are, and of what type: as the defaults say.

use serde::de::IntoDeserializer;
use toml::{Table, Value};

use super::error::{Fault, Hint};
use super::key::Key;
use super::{Config, Issuer};

/// The section whose tables the operator names.
const ISSUERS: &str = "issuers";

/// The table whose numbers the operator names.
const BY_KIND: [&str; 2] = ["devices", "by_kind"];

/// All settings with their defaults.
#[derive(Debug)]
pub(super) struct Known {
    defaults: Table,
    /// What each issuer has.
    issuer: Value,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A setting or a section, by its default.
    Default(&'a Value),
    /// A number that the operator named.
    Named,
    /// Nothing, from this segment on, in this table.
    Unknown { depth: usize, table: &'a Table },
    /// It would be inside of a setting that is no table.
    InsideOf { outer: Key, value: &'a Value },
}

impl Known {
    pub(super) fn new() -> Known {
        let issuer = Table::try_from(Issuer::default());
        let issuer = issuer.expect("an issuer has string keys only");
        Known { defaults: defaults(), issuer: Value::Table(issuer) }
    }

    pub(super) fn is_section(&self, name: &str) -> bool {
        self.defaults.contains_key(name)
    }

    /// Looks for a key.
    pub(super) fn find(&self, key: &Key) -> Found<'_> {
        let segments = key.segments();
        let mut table = &self.defaults;
        for (depth, segment) in segments.iter().enumerate() {
            let value = match table.get(segment) {
                Some(value) => value,
                None if segments[..depth] == [ISSUERS] => &self.issuer,
                None if segments[..depth] == BY_KIND && depth + 1 == segments.len() => {
                    return Found::Named;
                }
                None => return Found::Unknown { depth, table },
            };
            if depth + 1 == segments.len() {
                return Found::Default(value);
            }
            let Value::Table(inner) = value else {
                return Found::InsideOf { outer: key.outer(depth + 1), value };
            };
            table = inner;
        }
        Found::Unknown { depth: 0, table }
    }

    /// Reads text as the type that a key has.
    pub(super) fn parse(&self, key: &Key, text: &str) -> Result<Value, Fault> {
        let no = |wanted: &str| Fault::Refused(format!("{text:?} is no {wanted}"));
        let string = || Value::String(unquoted(text).to_owned());
        match self.find(key) {
            Found::Default(Value::Integer(_)) => {
                let number = text.replace('_', "").parse();
                number.map(Value::Integer).map_err(|_| no("whole number"))
            }
            Found::Default(Value::Boolean(_)) => {
                text.parse().map(Value::Boolean).map_err(|_| no("true or false"))
            }
            // A section has keys; as a setting it does not exist.
            Found::Default(Value::Table(table)) => {
                let hint = Hint::Known(table.keys().cloned().collect());
                Err(Fault::Unknown { hint })
            }
            Found::Named => Ok(text.parse().map_or_else(|_| string(), Value::Integer)),
            // Whether there is such a key is seen by `check`.
            Found::Default(_) | Found::Unknown { .. } | Found::InsideOf { .. } => Ok(string()),
        }
    }

    /// Whether there is such a setting, and it can have this value; an error says which key is
    /// wrong, and why.
    pub(super) fn check(&self, key: &Key, value: &Value) -> Result<(), (Key, Fault)> {
        let wrong_type = |key: &Key, found: &'static str, wanted: &'static str| {
            (key.clone(), Fault::WrongType { found, wanted })
        };
        match self.find(key) {
            Found::Default(default) if value.type_str() != default.type_str() => {
                return Err(wrong_type(key, value.type_str(), default.type_str()));
            }
            Found::Default(_) => {
                if matches!(value, Value::Integer(number) if *number < 0) {
                    return Err((key.clone(), Fault::Negative));
                }
            }
            Found::Named => {}
            Found::Unknown { depth, table } => {
                let hint = self.hint(key, depth, table);
                return Err((key.outer(depth + 1), Fault::Unknown { hint }));
            }
            Found::InsideOf { outer, value } => {
                return Err(wrong_type(&outer, "table", value.type_str()));
            }
        }
        fits(key, value).map_err(|reason| (key.clone(), Fault::Refused(reason)))
    }

    /// What may have been meant by a key that is not in a table: a key there that looks like it,
    /// or a setting of that name in another section.
    fn hint(&self, key: &Key, depth: usize, table: &Table) -> Hint {
        let name = &key.segments()[depth];
        if let Some(near) = nearest(name, table.keys()) {
            return Hint::Meant(match depth {
                0 => Key::new(&[near]),
                _ => key.outer(depth).inside(near),
            });
        }
        let sections = self.defaults.iter();
        let mut elsewhere = sections.filter(|(_, section)| section.get(name).is_some());
        match elsewhere.next() {
            Some((section, _)) => Hint::Meant(Key::new(&[section, name])),
            None => Hint::Known(table.keys().cloned().collect()),
        }
    }
}

/// The defaults as a table.
pub(super) fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the configuration has string keys only")
}

/// Whether a configuration that has only this setting can be read: it has the right kind of
/// number, and is one of the words that are allowed.
fn fits(key: &Key, value: &Value) -> Result<(), String> {
    let nested = key.segments().iter().rev().fold(value.clone(), |inner, segment| {
        Value::Table(Table::from_iter([(segment.clone(), inner)]))
    });
    let read = <Config as serde::Deserialize>::deserialize(nested.into_deserializer());
    read.map(drop).map_err(|error: toml::de::Error| error.message().to_owned())
}

/// The name that looks most like it, if one does.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    // A third of the letters may be wrong, and one may always be: otherwise it is another word.
    let tolerated = (name.chars().count() / 3).max(1);
    let distances = known.map(|known| (distance(name, known), known.as_str()));
    let (distance, known) = distances.min()?;
    (distance <= tolerated).then_some(known)
}

/// How many letters must be put in, taken out, replaced, or changed with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // rows[i][j]: from the first i letters of one to the first j letters of the other.
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

/// A text as it is meant by who has copied it from a file, with its quotes.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_slips_of_a_finger() {
        for (one, other, slips) in [
            ("tcp", "tcp", 0),
            ("tpc", "tcp", 1),
            ("tc", "tcp", 1),
            ("ttcp", "tcp", 1),
            ("tdp", "tcp", 1),
            ("", "tcp", 3),
            ("levle", "level", 1),
            ("handshake_max", "handshakes_max", 1),
        ] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
            assert_eq!(distance(other, one), slips, "{other} {one}");
        }
    }

    #[test]
    fn what_was_meant_is_found_nearby_or_elsewhere() {
        let known = Known::new();
        let hint = |key: &str| match known.check(&Key::dotted(key), &Value::Integer(1)) {
            Err((_, Fault::Unknown { hint })) => hint.to_string(),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(hint("listne.tcp"), "did you mean listen?");
        assert_eq!(hint("listen.tpc"), "did you mean listen.tcp?");
        assert_eq!(hint("limits.handshake_max"), "did you mean limits.handshakes_max?");
        assert_eq!(hint("issuers.app.algoritm"), "did you mean issuers.app.algorithm?");
        assert_eq!(hint("listen.registration"), "did you mean engine.registration?");
        assert_eq!(hint("log.colour"), "there are format, level");
    }

    #[test]
    fn a_text_may_have_the_quotes_of_a_file() {
        let known = Known::new();
        for key in ["log.level", "issuers.app.algorithm"] {
            for text in ["HS256", "\"HS256\""] {
                let value = known.parse(&Key::dotted(key), text).ok();
                assert_eq!(value, Some(Value::String("HS256".into())), "{key} {text}");
            }
        }
    }

    #[test]
    fn values_must_have_the_type_of_their_setting() {
        let known = Known::new();
        let fault = |key: &str, value: Value| {
            let (key, fault) = known.check(&Key::dotted(key), &value).expect_err(key);
            format!("{key}: {fault}")
        };
        let text = || Value::String("x".into());
        let table = || Value::Table(Table::new());
        assert_eq!(fault("listen.shards", text()), "listen.shards: is a string, not an integer");
        assert_eq!(fault("listen", text()), "listen: is a string, not a table");
        assert_eq!(fault("listen.tcp", table()), "listen.tcp: is a table, not a string");
        assert_eq!(fault("listen.tcp.x", text()), "listen.tcp: is a table, not a string");
        assert_eq!(fault("listen.backlog", Value::Integer(-1)), "listen.backlog: is negative");
        let large = fault("limits.connections_per_address_max", Value::Integer(1 << 32));
        assert!(large.contains("4294967296") && large.contains("u32"), "{large}");
        let word = fault("log.format", text());
        assert!(word.contains("`x`") && word.contains("human"), "{word}");
        assert!(known.check(&Key::dotted("issuers.app"), &table()).is_ok());
        assert!(known.check(&Key::dotted("devices.by_kind.phone"), &Value::Integer(1)).is_ok());
    }
}
