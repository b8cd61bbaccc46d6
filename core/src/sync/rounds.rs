//! The two rounds of reading of a sync, as a pure state machine: answers in, next reads out.

use dunlin_protocol::wire;
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost::Message as _;

use super::SyncPage;
use crate::account::{Account, ReadState};
use crate::entry::{decode_entries, others_counted};
use crate::limits::{
    ACCOUNT_CONVERSATIONS_MAX, RESPONSE_BYTES_MAX, SYNC_ACCOUNT_BYTES_MAX,
    SYNC_CONVERSATION_BYTES_MAX, SYNC_CONVERSATIONS_MAX, SYNC_READS_MAX,
};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal};
use crate::request::{Client, Position, SyncFrom};
use crate::store::{Head, Page, Range};

/// A sync that was taken.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) client: Client,
    round: Round,
}

#[derive(Debug)]
enum Round {
    /// The account is not known yet.
    Account(SyncFrom),
    First(FirstRound),
    Second(SecondRound),
}

/// What the first round reads.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) account_entries: Range,
    /// The conversations, in one order with the cursors.
    pub(super) logs: Vec<LogId>,
    pub(super) cursors: Vec<(LogId, UserId)>,
}

/// Heads, cursors and account entries are being read.
#[derive(Debug)]
struct FirstRound {
    entries_max: usize,
    /// What the client has; empty if its epoch is another one.
    positions: HashMap<LogId, Position, RandomState>,
    conversations: Vec<(LogId, ReadState)>,
    account_from: u64,
    account_head: u64,
    account_entries: Option<Vec<wire::Entry>>,
    heads: Option<Vec<Head>>,
    cursors: Option<Vec<u64>>,
}

/// The entries of what has changed are being read, some conversations at a time.
#[derive(Debug)]
struct SecondRound {
    entries_max: usize,
    account_head: u64,
    account_entries: Vec<wire::Entry>,
    /// The most recently used first.
    changed: Vec<Changed>,
    /// How many of them fit into the response, how many were asked for after these, and how many
    /// of those are not answered. So fitting <= asked <= changed.
    fitting: usize,
    asked: usize,
    outstanding: usize,
    /// Size of what fits.
    bytes: usize,
    more: bool,
}

/// A conversation that is not as the client has it.
#[derive(Debug)]
struct Changed {
    log: LogId,
    time_ms: u64,
    /// The first sequence that the client lacks.
    from: u64,
    state: wire::ConversationState,
}

/// What a sync does next.
pub(super) enum Step {
    /// Answers are missing.
    Wait,
    /// Read these ranges, each of a changed conversation.
    Read(Vec<(usize, Range)>),
    /// Everything is here.
    Done,
}

impl Sync {
    pub(super) fn new(client: Client, from: SyncFrom) -> Sync {
        Sync { client, round: Round::Account(from) }
    }

    /// The account is known: what to read, all at once. `None` if that was asked before.
    pub(super) fn begin(&mut self, account: &Account, epoch: u64) -> Option<Asked> {
        let first = match &self.round {
            Round::Account(from) => FirstRound::new(from, account, epoch),
            Round::First(_) | Round::Second(_) => return None,
        };
        let asked = first.asked(self.client.user);
        self.round = Round::First(first);
        Some(asked)
    }

    pub(super) fn page_read(&mut self, page: SyncPage, read: &Page) -> Result<Step, Refusal> {
        let entries = decode_entries(read).ok_or(DATA_CORRUPT)?;
        match (&mut self.round, page) {
            (Round::First(first), SyncPage::Account) => first.account_entries = Some(entries),
            (Round::Second(second), SyncPage::Entries(index)) => second.take(index, entries),
            (Round::Account(_), SyncPage::Account | SyncPage::Entries(_))
            | (Round::First(_), SyncPage::Entries(_))
            | (Round::Second(_), SyncPage::Account) => return Err(INTERNAL),
        }
        Ok(self.next_step())
    }

    pub(super) fn heads_read(&mut self, heads: Vec<Head>) -> Result<Step, Refusal> {
        let first = self.first_round(heads.len())?;
        first.heads = Some(heads);
        Ok(self.next_step())
    }

    pub(super) fn cursors_read(&mut self, cursors: Vec<u64>) -> Result<Step, Refusal> {
        let first = self.first_round(cursors.len())?;
        first.cursors = Some(cursors);
        Ok(self.next_step())
    }

    /// The first round, if there is an answer for each of its conversations.
    fn first_round(&mut self, answers: usize) -> Result<&mut FirstRound, Refusal> {
        match &mut self.round {
            Round::First(first) if first.conversations.len() == answers => Ok(first),
            Round::Account(_) | Round::First(_) | Round::Second(_) => Err(INTERNAL),
        }
    }

    fn next_step(&mut self) -> Step {
        if let Round::First(first) = &mut self.round
            && let Some(second) = first.complete(self.client.user)
        {
            self.round = Round::Second(second);
        }
        match &mut self.round {
            Round::Account(_) | Round::First(_) => Step::Wait,
            Round::Second(second) => second.next_step(),
        }
    }

    /// The response.
    pub(super) fn synced(self, epoch: u64, server_time_ms: u64) -> wire::Synced {
        let Round::Second(second) = self.round else {
            return wire::Synced { epoch, server_time_ms, ..wire::Synced::default() };
        };
        wire::Synced {
            epoch,
            account_head: second.account_head,
            account_entries: second.account_entries,
            conversations: second.changed.into_iter().map(|changed| changed.state).collect(),
            more: second.more,
            server_time_ms,
        }
    }
}

impl FirstRound {
    fn new(sync: &SyncFrom, account: &Account, epoch: u64) -> FirstRound {
        let knows_this_epoch = sync.epoch == 0 || sync.epoch == epoch;
        let positions = if knows_this_epoch { &sync.positions[..] } else { &[] };
        let account_seq = if knows_this_epoch { sync.account_seq } else { 0 };
        FirstRound {
            entries_max: sync.entries_per_conversation,
            positions: positions.iter().map(|known| (known.conversation, *known)).collect(),
            conversations: account.conversations.iter().map(|(log, read)| (*log, *read)).collect(),
            account_from: account.snapshot_seq.max(account_seq.min(account.seq) + 1),
            account_head: account.seq,
            account_entries: None,
            heads: None,
            cursors: None,
        }
    }

    fn asked(&self, user: UserId) -> Asked {
        let logs: Vec<_> = self.conversations.iter().map(|(log, _)| *log).collect();
        let peers = logs.iter().map(|&log| (log, other_member(log, user).unwrap_or(user)));
        let account_entries = Range {
            log: LogId::account(user),
            from: self.account_from,
            to: self.account_head,
            entries_max: ACCOUNT_CONVERSATIONS_MAX * 2,
            bytes_max: SYNC_ACCOUNT_BYTES_MAX,
            backwards: false,
        };
        Asked { account_entries, cursors: peers.collect(), logs }
    }

    /// Once all is here: which conversations are not as the client has them?
    fn complete(&mut self, user: UserId) -> Option<SecondRound> {
        if self.account_entries.is_none() || self.heads.is_none() || self.cursors.is_none() {
            return None;
        }
        let (heads, cursors) = (self.heads.take()?, self.cursors.take()?);
        let known = self.conversations.iter().zip(heads).zip(cursors);
        let mut changed: Vec<_> = known
            .filter_map(|((&(log, read), head), cursor)| {
                self.compare(user, log, read, &head, cursor)
            })
            .collect();
        changed.sort_unstable_by_key(|changed| std::cmp::Reverse(changed.time_ms));
        let more = changed.len() > SYNC_CONVERSATIONS_MAX;
        changed.truncate(SYNC_CONVERSATIONS_MAX);
        let account_entries = self.account_entries.take()?;
        let bytes = account_entries.iter().map(|entry| entry.encoded_len() + FIELD_BYTES).sum();
        Some(SecondRound {
            entries_max: self.entries_max,
            account_head: self.account_head,
            account_entries,
            changed,
            fitting: 0,
            asked: 0,
            outstanding: 0,
            bytes,
            more,
        })
    }

    fn compare(
        &self,
        user: UserId,
        log: LogId,
        read: ReadState,
        head: &Head,
        peer_cursor: u64,
    ) -> Option<Changed> {
        let is_note_to_self = other_member(log, user) == Some(user);
        let peer_read_seq = if is_note_to_self { 0 } else { peer_cursor };
        let known = self.positions.get(&log);
        let (seq, shown) = known.map_or((0, 0), |known| (known.seq, known.peer_read_seq));
        if (head.seq, peer_read_seq) == (seq, shown) {
            return None;
        }
        let state = wire::ConversationState {
            conversation_id: log.to_wire(),
            head: head.seq,
            read_seq: read.seq,
            unread: others_counted(&head.meta, user).saturating_sub(read.others_counted),
            peer_read_seq,
            entries: Vec::new(),
        };
        // A client that is ahead of the log has what was never acknowledged: it gets all anew.
        let from = if seq <= head.seq { seq + 1 } else { 1 };
        Some(Changed { log, time_ms: head.meta.time_ms, from, state })
    }
}

/// Tag and length around an entry or a conversation, at most.
const FIELD_BYTES: usize = 5;

impl SecondRound {
    fn take(&mut self, index: usize, mut entries: Vec<wire::Entry>) {
        entries.reverse();
        self.changed[index].state.entries = entries;
        self.outstanding -= 1;
    }

    fn next_step(&mut self) -> Step {
        if self.outstanding > 0 {
            return Step::Wait;
        }
        while self.fitting < self.asked {
            let bytes = self.changed[self.fitting].state.encoded_len() + FIELD_BYTES;
            if self.bytes + bytes > RESPONSE_BYTES_MAX {
                self.changed.truncate(self.fitting);
                self.more = true;
                return Step::Done;
            }
            self.bytes += bytes;
            self.fitting += 1;
        }
        self.ask()
    }

    fn ask(&mut self) -> Step {
        let mut ranges = Vec::new();
        while self.asked < self.changed.len() && ranges.len() < SYNC_READS_MAX {
            let index = self.asked;
            ranges.extend(self.changed[index].range(self.entries_max).map(|range| (index, range)));
            self.asked += 1;
        }
        self.outstanding = ranges.len();
        match ranges.is_empty() {
            false => Step::Read(ranges),
            true if self.fitting < self.asked => self.next_step(),
            true => Step::Done,
        }
    }
}

impl Changed {
    /// The newest entries that the client lacks, newest first; `None` if it lacks none.
    fn range(&self, entries_max: usize) -> Option<Range> {
        (self.from <= self.state.head).then_some(Range {
            log: self.log,
            from: self.from,
            to: self.state.head,
            entries_max,
            bytes_max: SYNC_CONVERSATION_BYTES_MAX,
            backwards: true,
        })
    }
}
