//! Numbers of the event loop that no operator needs to set, each with its reason.

use std::time::Duration;

/// Length of a timer tick. Deadlines are seconds; 64 ms makes a power of two of the wheel's turn
/// and lets an idle shard sleep long.
pub(crate) const TICK_MS: u64 = 64;

/// Events taken from the kernel at once. More would delay the answers to the first of them.
pub(crate) const EVENTS_PER_TICK: usize = 1024;

/// The scratch buffer that all connections of a shard read into. It stays in the second-level
/// cache, and a million idle connections keep no buffer of their own.
pub(crate) const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A read is not offered less room than this; then a new scratch buffer is begun.
pub(crate) const READ_BYTES_MIN: usize = 8 * 1024;

/// Scratch buffers of a shard that frames may hold: a megabyte. At full load, over a disk that syncs in
/// some milliseconds, they hold a few; it takes a slow disk, or somebody who tries, to hold more.
pub(crate) const READ_BUFFERS_HELD_MAX: usize = 16;

/// A frame that is a smaller part of the memory that it shares is copied, where that memory is not the
/// scratch buffer: it may live long, and would keep all of it.
pub(crate) const SHARED_PART_MIN: usize = 4;

/// Reads of one connection in a tick, so that one that sends without end delays the others by
/// little: at 64 KiB per read it is at most 256 KiB.
pub(crate) const READS_PER_TICK: usize = 4;

/// Commands handed to the workers at once, within a tick. A full queue is noticed after so many,
/// not after a whole tick of reading.
pub(crate) const COMMANDS_PER_FLUSH: usize = 512;

/// Bytes of commands that are handed over at once, for the same reason.
pub(crate) const COMMAND_BYTES_PER_FLUSH: usize = 512 * 1024;

/// The same while messages wait for the disk: how many more there are is to be seen before there are too many.
pub(crate) const CROWDED_BYTES_PER_FLUSH: usize = 64 * 1024;

/// What a connection may have sent without an answer while messages wait for the disk, about: then it sends no
/// other one before some of it is answered. It is one of the largest messages.
pub(crate) const CROWDED_REQUEST_BYTES: usize = 64 * 1024;

/// What a request counts there that is not counted by its bytes: half of the most that it has.
pub(crate) const CROWDED_BYTES_PER_REQUEST: usize = LARGE_REQUEST_BYTES / 2;

/// Requests from this size on are counted by their bytes, for their connection. Of smaller ones there are
/// `protocol.requests_outstanding_max`, which is a megabyte.
pub(crate) const LARGE_REQUEST_BYTES: usize = 4096;

/// Connections that are read from in a tick while their users come or go. A login takes 90 us of the
/// processor in all, over TLS four times as long (docs/benchmarks.md): with so many of them a tick
/// is at most a few milliseconds longer, which is what everybody else waits.
pub(crate) const TRANSIT_READS_PER_TICK: usize = 16;

/// Those who are not logged in may have all places of a node but this part of them: when everybody
/// comes back at once, they are most of those who are there.
pub(crate) const STRANGERS_SHARE_DIVISOR: usize = 4;

/// Of so many of the oldest strangers one is chosen who has to go.
pub(crate) const STRANGERS_LOOKED_AT: usize = 16;

/// Connections accepted in a tick: those who are here already come first.
pub(crate) const ACCEPTS_PER_TICK: usize = 32;

/// Connections taken from a backlog before its socket closes: as many as `listen.backlog` lets in
/// by default. At 4 us each, a drain begins at most 16 ms later.
pub(crate) const LAST_ACCEPTS: usize = 4096;

/// How long accepting pauses when the system has no descriptor or memory for another socket. The
/// connections wait in the backlog of the listener meanwhile.
pub(crate) const ACCEPT_PAUSE_MS: u64 = 100;

/// Slices in one writev. The kernel's limit is 1024; beyond 64 a call costs what it moves.
pub(crate) const SLICES_PER_WRITE: usize = 64;

/// Bytes written to one connection in a tick before the others have their turn.
pub(crate) const WRITE_BYTES_PER_TICK: usize = 1024 * 1024;

/// Bytes of what workers have for one shard: while there is more of it, they take no requests. A shard takes all
/// of it in each tick, so it comes to that only where the processor has no time for a shard.
pub(crate) const MAIL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long to wait when a worker's queue was full.
pub(crate) const BLOCKED_RETRY_MS: u64 = 1;

/// How long a connection that was closed with a reason may take to read it and to close its side.
/// Closing earlier would reset the connection, and with it what is still on the way.
pub(crate) const LINGER_MS: u64 = 1000;

/// Logs that a collapsed outbox tells of one by one; with more, it says "any log" once. 64 of
/// them are 2 KiB, and a client with so many busy conversations had better sync.
pub(crate) const BEHIND_LOGS_MAX: usize = 64;

/// When the outboxes of the node together are over their limit, each connection is held to this
/// part of its own limits: those with the most to take collapse first.
pub(crate) const NODE_PRESSURE_DIVISOR: usize = 8;

/// This part of `limits.input_bytes_node_max` is kept free by closing those who hold most of it, so that all
/// others find room for what they have begun.
pub(crate) const UNFINISHED_RESERVE_DIVISOR: usize = 16;

/// But never to less than this, or to nothing if a million wait: some notes that it is behind, or a
/// short response.
pub(crate) const OUTBOX_BYTES_LEAST: usize = 1024;

/// Requests that were refused for asking too much, less those that could be paid since, until a connection is
/// closed for it. Twice of the most that may be under way by default: who has as many of them out when the budget is
/// gone, and waits as it is told, is not closed.
pub(crate) const OVERDRAWN_MAX: u16 = 512;

/// How long a client should stay away that was closed, or turned away, since there was no room.
pub(crate) const OVERLOADED_DELAY_MS: u32 = 5000;

/// Room for TLS records that were not yet read whole: one record is at most 16 KiB + 256 + 5, a
/// handshake message may take several.
pub(crate) const TLS_INPUT_BYTES: usize = 64 * 1024;

/// Plain bytes that are encrypted at once: the largest record.
pub(crate) const TLS_RECORD_BYTES: usize = 16 * 1024;

/// Room for one record of that size and what TLS adds to it.
pub(crate) const TLS_OUTPUT_BYTES: usize = TLS_RECORD_BYTES + 1024;

/// The request that begins a WebSocket, up to the end of its head. Browsers send half a kilobyte, and with the
/// cookies of a site some more.
pub(crate) const UPGRADE_BYTES_MAX: usize = 8 * 1024;

/// Headers in it.
pub(crate) const UPGRADE_HEADERS_MAX: usize = 64;

/// Last words that a stream may have, one after the other: that of a WebSocket, and that of TLS below it.
pub(crate) const LAST_WORDS_MAX: usize = 2;

/// How often memory that was freed is given back to the system. What a storm of logins has needed is gone
/// after a moment; more often, what is needed again soon would come and go.
pub(crate) const MEMORY_RETURN_INTERVAL: Duration = Duration::from_secs(5);

/// Descriptors of a shard that are not connections: standard streams, poll, wake-up, listeners.
pub(crate) const DESCRIPTORS_RESERVED: u64 = 32;

/// The most shards: `ConnId` has 16 bits for them, and each has buffers of its own.
pub(crate) const SHARDS_MAX: usize = 1024;

const _: () = assert!(READ_BYTES_MIN < READ_BUFFER_BYTES);
const _: () = assert!(TLS_INPUT_BYTES > 2 * TLS_OUTPUT_BYTES);
