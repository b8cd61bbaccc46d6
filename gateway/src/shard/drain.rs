//! The end of a shard in good order: nobody new, everybody told to go, a few at a time, so that
//! the nodes that they go to are not stormed.

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{CloseReason, GoAway, frame::Body};

use super::Shard;
use super::connection::Stage;
use super::control::DrainPlan;
use crate::limits::LAST_WORDS_MAX;

/// How often the next few are told.
pub(super) const STEP_MS: u64 = 10;

/// A drain that is under way.
#[derive(Debug)]
pub(super) struct Drain {
    plan: DrainPlan,
    began_ms: u64,
    /// Who was connected when it began; taken from the end.
    waiting: Vec<(u32, u32)>,
    total: u64,
    /// Told to go, and not gone yet.
    leaving: Vec<Leaving>,
}

/// A connection that was told to go.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    key: u32,
    generation: u32,
    /// Until then a client may have asked for something before it heard that it shall go; from then on
    /// it is closed when everything is answered. It may leave sooner by itself.
    stays_until_ms: u64,
}

impl Drain {
    /// How many may stay for now.
    fn may_wait(&self, now_ms: u64) -> usize {
        let elapsed_ms = now_ms - self.began_ms + STEP_MS;
        let told = elapsed_ms.saturating_mul(self.plan.connections_per_second) / 1000;
        self.total.saturating_sub(told.max(1)) as usize
    }
}

impl Shard {
    pub(super) fn begin_draining(&mut self, plan: DrainPlan) {
        if self.drain.is_some() {
            return;
        }
        self.stop_listening();
        let open = self.slots.iter().filter(|(_, slot)| slot.stage == Stage::Open);
        let waiting: Vec<_> = open.map(|(key, slot)| (key as u32, slot.generation)).collect();
        tracing::info!(shard = self.index, connections = waiting.len(), "draining");
        let total = waiting.len() as u64;
        let began_ms = self.clock.now_ms();
        self.drain = Some(Drain { plan, began_ms, waiting, total, leaving: Vec::new() });
    }

    pub(super) fn go_on_draining(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        let told =
            drain.waiting.split_off(drain.may_wait(self.clock.now_ms()).min(drain.waiting.len()));
        for (key, generation) in told {
            if self.is_open(key, generation) {
                self.tell_to_go(key as usize, &drain.plan);
                let stays_until_ms = self.stays_until_ms(key as usize, &drain.plan);
                drain.leaving.push(Leaving { key, generation, stays_until_ms });
            }
        }
        drain.leaving.retain(|leaving| self.still_leaves(leaving, &drain.plan));
        let overdue = self.clock.now_ms().saturating_sub(drain.began_ms) > drain.plan.timeout_ms;
        if overdue && !self.slots.is_empty() {
            tracing::warn!(shard = self.index, left = self.slots.len(), "the drain took too long");
            self.stop();
        }
        self.ended |= self.slots.is_empty();
        self.drain = Some(drain);
    }

    /// Who is not logged in has nothing under way that would be worth waiting for.
    fn stays_until_ms(&self, key: usize, plan: &DrainPlan) -> u64 {
        let is_somebody = self.slots[key].protocol.session().is_some();
        self.clock.now_ms() + if is_somebody { plan.leave_ms } else { 0 }
    }

    /// Closes a connection that was told to go, once it has had its time and its answers. Says whether
    /// it is still there.
    fn still_leaves(&mut self, leaving: &Leaving, plan: &DrainPlan) -> bool {
        let Leaving { key, generation, stays_until_ms } = *leaving;
        if !self.is_open(key, generation) {
            return false;
        }
        // What was asked and has to wait for room is answered as well.
        let slot = &self.slots[key as usize];
        let has_more = slot.outstanding > 0 || slot.flags.paused;
        if has_more || self.clock.now_ms() < stays_until_ms {
            return true;
        }
        let delay_ms = self.reconnect_delay_ms(plan, key);
        self.close(key as usize, CloseReason::ServerDraining, delay_ms);
        false
    }

    fn tell_to_go(&mut self, key: usize, plan: &DrainPlan) {
        let reconnect_delay_ms = self.reconnect_delay_ms(plan, key as u32);
        let go_away = GoAway { reconnect_delay_ms, address: plan.address.clone() };
        self.keep(key, EncodedFrame::push(Body::GoAway(go_away)));
    }

    /// Between once and twice the delay of the plan, spread over the slots.
    fn reconnect_delay_ms(&self, plan: &DrainPlan, key: u32) -> u32 {
        // Multiplying by an odd constant scatters neighbouring slots over the whole range.
        let scattered = key.wrapping_mul(0x9E37_79B1);
        let share = (u64::from(plan.reconnect_delay_ms) * u64::from(scattered)) >> 32;
        plan.reconnect_delay_ms.saturating_add(share as u32)
    }

    fn is_open(&self, key: u32, generation: u32) -> bool {
        let slot = self.slots.get(key as usize);
        slot.is_some_and(|slot| slot.generation == generation && slot.stage == Stage::Open)
    }

    /// Ends the shard: one word to everyone, as far as the sockets take it.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
        let keys: Vec<usize> = self.slots.iter().map(|(key, _)| key).collect();
        for key in &keys {
            self.close(*key, CloseReason::ServerDraining, 0);
        }
        // The last words of a stream come after the Close frame, one after the other.
        for _ in 0..=LAST_WORDS_MAX {
            self.flush_dirty();
        }
        for key in keys {
            if self.slots.contains(key) {
                self.end(key, CloseReason::ServerDraining);
            }
        }
        self.ended = true;
    }
}
