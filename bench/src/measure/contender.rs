//! Who is measured, and with what: the same four for pairs and for one who writes to many, and WebSockets for pairs.

use dunlin_loadtest::chat::MessageKind;
use serde::Serialize;

/// One of those that run in turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// The limit.
    Relay,
    /// Dunlin, not even answering.
    QuietSignals,
    /// Dunlin without its store.
    Signals,
    /// The same, by WebSocket.
    SignalsByWeb,
    /// Dunlin.
    DurableMessages,
}

/// In the order of a turn.
pub(super) const CONTENDERS: [Contender; 4] =
    [Contender::Relay, Contender::QuietSignals, Contender::Signals, Contender::DurableMessages];

/// The same for pairs. What is new comes behind: the places of the others are those of all.
pub(super) const PAIR_CONTENDERS: [Contender; 5] = {
    let [relay, quiet, signals, durable] = CONTENDERS;
    [relay, quiet, signals, durable, Contender::SignalsByWeb]
};

impl Contender {
    pub(super) fn message(self) -> MessageKind {
        match self {
            Contender::Relay | Contender::QuietSignals => MessageKind::QuietSignal,
            Contender::Signals | Contender::SignalsByWeb => MessageKind::Signal,
            Contender::DurableMessages => MessageKind::Durable,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Contender::Relay => "relay",
            Contender::QuietSignals => "quiet signals",
            Contender::Signals => "signals",
            Contender::SignalsByWeb => "signals by web",
            Contender::DurableMessages => "durable messages",
        }
    }
}
