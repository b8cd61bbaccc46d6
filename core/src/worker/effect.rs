//! What a worker wants done: collected during a tick, then carried out in batches.

use bytes::Bytes;
use dunlin_protocol::compressed::Deflater;
use dunlin_protocol::wire::Sent;
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::{EncodedFrame, LogId, UserId};

use super::message::WorkerMessage;
use crate::admin::{AdminError, AdminReply};
use crate::arrival::Arrival;
use crate::auth::password::PasswordJob;
use crate::bus::NodeId;
use crate::placement::Origin;
use crate::refusal::Refusal;
use crate::request::Client;
use crate::room::Claim;
use crate::statistics::WorkerStatistics;
use crate::store::StoreRequest;
use crate::transport::{ConnId, Delivery, Outbound};

/// Names a request to the store or to the password threads; it comes back with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What other nodes are to know of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceChange {
    /// The user has a session on this node, or is about to. May be said more than once.
    Arrived(UserId),
    /// The user has none any more. May be said of users who had none.
    Left(UserId),
}

/// An envelope for the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// For which node.
    pub to: NodeId,
    /// For which of its workers.
    pub worker: u16,
    /// What.
    pub envelope: Bytes,
}

/// The effects of a tick. Whoever drives the worker carries out all of them and empties the lists,
/// keeping the order within each list.
#[derive(Debug, Default)]
pub struct Effects {
    /// For connections, by shard.
    pub outbound: Vec<Vec<Outbound>>,
    /// The shards that have something, each once.
    pub shards: Vec<u16>,
    /// For the store.
    pub store: Vec<(Ticket, StoreRequest)>,
    /// For the password threads.
    pub passwords: Vec<(Ticket, PasswordJob)>,
    /// For the presence, before anything is asked of the store.
    pub presence: Vec<PresenceChange>,
    /// For the bus.
    pub bus: Vec<Published>,
    /// Responses to [`Input::Call`](super::input::Input::Call).
    pub calls: Vec<(u64, Delivery)>,
    /// Answers to [`Input::Admin`](super::input::Input::Admin), by their call.
    pub admin: Vec<(u64, Result<AdminReply, AdminError>)>,
    /// For other workers of this node, by their index.
    pub workers: Vec<Vec<WorkerMessage>>,
    /// What was counted; it only grows.
    pub counters: WorkerStatistics,
    /// For responses in fewer bytes.
    deflater: Deflater,
}

impl Effects {
    /// No effects.
    pub fn new() -> Effects {
        Effects::default()
    }

    /// Hands over what is for the connections of each shard.
    pub fn take_outbound(&mut self, mut deliver: impl FnMut(u16, Vec<Outbound>)) {
        for shard in self.shards.drain(..) {
            let batch = &mut self.outbound[usize::from(shard)];
            // The next tick will have about as much to say.
            let next = Vec::with_capacity(batch.len());
            deliver(shard, std::mem::replace(batch, next));
        }
    }

    /// Hands over what is for each other worker.
    pub fn take_workers(&mut self, mut send: impl FnMut(u16, Vec<WorkerMessage>)) {
        for (worker, messages) in (0..).zip(&mut self.workers) {
            if !messages.is_empty() {
                send(worker, std::mem::take(messages));
            }
        }
    }

    pub(crate) fn publish(&mut self, to: Origin, envelope: Bytes) {
        self.counters.envelopes_sent += 1;
        let Origin { node, worker } = to;
        self.bus.push(Published { to: node, worker, envelope });
    }

    pub(crate) fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        self.deliver_of(Arrival::UNKNOWN, conn, delivery);
    }

    /// Delivers what follows from a message that was read then.
    fn deliver_of(&mut self, arrived: Arrival, conn: ConnId, delivery: Delivery) {
        if let Some(call) = conn.call() {
            self.calls.push((call, delivery));
            return;
        }
        let shard = usize::from(conn.shard);
        if self.outbound.len() <= shard {
            self.outbound.resize_with(shard + 1, Vec::new);
        }
        let batch = &mut self.outbound[shard];
        if batch.is_empty() {
            self.shards.push(conn.shard);
        }
        batch.push(Outbound { conn, arrived, delivery });
    }

    /// Answers a request, unless no answer is wanted. What is refused is counted, however it is.
    pub(crate) fn respond(&mut self, conn: ConnId, request_id: u64, body: Body) {
        if let Body::Error(error) = &body {
            self.counters.count_error(error.code());
        }
        if request_id != 0 {
            self.deliver(conn, Delivery::Response(EncodedFrame::response(request_id, body)));
        }
    }

    /// Answers a request by something that may be large and has no secrets in it: deflated, if the
    /// client can read that and it is worth it. It keeps the room that was taken for it until it is
    /// written.
    pub(crate) fn respond_large(&mut self, client: Client, body: Body, claim: Option<Claim>) {
        let Client { conn, request_id, may_deflate, .. } = client;
        if request_id == 0 {
            return;
        }
        let mut response = EncodedFrame::response(request_id, body);
        if may_deflate && let Some(smaller) = self.deflater.deflate(request_id, &response) {
            self.counters.count_deflated(response.wire().len(), smaller.wire().len());
            response = smaller;
        }
        if let Some(claim) = claim {
            response = claim.carry(response);
        }
        self.deliver(conn, Delivery::Response(response));
    }

    pub(crate) fn refuse(&mut self, conn: ConnId, request_id: u64, refusal: Refusal) {
        self.respond(conn, request_id, Body::Error(refusal.into()));
    }

    /// Acknowledges a message that was read then.
    pub(crate) fn acknowledge(
        &mut self,
        arrived: Arrival,
        conn: ConnId,
        request_id: u64,
        sent: Sent,
    ) {
        if request_id != 0 {
            let response = EncodedFrame::response(request_id, Body::Sent(sent));
            self.deliver_of(arrived, conn, Delivery::Response(response));
        }
    }

    /// Pushes what follows from a message that was read then.
    pub(crate) fn push(
        &mut self,
        arrived: Arrival,
        conn: ConnId,
        log: LogId,
        head: u64,
        frame: EncodedFrame,
    ) {
        self.counters.pushes += 1;
        self.deliver_of(arrived, conn, Delivery::Push { log, head, frame });
    }

    pub(crate) fn signal(&mut self, conn: ConnId, frame: EncodedFrame) {
        self.counters.signals += 1;
        self.deliver(conn, Delivery::Signal(frame));
    }

    pub(crate) fn tell_worker(&mut self, worker: u16, message: WorkerMessage) {
        let worker = usize::from(worker);
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, Vec::new);
        }
        self.workers[worker].push(message);
    }
}
