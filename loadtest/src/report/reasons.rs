//! Counts by reason, for reasons that come from outside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Reasons that are told apart. A server may put anything into the words of a close, and a million
/// connections may end with as many of them.
const REASONS_MAX: usize = 32;

/// What all further reasons are counted as.
const OTHERS: &str = "other reasons";

/// How often something happened, by its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reasons(BTreeMap<String, u64>);

impl Reasons {
    /// Counts one.
    pub fn add(&mut self, reason: &str) {
        self.add_many(reason, 1);
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Reasons) {
        for (reason, &count) in &other.0 {
            self.add_many(reason, count);
        }
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(reason, &count)| (reason.as_str(), count))
    }

    /// Counts several of one reason.
    pub(crate) fn add_many(&mut self, reason: &str, count: u64) {
        if let Some(known) = self.0.get_mut(reason) {
            *known += count;
        } else {
            let reason = if self.0.len() < REASONS_MAX { reason } else { OTHERS };
            *self.0.entry(reason.to_owned()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_however_many_reasons_there_are() {
        let (mut one, mut other) = (Reasons::default(), Reasons::default());
        for number in 0..1000 {
            one.add(&format!("one {number}"));
            other.add(&format!("other {}", number % 2));
        }
        one.merge(&other);
        assert_eq!(one.total(), 2000);
        assert_eq!(one.iter().count(), REASONS_MAX + 1);
        assert_eq!(other.iter().collect::<Vec<_>>(), [("other 0", 500), ("other 1", 500)]);
    }
}
