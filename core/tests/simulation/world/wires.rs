//! What lies between the nodes: a store that fails, and a bus that can't be trusted.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_core::bus::NodeId;
use dunlin_core::store::contract::wrapper::written_logs;
use dunlin_core::store::{StoreError, StoreRequest};
use dunlin_core::worker::effect::{Published, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_protocol::LogKind;

use super::{Event, StoreAnswer, World};

impl World {
    pub(super) fn submit(
        &mut self,
        slot: usize,
        worker: usize,
        ticket: Ticket,
        request: StoreRequest,
    ) {
        let within = if self.is_healed { 5 } else { self.profile.store_delay_ms };
        let mut time = self.now + self.chance.between(1, within);
        if !self.is_healed && self.chance.permille(10) {
            time += self.chance.below(400);
        }
        let Some(node) = &mut self.nodes[slot] else { return };
        let logs = written_logs(&request);
        let writes_at = &mut node.writes_at[worker];
        time = logs.iter().filter_map(|log| writes_at.get(log).copied()).fold(time, u64::max);
        writes_at.extend(logs.into_iter().map(|log| (log, time)));
        let (node, request) = (node.id, Box::new(request));
        self.at(time, Event::Store { node, worker, ticket, request });
    }

    /// A request has come to the store. If its node has crashed since, it was under way, or not.
    pub(super) fn run_store(
        &mut self,
        node: NodeId,
        worker: usize,
        ticket: Ticket,
        request: StoreRequest,
    ) {
        if self.slot_of(node).is_none() {
            match self.chance.below(4) {
                0 | 1 => return,
                // Some land when everybody has forgotten the node: only whoever tries again finds
                // them. (Of a cursor that was moved so nobody would hear before the next change.)
                2 if !self.is_healed && carries_messages_only(&request) => {
                    let (time, request) = (self.chance.below(5_000), Box::new(request));
                    let event = Event::Store { node, worker, ticket, request };
                    return self.at(self.now + time, event);
                }
                _ => {}
            }
        }
        let unavailable = || Err(StoreError::Unavailable { reason: "simulated".into() });
        let trouble = !self.is_healed;
        let is_refused =
            self.store_is_down || (trouble && self.chance.permille(self.profile.refused));
        if is_refused {
            let result = unavailable();
            self.answers.lock().push(StoreAnswer { node, worker, ticket, result });
            return;
        }
        let is_lost =
            trouble && is_write(&request) && self.chance.permille(self.profile.answer_lost);
        let answers = Arc::clone(&self.answers);
        let done = move |result| {
            let result = if is_lost { unavailable() } else { result };
            answers.lock().push(StoreAnswer { node, worker, ticket, result });
        };
        self.asked.submit(request, Box::new(done));
    }

    /// What the store has answered is on its way, and what it wants to do later will happen.
    pub(super) fn hear_of_the_store(&mut self) {
        for (time, deed) in self.clock.take_wanted() {
            self.at(time.max(self.now), Event::Deed(deed));
        }
        let answers = std::mem::take(&mut *self.answers.lock());
        for StoreAnswer { node, worker, ticket, result } in answers {
            let input = Box::new(Input::Store { ticket, result });
            self.soon(5, Event::Input { node, worker, input });
        }
    }

    pub(super) fn publish(&mut self, from: usize, published: Published) {
        let Published { to, worker, envelope } = published;
        let Some(slot) = self.slot_of(to) else { return };
        if self.is_apart(from, slot) || self.is_lost_on_the_bus() {
            self.counts.envelopes_lost += 1;
            return;
        }
        let from = self.nodes[from].as_ref().expect("it lives").id;
        self.arrive(from, to, worker, envelope.clone());
        if !self.is_healed && self.chance.permille(self.profile.doubled) {
            self.arrive(from, to, worker, envelope);
        }
    }

    pub(super) fn is_lost_on_the_bus(&mut self) -> bool {
        !self.is_healed && self.chance.permille(self.profile.lost)
    }

    pub(super) fn arrive(&mut self, from: NodeId, node: NodeId, worker: u16, envelope: Bytes) {
        let mut time = self.now + 1;
        if !self.is_healed {
            time += self.chance.below(self.profile.bus_delay_ms);
            if self.chance.permille(self.profile.late) {
                time += self.chance.below(3_000);
            }
        }
        self.at(time, Event::Envelope { from, node, worker: usize::from(worker), envelope });
    }

    /// If its node has crashed since, it may not have left it.
    pub(super) fn take_envelope(
        &mut self,
        from: NodeId,
        node: NodeId,
        worker: usize,
        envelope: Bytes,
    ) {
        if self.slot_of(from).is_none() && self.chance.permille(700) {
            self.counts.envelopes_lost += 1;
            return;
        }
        self.input(node, worker, Input::Envelope(envelope));
    }
}

pub(super) fn is_write(request: &StoreRequest) -> bool {
    !written_logs(request).is_empty()
}

fn carries_messages_only(request: &StoreRequest) -> bool {
    match request {
        StoreRequest::Write(writes) => {
            let mut writes = writes.iter();
            writes.all(|write| write.log.kind() == LogKind::Direct && write.sets.is_empty())
        }
        _ => false,
    }
}
