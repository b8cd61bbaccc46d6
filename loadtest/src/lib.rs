//! The load harness of Dunlin and its auditor.
//!
//! - [`audit`]: what was sent, acknowledged, delivered and stored, and whether it fits together
#![deny(unsafe_code)]

pub mod audit;
