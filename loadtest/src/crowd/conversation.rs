//! One conversation of a crowd, and the books of all who follow it.

use crate::audit::{Ledger, ReadMark, SignalBook};
use crate::crowd::flights::Flights;
use crate::wire;

/// What a reader has asked about a conversation, and was told of its end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Following {
    /// The highest sequence that the server spoke of.
    pub(crate) head: u64,
    /// A History for what was missed is under way, and the highest sequence that was known then.
    pub(crate) repairing: Option<u64>,
    /// The same of a Sync; of several, that of the first one.
    pub(crate) syncing: Option<u64>,
    /// Up to where it was told or had heard when a Sync was answered last.
    pub(crate) synced: u64,
    /// A gap between pushes is on the list of gaps.
    pub(crate) gap_noted: bool,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    /// Not known before its users are; a relay needs none.
    pub(crate) id: wire::Conversation,
    pub(crate) ledger: Ledger,
    /// By reader.
    pub(crate) following: Box<[Following]>,
    /// How far each reader has read, by its own marks.
    pub(crate) marks: Box<[ReadMark]>,
    signals: Signals,
    /// What has not reached everybody, by writer; of none if nobody waits for that.
    flights: Box<[Flights]>,
}

impl Conversation {
    /// Which these follow, named by their indexes within the run; the first `writers` of them write.
    /// `waits` if it matters when everybody has a message.
    pub(crate) fn new(readers: Vec<u32>, writers: usize, waits: bool) -> Conversation {
        let count = readers.len();
        let hearers = u32::try_from(count - 1).unwrap_or(u32::MAX);
        Conversation {
            id: [0; 16],
            following: vec![Following::default(); count].into(),
            marks: vec![ReadMark::default(); count].into(),
            signals: Signals { readers: count, writers, books: Vec::new() },
            flights: vec![Flights::new(hearers); if waits { writers } else { 0 }].into(),
            ledger: Ledger::new(readers, writers),
        }
    }

    /// The counter for the next signal of a writer, which counts as sent from now on.
    pub(crate) fn signal_sent(&mut self, writer: usize) -> u32 {
        self.signals.sent(writer)
    }

    /// The signals of a writer to a reader, if there were any.
    pub(crate) fn signals(&mut self, writer: usize, reader: usize) -> Option<&mut SignalBook> {
        self.signals.book(writer, reader)
    }

    /// Signals that did not arrive.
    pub(crate) fn signals_missing(&self) -> u64 {
        self.signals.books.iter().map(|book| u64::from(book.missing())).sum()
    }

    /// The connection of a reader has ended: it will speak and hear on a new one.
    pub(crate) fn disconnected(&mut self, reader: usize) {
        let following = &mut self.following[reader];
        (following.repairing, following.syncing) = (None, None);
        self.ledger.connected(reader);
        self.signals.connected(reader);
    }

    /// Whether all that was sent has come to everybody, as far as that is waited for.
    pub(crate) fn is_settled(&self, has_durable: bool, waits: bool) -> bool {
        if has_durable {
            // Signals of a mix may be dropped, and are not waited for.
            let is_repaired = self.following.iter().all(|one| one.repairing.is_none());
            return is_repaired && self.ledger.is_level();
        }
        // Whoever waits for messages has counted them already.
        waits || self.signals_missing() == 0
    }

    /// The messages of a writer that have not reached everybody, if somebody waits for that.
    pub(crate) fn flights(&mut self, writer: usize) -> Option<&mut Flights> {
        self.flights.get_mut(writer)
    }
}

/// The books of all directions between writers and readers, from the first signal on.
#[derive(Debug)]
struct Signals {
    writers: usize,
    readers: usize,
    /// By writer, and then by reader.
    books: Vec<SignalBook>,
}

impl Signals {
    fn sent(&mut self, writer: usize) -> u32 {
        self.books.resize(self.writers * self.readers, SignalBook::default());
        let books = self.books[writer * self.readers..][..self.readers].iter_mut().enumerate();
        // Nobody hears oneself.
        let heard = books.filter(|(reader, _)| *reader != writer);
        heard.map(|(_, book)| book.sent()).max().unwrap_or(0)
    }

    fn book(&mut self, writer: usize, reader: usize) -> Option<&mut SignalBook> {
        self.books.get_mut(writer * self.readers + reader)
    }

    fn connected(&mut self, writer: usize) {
        let books = self.books.chunks_mut(self.readers).nth(writer).into_iter().flatten();
        books.for_each(SignalBook::connected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_awaited_by_all_but_its_writer() {
        let mut conversation = Conversation::new(vec![4, 5, 6], 2, false);
        assert!(conversation.signals(0, 1).is_none() && conversation.flights(0).is_none());
        conversation.disconnected(0);
        assert_eq!((conversation.signal_sent(1), conversation.signal_sent(1)), (1, 2));
        assert_eq!(conversation.signal_sent(0), 1);
        let missing = |conversation: &mut Conversation, writer| {
            [0, 1, 2].map(|reader| conversation.signals(writer, reader).unwrap().missing())
        };
        assert_eq!(missing(&mut conversation, 0), [0, 1, 1]);
        assert_eq!(missing(&mut conversation, 1), [2, 0, 2]);
        assert_eq!(conversation.signals_missing(), 6);
    }
}
