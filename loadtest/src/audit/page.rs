//! The newest page of a log, read while others write.
//!
//! What the reader had not been told yet goes to its books with the page, and is compared with the
//! log in the end. Of what it knew only a hash is left, so the page is held against itself: it
//! must be dense up to the head, and each writer's messages in order.

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::ledger::Ledger;
use crate::audit::view::Item;

/// A page that was asked for backwards from the end.
#[derive(Debug)]
pub struct NewestPage {
    /// Sequences and entries as they came: the newest one first.
    pub entries: Vec<(u64, Item)>,
    /// The newest sequence that the server speaks of.
    pub head: u64,
    /// Older ones were left out, the server says.
    pub more: bool,
    /// Entries that were asked for, at most.
    pub limit: usize,
}

impl Ledger {
    /// A reader got a page that it asked for when `known` was known.
    pub fn page(&self, reader: usize, known: u64, page: &NewestPage, faults: &mut FaultLog) {
        self.head_seen(reader, known, page.head, faults);
        let user = self.user(reader);
        if page.entries.len() > page.limit {
            let detail = format!("{} entries instead of {}", page.entries.len(), page.limit);
            faults.add(Fault::Protocol { user, detail });
        }
        let mut expected = page.head;
        for &(seq, _) in &page.entries {
            if seq != expected {
                return faults.add(Fault::NotDense { user, expected, found: seq });
            }
            expected = expected.saturating_sub(1);
        }
        // The page ends before the log does, and says so or not; an empty one has no excuse.
        if expected > 0 && (page.entries.is_empty() || !page.more) {
            faults.add(Fault::NotDense { user, expected, found: 0 });
        }
        self.check_order(reader, page.entries.iter().rev().map(|&(_, item)| item), faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(writer: usize, counter: u32) -> Item {
        Item::Message { writer, counter }
    }

    /// Of a log of 5; two messages of each side and a void.
    fn page() -> NewestPage {
        let items = [message(0, 2), message(1, 8), Item::Void, message(1, 7), message(0, 1)];
        let entries = (1..=5).rev().zip(items).collect();
        NewestPage { entries, head: 5, more: false, limit: 5 }
    }

    fn found(known: u64, change: impl FnOnce(&mut NewestPage)) -> Vec<&'static str> {
        let (ledger, mut faults, mut page) = (Ledger::new([0, 1], 2), FaultLog::default(), page());
        change(&mut page);
        ledger.page(0, known, &page, &mut faults);
        faults.counts().keys().copied().collect()
    }

    #[test]
    fn a_sound_page_is_dense_up_to_the_head_and_ends_with_the_log_or_says_so() {
        assert_eq!(found(5, |_| {}), [""; 0]);
        let cut = |page: &mut NewestPage| page.entries.truncate(3);
        assert_eq!(found(5, cut), ["not_dense"]);
        let honest = |page: &mut NewestPage| {
            cut(page);
            page.more = true;
        };
        assert_eq!(found(5, honest), [""; 0]);
        let empty = |page: &mut NewestPage| {
            page.entries.clear();
            page.more = true;
        };
        assert_eq!(found(0, empty), ["not_dense"]);
        let nothing_was_said = |page: &mut NewestPage| {
            page.entries.clear();
            page.head = 0;
        };
        assert_eq!(found(0, nothing_was_said), [""; 0]);
    }

    #[test]
    fn what_is_wrong_with_a_page_is_named() {
        assert_eq!(found(6, |_| {}), ["lost"], "the head went back");
        assert_eq!(found(5, |page| page.limit = 4), ["protocol"]);
        assert_eq!(found(5, |page| _ = page.entries.remove(2)), ["not_dense"]);
        assert_eq!(found(5, |page| page.head = 6), ["not_dense"]);
        let swapped = |page: &mut NewestPage| {
            (page.entries[1].1, page.entries[3].1) = (page.entries[3].1, page.entries[1].1);
        };
        assert_eq!(found(5, swapped), ["reordered"]);
        assert_eq!(found(5, |page| page.entries[1].1 = message(1, 7)), ["duplicated"]);
    }

    #[test]
    fn what_was_postponed_may_be_behind_later_ones_in_a_page() {
        let (mut ledger, mut faults) = (Ledger::new([0, 1], 2), FaultLog::default());
        ledger.postponed(0, 1);
        let mut page = page();
        page.entries[0].1 = message(0, 1);
        page.entries[4].1 = message(0, 2);
        ledger.page(0, 5, &page, &mut faults);
        assert!(faults.is_empty(), "{:?}", faults.examples());
    }
}
