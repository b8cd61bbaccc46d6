//! A client of Dunlin.
//!
//! - [`machine`]: what a client must know, without I/O: reconnects, resends, order, gaps, sync
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod machine;
