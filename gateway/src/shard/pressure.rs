//! What happens when the connections of a node hold more memory than they may: whoever holds more than
//! the others goes first.
//!
//! While a bound is kept, nobody looks. Beyond it each connection has a share, which is the bound by the
//! number of those that hold anything: so whoever is over the mean is over the share, and after one look
//! at all of them the bound is kept again. What is added meanwhile is held to the share at once.

use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::connection::{Slot, Stage};
use crate::limits::{NODE_PRESSURE_DIVISOR, OUTBOX_BYTES_LEAST, OVERLOADED_DELAY_MS};
use crate::stream::outbox::{Outbox, OutboxLimits};

impl Shard {
    /// What one connection may hold of what has not arrived whole.
    pub(super) fn unfinished_share(&self) -> usize {
        let bytes_max = self.settings.limits.input_bytes_node_max;
        self.tally.unfinished(&self.node.counters).share_of(bytes_max)
    }

    /// The limits of an outbox now.
    pub(super) fn outbox_limits(&self) -> OutboxLimits {
        let OutboxLimits { soft, hard } = self.settings.outbox;
        let bytes_max = self.settings.limits.outbox_bytes_node_max;
        match self.node.counters.outboxes.now().share_of(bytes_max) {
            usize::MAX => self.settings.outbox,
            share => {
                let hard = share.clamp(OUTBOX_BYTES_LEAST, hard / NODE_PRESSURE_DIVISOR);
                OutboxLimits { soft: (soft / NODE_PRESSURE_DIVISOR).min(hard), hard }
            }
        }
    }

    /// Looks at everybody, if there is more than there may be. A look takes as long as a tick does
    /// anyway, so there is one in a turn of the clock.
    pub(super) fn relieve(&mut self) {
        let now = self.clock.now();
        let unfinished_max = self.unfinished_share();
        let is_pressed = self.outbox_limits != self.settings.outbox;
        if self.relieved == now || (unfinished_max == usize::MAX && !is_pressed) {
            return;
        }
        self.relieved = now;
        let outbox_max = if is_pressed { self.outbox_limits.hard } else { usize::MAX };
        let is_over = |slot: &Slot| {
            slot.stage == Stage::Open
                && (slot.unfinished_bytes() > unfinished_max || slot.outbox_bytes() > outbox_max)
        };
        let over: Vec<_> =
            self.slots.iter().filter(|(_, slot)| is_over(slot)).map(|(key, _)| key).collect();
        for key in over {
            if self.slots[key].unfinished_bytes() > unfinished_max {
                self.close(key, CloseReason::Overloaded, OVERLOADED_DELAY_MS);
            } else if self.with_outbox(key, Outbox::shrink) > outbox_max {
                self.close_slow_consumer(key);
            }
        }
    }
}
