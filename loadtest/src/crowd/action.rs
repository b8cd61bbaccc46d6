//! What a user does when it is its turn: it writes, or it asks the server for something.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::crowd::MessageKind;
use crate::weighted::Weighted;

/// A part of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A message to the partner.
    Message(MessageKind),
    /// A request of which the partner sees nothing, or hardly anything.
    Request(RequestKind),
}

/// Requests that a client makes again and again, beside its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// History: the newest entries of the conversation, as when somebody opens it.
    History,
    /// MarkRead: up to the newest entry that the user was told without a gap.
    MarkRead,
    /// Sync: what is new, as when an app comes to the foreground.
    Sync,
}

impl Action {
    /// The message that it is, if it is one.
    pub fn message(self) -> Option<MessageKind> {
        match self {
            Action::Message(kind) => Some(kind),
            Action::Request(_) => None,
        }
    }
}

impl From<MessageKind> for Action {
    fn from(kind: MessageKind) -> Action {
        Action::Message(kind)
    }
}

impl From<MessageKind> for Weighted<Action> {
    fn from(kind: MessageKind) -> Weighted<Action> {
        Weighted::from(Action::Message(kind))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Message(kind) => kind.fmt(f),
            Action::Request(kind) => kind.fmt(f),
        }
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestKind::History => "history",
            RequestKind::MarkRead => "mark_read",
            RequestKind::Sync => "sync",
        })
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Action, String> {
        match text {
            "history" => Ok(Action::Request(RequestKind::History)),
            "mark_read" => Ok(Action::Request(RequestKind::MarkRead)),
            "sync" => Ok(Action::Request(RequestKind::Sync)),
            _ => text.parse().map(Action::Message).map_err(|_: String| {
                "durable, signal, quiet_signal, history, mark_read or sync is expected".to_owned()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_of_messages_and_requests_is_written_as_it_is_read() {
        let text = "durable:5,signal:4,history:3,mark_read:2,sync:1";
        let mix: Weighted<Action> = text.parse().unwrap();
        assert_eq!(mix.to_string(), text);
        let messages: Vec<_> = mix.values().filter_map(|action| action.message()).collect();
        assert_eq!(messages, [MessageKind::Durable, MessageKind::Signal]);
        assert!("read_mark".parse::<Action>().is_err());
    }
}
