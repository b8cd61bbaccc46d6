//! The kinds of messages.

use std::fmt;
use std::str::FromStr;

use dunlin_protocol::limits::{CONTENT_BYTES_MAX, SIGNAL_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::audit::content::{Contents, Stamp};
use crate::wire::{self, Conversation};

/// What the users send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Send: stored, and acknowledged when durable.
    Durable,
    /// Signal with a request id: not stored, but answered.
    Signal,
    /// Signal without a request id: nothing but the delivery tells the sender. This is what the
    /// relay does.
    QuietSignal,
}

impl MessageKind {
    /// The longest content that the protocol allows for it.
    pub(crate) fn content_bytes_max(self) -> usize {
        match self {
            MessageKind::Durable => CONTENT_BYTES_MAX,
            MessageKind::Signal | MessageKind::QuietSignal => SIGNAL_BYTES_MAX,
        }
    }

    /// Appends the frame of a message of this kind.
    pub(crate) fn put(
        self,
        outbox: &mut Vec<u8>,
        request_id: u64,
        conversation: &Conversation,
        stamp: Stamp,
        contents: &Contents,
    ) {
        let length = contents.length(stamp);
        let content = |outbox: &mut Vec<u8>| contents.write(stamp, outbox);
        let put_signal = |outbox: &mut Vec<u8>, request_id| {
            wire::put_signal(outbox, request_id, conversation, length, content);
        };
        match self {
            MessageKind::Durable => {
                let id = contents.message_id(stamp);
                wire::put_send(outbox, request_id, conversation, &id, length, content);
            }
            MessageKind::Signal => put_signal(outbox, request_id),
            MessageKind::QuietSignal => put_signal(outbox, 0),
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageKind::Durable => "durable",
            MessageKind::Signal => "signal",
            MessageKind::QuietSignal => "quiet_signal",
        })
    }
}

impl FromStr for MessageKind {
    type Err = String;

    fn from_str(text: &str) -> Result<MessageKind, String> {
        match text {
            "durable" => Ok(MessageKind::Durable),
            "signal" => Ok(MessageKind::Signal),
            "quiet_signal" => Ok(MessageKind::QuietSignal),
            _ => Err("durable, signal or quiet_signal is expected".to_owned()),
        }
    }
}
