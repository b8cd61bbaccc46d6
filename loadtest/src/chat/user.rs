//! One user: where its connection stands, and the messages that it has to bring home.

use std::collections::VecDeque;

use crate::audit::{Ledger, SignalBook};
use crate::wire::Conversation;

/// Where a user stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No connection; one is made at its time.
    Away,
    /// TCP (and TLS) and Hello.
    Connecting,
    /// Login is under way.
    LoggingIn,
    /// Logged in; the partner is not yet known.
    Waiting,
    /// Sync is under way.
    Syncing,
    /// May send.
    Active,
}

/// A message until it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) counter: u32,
    pub(crate) intended_ns: u64,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) stage: Stage,
    /// Counts connections, so that what belongs to an earlier one is recognised.
    pub(crate) connection: u32,
    /// Connections that failed in a row.
    pub(crate) failures: u32,
    pub(crate) user_id: u64,
    /// Unanswered messages by counter; the first `in_flight` are with the server.
    pub(crate) queue: VecDeque<Sending>,
    pub(crate) in_flight: usize,
    pub(crate) last_written_ns: u64,
    /// A History for what was missed is under way.
    pub(crate) repairing: bool,
    /// The highest sequence that was known when that History, or a Sync, was asked for.
    pub(crate) known_at_repair: u64,
    pub(crate) known_at_sync: Option<u64>,
    /// The highest sequence that the server spoke of.
    pub(crate) head: u64,
    /// The gap between pushes is on the list of gaps.
    pub(crate) gap_noted: bool,
    pub(crate) has_started: bool,
    pub(crate) has_read: bool,
    /// What the server said before it closed.
    pub(crate) farewell: Option<Box<str>>,
    pub(crate) reconnect_delay_ms: u32,
}

impl User {
    pub(crate) fn new() -> User {
        User {
            stage: Stage::Away,
            connection: 0,
            failures: 0,
            user_id: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            last_written_ns: 0,
            repairing: false,
            known_at_repair: 0,
            known_at_sync: None,
            head: 0,
            gap_noted: false,
            has_started: false,
            has_read: false,
            farewell: None,
            reconnect_delay_ms: 0,
        }
    }

    /// The connection is gone: what was with the server may have to be sent again.
    pub(crate) fn disconnected(&mut self) {
        self.stage = Stage::Away;
        self.connection += 1;
        self.in_flight = 0;
        self.repairing = false;
        self.known_at_sync = None;
    }

    /// Takes an answered message out of the queue.
    pub(crate) fn answered(&mut self, counter: u32) -> Option<Sending> {
        let in_flight = self.queue.iter().take(self.in_flight);
        // Answers come in order but for errors, so the first place is nearly always the right one.
        let at = in_flight.into_iter().position(|sending| sending.counter == counter)?;
        self.in_flight -= 1;
        self.queue.remove(at)
    }
}

/// Two users and the books of their conversation.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) conversation: Conversation,
    pub(crate) ledger: Ledger,
    /// What side 0 and side 1 sent.
    pub(crate) signals: [SignalBook; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_with_the_server_can_be_answered() {
        let mut user = User::new();
        user.queue.extend([1, 2, 3].map(|counter| Sending { counter, intended_ns: 0 }));
        user.in_flight = 2;
        assert!(user.answered(3).is_none());
        assert_eq!(user.answered(2).map(|sending| sending.counter), Some(2));
        assert_eq!((user.in_flight, user.queue.len()), (1, 2));
        user.disconnected();
        assert!(user.answered(1).is_none());
    }
}
