//! A log as one reader meets it, and what it must hold of those who write in it.

use std::collections::VecDeque;

use crate::audit::fault::{Fault, FaultLog};
use crate::audit::order::{Met, Orders};
use crate::audit::view::{Item, Placed, View};

/// One who writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Writer {
    /// Messages sent so far; they are counted from 1.
    pub(super) sent: u32,
    /// Those that wait for their acknowledgement, ascending.
    pub(super) pending: VecDeque<u32>,
    /// Inclusive ranges that were answered "not now" and may be stored behind later ones.
    pub(super) postponed: Vec<(u32, u32)>,
    /// Messages that their writer saw in the log before their acknowledgement came.
    pub(super) seen_early: Vec<(u32, u64)>,
}

/// A log as one reader meets it, with the order of all writers in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) view: View,
    pub(super) orders: Orders,
}

impl Book {
    pub(super) fn after(base: u64) -> Book {
        Book { view: View::after(base), orders: Orders::default() }
    }

    /// Puts an item in its place; whatever is complete by that must be in the order of its writer.
    pub(super) fn place(
        &mut self,
        seq: u64,
        item: Item,
        meet: &Meet<'_>,
        place: &'static str,
        faults: &mut FaultLog,
    ) -> Placed {
        let Book { view, orders } = self;
        view.place(seq, item, |item| meet.note(item, orders, place, faults))
    }
}

/// Who meets the messages, and which of them need not be in order.
pub(super) struct Meet<'a> {
    pub(super) user: u32,
    pub(super) writers: &'a [Writer],
}

impl Meet<'_> {
    pub(super) fn note(
        &self,
        item: Item,
        orders: &mut Orders,
        place: &'static str,
        faults: &mut FaultLog,
    ) {
        let (user, Item::Message { writer, counter }) = (self.user, item) else {
            return;
        };
        match orders.note(writer, counter) {
            Met::InOrder => {}
            Met::AfterLater => {
                let postponed = &self.writers[writer].postponed;
                if !postponed.iter().any(|(from, to)| (from..=to).contains(&&counter)) {
                    faults.add(Fault::Reordered { user, counter, place });
                }
            }
            Met::Again => faults.add(Fault::Duplicated { user, counter, place }),
        }
    }
}
