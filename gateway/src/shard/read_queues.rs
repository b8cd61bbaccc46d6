//! Whom to read from: users who are logged in, and all others, of whom a tick serves a few.
//!
//! When thousands reconnect at once, those who talk wait for a short tick only, and there are more
//! of them. Those whose next frame is a message for which there is no room are held aside until there is some,
//! in the order in which they came.

use std::collections::VecDeque;

use super::connection::Slot;
use crate::limits::TRANSIT_READS_PER_TICK;

/// One of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Users,
    InTransit,
}

impl Lane {
    /// In this order.
    pub(super) const ALL: [Lane; 2] = [Lane::Users, Lane::InTransit];
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ReadQueues {
    users: VecDeque<u32>,
    in_transit: VecDeque<u32>,
    held: VecDeque<u32>,
}

impl ReadQueues {
    /// Whether nobody is to be read from. Those who are held are not.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.in_transit.is_empty()
    }

    /// Queues a connection, unless it waits already.
    pub(super) fn push(&mut self, key: usize, slot: &mut Slot) {
        if !std::mem::replace(&mut slot.flags.read_queued, true) {
            let queue = if slot.in_transit() { &mut self.in_transit } else { &mut self.users };
            queue.push_back(key as u32);
        }
    }

    /// Holds a connection aside, until it is [let go](ReadQueues::release). Meanwhile it can't be queued.
    pub(super) fn hold(&mut self, key: usize, slot: &mut Slot) {
        if !std::mem::replace(&mut slot.flags.read_queued, true) {
            self.held.push_back(key as u32);
        }
    }

    /// Whether somebody is held.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets all go who were held, before those who came later.
    pub(super) fn release(&mut self) {
        while let Some(key) = self.held.pop_back() {
            self.users.push_front(key);
        }
    }

    /// How many to read from in a tick. Who is queued again meanwhile, since there is more to read,
    /// waits for the next one.
    pub(super) fn turn(&self, lane: Lane) -> usize {
        match lane {
            Lane::Users => self.users.len(),
            Lane::InTransit => self.in_transit.len().min(TRANSIT_READS_PER_TICK),
        }
    }

    pub(super) fn next(&mut self, lane: Lane) -> Option<usize> {
        let queue = match lane {
            Lane::Users => &mut self.users,
            Lane::InTransit => &mut self.in_transit,
        };
        queue.pop_front().map(|key| key as usize)
    }
}
