//! What is between the sockets of a shard and its frames.
//!
//! - [`entrance`]: the kinds of listeners
//! - [`tls`]: one TLS connection, over buffers that are not its own
//! - [`read_buffer`]: what is read into
//! - [`outbox`]: what waits to be written

pub(crate) mod entrance;
pub(crate) mod outbox;
pub(crate) mod read_buffer;
pub(crate) mod tls;
