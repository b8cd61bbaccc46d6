//! Whether the loops of the shards turn.
//!
//! A shard without connections sleeps for as long as nothing comes, so silence says nothing. Whoever wants
//! to know posts a number to each mailbox and looks whether it comes back.

use std::sync::atomic::{AtomicU64, Ordering};

/// The last number that each shard has answered.
#[derive(Debug)]
pub(crate) struct Pulses {
    /// The last one that was posted.
    asked: AtomicU64,
    answered: Box<[AtomicU64]>,
}

impl Pulses {
    pub(super) fn new(shards: usize) -> Pulses {
        let answered = (0..shards).map(|_| AtomicU64::new(0)).collect();
        Pulses { asked: AtomicU64::new(0), answered }
    }

    /// A shard has taken this number out of its mailbox.
    pub(crate) fn answer(&self, shard: u16, number: u64) {
        if let Some(answered) = self.answered.get(usize::from(shard)) {
            answered.store(number, Ordering::Relaxed);
        }
    }

    /// What to post to all shards, if all have answered what was posted before: so a shard that stands
    /// still has no more than one of them in its mailbox.
    pub(crate) fn ask(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Relaxed);
        let is_answered = self.missing(asked).next().is_none();
        // One thread asks at a time; if two did, one number would be posted twice.
        is_answered.then(|| self.asked.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The last number that was posted.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The shards that have not answered a number.
    pub(crate) fn missing(&self, number: u64) -> impl Iterator<Item = usize> + '_ {
        let answered = self.answered.iter().enumerate();
        let missing = answered.filter(move |(_, at)| at.load(Ordering::Relaxed) < number);
        missing.map(|(shard, _)| shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_again_before_all_have_answered() {
        let pulses = Pulses::new(2);
        assert_eq!(pulses.ask(), Some(1));
        assert_eq!((pulses.ask(), pulses.asked()), (None, 1));
        pulses.answer(1, 1);
        assert_eq!(pulses.missing(1).collect::<Vec<_>>(), [0]);
        assert_eq!(pulses.ask(), None);
        pulses.answer(0, 1);
        assert_eq!(pulses.missing(1).count(), 0);
        assert_eq!(pulses.ask(), Some(2));
    }
}
