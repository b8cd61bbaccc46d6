//! A client that keeps what it is told, and nothing else.

use super::*;

/// What a client shows of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    pub(super) head: u64,
    pub(super) read_seq: u64,
    pub(super) peer_read_seq: u64,
    pub(super) unread: u64,
    pub(super) hidden_up_to: u64,
    pub(super) peer: String,
}

/// A client that keeps what it is told, and nothing else.
#[derive(Default)]
pub(super) struct Device {
    pub(super) token: Box<[u8]>,
    pub(super) known: BTreeMap<LogId, Known>,
    pub(super) settings: BTreeMap<String, Bytes>,
    /// What was named since it is told everything.
    pub(super) named: Option<(BTreeSet<LogId>, BTreeSet<String>)>,
    pub(super) told: usize,
}

impl Device {
    pub(super) fn take(&mut self, synced: &wire::Synced) {
        if synced.afresh {
            self.named = Some(Default::default());
        }
        for state in &synced.conversations {
            let log = LogId::from_wire(&state.conversation_id).unwrap();
            let known = self.known.entry(log).or_default();
            if let Some(peer) = &state.peer {
                known.peer = peer.username.clone();
            }
            known.head = state.head;
            known.read_seq = state.read_seq;
            known.peer_read_seq = state.peer_read_seq;
            known.unread = state.unread;
            known.hidden_up_to =
                state.membership.as_ref().map_or(0, |membership| membership.hidden_up_to);
            if let Some(last) = state.entries.last() {
                assert_eq!(last.seq, state.head);
                let seqs = state.entries.iter().map(|entry| entry.seq);
                assert!(seqs.rev().zip((0..=state.head).rev()).all(|(is, right)| is == right));
            }
            if let Some((named, _)) = &mut self.named {
                named.insert(log);
            }
            self.told += 1;
        }
        for setting in &synced.settings {
            if setting.value.is_empty() {
                self.settings.remove(&setting.key);
            } else {
                self.settings.insert(setting.key.clone(), setting.value.clone());
            }
            if let Some((_, named)) = &mut self.named {
                named.insert(setting.key.clone());
            }
        }
        if !synced.more
            && let Some((logs, settings)) = self.named.take()
        {
            self.known.retain(|log, _| logs.contains(log));
            self.settings.retain(|key, _| settings.contains(key));
        }
        self.token = synced.token[..].into();
    }

    /// Asks who they are of whom it was not told: of a conversation that had begun with nothing in it. How many
    /// those were.
    pub(super) fn find_names(&mut self) -> usize {
        let lacking = self.known.iter_mut().filter(|(_, known)| known.peer.is_empty());
        let find = |(log, known): (&LogId, &mut Known)| {
            known.peer = format!("u{}", log.direct_members().unwrap().1.get());
        };
        lacking.map(find).count()
    }

    /// Some of what it knows, named in the next question.
    pub(super) fn from(&self, chance: &mut Chance, bytes_max: u32) -> SyncFrom {
        let named = self.known.iter().filter(|_| chance.below(3) == 0);
        let positions = named.map(|(log, known)| Position {
            conversation: *log,
            seq: known.head,
            peer_read_seq: known.peer_read_seq,
            read_seq: known.read_seq,
            time_ms: 0,
        });
        let positions = positions.collect();
        let token = self.token.clone();
        SyncFrom { epoch: EPOCH, token, positions, bytes_max, ..from_nothing() }
    }
}
