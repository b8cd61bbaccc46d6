//! What is asked of a log: to store a message, to pass a signal on, to read.

use bytes::Bytes;
use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, HISTORY_ENTRIES_DEFAULT, HISTORY_ENTRIES_MAX, SIGNAL_BYTES_MAX,
};
use dunlin_protocol::wire::{self, Notice};
use dunlin_protocol::{ClientMessageId, LogId};

use super::Request;
use super::invalid::{
    InvalidRequest, checked_conversation, checked_type, invalid, invalid_content, or_default,
};
use crate::limits::RESPONSE_BYTES_MAX;

/// What an empty content type stands for.
const TEXT: &str = "text/plain";

/// A request about one log. The worker that owns the log takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConversationRequest {
    /// Store a message.
    Send(Message),
    /// Tell something momentary.
    Signal(Signal),
    /// Read the log.
    History(History),
    /// Where a message of one's own is.
    Find(ClientMessageId),
}

/// A message to store; see [`wire::Send`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same in every retry.
    pub client_message_id: ClientMessageId,
    /// What the content is; empty for "text/plain".
    pub content_type: String,
    /// The content.
    pub content: Bytes,
    /// What it does to the others.
    pub notice: Notice,
}

/// See [`wire::Signal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What it is.
    pub kind: String,
    /// What belongs to it.
    pub payload: Bytes,
}

/// See [`wire::History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The lowest sequence, at least 1.
    pub from: u64,
    /// The highest.
    pub to: u64,
    /// At most so many entries.
    pub limit: usize,
    /// Newest first.
    pub backwards: bool,
    /// Nothing on the other side of this time: before it if forwards, from it on if backwards.
    pub from_time_ms: Option<u64>,
    /// At most so many bytes of entries, but one entry in any case.
    pub bytes_max: usize,
}

impl Message {
    /// The request to store it in a conversation.
    pub fn to(self, conversation: LogId) -> Request {
        let content_type = normal_type(self.content_type);
        let message = Message { content_type, ..self };
        Request::Conversation(conversation, ConversationRequest::Send(message))
    }
}

impl Signal {
    /// The request to tell it to the others in a conversation.
    pub fn to(self, conversation: LogId) -> Request {
        Request::Conversation(conversation, ConversationRequest::Signal(self))
    }
}

impl History {
    /// The request to read this of a conversation.
    pub fn of(self, conversation: LogId) -> Request {
        Request::Conversation(conversation, ConversationRequest::History(self))
    }
}

impl TryFrom<wire::Send> for Request {
    type Error = InvalidRequest;

    fn try_from(send: wire::Send) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&send.conversation_id)?;
        let client_message_id = ClientMessageId::from_wire(&send.client_message_id)
            .map_err(|error| invalid("client_message_id", error.to_string()))?;
        checked_type("content_type", &send.content_type)?;
        if send.content.len() > CONTENT_BYTES_MAX {
            let reason = format!("{} bytes of at most {CONTENT_BYTES_MAX}", send.content.len());
            return Err(invalid("content", reason));
        }
        let notice = Notice::try_from(send.notice)
            .map_err(|_| invalid("notice", format!("there is no {}", send.notice)))?;
        let (content_type, content) = (send.content_type, send.content);
        if (content_type.is_empty() || content_type == TEXT)
            && let Err(fault) = std::str::from_utf8(&content)
        {
            let reason =
                format!("text/plain is UTF-8, this is not from byte {}", fault.valid_up_to());
            return Err(invalid_content(reason));
        }
        Ok(Message { client_message_id, content_type, content, notice }.to(conversation))
    }
}

/// Text has two names, and only one of them is stored: so it is the same message when it is sent again
/// by the other.
fn normal_type(content_type: String) -> String {
    if content_type == TEXT { String::new() } else { content_type }
}

impl TryFrom<wire::FindMessage> for Request {
    type Error = InvalidRequest;

    fn try_from(find: wire::FindMessage) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&find.conversation_id)?;
        let id = ClientMessageId::from_wire(&find.client_message_id)
            .map_err(|error| invalid("client_message_id", error.to_string()))?;
        Ok(Request::Conversation(conversation, ConversationRequest::Find(id)))
    }
}

impl TryFrom<wire::Signal> for Request {
    type Error = InvalidRequest;

    fn try_from(signal: wire::Signal) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&signal.conversation_id)?;
        checked_type("kind", &signal.kind)?;
        if signal.payload.len() > SIGNAL_BYTES_MAX {
            let reason = format!("{} bytes of at most {SIGNAL_BYTES_MAX}", signal.payload.len());
            return Err(invalid("payload", reason));
        }
        Ok(Signal { kind: signal.kind, payload: signal.payload }.to(conversation))
    }
}

impl TryFrom<wire::History> for Request {
    type Error = InvalidRequest;

    fn try_from(history: wire::History) -> Result<Request, InvalidRequest> {
        let conversation = checked_conversation(&history.conversation_id)?;
        let limit = or_default(history.limit, HISTORY_ENTRIES_DEFAULT).min(HISTORY_ENTRIES_MAX);
        let end = |seq: u64, open: u64| if seq == 0 { open } else { seq };
        let (from, to) = if history.backwards {
            (end(history.to_seq, 1), end(history.from_seq, u64::MAX))
        } else {
            (end(history.from_seq, 1), end(history.to_seq, u64::MAX))
        };
        let from_time_ms = (history.from_time_ms > 0).then_some(history.from_time_ms);
        if from_time_ms.is_some() && history.from_seq > 0 {
            return Err(invalid("from_time_ms", "stands beside from_seq"));
        }
        if from > to {
            return Err(invalid("to_seq", "is on the wrong side of from_seq"));
        }
        let (limit, backwards) = (limit as usize, history.backwards);
        let bytes_max = match history.bytes_max {
            0 => RESPONSE_BYTES_MAX,
            bytes => (bytes as usize).min(RESPONSE_BYTES_MAX),
        };
        Ok(History { from, to, limit, backwards, from_time_ms, bytes_max }.of(conversation))
    }
}
