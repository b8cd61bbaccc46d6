//! What happens when the connections of a node hold more memory than they may: whoever holds more than
//! the others goes first.
//!
//! While there is less, nobody looks. Of what has not arrived whole those who hold most are closed, one after
//! the other, until there is room again. Outboxes are held to a share beyond their bound, which is the bound by
//! the number of those that hold anything: so whoever is over the mean is over the share, and after one look
//! at all of them the bound is kept again. What is added beyond a bound is held to the share at once.

use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::connection::{Slot, Stage};
use crate::limits::{
    NODE_PRESSURE_DIVISOR, OUTBOX_BYTES_LEAST, OVERLOADED_DELAY_MS, UNFINISHED_RESERVE_DIVISOR,
};
use crate::stream::outbox::{Outbox, OutboxLimits};

impl Shard {
    /// What one connection may hold of what has not arrived whole, if more has just come.
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
        let unfinished = self.unfinished_excess();
        let is_pressed = self.outbox_limits != self.settings.outbox;
        if self.relieved == now || (unfinished == 0 && !is_pressed) {
            return;
        }
        self.relieved = now;
        if unfinished > 0 {
            self.close_largest_unfinished(unfinished);
        }
        if is_pressed {
            self.relieve_outboxes();
        }
    }

    /// How much of what has not arrived whole has to go. There is a sixteenth of the bound between here and
    /// where a connection is closed for what it adds ([`unfinished_share`](Shard::unfinished_share)): so whoever
    /// is not among the largest mostly keeps what it has.
    fn unfinished_excess(&self) -> usize {
        let bytes_max = self.settings.limits.input_bytes_node_max;
        let held = self.tally.unfinished(&self.node.counters).bytes;
        held.saturating_sub(bytes_max - bytes_max / UNFINISHED_RESERVE_DIVISOR)
    }

    /// Closes the largest until this shard's part of the excess is gone, and none below the mean of the node: if
    /// those of this shard are all smaller, there are larger ones elsewhere.
    fn close_largest_unfinished(&mut self, excess: usize) {
        let held = self.tally.unfinished(&self.node.counters);
        let mean = held.bytes / held.holders.max(1);
        let mut largest: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.stage == Stage::Open && slot.unfinished_bytes() > 0)
            .map(|(key, slot)| (slot.unfinished_bytes(), key))
            .collect();
        let own: usize = largest.iter().map(|(bytes, _)| bytes).sum();
        let mut left = part_of(excess, own, held.bytes);
        largest.retain(|(bytes, _)| *bytes >= mean);
        largest.sort_unstable();
        while let Some((bytes, key)) = largest.pop()
            && left > 0
        {
            left = left.saturating_sub(bytes);
            self.close(key, CloseReason::Overloaded, OVERLOADED_DELAY_MS);
        }
    }

    fn relieve_outboxes(&mut self) {
        let bytes_max = self.outbox_limits.hard;
        let is_over = |slot: &Slot| slot.stage == Stage::Open && slot.outbox_bytes() > bytes_max;
        let over: Vec<_> =
            self.slots.iter().filter(|(_, slot)| is_over(slot)).map(|(key, _)| key).collect();
        for key in over {
            if self.with_outbox(key, Outbox::shrink) > bytes_max {
                self.close_slow_consumer(key);
            }
        }
    }
}

/// The part of an excess that falls to whoever holds so much of all, rounded up.
fn part_of(excess: usize, own: usize, all: usize) -> usize {
    let part = (excess as u128 * own as u128).div_ceil(all.max(1) as u128);
    usize::try_from(part).unwrap_or(excess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_shards_are_the_excess() {
        assert_eq!([part_of(100, 30, 120), part_of(100, 90, 120)], [25, 75]);
        assert_eq!([part_of(100, 1, 3), part_of(0, 5, 9), part_of(7, 0, 9)], [34, 0, 0]);
        // A counter of the node that lags behind is no reason to divide by nothing.
        assert_eq!(part_of(5, 3, 0), 15);
    }
}
