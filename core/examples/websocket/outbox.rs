//! What the engine has for the connections, until their tasks take it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_core::transport::{ConnId, Delivery, Outbound, Transport};
use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes that wait for a connection until its pushes collapse to "you are behind".
const PUSH_BYTES_MAX: usize = 256 * 1024;

/// The outboxes of all connections: where the engine delivers to.
#[derive(Default)]
pub(crate) struct Hub {
    outboxes: Mutex<BTreeMap<ConnId, Arc<Outbox>>>,
    connections: AtomicU64,
}

impl Hub {
    pub(crate) fn open(&self) -> (ConnId, Arc<Outbox>) {
        // One shard, and a slot for each connection; after 2^32 of them the next generation.
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let conn = ConnId { shard: 0, slot: number as u32, generation: (number >> 32) as u32 };
        let outbox = Arc::new(Outbox::default());
        self.outboxes.lock().insert(conn, Arc::clone(&outbox));
        (conn, outbox)
    }

    pub(crate) fn close(&self, conn: ConnId) {
        self.outboxes.lock().remove(&conn);
    }
}

impl Transport for Hub {
    fn deliver(&self, _shard: u16, batch: Vec<Outbound>) {
        let outboxes = self.outboxes.lock();
        for Outbound { conn, delivery, .. } in batch {
            if let Some(outbox) = outboxes.get(&conn) {
                outbox.put(delivery);
            }
        }
    }
}

/// What waits for a connection. Responses are bounded by the requests that are outstanding, pushes
/// by their bytes: beyond that, each log is in `behind` once, with its newest head.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Somebody should look.
    pub(crate) filled: Notify,
}

#[derive(Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    behind: BTreeMap<LogId, u64>,
}

fn bytes_of(delivery: &Delivery) -> usize {
    delivery.frame().map_or(0, |frame| frame.wire().len())
}

impl Outbox {
    fn put(&self, delivery: Delivery) {
        let mut queue = self.queue.lock();
        let crowded = queue.bytes > PUSH_BYTES_MAX || !queue.behind.is_empty();
        match delivery {
            Delivery::Push { log, head, .. } if crowded => {
                let behind = queue.behind.entry(log).or_default();
                *behind = head.max(*behind);
            }
            Delivery::Signal(_) if crowded => {}
            delivery => {
                queue.bytes += bytes_of(&delivery);
                queue.deliveries.push_back(delivery);
            }
        }
        self.filled.notify_one();
    }

    /// What goes out next.
    pub(crate) fn next(&self) -> Option<Delivery> {
        let mut queue = self.queue.lock();
        if let Some(delivery) = queue.deliveries.pop_front() {
            queue.bytes -= bytes_of(&delivery);
            return Some(delivery);
        }
        let (log, head) = queue.behind.pop_first()?;
        let behind = wire::Behind { conversation_id: log.to_wire(), head };
        Some(Delivery::Notice(EncodedFrame::push(Body::Behind(behind))))
    }
}
