//! What the tests of the gateway share: a server under test, and clients that speak the wire
//! protocol byte by byte, so that they can also speak it wrongly.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses a part of it")]

pub mod client;
pub mod counting;
pub mod http;
pub mod messages;
pub mod node;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod store;
pub mod tls;
pub mod token;
pub mod web;

use std::time::{Duration, Instant};

pub use client::{Client, Stream};
pub use node::{Node, WAYS};
pub use random::Random;

/// How long a test waits for what must happen. It never waits so long unless it fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until something is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
