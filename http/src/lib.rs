//! What a node tells over HTTP: whether it lives, whether it takes connections, what it measures.
//!
//! ```text
//!   thread `http`                                        threads of its pool, one for each question
//!   ┌──────────────────────────────────────────┐
//!   │ accept, at most so many ─► hyper ─► route │ ─────► Node::health, Node::readiness, Node::metrics
//!   └──────────────────────────────────────────┘         which may take a while
//! ```
//!
//! It has a runtime of its own, apart from the event loop of the server, so nobody who asks here makes a
//! message wait. It knows no socket of the server and nothing of the engine: what it tells is what a
//! [`Node`] answers, and a node answers by looking at what is counted anyway.
//!
//! - [`node`]: what is asked of a node
//! - [`metrics`]: measures with their names, units and labels, and their text
//! - [`server`]: the thread; `connection`: one connection; `route`: from a path to a response
//! - [`limits`]: how many and how long

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod connection;
pub mod limits;
pub mod metrics;
pub mod node;
mod route;
pub mod server;

pub use node::{Node, Verdict};
pub use server::HttpServer;
