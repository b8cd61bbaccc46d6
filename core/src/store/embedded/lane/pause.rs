//! Keeping commits apart: where several writers share a commit, a moment later more of them do.
//!
//! An fsync costs the same whatever it makes durable, and far below full load most of them would be
//! for two or three writes. docs/decisions/0014-commits-keep-apart.md has the figures.

use std::time::{Duration, Instant};

/// When the next commit may begin.
pub(super) struct Pause {
    /// From the beginning of a commit to that of the next.
    at_least: Duration,
    /// When the last one began, if somebody shared it. One write alone may be of a client that waits
    /// for the answer before it sends the next, which nobody would share.
    shared_since: Option<Instant>,
}

impl Pause {
    pub(super) fn new(at_least: Duration) -> Pause {
        Pause { at_least, shared_since: None }
    }

    /// Waits until the next commit may begin. Meanwhile nobody wakes the lane.
    pub(super) fn wait(&self) {
        if let Some(rest) = self.rest(Instant::now()) {
            std::thread::sleep(rest);
        }
    }

    fn rest(&self, now: Instant) -> Option<Duration> {
        let gone = now.saturating_duration_since(self.shared_since?);
        self.at_least.checked_sub(gone).filter(|rest| !rest.is_zero())
    }

    /// A commit of so many writes begins.
    pub(super) fn begin(&mut self, writes: usize) {
        self.shared_since = (writes > 1 && !self.at_least.is_zero()).then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_micros(250);

    #[test]
    fn whoever_is_alone_waits_for_nobody() {
        let mut pause = Pause::new(PAUSE);
        assert_eq!(pause.rest(Instant::now()), None);
        pause.begin(1);
        assert_eq!(pause.rest(Instant::now()), None);
    }

    #[test]
    fn a_shared_commit_keeps_the_next_one_away_for_so_long() {
        let mut pause = Pause::new(PAUSE);
        pause.begin(2);
        let began = pause.shared_since.unwrap();
        assert_eq!(pause.rest(began), Some(PAUSE));
        let later = began + Duration::from_micros(200);
        assert_eq!(pause.rest(later), Some(Duration::from_micros(50)));
        assert_eq!(pause.rest(began + PAUSE), None);
        pause.begin(1);
        assert_eq!(pause.rest(Instant::now()), None);
    }

    #[test]
    fn without_a_pause_nothing_waits() {
        let mut pause = Pause::new(Duration::ZERO);
        pause.begin(5);
        assert_eq!(pause.rest(Instant::now()), None);
    }
}
