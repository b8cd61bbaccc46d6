//! The Dunlin server: event loop, TLS, configuration, command line.
//!
//! ```text
//!             main thread                          waits for signals; starts, reloads, drains
//!                  │ mailbox (Control)
//!   ┌──────────────┼───────────────────────────────────────────────────────────────┐
//!   │ shard 0 .. n ▼  one thread each; own poll, listeners, connections, timers,    │
//!   │                 buffers and descriptor table                                  │
//!   │                                                                               │
//!   │  sockets ─► read ─► frames ─► Connection::receive ─► Submitter ──┐            │
//!   │  sockets ◄─ writev ◄─ outboxes ◄─ mailbox ◄──────────────────┐   │            │
//!   └──────────────────────────────────────────────────────────────┼───┼────────────┘
//!                                      batches, one wake per sleep │   │ batches, bounded
//!   ┌──────────────────────────────────────────────────────────────┼───▼────────────┐
//!   │ engine (dunlin-core): workers, password threads         Transport::deliver     │
//!   └───────────────────────────────┬───────────────────────────────────────────────┘
//!                                   ▼ store (one commit lane, fsync per batch)
//! ```
//!
//! - [`config`]: what can be set, and where it comes from
//! - [`node`]: a running node, its parts and its data folder
//! - [`cli`]: the program `dunlin`
//! - `shard`: the event loop
//! - `fuzzing`: a shard under fire, for tests and for `gateway/fuzz`
//! - `transport`: what the engine delivers, to the mailboxes of shards
//! - `stream`: from what a socket carries to frames and back, without a socket
//! - `tls`: the certificate and its keys
//! - `slots`: tables that are as large as what is in them
//! - `admin`: accounts, backups and checks from the command line, through a socket in the data folder
//! - `backup`: copies of the whole data folder
//! - `status`: what a running server says of itself
//! - `http`: the same for those who ask over HTTP
//! - `admission`: limits of the node and of each address
//! - `log`: lines to standard error that can neither stop nor end the server
//! - `sys`: the one module with `unsafe`
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod node;

mod admin;
mod admission;
mod backup;
#[cfg(any(test, fuzzing))]
mod fuzzing;
#[cfg(feature = "http")]
mod http;
mod limits;
mod log;
mod proxy;
mod shard;
mod slots;
mod status;
mod stream;
mod sys;
mod tls;
mod transport;

/// Plays a script against a shard: for `gateway/fuzz`, which compiles with `--cfg fuzzing`.
#[cfg(fuzzing)]
pub fn fuzz_connections(script: &[u8]) {
    fuzzing::play(script);
}

/// Says bytes in a WebSocket, cut in several ways: the same.
#[cfg(fuzzing)]
pub fn fuzz_websockets(script: &[u8]) {
    fuzzing::websocket::play(script);
}
