//! How far Dunlin is from what the machine could do.
//!
//! - [`relay`]: a raw epoll forwarder without any logic, the physical limit of a messaging server
//! - [`holder`]: holds connections and answers heartbeats, the limit of a server that is idle
//! - [`measure`]: Dunlin beside them, and beside its budgets; the program `dunlin-bench`
//! - [`profile`]: what each layer costs
//! - [`scale`]: what a store costs when it is large
//!
//! Micro-benchmarks are in `benches/`.
#![forbid(unsafe_code)]

#[macro_use]
#[path = "../../loadtest/src/printing.rs"]
mod printing;

pub mod holder;
pub mod measure;
pub mod profile;
pub mod relay;
pub mod scale;
mod sockets;
