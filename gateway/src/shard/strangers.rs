//! Connections on which nobody has logged in.
//!
//! Whoever can connect can hold one of the places of a node for as long as a login may take. So strangers
//! have a share of them, and when that is taken, or there is no place at all, the oldest of those who say
//! nothing goes for the one who comes: who logs in at once is never the oldest. Who waits for us, with a
//! login or with bytes that nobody has read yet, is not silent.

use std::collections::VecDeque;

use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::connection::{Slot, Stage};
use crate::limits::{
    LAST_WORDS_MAX, OVERLOADED_DELAY_MS, STRANGERS_LOOKED_AT, STRANGERS_SHARE_DIVISOR,
};

/// The strangers of a shard in the order in which they came. Who has logged in or is gone is left out
/// when it is looked at.
#[derive(Debug, Default)]
pub(super) struct Strangers(VecDeque<(u32, u32)>);

impl Strangers {
    pub(super) fn add(&mut self, key: usize, generation: u32) {
        self.0.push_back((key as u32, generation));
    }

    /// Forgets those in front who are strangers no more, and the room that a crowd has taken.
    fn forget(&mut self, is_stranger: impl Fn(usize, u32) -> bool) {
        while let Some(&(key, generation)) = self.0.front()
            && !is_stranger(key as usize, generation)
        {
            self.0.pop_front();
        }
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}

impl Slot {
    fn is_stranger(&self) -> bool {
        self.stage == Stage::Open && self.protocol.session().is_none()
    }

    /// Whether it is a stranger for whom there is nothing to do.
    fn is_silent_stranger(&self) -> bool {
        let waits_for_us =
            self.flags.readable || self.flags.read_queued || self.protocol.is_logging_in();
        self.is_stranger() && !waits_for_us
    }
}

impl Shard {
    /// A stranger came in.
    pub(super) fn add_stranger(&mut self, key: usize) {
        self.strangers.add(key, self.slots[key].generation);
        let slots = &self.slots;
        self.strangers.forget(|key, generation| {
            slots.get(key).is_some_and(|it| it.generation == generation && it.is_stranger())
        });
    }

    /// Whether there are as many strangers at the node as there may be.
    pub(super) fn strangers_are_too_many(&self) -> bool {
        let places = self.settings.connections_max;
        let share = places - places / STRANGERS_SHARE_DIVISOR;
        self.node.admission.strangers() >= share
    }

    /// Sends the oldest silent stranger away, or of the oldest ones that of the address with most
    /// connections. False if there is none.
    pub(super) fn send_a_stranger_away(&mut self) -> bool {
        let is_silent = |&&(key, generation): &&(u32, u32)| {
            let slot = self.slots.get(key as usize);
            slot.is_some_and(|slot| slot.generation == generation && slot.is_silent_stranger())
        };
        let oldest: Vec<_> =
            self.strangers.0.iter().filter(is_silent).take(STRANGERS_LOOKED_AT).collect();
        // Of equals the last one is taken, which is the oldest.
        let most = oldest.iter().rev().max_by_key(|(key, _)| {
            self.node.admission.connections_of(self.slots[*key as usize].address)
        });
        let Some(&&(key, _)) = most else { return false };
        self.close_at_once(key as usize);
        true
    }

    /// Says why, as far as that can be said at once, and ends it: the place is needed now.
    fn close_at_once(&mut self, key: usize) {
        let reason = CloseReason::Overloaded;
        self.close(key, reason, OVERLOADED_DELAY_MS);
        // What is queued, and then what the stream has to say of its end, word by word.
        for _ in 0..=LAST_WORDS_MAX {
            if self.slots.contains(key) {
                self.flush(key);
            }
        }
        if self.slots.contains(key) {
            self.end(key, reason);
        }
    }
}
