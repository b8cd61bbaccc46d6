//! The wire protocol of Dunlin: what goes over a connection, and nothing about how.
//!
//! - [`wire`]: the messages, generated from `proto/dunlin/v1/dunlin.proto`
//! - [`frame`]: the length prefix: splitting what was read, encoding what is written
//! - [`id`]: the names of users, logs, devices and messages
//! - [`limits`]: every number that both sides must agree on
//!
//! This crate does no I/O. `docs/protocol.md` says how the messages make a conversation.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod frame;
pub mod id;
pub mod limits;

/// The messages of the protocol, as generated from the .proto file.
#[allow(missing_docs, reason = "the .proto file is the documentation")]
#[allow(clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/dunlin.v1.rs"));
}

pub use frame::{EncodedFrame, FrameError};
pub use id::{ClientMessageId, DeviceId, InvalidId, LogId, LogKind, SessionId, UserId};
