//! An account in use: its fold, and the changes that wait to be appended to its log.
//!
//! ```text
//!              pages read, newest first, down to a snapshot
//!  Unknown ──► Loading ──► Idle ◄──► Appending
//!     ▲                     │            │
//!     └─────────────────────┴────────────┘ refused or failed: the fold is no longer trusted
//! ```
//!
//! Changes are folded in when they are numbered, so that the next one of the batch sees them. So
//! while a batch is at the store the fold is ahead of what is durable, and nobody may read it.

use std::collections::VecDeque;

use dunlin_protocol::wire::{self, entry};
use dunlin_protocol::{ClientMessageId, LogId, UserId};

use super::account::Account;
use super::entry::{EncodedEntry, decode_entry, encode_entry};
use super::message::Join;
use crate::limits::{
    ACCOUNT_CONVERSATIONS_MAX, ACCOUNT_PAGE_ENTRIES, ACCOUNT_QUEUE_MAX, RESPONSE_BYTES_MAX,
};
use crate::store::{Append, Appended, CursorMove, DedupeKey, EntryMeta, Page, Range};

/// An account log that is in use.
#[derive(Debug)]
pub(super) struct AccountLog {
    pub(super) phase: Phase,
    account: Option<Account>,
    /// In the order of arrival.
    waiting: VecDeque<Change>,
    /// The batch at the store.
    at_store: Vec<Numbered>,
    /// It waits to be numbered at the end of the tick.
    pub(super) is_ready: bool,
    pub(super) used_ms: u64,
}

/// What an account log is doing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// It must be read before anything else.
    Unknown,
    /// It is being read, newest first; these entries were read already.
    Loading(Vec<wire::Entry>),
    /// The fold is what is durable.
    Idle,
    /// A batch of changes is at the store, and in the fold already.
    Appending,
}

/// A change of an account.
#[derive(Debug)]
pub(super) enum Change {
    /// A conversation is joined.
    Join(Join),
    /// A snapshot is due.
    Snapshot,
}

/// What became of a change.
#[derive(Debug)]
pub(super) enum Changed {
    /// It is durable, in this entry.
    Stored { seq: u64, entry: EncodedEntry },
    /// It was so before.
    AlreadySo,
    /// The user may not have more conversations.
    TooMany,
    /// There is no such user.
    NoSuchUser,
}

#[derive(Debug)]
struct Numbered {
    change: Change,
    seq: u64,
    entry: EncodedEntry,
}

/// How a load goes on.
#[derive(Debug)]
pub(super) enum Load {
    /// Read this as well.
    Read(Range),
    /// The account is loaded.
    Done,
    /// An entry can't be read.
    Damaged,
}

impl AccountLog {
    pub(super) fn new() -> AccountLog {
        AccountLog {
            phase: Phase::Unknown,
            account: None,
            waiting: VecDeque::new(),
            at_store: Vec::new(),
            is_ready: false,
            used_ms: 0,
        }
    }

    /// The account as it is durable; `None` if there is no such user, or while it is not known.
    pub(super) fn durable(&self) -> Option<&Account> {
        if self.phase == Phase::Idle { self.account.as_ref() } else { None }
    }

    /// Takes a change; gives it back if too many wait already.
    pub(super) fn enqueue(&mut self, change: Change) -> Result<(), Change> {
        if self.waiting.len() >= ACCOUNT_QUEUE_MAX {
            return Err(change);
        }
        self.waiting.push_back(change);
        Ok(())
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it may be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && matches!(self.phase, Phase::Idle | Phase::Unknown)
    }

    /// Begins to read what is not folded in yet.
    pub(super) fn load(&mut self, user: UserId) -> Range {
        self.phase = Phase::Loading(Vec::new());
        self.page(user, u64::MAX)
    }

    fn page(&self, user: UserId, to: u64) -> Range {
        Range {
            log: LogId::account(user),
            from: self.account.as_ref().map_or(0, |account| account.seq) + 1,
            to,
            entries_max: ACCOUNT_PAGE_ENTRIES,
            bytes_max: RESPONSE_BYTES_MAX,
            backwards: true,
        }
    }

    /// A page was read: goes on until it meets a snapshot or what is folded in already.
    pub(super) fn loaded(&mut self, user: UserId, page: &Page) -> Load {
        let Phase::Loading(newer) = &mut self.phase else { return Load::Done };
        for stored in &page.entries {
            let Some(entry) = decode_entry(stored) else { return Load::Damaged };
            let is_snapshot = matches!(entry.body, Some(entry::Body::AccountSnapshot(_)));
            newer.push(entry);
            if is_snapshot {
                self.fold();
                return Load::Done;
            }
        }
        if page.more
            && let Some(oldest) = newer.last()
        {
            let to = oldest.seq - 1;
            return Load::Read(self.page(user, to));
        }
        self.fold();
        Load::Done
    }

    fn fold(&mut self) {
        let Phase::Loading(mut newer) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        while let Some(entry) = newer.pop() {
            self.account.get_or_insert_default().apply(&entry);
        }
    }

    /// Numbers what waits and adds it to `appends`; what needs no entry is handed to `done` at
    /// once. Returns how many were numbered.
    pub(super) fn number(
        &mut self,
        user: UserId,
        now_ms: u64,
        appends: &mut Vec<Append>,
        mut done: impl FnMut(Change, Changed),
    ) -> usize {
        self.is_ready = false;
        if self.phase != Phase::Idle {
            return 0;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let Some(account) = &mut self.account else {
            waiting.into_iter().for_each(|change| done(change, Changed::NoSuchUser));
            return 0;
        };
        for change in waiting {
            match change.needed(account) {
                Needed::Entry => {
                    let (append, numbered) = change.append(user, account, now_ms);
                    appends.push(append);
                    self.at_store.push(numbered);
                }
                // It may be so by an entry of this very batch, which is not durable yet.
                Needed::Nothing if !self.at_store.is_empty() => self.waiting.push_back(change),
                Needed::Nothing => done(change, Changed::AlreadySo),
                Needed::Refusal => done(change, Changed::TooMany),
            }
        }
        if !self.at_store.is_empty() {
            self.phase = Phase::Appending;
        }
        self.at_store.len()
    }

    /// The store has answered for the batch. What was refused for a stale head waits again, in its
    /// order, for the account to be read anew.
    pub(super) fn settle(&mut self, results: &[Appended], mut done: impl FnMut(Change, Changed)) {
        debug_assert_eq!(self.at_store.len(), results.len());
        self.phase = Phase::Idle;
        let mut refused = VecDeque::new();
        for (numbered, result) in self.at_store.drain(..).zip(results) {
            let Numbered { change, seq, entry } = numbered;
            match result {
                Appended::Stored => done(change, Changed::Stored { seq, entry }),
                Appended::Duplicate { .. } => {
                    self.phase = Phase::Unknown;
                    done(change, Changed::AlreadySo);
                }
                Appended::Conflict { .. } => {
                    self.phase = Phase::Unknown;
                    refused.push_back(change);
                }
            }
        }
        refused.append(&mut self.waiting);
        self.waiting = refused;
        if self.phase == Phase::Unknown {
            self.account = None;
        } else if self.account.as_ref().is_some_and(Account::snapshot_is_due) {
            self.waiting.push_back(Change::Snapshot);
        }
    }

    /// The log can't be read or appended to: gives back all changes, and forgets the fold.
    pub(super) fn fail(&mut self) -> Vec<Change> {
        self.phase = Phase::Unknown;
        self.account = None;
        let at_store = self.at_store.drain(..).map(|numbered| numbered.change);
        at_store.chain(self.waiting.drain(..)).collect()
    }
}

enum Needed {
    Entry,
    Nothing,
    Refusal,
}

impl Change {
    fn needed(&self, account: &Account) -> Needed {
        match self {
            Change::Join(join) if account.conversations.contains_key(&join.conversation) => {
                Needed::Nothing
            }
            Change::Join(_) if account.conversations.len() >= ACCOUNT_CONVERSATIONS_MAX => {
                Needed::Refusal
            }
            Change::Join(_) => Needed::Entry,
            Change::Snapshot if account.snapshot_is_due() => Needed::Entry,
            Change::Snapshot => Needed::Nothing,
        }
    }

    /// Makes the entry of this change, and folds it in.
    fn append(self, user: UserId, account: &mut Account, now_ms: u64) -> (Append, Numbered) {
        let log = LogId::account(user);
        let seq = account.seq + 1;
        let meta = EntryMeta { time_ms: now_ms.max(account.time_ms), ..EntryMeta::default() };
        let (body, key, cursor) = match &self {
            Change::Join(join) => {
                let conversation_id = join.conversation.to_wire();
                let joined = wire::ConversationJoined { conversation_id };
                // Another node may join the user at the same moment: one of the two is stored.
                let client_message_id = ClientMessageId(*join.conversation.as_bytes());
                let key = DedupeKey { sender: user, client_message_id };
                (entry::Body::ConversationJoined(joined), Some(key), None::<CursorMove>)
            }
            Change::Snapshot => (entry::Body::AccountSnapshot(account.snapshot()), None, None),
        };
        let wire_entry = wire::Entry {
            seq,
            time_ms: meta.time_ms,
            body: Some(body.clone()),
            ..wire::Entry::default()
        };
        account.apply(&wire_entry);
        let entry = encode_entry(log, seq, &meta, body);
        let append = Append { log, seq, meta, key, digest: 0, cursor, body: entry.body.clone() };
        (append, Numbered { change: self, seq, entry })
    }
}
