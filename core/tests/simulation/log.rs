//! What a simulated client has of a log.

use std::collections::BTreeMap;

use dunlin_protocol::wire::{self, entry};
use prost::Message as _;

/// An entry as far as a client can compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) sender: u64,
    /// The client_message_id of a message; empty for other entries.
    pub(crate) id: Vec<u8>,
    /// The content of a message; another entry as it is on the wire.
    pub(crate) content: Vec<u8>,
}

impl Seen {
    pub(crate) fn of(entry: &wire::Entry) -> Seen {
        let (id, content) = match &entry.body {
            Some(entry::Body::Message(message)) => {
                (message.client_message_id.to_vec(), message.content.to_vec())
            }
            _ => (Vec::new(), entry.encode_to_vec()),
        };
        Seen { sender: entry.sender, id, content }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ClientLog {
    /// Everything up to here is there.
    pub(crate) position: u64,
    pub(crate) entries: BTreeMap<u64, Seen>,
    /// The highest sequence that was heard of.
    pub(crate) target: u64,
    pub(crate) fetching: bool,
    pub(crate) peer_read_seq: u64,
    pub(crate) read_seq: u64,
}

impl ClientLog {
    /// Takes an entry, whatever it came by. An error if it is not what was there before.
    pub(crate) fn take(&mut self, seq: u64, seen: Seen) -> Result<(), String> {
        self.target = self.target.max(seq);
        if let Some(known) = self.entries.get(&seq) {
            if *known != seen {
                return Err(format!("entry {seq} was {known:?} and is {seen:?}"));
            }
        } else {
            self.entries.insert(seq, seen);
        }
        self.advance();
        Ok(())
    }

    /// Below this nothing is there for this client any more.
    pub(crate) fn raise_floor(&mut self, floor: u64) {
        self.position = self.position.max(floor.saturating_sub(1));
        self.advance();
    }

    fn advance(&mut self) {
        while self.entries.contains_key(&(self.position + 1)) {
            self.position += 1;
        }
    }

    pub(crate) fn lacks(&self) -> bool {
        self.position < self.target
    }

    /// The last sequence of the hole that begins after the position.
    pub(crate) fn hole_end(&self) -> u64 {
        let next = self.entries.range(self.position + 1..).next();
        next.map_or(self.target, |(seq, _)| seq - 1)
    }
}
