//! What an attacker says: a script that never ends, or does after the first words.

use bytes::Bytes;
use clap::ValueEnum;
use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_PREFIX_BYTES, REQUESTS_OUTSTANDING_MAX,
};
use dunlin_protocol::wire::{History, Send, Sync, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};
use serde::{Deserialize, Serialize};

/// See [`Hostile::attack`](super::Hostile::attack).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the setting explains them")]
pub enum Attack {
    BegunFrames,
    UnreadPages,
    LargeSends,
    ManySyncs,
    SilentConnections,
}

/// Entries of the log of which pages are asked for: one page has most of a megabyte.
const PAGE_ENTRIES: u64 = 16;

/// Syncs that an attacker asks for at once.
const SYNCS: u64 = 64;

impl Attack {
    /// Whether attackers log in before they begin.
    pub(super) fn needs_login(self) -> bool {
        match self {
            Attack::BegunFrames | Attack::UnreadPages | Attack::LargeSends | Attack::ManySyncs => {
                true
            }
            Attack::SilentConnections => false,
        }
    }

    /// Whether they read what they are answered: if not, whatever waits for them stays where it is.
    pub(super) fn reads(self) -> bool {
        match self {
            Attack::BegunFrames
            | Attack::LargeSends
            | Attack::ManySyncs
            | Attack::SilentConnections => true,
            Attack::UnreadPages => false,
        }
    }

    /// What is said after the login, before the attack: something to read, for those who will.
    pub(super) fn preparation(self, user: Option<UserId>) -> Vec<Body> {
        match (self, user) {
            (Attack::UnreadPages, Some(user)) => {
                (0..PAGE_ENTRIES).map(|number| send(user, number)).collect()
            }
            (
                Attack::BegunFrames
                | Attack::UnreadPages
                | Attack::LargeSends
                | Attack::ManySyncs
                | Attack::SilentConnections,
                _,
            ) => Vec::new(),
        }
    }

    /// The next words of a script, which begins with round 0; empty if nothing more is said. A request is
    /// answered under its number.
    pub(super) fn words(self, user: Option<UserId>, round: u64) -> Vec<u8> {
        match (self, user) {
            (Attack::BegunFrames, Some(_)) if round == 0 => begun_frame(),
            (Attack::UnreadPages, Some(user)) if round == 0 => {
                let pages = (1..=u64::from(REQUESTS_OUTSTANDING_MAX)).map(|_| page(user));
                encoded(pages, 1)
            }
            (Attack::LargeSends, Some(user)) => encoded([send(user, round)], round + 1),
            (Attack::ManySyncs, Some(_)) => {
                let syncs = (0..SYNCS).map(|_| Body::Sync(Sync::default()));
                encoded(syncs, round * SYNCS + 1)
            }
            (Attack::BegunFrames | Attack::UnreadPages | Attack::SilentConnections, _)
            | (Attack::LargeSends | Attack::ManySyncs, None) => Vec::new(),
        }
    }
}

/// A Sync of the largest size, but for its last byte.
fn begun_frame() -> Vec<u8> {
    let mut bytes = FRAME_BYTES_MAX.to_be_bytes().to_vec();
    // Request id 1, then the field of a Sync.
    bytes.extend_from_slice(&[0x08, 1, 0xaa, 0x02]);
    bytes.resize(FRAME_PREFIX_BYTES + FRAME_BYTES_MAX as usize - 1, 0);
    bytes
}

fn send(user: UserId, number: u64) -> Body {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(number + 1).to_be_bytes());
    Body::Send(Send {
        conversation_id: LogId::direct(user, user).to_wire(),
        client_message_id: Bytes::copy_from_slice(&id),
        content_type: "x-load".into(),
        content: vec![number as u8; CONTENT_BYTES_MAX].into(),
        ..Send::default()
    })
}

fn page(user: UserId) -> Body {
    let conversation_id = LogId::direct(user, user).to_wire();
    Body::History(History { conversation_id, from_seq: 1, ..History::default() })
}

fn encoded(bodies: impl IntoIterator<Item = Body>, first_id: u64) -> Vec<u8> {
    let frames = (first_id..).zip(bodies);
    frames.flat_map(|(id, body)| EncodedFrame::response(id, body).into_wire()).collect()
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::frame;

    use super::*;

    #[test]
    fn words_are_frames_but_for_one_that_never_ends() {
        let user = UserId::new(7).ok();
        for attack in Attack::value_variants() {
            for round in 0..3 {
                let words = attack.words(user, round);
                let mut rest = &words[..];
                while let Ok(Some((body, behind))) = frame::split(rest, FRAME_BYTES_MAX) {
                    frame::decode(Bytes::copy_from_slice(body)).unwrap();
                    rest = behind;
                }
                let is_begun = *attack == Attack::BegunFrames && round == 0;
                assert_eq!(!rest.is_empty(), is_begun, "{attack:?} {round}");
                assert_eq!(rest.len() == FRAME_BYTES_MAX as usize + 3, is_begun);
            }
        }
    }
}
