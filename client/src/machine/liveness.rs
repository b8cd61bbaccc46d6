//! Whether the server is still there. A client can't see by itself that a connection is dead: it
//! has to say something and hear an answer.

/// An unanswered request makes us doubt after this time ...
const DOUBT_MS: u64 = 10_000;
/// ... and a heartbeat that is not answered within this time settles it.
const PROBE_MS: u64 = 5_000;

/// The times that matter. All in milliseconds of the caller's clock.
#[derive(Debug)]
pub(super) struct Liveness {
    interval_ms: u64,
    sent_ms: u64,
    heard_ms: u64,
    /// When a heartbeat was sent that must be answered soon.
    probe_ms: Option<u64>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Nothing.
    Fine,
    /// Send a heartbeat.
    Beat,
    /// Connect anew.
    Dead,
}

impl Liveness {
    pub(super) fn new(now_ms: u64, interval_ms: u32) -> Liveness {
        // A server that wants a heartbeat per millisecond is mistaken.
        let interval_ms = u64::from(interval_ms).max(100);
        Liveness { interval_ms, sent_ms: now_ms, heard_ms: now_ms, probe_ms: None }
    }

    pub(super) fn set_interval(&mut self, interval_ms: u32) {
        self.interval_ms = u64::from(interval_ms).max(100);
    }

    pub(super) fn sent(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
    }

    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.probe_ms = None;
    }

    /// `asked_ms`: when the oldest unanswered request was sent.
    pub(super) fn check(&mut self, now_ms: u64, asked_ms: Option<u64>) -> Pulse {
        if now_ms >= self.dead_ms() {
            return Pulse::Dead;
        }
        let doubt = self.doubt_ms(asked_ms).is_some_and(|doubt| now_ms >= doubt);
        if doubt {
            self.probe_ms = Some(now_ms);
        }
        if doubt || now_ms >= self.beat_ms() { Pulse::Beat } else { Pulse::Fine }
    }

    /// When to check again.
    pub(super) fn deadline_ms(&self, asked_ms: Option<u64>) -> u64 {
        let next = self.dead_ms().min(self.beat_ms());
        self.doubt_ms(asked_ms).map_or(next, |doubt| next.min(doubt))
    }

    /// A little early, so that a late timer does not make it too late.
    fn beat_ms(&self) -> u64 {
        self.sent_ms + self.interval_ms * 9 / 10
    }

    fn dead_ms(&self) -> u64 {
        let silent = self.heard_ms + self.interval_ms * 3 / 2;
        self.probe_ms.map_or(silent, |probe| silent.min(probe + PROBE_MS))
    }

    fn doubt_ms(&self, asked_ms: Option<u64>) -> Option<u64> {
        let asked_ms = asked_ms.filter(|_| self.probe_ms.is_none())?;
        Some(asked_ms.max(self.heard_ms) + DOUBT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_client_beats_within_the_interval() {
        let mut liveness = Liveness::new(0, 60_000);
        assert_eq!(liveness.deadline_ms(None), 54_000);
        assert_eq!(liveness.check(53_999, None), Pulse::Fine);
        assert_eq!(liveness.check(54_000, None), Pulse::Beat);
        liveness.sent(54_000);
        liveness.heard(54_001);
        assert_eq!(liveness.check(54_002, None), Pulse::Fine);
        assert_eq!(liveness.deadline_ms(None), 108_000);
    }

    #[test]
    fn a_silent_server_is_dead_after_an_interval_and_a_half() {
        let mut liveness = Liveness::new(0, 60_000);
        liveness.sent(54_000);
        assert_eq!(liveness.check(89_999, None), Pulse::Fine);
        assert_eq!(liveness.check(90_000, None), Pulse::Dead);
    }

    #[test]
    fn an_unanswered_request_is_doubted_probed_and_given_up() {
        let mut liveness = Liveness::new(0, 60_000);
        assert_eq!(liveness.check(10_999, Some(1000)), Pulse::Fine);
        assert_eq!(liveness.check(11_000, Some(1000)), Pulse::Beat);
        liveness.sent(11_000);
        assert_eq!(liveness.check(15_999, Some(1000)), Pulse::Fine);
        assert_eq!(liveness.deadline_ms(Some(1000)), 16_000);
        assert_eq!(liveness.check(16_000, Some(1000)), Pulse::Dead);
    }

    #[test]
    fn an_answer_ends_the_doubt() {
        let mut liveness = Liveness::new(0, 60_000);
        assert_eq!(liveness.check(11_000, Some(1000)), Pulse::Beat);
        liveness.heard(11_500);
        assert_eq!(liveness.check(16_500, Some(1000)), Pulse::Fine);
        assert_eq!(liveness.check(21_500, Some(1000)), Pulse::Beat, "it is still unanswered");
    }
}
