//! How frames travel in a WebSocket (RFC 6455): what both ends of one must agree on.
//!
//! One binary message is the body of one [`Frame`](crate::wire::Frame), without the length prefix: the
//! WebSocket has a length of its own. An empty message is the heartbeat. A client asks for the subprotocol
//! [`SUBPROTOCOL`]; there are no extensions.
//!
//! This is the little of it that can be said without a connection: headers, masks, close codes, the words
//! of the upgrade. What belongs to a connection keeps whoever has one.

mod accept;
pub mod close_code;
pub mod header;
mod mask;

pub use accept::{KEY_BYTES, KEY_LENGTH, accept, key};
pub use close_code::{close_code, close_reason};
pub use header::{CONTROL_BYTES_MAX, Header, HeaderError, Opcode};
pub use mask::Mask;

/// The subprotocol: this protocol, in version 1 of how it is put into a WebSocket.
pub const SUBPROTOCOL: &str = "dunlin.v1";

/// The version of WebSocket, as it is written in the upgrade.
pub const VERSION: &str = "13";
