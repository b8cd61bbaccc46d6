//! The state of connections, conversations and writers.

use std::collections::VecDeque;
use std::ops::Range;

use crate::audit::{Ledger, SignalBook};
use crate::fanout::flights::Flights;
use crate::wire;

/// Where a connection stands. It is made once: one that ends is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Away,
    /// On its way to being logged in and synced.
    Arriving,
    Active,
    Gone,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) stage: Stage,
    pub(crate) user_id: u64,
    pub(crate) last_written_ns: u64,
    /// A History for what was missed is under way, and the highest sequence that was known then.
    pub(crate) repairing: Option<u64>,
    /// The highest sequence that the server spoke of.
    pub(crate) head: u64,
    /// The gap between pushes is on the list of gaps.
    pub(crate) gap_noted: bool,
    /// What the server said before it closed.
    pub(crate) farewell: Option<Box<str>>,
}

impl Member {
    pub(crate) fn new() -> Member {
        Member {
            stage: Stage::Away,
            user_id: 0,
            last_written_ns: 0,
            repairing: None,
            head: 0,
            gap_noted: false,
            farewell: None,
        }
    }
}

/// Who reads the stored log in the end, by their places among the readers of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The user who wrote it.
    Writer,
    /// The first device of the user whom it was written to: the log is the same for all of them.
    Reader,
}

/// A conversation of one writer and the devices of one other user.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// All zeros until both users are known. The relay needs none.
    pub(crate) id: wire::Conversation,
    pub(crate) ledger: Ledger,
    /// The signals of the writer, as each device gets them.
    pub(crate) signals: Vec<SignalBook>,
    /// The highest counter of a signal that each device got.
    pub(crate) heard: Vec<u32>,
    pub(crate) flights: Flights,
    /// Who has read the log to its end: writer, first device.
    pub(crate) has_read: [bool; 2],
}

impl Conversation {
    /// Of connections that are named by their indexes within the run.
    pub(crate) fn new(writer: u32, readers: Range<u32>) -> Conversation {
        Conversation {
            id: [0; 16],
            ledger: Ledger::new(std::iter::once(writer).chain(readers.clone()), 1),
            signals: vec![SignalBook::default(); readers.len()],
            heard: vec![0; readers.len()],
            flights: Flights::new(readers.len() as u32),
            has_read: [false; 2],
        }
    }

    /// The counter for the next signal, which counts as sent to each device from now on.
    pub(crate) fn signal_sent(&mut self) -> u32 {
        self.signals.iter_mut().map(SignalBook::sent).max().unwrap_or(0)
    }
}

/// A message until it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    /// Within the thread.
    pub(crate) conversation: usize,
    pub(crate) counter: u32,
    pub(crate) intended_ns: u64,
}

/// Room for every counter below the index of the conversation.
const COUNTER_BITS: u32 = 32;

impl Sending {
    pub(crate) fn request_id(self) -> u64 {
        (self.conversation as u64) << COUNTER_BITS | u64::from(self.counter)
    }
}

/// The one who writes in the conversations of a fan, in turn.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Unanswered messages; the first `in_flight` are with the server.
    pub(crate) queue: VecDeque<Sending>,
    pub(crate) in_flight: usize,
    /// Messages that have not reached all devices.
    pub(crate) open: u32,
    /// Messages so far: the next one goes to the conversation whose turn it is.
    pub(crate) turns: usize,
}

impl Writer {
    /// Takes an answered message out of the queue.
    pub(crate) fn answered(&mut self, request_id: u64) -> Option<Sending> {
        let mut in_flight = self.queue.iter().take(self.in_flight);
        // Answers of one conversation come in order; there are few messages before any.
        let at = in_flight.position(|sending| sending.request_id() == request_id)?;
        self.in_flight -= 1;
        self.queue.remove(at)
    }

    /// A message that is with the server.
    pub(crate) fn waiting(&self, request_id: u64) -> Option<Sending> {
        let mut in_flight = self.queue.iter().take(self.in_flight);
        in_flight.find(|sending| sending.request_id() == request_id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_with_the_server_can_be_answered() {
        let sending = |conversation, counter| Sending { conversation, counter, intended_ns: 0 };
        let mut writer = Writer::default();
        writer.queue.extend([sending(0, 1), sending(1, 1), sending(0, 2)]);
        writer.in_flight = 2;
        assert!(writer.answered(sending(0, 2).request_id()).is_none());
        let answered = writer.answered(sending(1, 1).request_id()).unwrap();
        assert_eq!((answered.conversation, answered.counter), (1, 1));
        assert!(writer.waiting(1).is_some() && writer.waiting(2).is_none());
        assert_eq!((writer.in_flight, writer.queue.len()), (1, 2));
    }
}
