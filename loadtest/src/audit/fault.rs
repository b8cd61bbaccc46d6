//! What the auditor can find, and the list of what it found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Faults that are quoted in full; all of them are counted.
const EXAMPLES_MAX: usize = 20;

/// A breach of the promise. `user` is the index of a user within the run, `counter` counts the
/// messages of their sender, `seq` is a sequence of their conversation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// Acknowledged, but not in the log.
    #[error("lost: message {counter} of user {user} was acknowledged and is not stored")]
    Lost { user: u32, counter: u32 },
    /// The newest sequence became smaller than what was acknowledged or delivered.
    #[error("lost: user {user} had the log up to seq {known}, now its head is {head}")]
    HeadWentBack { user: u32, known: u64, head: u64 },
    /// A read cursor is behind what was answered.
    #[error("lost: user {user} had marked seq {marked} as read, now only {found} is")]
    ReadMarkWentBack { user: u32, marked: u64, found: u64 },
    /// Stored twice, delivered twice on one connection, or acknowledged twice.
    #[error("duplicated: message {counter} of user {user} ({place})")]
    Duplicated { user: u32, counter: u32, place: &'static str },
    /// A push that comes again on the same connection.
    #[error("duplicated: user {user} got seq {seq} pushed twice")]
    PushedTwice { user: u32, seq: u64 },
    /// Stored in another order than sent.
    #[error("reordered: message {counter} of user {user} comes after a later one ({place})")]
    Reordered { user: u32, counter: u32, place: &'static str },
    /// Pushed in another order than stored.
    #[error("reordered: user {user} got seq {seq} pushed after a later one")]
    PushedLate { user: u32, seq: u64 },
    /// Something in the conversation that nobody sent.
    #[error("phantom: user {user} got seq {seq}: {detail}")]
    Phantom { user: u32, seq: u64, detail: String },
    /// Something that was sent, with other bytes.
    #[error("altered: user {user} got seq {seq}: {detail}")]
    Altered { user: u32, seq: u64, detail: String },
    /// One sequence names two entries.
    #[error("sequence reused: user {user} knows seq {seq} as another entry")]
    SequenceReused { user: u32, seq: u64 },
    /// The log skips or repeats a sequence.
    #[error("not dense: user {user} read seq {found} where {expected} should be")]
    NotDense { user: u32, expected: u64, found: u64 },
    /// What a user was told while it was connected is not what the log says.
    #[error("diverged: what user {user} was told of seq {from} to {to} is not what is stored")]
    Diverged { user: u32, from: u64, to: u64 },
    /// Stored, but the connected user never heard of it.
    #[error("undelivered: user {user} was told up to seq {told}, the head is {head}")]
    Undelivered { user: u32, told: u64, head: u64 },
    /// The epoch changed: the server says that history was lost.
    #[error("lost: user {user} saw the epoch change from {before} to {after}")]
    EpochChanged { user: u32, before: u64, after: u64 },
    /// A request that was never answered.
    #[error("unanswered: {requests} requests of user {user}")]
    Unanswered { user: u32, requests: usize },
    /// A response to nothing that was asked.
    #[error("unexpected response: request id {request_id} of user {user}")]
    UnexpectedResponse { user: u32, request_id: u64 },
    /// A valid request got an error that forbids to retry it.
    #[error("refused: user {user} got error {code} ({message})")]
    Refused { user: u32, code: i32, message: String },
    /// The connection was closed where the scenario does not allow it.
    #[error("closed: connection of user {user}: {detail}")]
    Closed { user: u32, detail: String },
    /// Bytes that are no frame, or a frame that may not be sent now.
    #[error("protocol: user {user}: {detail}")]
    Protocol { user: u32, detail: String },
    /// What another process of the run found, in its words.
    #[error("{words}")]
    Elsewhere { kind: &'static str, words: String },
}

/// The words of [`Fault::kind`].
const KINDS: [&str; 14] = [
    "lost",
    "duplicated",
    "reordered",
    "phantom",
    "altered",
    "sequence_reused",
    "not_dense",
    "diverged",
    "undelivered",
    "unanswered",
    "unexpected_response",
    "refused",
    "closed",
    "protocol",
];

impl Fault {
    /// The word under which it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Lost { .. }
            | Fault::HeadWentBack { .. }
            | Fault::ReadMarkWentBack { .. }
            | Fault::EpochChanged { .. } => "lost",
            Fault::Duplicated { .. } | Fault::PushedTwice { .. } => "duplicated",
            Fault::Reordered { .. } | Fault::PushedLate { .. } => "reordered",
            Fault::Phantom { .. } => "phantom",
            Fault::Altered { .. } => "altered",
            Fault::SequenceReused { .. } => "sequence_reused",
            Fault::NotDense { .. } => "not_dense",
            Fault::Diverged { .. } => "diverged",
            Fault::Undelivered { .. } => "undelivered",
            Fault::Unanswered { .. } => "unanswered",
            Fault::UnexpectedResponse { .. } => "unexpected_response",
            Fault::Refused { .. } => "refused",
            Fault::Closed { .. } => "closed",
            Fault::Protocol { .. } => "protocol",
            Fault::Elsewhere { kind, .. } => kind,
        }
    }
}

/// Counts all faults and keeps the first ones, so that a run that goes wrong in every message
/// does not also run out of memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(into = "Notes", try_from = "Notes")]
pub struct FaultLog {
    counts: BTreeMap<&'static str, u64>,
    examples: Vec<Fault>,
}

impl FaultLog {
    /// Takes note of a fault.
    pub fn add(&mut self, fault: Fault) {
        debug_assert!(KINDS.contains(&fault.kind()), "{fault} could not be told to others");
        *self.counts.entry(fault.kind()).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(fault);
        }
    }

    /// Adds what another thread found.
    pub fn merge(&mut self, other: FaultLog) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        let room = EXAMPLES_MAX - self.examples.len();
        self.examples.extend(other.examples.into_iter().take(room));
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often each kind was found.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// The first ones.
    pub fn examples(&self) -> &[Fault] {
        &self.examples
    }
}

/// A [`FaultLog`] on its way to another process.
#[derive(Serialize, Deserialize)]
struct Notes {
    counts: BTreeMap<String, u64>,
    /// Kind and words.
    examples: Vec<(String, String)>,
}

impl From<FaultLog> for Notes {
    fn from(log: FaultLog) -> Notes {
        let words = |fault: &Fault| (fault.kind().to_owned(), fault.to_string());
        Notes {
            counts: log.counts.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            examples: log.examples.iter().map(words).collect(),
        }
    }
}

/// A kind of fault that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no kind of fault: {0}")]
pub struct UnknownKind(String);

impl TryFrom<Notes> for FaultLog {
    type Error = UnknownKind;

    fn try_from(notes: Notes) -> Result<FaultLog, UnknownKind> {
        let known =
            |kind: String| KINDS.into_iter().find(|known| *known == kind).ok_or(UnknownKind(kind));
        let counts = notes.counts.into_iter().map(|(kind, count)| Ok((known(kind)?, count)));
        let examples = notes.examples.into_iter().take(EXAMPLES_MAX);
        let examples =
            examples.map(|(kind, words)| Ok(Fault::Elsewhere { kind: known(kind)?, words }));
        Ok(FaultLog {
            counts: counts.collect::<Result<_, _>>()?,
            examples: examples.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_found_is_told_in_its_words() {
        let mut log = FaultLog::default();
        log.add(Fault::Lost { user: 1, counter: 7 });
        log.add(Fault::Duplicated { user: 2, counter: 8, place: "signal" });
        let json = serde_json::to_string(&log).unwrap();
        let told: FaultLog = serde_json::from_str(&json).unwrap();
        assert_eq!(told.counts(), log.counts());
        let words = |log: &FaultLog| log.examples().iter().map(ToString::to_string).collect();
        let (words, expected): (Vec<_>, Vec<_>) = (words(&told), words(&log));
        assert_eq!(words, expected);
        assert_eq!(serde_json::to_string(&told).unwrap(), json);
        assert!(serde_json::from_str::<FaultLog>(&json.replace("lost", "found")).is_err());
    }

    #[test]
    fn all_are_counted_and_few_are_kept() {
        let mut log = FaultLog::default();
        let mut other = FaultLog::default();
        for counter in 0..50 {
            log.add(Fault::Lost { user: 1, counter });
            other.add(Fault::PushedTwice { user: 1, seq: 2 });
        }
        log.merge(other);
        assert_eq!(log.counts()["lost"], 50);
        assert_eq!(log.counts()["duplicated"], 50);
        assert_eq!(log.examples().len(), EXAMPLES_MAX);
    }
}
