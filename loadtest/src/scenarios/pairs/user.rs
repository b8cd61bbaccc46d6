//! One user: where its connection stands, and the messages that it has to bring home.

use std::collections::VecDeque;

use crate::audit::{Ledger, ReadMark, SignalBook};
use crate::chat::{Action, MessageKind};
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

/// Durable messages, signals and requests are counted apart; these bits keep their ids apart.
const SIGNAL: u32 = 1 << 31;
const REQUEST: u32 = 3 << 30;

/// A message or a request until it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) action: Action,
    pub(crate) counter: u32,
    pub(crate) intended_ns: u64,
    /// Of a request, what it is about; of a message 0.
    pub(crate) about_seq: u64,
}

impl Sending {
    pub(crate) fn is_durable(&self) -> bool {
        self.action == Action::Message(MessageKind::Durable)
    }

    pub(crate) fn is_request(&self) -> bool {
        self.action.message().is_none()
    }

    /// The id of its request, unless it is quiet. All of them are below 2^32.
    pub(crate) fn request_id(&self) -> u32 {
        match self.action {
            Action::Message(MessageKind::Durable) => self.counter,
            Action::Message(MessageKind::Signal | MessageKind::QuietSignal) => {
                self.counter | SIGNAL
            }
            Action::Request(_) => self.counter | REQUEST,
        }
    }
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) stage: Stage,
    /// Counts connections, so that what belongs to an earlier one is recognised.
    pub(crate) connection: u32,
    /// Connections that failed in a row.
    pub(crate) failures: u32,
    pub(crate) user_id: u64,
    /// Up to where the user has its account log.
    pub(crate) account_seq: u64,
    /// Messages and requests whose turn it ever was.
    pub(crate) enqueued: u32,
    /// Unanswered messages and requests as they came; the first `in_flight` are with the server.
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
            account_seq: 0,
            enqueued: 0,
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

    /// The connection is gone. Returns how many messages and requests have to be sent again; signals
    /// are not repeated: what was under way is lost, and that is no fault.
    pub(crate) fn disconnected(&mut self) -> usize {
        let under_way = self.queue.drain(..self.in_flight);
        let is_repeated = |sending: &Sending| sending.is_durable() || sending.is_request();
        let again: Vec<_> = under_way.filter(is_repeated).collect();
        for &sending in again.iter().rev() {
            self.queue.push_front(sending);
        }
        self.stage = Stage::Away;
        self.connection += 1;
        self.in_flight = 0;
        self.repairing = false;
        self.known_at_sync = None;
        again.len()
    }

    /// Requests that the server owes an answer.
    pub(crate) fn unanswered_requests(&self) -> usize {
        self.queue.iter().take(self.in_flight).filter(|sending| sending.is_request()).count()
    }

    /// A message or a request that is with the server.
    pub(crate) fn under_way(&self, request_id: u32) -> Option<Sending> {
        let in_flight = self.queue.iter().take(self.in_flight);
        in_flight.copied().find(|sending| sending.request_id() == request_id)
    }

    /// Takes what was answered out of the queue.
    pub(crate) fn answered(&mut self, request_id: u32) -> Option<Sending> {
        let in_flight = self.queue.iter().take(self.in_flight);
        // Messages are answered in order but for errors, so that the first place is nearly always
        // the right one. Requests of a mix may overtake them, past a few places.
        let at = in_flight.into_iter().position(|sending| sending.request_id() == request_id)?;
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
    /// How far each side has read.
    pub(crate) marks: [ReadMark; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RequestKind;

    fn durable(counter: u32) -> Sending {
        let action = Action::Message(MessageKind::Durable);
        Sending { action, counter, intended_ns: 0, about_seq: 0 }
    }

    #[test]
    fn signals_and_messages_with_the_same_counter_are_kept_apart() {
        let signal = Sending { action: MessageKind::Signal.into(), ..durable(1) };
        let mut user = User::new();
        user.queue.extend([signal, durable(1), durable(2)]);
        user.in_flight = 2;
        assert!(user.answered(1).is_some_and(|sending| sending.is_durable()));
        user.in_flight = 2;
        assert_eq!(user.disconnected(), 1);
        let left: Vec<_> = user.queue.iter().map(Sending::request_id).collect();
        assert_eq!(left, [2], "the signal is of the moment");
    }

    #[test]
    fn requests_have_ids_of_their_own_and_are_sent_again() {
        let request = Sending { action: Action::Request(RequestKind::Sync), ..durable(1) };
        let signal = Sending { action: MessageKind::Signal.into(), ..durable(1) };
        let mut user = User::new();
        user.queue.extend([signal, request, durable(1)]);
        user.in_flight = 2;
        assert_eq!(user.unanswered_requests(), 1);
        assert_eq!(user.disconnected(), 1);
        assert_eq!(user.queue.len(), 2);
        user.in_flight = 2;
        assert!(user.answered(1).is_some_and(|sending| sending.is_durable()));
        assert!(user.answered(request.request_id()).is_some_and(|sending| sending.is_request()));
    }

    #[test]
    fn only_what_is_with_the_server_can_be_answered() {
        let mut user = User::new();
        user.queue.extend([1, 2, 3].map(durable));
        user.in_flight = 2;
        assert!(user.answered(3).is_none());
        assert_eq!(user.answered(2).map(|sending| sending.counter), Some(2));
        assert_eq!((user.in_flight, user.queue.len()), (1, 2));
        user.disconnected();
        assert!(user.answered(1).is_none());
    }
}
