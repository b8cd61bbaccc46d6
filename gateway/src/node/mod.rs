//! A running node and what it keeps on the disk.
//!
//! - `assembly`: from a configuration to the parts of a node
//! - `server`: the node, from its start to its end
//! - `data`: the data folder
//! - `inspection`: what a server would open, looked at without changing anything
//! - `keeper`: what can be done with a store that is kept here
//! - `secrecy`: who else may read a secret
//! - `signing_key`: the file of a key that signs tokens

pub(crate) mod assembly;
pub(crate) mod data;
pub(crate) mod inspection;
pub(crate) mod keeper;
pub(crate) mod ownership;
mod secrecy;
mod server;
mod signing_key;

pub use assembly::Parts;
pub(crate) use server::SERVER_NAME;
pub use server::{Server, ServerError};
pub use signing_key::SigningKeys;
