//! How far Dunlin is from what the machine could do.
//!
//! - [`relay`]: a raw epoll forwarder without any logic, the physical limit of a messaging server
//! - [`measure`]: Dunlin beside it, and beside its budgets; the program `dunlin-bench`
//!
//! Micro-benchmarks are in `benches/`.
#![forbid(unsafe_code)]

pub mod measure;
pub mod relay;
