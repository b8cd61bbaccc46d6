//! How often which code was answered.

use dunlin_protocol::wire::ErrorCode;

/// Counts refusals by their code. A server answers few kinds of them, so it is a short list rather
/// than a table of all codes, of which there may be hundreds in each class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// In the order in which each came for the first time.
    counts: Vec<(ErrorCode, u64)>,
}

impl ErrorCounts {
    /// How often it was this one.
    pub fn of(&self, code: ErrorCode) -> u64 {
        self.counts.iter().find(|(of, _)| *of == code).map_or(0, |(_, count)| *count)
    }

    /// All that came at least once, by their number.
    pub fn all(&self) -> Vec<(ErrorCode, u64)> {
        let mut counts = self.counts.clone();
        counts.sort_unstable_by_key(|(code, _)| *code as i32);
        counts
    }

    pub(crate) fn count(&mut self, code: ErrorCode) {
        self.add_to(code, 1);
    }

    pub(super) fn add(&mut self, other: &ErrorCounts) {
        other.counts.iter().for_each(|(code, count)| self.add_to(*code, *count));
    }

    fn add_to(&mut self, code: ErrorCode, more: u64) {
        match self.counts.iter_mut().find(|(of, _)| *of == code) {
            Some((_, count)) => *count += more,
            None => self.counts.push((code, more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_count_of_its_own() {
        let codes: Vec<_> =
            (0..1000).filter_map(|number| ErrorCode::try_from(number).ok()).collect();
        let mut counts = ErrorCounts::default();
        for (times, code) in codes.iter().rev().enumerate() {
            (0..=times).for_each(|_| counts.count(*code));
        }
        let mut twice = counts.clone();
        twice.add(&counts);
        for (times, code) in codes.iter().rev().enumerate() {
            assert_eq!(counts.of(*code), times as u64 + 1);
            assert_eq!(twice.of(*code), 2 * (times as u64 + 1));
        }
        assert_eq!(counts.all().iter().map(|(code, _)| *code).collect::<Vec<_>>(), codes);
    }
}
