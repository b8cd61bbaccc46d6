//! Crashes, partitions and outages.

use dunlin_protocol::{UserId, wire};

use super::super::client::Client;
use super::{Event, NODES, Node, World};

impl World {
    pub(super) fn is_over(&self, round: u64) -> bool {
        self.is_healed || round != self.round
    }

    pub(super) fn crash(&mut self, round: u64) {
        if !self.is_over(round) {
            self.crash_one();
            self.soon(self.profile.crash_every_ms * 2, Event::Crash { round });
        }
    }

    /// All memory of a node is gone; it comes back as another one.
    pub(super) fn crash_one(&mut self) {
        let slot = self.chance.below(NODES as u64) as usize;
        let Some(node) = self.nodes[slot].take() else { return };
        self.counts.crashes += 1;
        self.count(&node);
        let lease_ms = self.chance.between(1_500, 3_000);
        self.at(self.now + lease_ms, Event::PresenceExpires { node: node.id });
        for client in 0..self.clients.len() {
            let link = self.clients[client].link.as_ref();
            if let Some(conn) = link.filter(|link| link.slot == slot).map(|link| link.conn) {
                self.soon(300, Event::Lost { client, conn });
            }
        }
        self.soon(4_000, Event::Return { slot });
        self.views_change();
    }

    pub(super) fn part(&mut self, round: u64) {
        if self.is_over(round) {
            return;
        }
        let lonely = self.chance.below(NODES as u64) as usize;
        let others = (0..NODES).filter(|slot| *slot != lonely);
        self.apart = others.map(|slot| (slot.min(lonely), slot.max(lonely))).collect();
        // Sometimes it is over before anybody has taken notice.
        if self.chance.permille(700) {
            self.views_change();
        }
        self.soon(3_000, Event::Join);
        self.soon(self.profile.partition_every_ms * 2, Event::Part { round });
    }

    pub(super) fn outage(&mut self, round: u64, ends: bool) {
        if self.is_over(round) {
            return;
        }
        self.store_is_down = !ends;
        let within = if ends { self.profile.outage_every_ms * 2 } else { 1_500 };
        self.soon(within, Event::Outage { round, ends: !ends });
    }

    pub(super) fn count(&mut self, node: &Node) {
        for effects in &node.effects {
            self.counts.forwarded += effects.counters.forwarded;
            self.counts.forwards_late += effects.counters.forwards_late;
            self.counts.gaps += effects.counters.gaps;
            self.counts.pushes += effects.counters.pushes;
        }
    }

    /// What a device is told that has nothing.
    pub(crate) fn new_device(&mut self, user: UserId) -> Option<wire::Synced> {
        let client = self.clients.len();
        self.clients.push(Client::new(client as u8, user, Vec::new()));
        self.connect(client);
        self.run_for(2_000);
        self.clients[client].first_synced.take()
    }

    /// Ends the run.
    pub(crate) fn end(&mut self) {
        self.clients.iter_mut().for_each(|client| drop(client.disconnected()));
        for node in std::mem::take(&mut self.nodes).into_iter().flatten() {
            self.count(&node);
        }
    }
}
