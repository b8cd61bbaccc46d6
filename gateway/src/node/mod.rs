//! A running node and what it keeps on the disk.
//!
//! - `server`: the node, from its start to its end
//! - `data`: the data folder
//! - `secrecy`: who else may read a secret

pub(crate) mod data;
pub(crate) mod secrecy;
mod server;

pub(crate) use server::SERVER_NAME;
pub use server::{Server, ServerError};
