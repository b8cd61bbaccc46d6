//! Messages that are not stored yet, in the order in which they were said.

use std::collections::VecDeque;

use bytes::Bytes;
use dunlin_protocol::wire::Notice;
use dunlin_protocol::{ClientMessageId, LogId};
use hashbrown::HashMap;

use super::request::Ticket;

/// What was said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) message_id: ClientMessageId,
    pub(super) content_type: String,
    pub(super) content: Bytes,
    pub(super) notice: Notice,
}

/// A message that waits for its Sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Who waits for the answer; nobody for one that was stored before, and is sent again.
    pub(super) ticket: Option<Ticket>,
    pub(super) said: Said,
    /// How often the server failed at it (codes of that class).
    pub(super) failures: u32,
    number: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    InFlight,
    Refused { retry_at_ms: u64 },
}

/// Names a message in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutgoingId {
    pub(super) conversation: LogId,
    number: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Outbox {
    conversations: HashMap<LogId, VecDeque<Outgoing>>,
    window: usize,
    messages: usize,
    messages_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Of the last one that was said.
    last_number: u64,
    /// Of the last one that was put before all others.
    first_number: u64,
}

/// In the middle, so that there is room on both sides.
const FIRST_NUMBER: u64 = 1 << 63;

impl Outbox {
    pub(super) fn new(window: usize, messages_max: usize, bytes_max: usize) -> Outbox {
        Outbox {
            conversations: HashMap::new(),
            window: window.max(1),
            messages: 0,
            messages_max,
            bytes: 0,
            bytes_max,
            last_number: FIRST_NUMBER,
            first_number: FIRST_NUMBER,
        }
    }

    /// Takes a message; says no if too many wait already.
    pub(super) fn push(&mut self, ticket: Ticket, conversation: LogId, said: Said) -> bool {
        if self.messages >= self.messages_max || self.bytes + said.content.len() > self.bytes_max {
            return false;
        }
        self.messages += 1;
        self.bytes += said.content.len();
        self.last_number += 1;
        self.conversations.entry(conversation).or_default().push_back(Outgoing {
            ticket: Some(ticket),
            said,
            failures: 0,
            number: self.last_number,
            state: State::Queued,
        });
        true
    }

    /// Takes messages that were stored once, in their order, before all that wait. Whoever keeps them bounds them.
    pub(super) fn push_again(&mut self, messages: Vec<(LogId, Said)>) {
        for (conversation, said) in messages.into_iter().rev() {
            self.messages += 1;
            self.bytes += said.content.len();
            self.first_number -= 1;
            self.conversations.entry(conversation).or_default().push_front(Outgoing {
                ticket: None,
                said,
                failures: 0,
                number: self.first_number,
                state: State::Queued,
            });
        }
    }

    /// The next message to send, which is in flight from now on. Of those that may go, the one
    /// that was said first.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<(OutgoingId, &Outgoing)> {
        let window = self.window;
        let ready = |queue: &VecDeque<Outgoing>| -> Option<u64> {
            // A message that was refused holds up those behind it: that keeps their order.
            queue
                .iter()
                .take(window)
                .take_while(|outgoing| !outgoing.waits(now_ms))
                .find(|outgoing| outgoing.state != State::InFlight)
                .map(|outgoing| outgoing.number)
        };
        let (number, conversation) = self
            .conversations
            .iter()
            .filter_map(|(conversation, queue)| Some((ready(queue)?, *conversation)))
            .min()?;
        let id = OutgoingId { conversation, number };
        let outgoing = self.get_mut(id)?;
        outgoing.state = State::InFlight;
        Some((id, outgoing))
    }

    /// When the next refused message may be sent again.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        // The first of a conversation holds up the others, whenever those may go.
        let refused = self.conversations.values().filter_map(|queue| {
            queue.iter().take(self.window).find_map(|outgoing| match outgoing.state {
                State::Refused { retry_at_ms } => Some(retry_at_ms),
                State::Queued | State::InFlight => None,
            })
        });
        refused.min()
    }

    /// The server answered for good.
    pub(super) fn remove(&mut self, id: OutgoingId) -> Option<Outgoing> {
        let queue = self.conversations.get_mut(&id.conversation)?;
        let index = queue.iter().position(|outgoing| outgoing.number == id.number)?;
        let outgoing = queue.remove(index)?;
        if queue.is_empty() {
            self.conversations.remove(&id.conversation);
        }
        self.messages -= 1;
        self.bytes -= outgoing.said.content.len();
        Some(outgoing)
    }

    /// The server can't store it now.
    pub(super) fn refuse(&mut self, id: OutgoingId, retry_at_ms: u64) {
        if let Some(outgoing) = self.get_mut(id) {
            outgoing.state = State::Refused { retry_at_ms };
        }
    }

    pub(super) fn get_mut(&mut self, id: OutgoingId) -> Option<&mut Outgoing> {
        let queue = self.conversations.get_mut(&id.conversation)?;
        queue.iter_mut().find(|outgoing| outgoing.number == id.number)
    }

    /// Whether an answer is under way that may bring an entry of this conversation.
    pub(super) fn is_in_flight(&self, conversation: LogId) -> bool {
        let queue = self.conversations.get(&conversation);
        queue.is_some_and(|queue| queue.iter().any(|outgoing| outgoing.state == State::InFlight))
    }

    /// Everything that was in flight must be sent again.
    pub(super) fn disconnected(&mut self) {
        for outgoing in self.conversations.values_mut().flatten() {
            outgoing.state = State::Queued;
        }
    }

    /// Empties it, the oldest first.
    pub(super) fn drain(&mut self) -> Vec<Outgoing> {
        let queues = std::mem::take(&mut self.conversations);
        (self.messages, self.bytes) = (0, 0);
        let mut all: Vec<Outgoing> = queues.into_values().flatten().collect();
        all.sort_by_key(|outgoing| outgoing.number);
        all
    }
}

impl Outgoing {
    fn waits(&self, now_ms: u64) -> bool {
        match self.state {
            State::Refused { retry_at_ms } => now_ms < retry_at_ms,
            State::Queued | State::InFlight => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;

    use super::*;

    fn conversation(id: u64) -> LogId {
        LogId::direct(UserId::new(1).unwrap(), UserId::new(id).unwrap())
    }

    fn said(id: u8) -> Said {
        let (message_id, content) = (ClientMessageId([id; 16]), "hello".into());
        Said { message_id, content_type: String::new(), content, notice: Notice::Loud }
    }

    fn push(outbox: &mut Outbox, to: u64, ticket: u64) -> bool {
        outbox.push(Ticket(ticket), conversation(to), said(ticket as u8))
    }

    fn next(outbox: &mut Outbox, now_ms: u64) -> Option<(OutgoingId, u64)> {
        outbox.next(now_ms).map(|(id, outgoing)| (id, outgoing.ticket.unwrap().0))
    }

    #[test]
    fn one_at_a_time_per_conversation_the_oldest_first() {
        let mut outbox = Outbox::new(1, 10, 1000);
        for (to, ticket) in [(2, 1), (2, 2), (3, 3)] {
            assert!(push(&mut outbox, to, ticket));
        }
        let (first, ticket) = next(&mut outbox, 0).unwrap();
        assert_eq!(ticket, 1);
        assert_eq!(next(&mut outbox, 0).unwrap().1, 3);
        assert!(next(&mut outbox, 0).is_none());
        outbox.remove(first);
        assert_eq!(next(&mut outbox, 0).unwrap().1, 2);
    }

    #[test]
    fn a_refused_message_is_not_overtaken() {
        let mut outbox = Outbox::new(1, 10, 1000);
        push(&mut outbox, 2, 1);
        push(&mut outbox, 2, 2);
        let (first, _) = next(&mut outbox, 0).unwrap();
        outbox.refuse(first, 500);
        assert_eq!(outbox.deadline_ms(), Some(500));
        assert!(next(&mut outbox, 499).is_none());
        assert_eq!(next(&mut outbox, 500).unwrap().1, 1);
    }

    #[test]
    fn a_window_lets_more_go_and_all_go_again_in_order() {
        let mut outbox = Outbox::new(2, 10, 1000);
        for ticket in 1..=3 {
            push(&mut outbox, 2, ticket);
        }
        assert_eq!(next(&mut outbox, 0).unwrap().1, 1);
        assert_eq!(next(&mut outbox, 0).unwrap().1, 2);
        assert!(next(&mut outbox, 0).is_none());
        outbox.disconnected();
        assert_eq!(next(&mut outbox, 0).unwrap().1, 1);
        assert_eq!(next(&mut outbox, 0).unwrap().1, 2);
        let tickets: Vec<u64> =
            outbox.drain().iter().map(|outgoing| outgoing.ticket.unwrap().0).collect();
        assert_eq!(tickets, [1, 2, 3]);
    }

    #[test]
    fn what_is_sent_again_goes_first_and_in_its_order() {
        let mut outbox = Outbox::new(1, 10, 1000);
        push(&mut outbox, 2, 9);
        push(&mut outbox, 3, 8);
        let (in_flight, _) = next(&mut outbox, 0).unwrap();
        let again = [(2, 1), (3, 2), (2, 3)].map(|(to, id)| (conversation(to), said(id)));
        outbox.push_again(again.into());
        let mut order = Vec::new();
        while let Some((id, outgoing)) = outbox.next(0) {
            order.push(outgoing.said.message_id.0[0]);
            outbox.remove(id);
        }
        assert_eq!(order, [1, 2, 3, 8], "the other one is in flight");
        assert!(outbox.remove(in_flight).is_some());
        assert_eq!((outbox.messages, outbox.bytes), (0, 0));
    }

    #[test]
    fn it_is_bounded_in_messages_and_bytes() {
        let mut outbox = Outbox::new(1, 2, 1000);
        assert!(push(&mut outbox, 2, 1) && push(&mut outbox, 2, 2));
        assert!(!push(&mut outbox, 2, 3));
        let mut outbox = Outbox::new(1, 10, 9);
        assert!(push(&mut outbox, 2, 1));
        assert!(!push(&mut outbox, 2, 2));
        let (first, _) = next(&mut outbox, 0).unwrap();
        outbox.remove(first);
        assert!(push(&mut outbox, 2, 2), "there is room again");
    }
}
