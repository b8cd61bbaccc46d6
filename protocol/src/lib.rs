//! The wire protocol of Dunlin: what goes over a connection, and nothing about how.
//!
//! - [`wire`]: the messages, generated from `proto/dunlin/v1/*.proto`
//! - [`frame`]: the length prefix: splitting what was read, encoding what is written
//! - [`compressed`]: responses in fewer bytes
//! - [`id`]: the names of users, logs, devices and messages
//! - [`class`](fn@class): what an error code means to whoever does not know it
//! - [`limits`]: every number that both sides must agree on
//! - [`websocket`]: the same frames in a WebSocket
//!
//! This crate does no I/O. `docs/protocol.md` says how the messages make a conversation.
//!
//! ```
//! use bytes::BytesMut;
//! use dunlin_protocol::wire::{Frame, Hello, frame::Body};
//! use dunlin_protocol::{EncodedFrame, frame, limits};
//!
//! let hello = Hello { protocol_version: limits::PROTOCOL_VERSION, client: "example 1.0".into(), ..Hello::default() };
//! let sent = EncodedFrame::response(1, Body::Hello(hello.clone()));
//!
//! // The bytes arrive in pieces, as TCP likes it.
//! let (first, second) = sent.wire().split_at(7);
//! let mut input = BytesMut::from(first);
//! assert_eq!(frame::take(&mut input, limits::FRAME_BYTES_MAX)?, None);
//! input.extend_from_slice(second);
//! let body = frame::take(&mut input, limits::FRAME_BYTES_MAX)?.expect("the frame is whole");
//! assert_eq!(frame::decode(body)?, Frame { request_id: 1, body: Some(Body::Hello(hello)) });
//! # Ok::<(), dunlin_protocol::FrameError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod class;
pub mod compressed;
pub mod frame;
pub mod id;
pub mod limits;
mod notice;
mod redacted;
pub mod websocket;

/// The messages of the protocol, as generated from the .proto files.
#[allow(missing_docs, reason = "the .proto files are the documentation")]
#[allow(clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/dunlin.v1.rs"));
}

/// The .proto files as a serialized `google.protobuf.FileDescriptorSet`, for tools and languages
/// that build their messages at run time.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/dunlin.v1.descriptors"));

pub use class::{ErrorClass, class};
pub use frame::{EncodedFrame, FrameError};
pub use id::{ClientMessageId, DeviceId, InvalidId, LogId, LogKind, SessionId, UserId};
