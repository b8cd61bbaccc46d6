//! What the entries of an account log add up to.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, entry};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::ACCOUNT_SNAPSHOT_ENTRIES;

/// A user's account, folded from its log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Account {
    /// The name, as it was registered or issued.
    pub(crate) username: String,
    /// The name for people.
    pub(crate) display_name: String,
    /// The conversations that the user is a member of, and how far they are read.
    pub(crate) conversations: HashMap<LogId, ReadState, RandomState>,
    /// Up to where the log is folded in.
    pub(crate) seq: u64,
    /// The time of that entry.
    pub(crate) time_ms: u64,
    /// Where the newest snapshot is, or 0.
    pub(crate) snapshot_seq: u64,
}

/// How far a conversation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReadState {
    /// Up to this sequence.
    pub(crate) seq: u64,
    /// How many entries of others count up to there.
    pub(crate) others_counted: u64,
}

impl Account {
    /// Folds one more entry in: the next one, or a snapshot.
    pub(crate) fn apply(&mut self, entry: &wire::Entry) {
        self.seq = entry.seq;
        self.time_ms = entry.time_ms;
        match &entry.body {
            Some(entry::Body::AccountCreated(created)) => {
                self.username.clone_from(&created.username);
                self.display_name.clone_from(&created.display_name);
            }
            Some(entry::Body::ConversationJoined(joined)) => {
                self.join(&joined.conversation_id);
            }
            Some(entry::Body::ReadMoved(read)) => self.read(read),
            Some(entry::Body::AccountSnapshot(snapshot)) => self.restore(entry.seq, snapshot),
            // Of a later version, or of another kind of log: nothing that concerns us.
            Some(entry::Body::Message(_) | entry::Body::Void(_)) | None => {}
        }
    }

    fn join(&mut self, conversation_id: &[u8]) {
        if let Ok(conversation) = LogId::from_wire(conversation_id) {
            self.conversations.entry(conversation).or_default();
        }
    }

    fn read(&mut self, read: &wire::ReadMoved) {
        let Ok(conversation) = LogId::from_wire(&read.conversation_id) else { return };
        let state = self.conversations.entry(conversation).or_default();
        if read.seq > state.seq {
            *state = ReadState { seq: read.seq, others_counted: read.others_counted };
        }
    }

    fn restore(&mut self, seq: u64, snapshot: &wire::AccountSnapshot) {
        self.username.clone_from(&snapshot.username);
        self.display_name.clone_from(&snapshot.display_name);
        self.conversations.clear();
        self.snapshot_seq = seq;
        for read in &snapshot.conversations {
            self.join(&read.conversation_id);
            self.read(read);
        }
    }

    /// The same, as one entry.
    pub(crate) fn snapshot(&self) -> wire::AccountSnapshot {
        let conversations = self.conversations.iter().map(|(log, read)| wire::ReadMoved {
            conversation_id: log.to_wire(),
            seq: read.seq,
            others_counted: read.others_counted,
        });
        wire::AccountSnapshot {
            username: self.username.clone(),
            display_name: self.display_name.clone(),
            conversations: conversations.collect(),
        }
    }

    /// Whether so much was appended since the last snapshot that the next one pays: with many
    /// conversations it is as long as the entries that it saves reading.
    pub(crate) fn snapshot_is_due(&self) -> bool {
        let interval = ACCOUNT_SNAPSHOT_ENTRIES.max(self.conversations.len() as u64);
        self.seq - self.snapshot_seq >= interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_protocol::UserId;

    fn entry(seq: u64, body: entry::Body) -> wire::Entry {
        wire::Entry { seq, time_ms: seq * 10, body: Some(body), ..wire::Entry::default() }
    }

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn joined(id: u64) -> entry::Body {
        let conversation_id = LogId::direct(user(1), user(id)).to_wire();
        entry::Body::ConversationJoined(wire::ConversationJoined { conversation_id })
    }

    fn read(id: u64, seq: u64, others_counted: u64) -> entry::Body {
        let conversation_id = LogId::direct(user(1), user(id)).to_wire();
        entry::Body::ReadMoved(wire::ReadMoved { conversation_id, seq, others_counted })
    }

    #[test]
    fn a_snapshot_says_what_the_entries_before_it_say() {
        let mut account = Account::default();
        let created = wire::AccountCreated { username: "ann".into(), display_name: "Ann".into() };
        let entries =
            [entry::Body::AccountCreated(created), joined(2), joined(3), read(2, 7, 4), joined(2)];
        for (seq, body) in (1..).zip(entries) {
            account.apply(&entry(seq, body));
        }
        let snapshot = entry(6, entry::Body::AccountSnapshot(account.snapshot()));
        let mut restored = Account::default();
        restored.apply(&snapshot);
        account.apply(&snapshot);
        assert_eq!(restored, account);
        assert_eq!((restored.seq, restored.snapshot_seq), (6, 6));
        let state = restored.conversations[&LogId::direct(user(1), user(2))];
        assert_eq!(state, ReadState { seq: 7, others_counted: 4 });
    }

    #[test]
    fn a_read_cursor_never_moves_back() {
        let mut account = Account::default();
        account.apply(&entry(1, read(2, 7, 4)));
        account.apply(&entry(2, read(2, 5, 3)));
        let state = account.conversations[&LogId::direct(user(1), user(2))];
        assert_eq!(state, ReadState { seq: 7, others_counted: 4 });
    }

    #[test]
    fn snapshots_are_due_at_the_interval() {
        let mut account = Account { seq: 255, ..Account::default() };
        assert!(!account.snapshot_is_due());
        account.apply(&entry(256, joined(2)));
        assert!(account.snapshot_is_due());
        account.apply(&entry(257, entry::Body::AccountSnapshot(account.snapshot())));
        assert!(!account.snapshot_is_due());
    }
}
