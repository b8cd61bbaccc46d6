//! One connection of a crowd: where it stands, and the messages that it has to bring home.

use std::collections::VecDeque;

use crate::crowd::{Action, MessageKind};

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// None; one is made at its time.
    Away,
    /// TCP (and TLS) and Hello.
    Connecting,
    /// Login is under way.
    LoggingIn,
    /// Sync is under way.
    Syncing,
    /// May send.
    Active,
}

/// Durable messages, signals and requests are counted apart; these bits keep their ids apart.
const SIGNAL: u32 = 1 << 31;
const REQUEST: u32 = 3 << 30;

/// Room for every counter below the number of the conversation among those of a writer.
const LANE_SHIFT: u32 = 32;

/// A message or a request until it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) action: Action,
    /// Which of its writer's conversations it belongs to.
    pub(crate) lane: u32,
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

    /// The id of its request, unless it is quiet. All of them are below 2^60, since no user has 2^28
    /// conversations.
    pub(crate) fn request_id(&self) -> u64 {
        let counter = match self.action {
            Action::Message(MessageKind::Durable) => self.counter,
            Action::Message(MessageKind::Signal | MessageKind::QuietSignal) => {
                self.counter | SIGNAL
            }
            Action::Request(_) => self.counter | REQUEST,
        };
        u64::from(self.lane) << LANE_SHIFT | u64::from(counter)
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) stage: Stage,
    /// It writes; the others are only there.
    pub(crate) sends: bool,
    /// It was told everything once.
    pub(crate) has_started: bool,
    /// What it was told by the last Synced, as the server names it.
    pub(crate) sync_token: Box<[u8]>,
    /// A reason of the server to close was told.
    pub(crate) farewell: Option<Box<str>>,
    pub(crate) reconnect_delay_ms: u32,
    /// Counts connections, so that what belongs to an earlier one is recognised.
    pub(crate) connection: u32,
    /// Connections that failed in a row.
    pub(crate) failures: u32,
    pub(crate) user_id: u64,
    /// Messages and requests whose turn it ever was.
    pub(crate) enqueued: u32,
    /// Messages that have not reached everybody, where that matters.
    pub(crate) open: u32,
    /// Logs that were read to their ends, of its conversations in their order.
    pub(crate) logs_read: usize,
    /// Unanswered messages and requests as they came; the first `in_flight` are with the server.
    pub(crate) queue: VecDeque<Sending>,
    pub(crate) in_flight: usize,
    pub(crate) last_written_ns: u64,
}

impl Member {
    pub(crate) fn new() -> Member {
        Member {
            stage: Stage::Away,
            sends: false,
            has_started: false,
            sync_token: Box::default(),
            farewell: None,
            reconnect_delay_ms: 0,
            connection: 0,
            failures: 0,
            user_id: 0,
            enqueued: 0,
            open: 0,
            logs_read: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            last_written_ns: 0,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.stage == Stage::Active
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
        again.len()
    }

    /// Requests that the server owes an answer.
    pub(crate) fn unanswered_requests(&self) -> usize {
        self.queue.iter().take(self.in_flight).filter(|sending| sending.is_request()).count()
    }

    /// A message or a request that is with the server.
    pub(crate) fn under_way(&self, request_id: u64) -> Option<Sending> {
        let mut in_flight = self.queue.iter().take(self.in_flight).copied();
        in_flight.find(|sending| sending.request_id() == request_id)
    }

    /// Takes what was answered out of the queue.
    pub(crate) fn answered(&mut self, request_id: u64) -> Option<Sending> {
        let mut in_flight = self.queue.iter().take(self.in_flight);
        // Messages of one conversation are answered in order but for errors, so that one of the first
        // places is nearly always the right one. Requests of a mix may overtake them, past a few.
        let at = in_flight.position(|sending| sending.request_id() == request_id)?;
        self.in_flight -= 1;
        self.queue.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::RequestKind;

    fn durable(counter: u32) -> Sending {
        let action = Action::Message(MessageKind::Durable);
        Sending { action, lane: 0, counter, intended_ns: 0, about_seq: 0 }
    }

    #[test]
    fn signals_and_messages_with_the_same_counter_are_kept_apart() {
        let signal = Sending { action: MessageKind::Signal.into(), ..durable(1) };
        let mut member = Member::new();
        member.queue.extend([signal, durable(1), durable(2)]);
        member.in_flight = 2;
        assert!(member.answered(1).is_some_and(|sending| sending.is_durable()));
        member.in_flight = 2;
        assert_eq!(member.disconnected(), 1);
        let left: Vec<_> = member.queue.iter().map(Sending::request_id).collect();
        assert_eq!(left, [2], "the signal is of the moment");
    }

    #[test]
    fn requests_have_ids_of_their_own_and_are_sent_again() {
        let request = Sending { action: Action::Request(RequestKind::Sync), ..durable(1) };
        let signal = Sending { action: MessageKind::Signal.into(), ..durable(1) };
        let mut member = Member::new();
        member.queue.extend([signal, request, durable(1)]);
        member.in_flight = 2;
        assert_eq!(member.unanswered_requests(), 1);
        assert_eq!(member.disconnected(), 1);
        assert_eq!(member.queue.len(), 2);
        member.in_flight = 2;
        assert!(member.answered(1).is_some_and(|sending| sending.is_durable()));
        assert!(member.answered(request.request_id()).is_some_and(|sending| sending.is_request()));
    }

    #[test]
    fn only_what_is_with_the_server_can_be_answered() {
        let mut member = Member::new();
        member.queue.extend([1, 2, 3].map(durable));
        member.in_flight = 2;
        assert!(member.answered(3).is_none() && member.under_way(3).is_none());
        assert!(member.under_way(2).is_some());
        assert_eq!(member.answered(2).map(|sending| sending.counter), Some(2));
        assert_eq!((member.in_flight, member.queue.len()), (1, 2));
        member.disconnected();
        assert!(member.answered(1).is_none());
    }

    #[test]
    fn messages_in_several_conversations_are_kept_apart() {
        let in_lane = |lane, counter| Sending { lane, ..durable(counter) };
        let mut member = Member::new();
        member.queue.extend([in_lane(0, 1), in_lane(1, 1), in_lane(0, 2)]);
        member.in_flight = 2;
        assert!(member.answered(in_lane(0, 2).request_id()).is_none());
        let answered = member.answered(in_lane(1, 1).request_id()).unwrap();
        assert_eq!((answered.lane, answered.counter), (1, 1));
    }
}
