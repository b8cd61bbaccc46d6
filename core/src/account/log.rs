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

use super::fold::Account;
use super::read::MarkRead;
use crate::entry::{EncodedEntry, decode_entry, encode_entry};
use crate::limits::{
    ACCOUNT_CONVERSATIONS_MAX, ACCOUNT_PAGE_ENTRIES, ACCOUNT_QUEUE_MAX, RESPONSE_BYTES_MAX,
};
use crate::store::{Append, Appended, CursorMove, DedupeKey, EntryMeta, Page, Range};
use crate::sync::SyncId;
use crate::worker::message::Join;

/// An account log that is in use.
#[derive(Debug)]
pub(super) struct AccountLog {
    pub(super) phase: Phase,
    account: Option<Account>,
    /// In the order of arrival.
    waiting: VecDeque<Change>,
    /// Who waits to read the account when it is durable and up to date.
    readers: Vec<Reader>,
    /// Other nodes may have appended since it was read, as far as the readers know.
    is_stale: bool,
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
pub(crate) enum Change {
    /// A conversation is joined.
    Join(Join),
    /// A read cursor moves.
    Read(MarkRead),
    /// A snapshot is due.
    Snapshot,
}

/// Who reads the account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader {
    /// A sync.
    Sync(SyncId),
}

/// What an account log needs next.
#[derive(Debug)]
pub(super) enum Need {
    /// Nothing, or an answer that is under way.
    Nothing,
    /// This must be read.
    Load(Range),
    /// It can be read, by these.
    Serve(Vec<Reader>),
    /// Changes can be numbered at the end of the tick.
    Number,
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
            readers: Vec::new(),
            is_stale: false,
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

    /// Takes a reader. If other nodes may append to the log, it must be read up to its end anew.
    pub(super) fn add_reader(&mut self, reader: Reader, others_append: bool) {
        self.readers.push(reader);
        self.is_stale |= others_append;
    }

    /// Whether it may be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.readers.is_empty()
            && matches!(self.phase, Phase::Idle | Phase::Unknown)
    }

    /// Takes the next step, if there is something to do. To be asked until it needs nothing.
    pub(super) fn next_step(&mut self, user: UserId) -> Need {
        let readers_wait = !self.readers.is_empty();
        match self.phase {
            Phase::Unknown if readers_wait || !self.waiting.is_empty() => self.load(user),
            Phase::Idle if readers_wait && self.is_stale => self.load(user),
            Phase::Idle if readers_wait => {
                self.forget_absence();
                Need::Serve(std::mem::take(&mut self.readers))
            }
            Phase::Idle if !self.waiting.is_empty() && !self.is_ready => {
                self.is_ready = true;
                Need::Number
            }
            Phase::Unknown | Phase::Idle | Phase::Loading(_) | Phase::Appending => Need::Nothing,
        }
    }

    /// A user who does not exist now may come into being at any time.
    fn forget_absence(&mut self) {
        if self.account.is_none() {
            self.phase = Phase::Unknown;
        }
    }

    fn load(&mut self, user: UserId) -> Need {
        self.phase = Phase::Loading(Vec::new());
        // Who comes from now on may know of entries that this does not read.
        self.is_stale = false;
        Need::Load(self.page(user, u64::MAX))
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
            self.forget_absence();
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

    /// What the last batch was to follow, if its fate is not known.
    pub(super) fn unsure_after(&self) -> Option<u64> {
        self.at_store.first().map(|numbered| numbered.seq - 1)
    }

    /// The log can't be read or appended to: gives back everybody who waits, and forgets the fold.
    pub(super) fn fail(&mut self) -> (Vec<Change>, Vec<Reader>) {
        self.phase = Phase::Unknown;
        self.account = None;
        let at_store = self.at_store.drain(..).map(|numbered| numbered.change);
        let changes = at_store.chain(self.waiting.drain(..)).collect();
        (changes, std::mem::take(&mut self.readers))
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
            Change::Read(mark) => {
                let read = account.conversations.get(&mark.conversation);
                let moves = read.is_none_or(|read| read.seq < mark.seq);
                if moves { Needed::Entry } else { Needed::Nothing }
            }
            Change::Snapshot if account.snapshot_is_due() => Needed::Entry,
            Change::Snapshot => Needed::Nothing,
        }
    }

    /// Makes the entry of this change, and folds it in.
    fn append(self, user: UserId, account: &mut Account, now_ms: u64) -> (Append, Numbered) {
        let log = LogId::account(user);
        let seq = account.seq + 1;
        let mut meta = EntryMeta { time_ms: now_ms.max(account.time_ms), ..EntryMeta::default() };
        let (body, key, cursor) = match &self {
            Change::Join(join) => {
                let conversation_id = join.conversation.to_wire();
                let joined = wire::ConversationJoined { conversation_id };
                // Another node may join the user at the same moment: one of the two is stored.
                let client_message_id = ClientMessageId(*join.conversation.as_bytes());
                let key = DedupeKey { sender: user, client_message_id };
                (entry::Body::ConversationJoined(joined), Some(key), None)
            }
            Change::Read(mark) => {
                meta.sender = user.get();
                let MarkRead { conversation, seq, others_counted, .. } = *mark;
                let conversation_id = conversation.to_wire();
                let moved = wire::ReadMoved { conversation_id, seq, others_counted };
                let cursor = CursorMove { conversation, user, seq };
                (entry::Body::ReadMoved(moved), None, Some(cursor))
            }
            Change::Snapshot => (entry::Body::AccountSnapshot(account.snapshot()), None, None),
        };
        let wire_entry = wire::Entry {
            seq,
            time_ms: meta.time_ms,
            sender: meta.sender,
            body: Some(body.clone()),
            ..wire::Entry::default()
        };
        account.apply(&wire_entry);
        let entry = encode_entry(log, seq, &meta, body);
        let append = Append { log, seq, meta, key, digest: 0, cursor, body: entry.body.clone() };
        (append, Numbered { change: self, seq, entry })
    }
}
