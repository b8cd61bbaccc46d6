//! How many requests of which kind were taken.

use crate::request::RequestKind;

const KINDS: usize = RequestKind::ALL.len();

/// Counts requests by their kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestCounts([u64; KINDS]);

impl RequestCounts {
    /// How many of this kind.
    pub fn of(&self, kind: RequestKind) -> u64 {
        self.0[kind as usize]
    }

    /// All kinds, those too of which there was none.
    pub fn all(&self) -> impl Iterator<Item = (RequestKind, u64)> + '_ {
        RequestKind::ALL.into_iter().map(|kind| (kind, self.of(kind)))
    }

    #[inline]
    pub(crate) fn count(&mut self, kind: RequestKind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn add(&mut self, other: &RequestCounts) {
        for (mine, its) in self.0.iter_mut().zip(&other.0) {
            *mine += its;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_count_of_its_own() {
        let mut counts = RequestCounts::default();
        for (times, kind) in RequestKind::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| counts.count(kind));
        }
        let once = counts.clone();
        counts.add(&once);
        for (times, (kind, count)) in counts.all().enumerate() {
            assert_eq!(count, 2 * (times as u64 + 1), "{}", kind.name());
        }
    }
}
