//! The books of signals, which are not stored: they may be dropped, but not doubled, reordered,
//! altered or made up.

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::window::{Place, Window};

/// One direction between two users.
#[derive(Debug, Clone, Copy, Default)]
pub struct SignalBook {
    sent: u32,
    received: u32,
    /// The last one that was sent before the sender's newest connection.
    before_connection: u32,
    window: Window,
}

impl SignalBook {
    /// The counter for the next signal, which counts as sent from now on.
    pub fn sent(&mut self) -> u32 {
        self.sent += 1;
        self.sent
    }

    /// The sender speaks on a new connection. What it sent on the one before may still be on its way,
    /// and is overtaken now: order is kept within a connection.
    pub fn connected(&mut self) {
        self.before_connection = self.sent;
    }

    /// A signal of `sender` reached `receiver`; returns whether it is a first delivery.
    pub fn received(
        &mut self,
        sender: u32,
        receiver: u32,
        counter: u32,
        faults: &mut FaultLog,
    ) -> bool {
        if counter == 0 || counter > self.sent {
            let detail = format!("user {sender} has not sent signal {counter}");
            faults.add(Fault::Phantom { user: receiver, seq: 0, detail });
            return false;
        }
        match self.window.note(u64::from(counter)) {
            Place::Rising => {
                self.received += 1;
                true
            }
            Place::Again => {
                faults.add(Fault::Duplicated { user: sender, counter, place: "signal" });
                false
            }
            Place::Late => {
                self.received += 1;
                if counter > self.before_connection {
                    faults.add(Fault::Reordered { user: sender, counter, place: "signal" });
                }
                true
            }
        }
    }

    /// The highest one that arrived; 0 before any has.
    pub fn highest(&self) -> u32 {
        u32::try_from(self.window.highest()).unwrap_or(u32::MAX)
    }

    /// How many did not arrive.
    pub fn missing(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_and_everything_else_is_a_fault() {
        let (mut book, mut faults) = (SignalBook::default(), FaultLog::default());
        for _ in 0..4 {
            book.sent();
        }
        assert!(book.received(0, 1, 1, &mut faults));
        assert!(book.received(0, 1, 3, &mut faults));
        assert!(faults.is_empty());
        assert_eq!(book.missing(), 2);
        assert!(!book.received(0, 1, 3, &mut faults));
        assert!(book.received(0, 1, 2, &mut faults));
        assert!(!book.received(0, 1, 5, &mut faults));
        let kinds: Vec<_> = faults.counts().keys().copied().collect();
        assert_eq!(kinds, ["duplicated", "phantom", "reordered"]);
    }

    #[test]
    fn what_an_earlier_connection_sent_may_be_overtaken_but_not_doubled() {
        let (mut book, mut faults) = (SignalBook::default(), FaultLog::default());
        for _ in 0..3 {
            book.sent();
        }
        book.connected();
        for _ in 0..2 {
            book.sent();
        }
        for counter in [1, 5, 3] {
            assert!(book.received(0, 1, counter, &mut faults));
        }
        assert!(faults.is_empty());
        assert!(!book.received(0, 1, 3, &mut faults));
        assert_eq!(faults.counts()["duplicated"], 1);
        assert!(book.received(0, 1, 4, &mut faults));
        assert_eq!(faults.counts()["reordered"], 1);
    }
}
