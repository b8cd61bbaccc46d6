//! The books of one conversation: what each of its writers sent, what was acknowledged, what each
//! connection that follows it was told, and in the end what is read in the stored log.
//!
//! ```text
//!  readers   0   1   2   3   4  ...      connections that follow the conversation
//!  writers   0   1                       the first ones of them, if they also write
//! ```
//!
//! Of two users who talk, both write and read; of one who writes to many, only the first one writes,
//! and the others may be devices of one user; of a group, as many write as are asked to. What a
//! writer sent comes to its own reader by the acknowledgement, and everything else by a push.

mod book;
mod reading;
mod verdict;

#[cfg(test)]
mod group;
#[cfg(test)]
mod one_writer;
#[cfg(test)]
mod two_writers;

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::ledger::book::{Book, Meet, Writer};
use crate::audit::ledger::reading::Reading;
use crate::audit::order::Orders;
use crate::audit::view::{Item, Placed, View};
use crate::audit::window::{Place, Window};

/// How an entry reached a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The server pushed it.
    Push,
    /// The reader asked: Sync or History.
    Repair,
}

/// What an entry turned out to be, after its bytes were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A message of another one that this reader had not seen: a delivery.
    Delivered,
    /// One's own, one that was known, or nothing.
    Nothing,
}

/// One connection that follows the conversation.
#[derive(Debug, Clone)]
struct Reader {
    /// Index within the run, for reports.
    user: u32,
    told: Book,
    pushes: Window,
    /// From when the final reading begins, if this one reads at all.
    reading: Option<Box<Reading>>,
}

/// The auditor of a conversation.
///
/// Memory: some hundred bytes for each reader, 4 more for each writer that it hears, the
/// unacknowledged messages, and for each reader 8 bytes per 1,024 entries (16 in the end).
#[derive(Debug, Clone)]
pub struct Ledger {
    writers: Box<[Writer]>,
    readers: Box<[Reader]>,
}

impl Ledger {
    /// A conversation that these follow, named by their indexes within the run; the first `writers`
    /// of them write.
    pub fn new(readers: impl IntoIterator<Item = u32>, writers: usize) -> Ledger {
        let reader =
            |user| Reader { user, told: Book::after(0), pushes: Window::default(), reading: None };
        let readers: Box<[Reader]> = readers.into_iter().map(reader).collect();
        debug_assert!(writers <= readers.len(), "whoever writes also reads");
        Ledger { writers: vec![Writer::default(); writers].into(), readers }
    }

    /// The run starts behind `head`, before anything is sent.
    pub fn start_at(&mut self, reader: usize, head: u64) {
        self.readers[reader].told.view = View::after(head);
    }

    /// The counter for the next message of a writer, which counts as sent from now on.
    pub fn sent(&mut self, writer: usize) -> u32 {
        let writer = &mut self.writers[writer];
        writer.sent += 1;
        writer.pending.push_back(writer.sent);
        writer.sent
    }

    /// The server answered "not now" to this message: its retry may come behind later ones.
    pub fn postponed(&mut self, writer: usize, counter: u32) {
        let ranges = &mut self.writers[writer].postponed;
        match ranges.last_mut() {
            Some((from, to)) if (*from..=*to).contains(&counter) => {}
            Some((_, to)) if *to + 1 == counter => *to = counter,
            _ => ranges.push((counter, counter)),
        }
    }

    /// The server acknowledged a message.
    pub fn acknowledged(&mut self, writer: usize, counter: u32, seq: u64, faults: &mut FaultLog) {
        let user = self.readers[writer].user;
        let this = &mut self.writers[writer];
        let Ok(at) = this.pending.binary_search(&counter) else {
            return faults.add(Fault::Duplicated { user, counter, place: "acknowledged" });
        };
        this.pending.remove(at);
        if let Some(at) = this.seen_early.iter().position(|&(seen, _)| seen == counter) {
            if this.seen_early.swap_remove(at).1 != seq {
                faults.add(Fault::SequenceReused { user, seq });
            }
            return;
        }
        match self.place(writer, seq, Item::Message { writer, counter }, faults) {
            Placed::New => {}
            Placed::Known | Placed::Other => faults.add(Fault::SequenceReused { user, seq }),
        }
    }

    /// A new connection of this reader: its pushes begin anew.
    pub fn connected(&mut self, reader: usize) {
        self.readers[reader].pushes = Window::default();
    }

    /// The highest sequence that this reader knows of.
    pub fn known(&self, reader: usize) -> u64 {
        self.readers[reader].told.view.highest()
    }

    /// The server said that the newest sequence is `head`, to a question that was asked when
    /// `known` was known. (Answers may overtake each other, so by now more can be known.)
    pub fn head_seen(&self, reader: usize, known: u64, head: u64, faults: &mut FaultLog) {
        if head < known {
            faults.add(Fault::HeadWentBack { user: self.readers[reader].user, known, head });
        }
    }

    /// An entry came to this reader.
    pub fn told(
        &mut self,
        reader: usize,
        seq: u64,
        item: Item,
        way: Way,
        faults: &mut FaultLog,
    ) -> Told {
        let user = self.readers[reader].user;
        if way == Way::Push {
            match self.readers[reader].pushes.note(seq) {
                Place::Rising => {}
                Place::Again => faults.add(Fault::PushedTwice { user, seq }),
                Place::Late => faults.add(Fault::PushedLate { user, seq }),
            }
        }
        self.check_sent(user, seq, item, faults);
        match (self.place(reader, seq, item, faults), item) {
            (Placed::New, Item::Message { writer, counter }) if writer == reader => {
                let this = &mut self.writers[writer];
                if this.pending.binary_search(&counter).is_ok() {
                    this.seen_early.push((counter, seq));
                }
                Told::Nothing
            }
            (Placed::New, Item::Message { .. }) => Told::Delivered,
            (Placed::New, Item::Void | Item::Unknown) | (Placed::Known, _) => Told::Nothing,
            (Placed::Other, _) => {
                faults.add(Fault::SequenceReused { user, seq });
                Told::Nothing
            }
        }
    }

    /// The first sequence that this reader lacks, and whether it knows of later ones.
    pub fn lacks(&self, reader: usize) -> (u64, bool) {
        let view = &self.readers[reader].told.view;
        (view.next(), view.has_gap())
    }

    /// Up to where this reader was told everything.
    pub fn told_up_to(&self, reader: usize) -> u64 {
        self.readers[reader].told.view.next() - 1
    }

    /// Whether all of them were told equally much.
    pub fn is_level(&self) -> bool {
        let mut readers = self.readers.iter().map(|reader| reader.told.view.next());
        let first = readers.next();
        readers.all(|next| Some(next) == first)
    }

    /// Messages of a writer that wait for their acknowledgement.
    pub fn pending(&self, writer: usize) -> usize {
        self.writers[writer].pending.len()
    }

    /// Whether nobody has sent or been told anything.
    pub fn is_untouched(&self) -> bool {
        let is_silent = self.writers.iter().all(|writer| writer.sent == 0);
        let mut views = self.readers.iter().map(|reader| &reader.told.view);
        is_silent && views.all(|view| view.highest() == view.base())
    }

    /// Held against no more than itself, each writer's messages must be in order; `user` met them.
    pub(super) fn check_order(
        &self,
        reader: usize,
        items: impl Iterator<Item = Item>,
        faults: &mut FaultLog,
    ) {
        let meet = Meet { user: self.readers[reader].user, writers: &self.writers };
        let mut orders = Orders::default();
        items.for_each(|item| meet.note(item, &mut orders, "in a page", faults));
    }

    /// Index within the run of a reader.
    pub(super) fn user(&self, reader: usize) -> u32 {
        self.readers[reader].user
    }

    fn check_sent(&self, user: u32, seq: u64, item: Item, faults: &mut FaultLog) {
        if let Item::Message { writer, counter } = item
            && (counter == 0 || counter > self.writers[writer].sent)
        {
            let of = self.readers[writer].user;
            let detail = format!("user {of} has not sent message {counter}");
            faults.add(Fault::Phantom { user, seq, detail });
        }
    }

    fn place(&mut self, reader: usize, seq: u64, item: Item, faults: &mut FaultLog) -> Placed {
        let Reader { user, told, .. } = &mut self.readers[reader];
        let meet = Meet { user: *user, writers: &self.writers };
        told.place(seq, item, &meet, "told", faults)
    }
}
