//! What a running server can say of itself: everything that is counted, in one snapshot.
//!
//! ```text
//! workers ─┐                             ┌─► admin socket ─► dunlin status: a page, or JSON
//! shards  ─┤                             │
//! store   ─┼─► Witness::status ─► Status ─┴─► http::metrics ─► GET /metrics
//! disk    ─┤
//! log     ─┤
//! process ─┘
//! ```
//!
//! - `report`: the snapshot, with the names and units that docs/operating.md explains
//! - `disk`: how full the disk is; `memory`: what waits between sockets and disk; `process`: what the
//!   system counts
//! - `health`: whether it lives, and should be given connections
//! - `change`: what happened between two snapshots
//! - `page`: both for people; `memory_page`: where memory is

mod change;
pub(crate) mod disk;
#[cfg_attr(not(feature = "http"), allow(dead_code))] // Nobody else asks so far.
mod health;
pub(crate) mod memory;
mod memory_page;
mod page;
mod process;
pub(crate) mod report;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dunlin_core::engine::door::Door;

use crate::node::data::DataFolder;
use crate::node::keeper::Keeper;
use crate::shard::control::Node;
use crate::transport::ShardTransport;

pub(crate) use change::Change;
use health::Loops;
use memory::{Memory, Queues};
pub(crate) use memory_page::write_memory_page;
pub(crate) use page::write_page;
use process::Process;
pub(crate) use report::Status;
use report::{Connections, Engine, Log, Store, Traffic};

/// Sees all parts of a running server. It has nothing that keeps the server from ending.
pub(crate) struct Witness {
    loops: Loops,
    /// Batches that may wait for a worker.
    queue_batches: usize,
    keeper: Option<Arc<dyn Keeper>>,
    data: DataFolder,
    started: Instant,
    /// By the date.
    started_ms: u64,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("data", &self.data).finish_non_exhaustive()
    }
}

impl Witness {
    /// Begins when the server does.
    pub(crate) fn new(
        node: Arc<Node>,
        transport: Arc<ShardTransport>,
        door: Door,
        queue_batches: usize,
        data: DataFolder,
    ) -> Witness {
        let loops = Loops { node, transport, door };
        let (started, started_ms) = (Instant::now(), unix_ms());
        Witness { loops, queue_batches, keeper: None, data, started, started_ms }
    }

    /// With what keeps the store, if it is kept here.
    #[must_use]
    pub(crate) fn keeper(self, keeper: Option<Arc<dyn Keeper>>) -> Witness {
        Witness { keeper, ..self }
    }

    /// Looks at everything, on the calling thread: it reads the names in the folder of the store.
    pub(crate) fn status(&self) -> Status {
        let Loops { node, door, .. } = &self.loops;
        let engine = door.statistics();
        Status {
            server: crate::node::SERVER_NAME.into(),
            commit: crate::log::COMMIT.into(),
            pid: std::process::id(),
            time_ms: unix_ms(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            started_ms: self.started_ms,
            shards: node.shards as u64,
            connections: Connections::of(node),
            traffic: Traffic::of(&node.counters.snapshot()),
            memory: Memory::of(node, &engine),
            queues: Queues::of(&engine, self.queue_batches),
            engine: Engine::of(&engine),
            store: self.keeper.as_ref().map(|keeper| Store::of(&keeper.standing())),
            disk: disk::usage(&self.data),
            log: Log::of(crate::log::counters()),
            process: Process::now(),
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
