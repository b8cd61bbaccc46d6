//! What the server tells its shards, and the settings that they run under.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use dunlin_core::connection::ConnectionContext;
use dunlin_core::rates::{Budgets, Rates};
use parking_lot::Mutex;

use crate::admission::Admission;
use crate::config::{Limits, Timeouts};
use crate::proxy::networks::Networks;
use crate::shard::counters::Counters;
use crate::shard::places::Places;
use crate::shard::pulses::Pulses;
use crate::shard::timer_wheel::{Tick, ticks_in};
use crate::stream::outbox::OutboxLimits;
use crate::stream::web::Origins;
use crate::tls::TlsConfigs;

/// For a shard.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    /// New limits, deadlines and certificates; connections that exist keep their TLS session.
    Reload(Arc<Settings>),
    /// Show that the loop turns; see [`Pulses`].
    Pulse(u64),
    /// Take a connection that another shard has passed on; the place for it is taken.
    TakeIn,
    /// Stop accepting, send everyone away in good order, then end.
    Drain(DrainPlan),
    /// Tell everyone once and end.
    Stop,
}

/// How a shard sends its connections away.
#[derive(Debug, Clone)]
pub(crate) struct DrainPlan {
    /// Connections of this shard that are told to go in a second.
    pub(crate) connections_per_second: u64,
    /// For how long who is told to go may stay with nothing to wait for.
    pub(crate) leave_ms: u64,
    /// When to give up on those that are not done.
    pub(crate) timeout_ms: u64,
    /// Clients stay away for this long at least, and for up to twice as long.
    pub(crate) reconnect_delay_ms: u32,
    /// Where they should go; empty for the same address.
    pub(crate) address: String,
}

/// What can change while the server runs; replaced as a whole by a reload.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What connections are held to and told.
    pub(crate) context: ConnectionContext,
    pub(crate) limits: Limits,
    pub(crate) rates: NodeRates,
    /// Who is believed where a client comes from.
    pub(crate) proxies: Networks,
    /// Connections of the node.
    pub(crate) connections_max: usize,
    pub(crate) outbox: OutboxLimits,
    pub(crate) deadlines: Deadlines,
    /// For new TLS connections; `None` if the node does not listen for them.
    pub(crate) tls: Option<TlsConfigs>,
    /// Whose pages may come in.
    pub(crate) origins: Origins,
}

/// How fast is too fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeRates {
    pub(crate) user: Rates,
    pub(crate) address: Rates,
}

/// Timeouts in ticks of the wheel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    pub(crate) handshake: Tick,
    /// Of a TLS handshake while there are as many as there may be.
    pub(crate) hurried_handshake: Tick,
    pub(crate) login: Tick,
    pub(crate) idle: Tick,
    /// Of a frame, from its first byte.
    pub(crate) frame: Tick,
    pub(crate) write: Tick,
}

impl Deadlines {
    /// Of these timeouts.
    pub(crate) fn new(timeouts: &Timeouts, idle_timeout_ms: u32) -> Deadlines {
        Deadlines {
            handshake: ticks_in(timeouts.handshake_timeout_ms),
            hurried_handshake: ticks_in(timeouts.hurried_handshake_timeout_ms),
            login: ticks_in(timeouts.login_timeout_ms),
            idle: ticks_in(idle_timeout_ms.into()),
            frame: ticks_in(u64::from(timeouts.frame_timeout_ms)),
            write: ticks_in(timeouts.write_timeout_ms),
        }
    }
}

/// What the shards of a node share: counters and constants.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) admission: Admission,
    pub(crate) budgets: Budgets,
    pub(crate) counters: Counters,
    pub(crate) places: Places,
    pub(crate) shards: usize,
    /// Arrivals are counted from here.
    pub(crate) started: Instant,
    pub(crate) pulses: Pulses,
    /// It sends its connections away, or ends.
    pub(crate) is_going_down: AtomicBool,
    memory_bounds: Mutex<MemoryBounds>,
    /// Connections that there may be; changed by a reload.
    connections_max: AtomicUsize,
}

/// Bounds of memory that an operator sets, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryBounds {
    pub(crate) unfinished: usize,
    pub(crate) outboxes: usize,
    pub(crate) answers: usize,
}

impl Node {
    /// With so many shards, and so many places for each of them.
    pub(crate) fn new(shards: usize, places: usize) -> io::Result<Node> {
        let (admission, counters) = (Admission::default(), Counters::default());
        let places = Places::new(shards, places)?;
        Ok(Node {
            admission,
            budgets: Budgets::default(),
            counters,
            places,
            shards,
            started: Instant::now(),
            pulses: Pulses::new(shards),
            is_going_down: AtomicBool::new(false),
            memory_bounds: Mutex::default(),
            connections_max: AtomicUsize::new(0),
        })
    }

    /// Those that are in force, to be told.
    pub(crate) fn memory_bounds(&self) -> MemoryBounds {
        *self.memory_bounds.lock()
    }

    /// Connections that there may be, to be told.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_connections_max(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    pub(crate) fn set_memory_bounds(&self, bounds: MemoryBounds) {
        *self.memory_bounds.lock() = bounds;
    }
}
