//! What a sync asks of the store, as a pure state machine: answers in, next questions out.
//!
//! ```text
//!  Account ──► Listing ──► Comparing ──► Detailing ──► Reading ──► done
//!      │          ▲───────────┘ ▲ ▲─┘ more   ▲─┘ there is room   ▲─┘
//!      └── the list is remembered ┘
//! ```
//!
//! - Account: the settings and the conversations of which the account says that they are new or changed;
//! - Listing: the conversations, so many at a time, unless the worker remembers them;
//! - Comparing: which of these have changed in the store;
//! - Detailing: of the most recently used ones of those, as many as there is room for, the numbers;
//! - Reading: the newest entries of as many of them as there is room for.
//!
//! What there is no room for comes with the next answer. An answer that goes on where the last one had
//! to end tells what is behind that place, and whatever has changed since, wherever that stands: its
//! place may be before the one where it goes on.

use std::sync::Arc;

use dunlin_protocol::{LogId, wire};
use prost::Message as _;
use smallvec::SmallVec;

use super::account::{Account, Next};
use super::comparing::{Compared, Comparing, Since};
use super::detailing::{Detailed, Detailing, Positions};
use super::filling::{FIELD_BYTES, Filling};
use super::lists::{List, Lists, Member};
use super::newest::{Candidate, Newest};
use super::token::{Listing, Place, Token};
use crate::account::membership::{CONVERSATION, conversation_of};
use crate::account::setting::setting_of;
use crate::limits::{
    RESPONSE_BYTES_MAX, SYNC_LIST_MOST, SYNC_PAGE_CONVERSATIONS, SYNC_TOLD_MAX, sync_reads_max,
    sync_room_bytes,
};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::{Client, Position, SyncFrom};
use crate::room::Claim;
use crate::store::{
    ChangeRange, ChangedLogs, Head, Moment, Page, Range, Register, RegisterKey, RegisterRange,
    Registers,
};
use crate::worker::flow::Answer;

/// A sync that was taken.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) client: Client,
    /// Room for the answer, from when it is begun.
    pub(super) claim: Option<Claim>,
    entries_max: usize,
    /// Bytes of the answer, at most.
    bytes_max: usize,
    /// Bytes that are left of the answer.
    room: usize,
    /// What the client knows beside its token.
    positions: Positions,
    /// What it was told before.
    token: Token,
    /// It is told everything from this answer on.
    afresh: bool,
    /// It has to forget what it has.
    forget: bool,
    /// Conversations of which the client has more than there is, or 1 if that is so of the store.
    ahead: u64,
    /// What is told: of the account up to this version, ...
    version: u64,
    /// ... of the conversations up to this moment, ...
    now: Option<Moment>,
    /// ... and of the settings these, up to this version; all of them if it is the account's.
    settings: Vec<wire::Setting>,
    settings_version: u64,
    source: Source,
    newest: Newest,
    /// Where the telling ended, if there is more to tell.
    ended: Option<Place>,
    round: Round,
}

/// Where the conversations come from.
#[derive(Debug)]
enum Source {
    /// The worker remembers them; the next one is the one at this place.
    Held { list: Arc<List>, at: usize },
    /// They are listed; the next one is the one after this key.
    Listed { after: Option<RegisterKey>, list: List },
}

#[derive(Debug)]
enum Round {
    Account(Account),
    Listing,
    Comparing(Comparing),
    Detailing(Detailing),
    Reading(Filling),
}

/// What a sync does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An answer is missing.
    Wait,
    /// List these registers of the account.
    List(RegisterRange),
    /// Read what has changed of the account.
    Changes(ChangeRange),
    /// Ask which of these have changed since a moment, and since a later one.
    Compare { logs: Vec<LogId>, since: Option<Moment>, again: Option<Moment> },
    /// Read these heads.
    Heads(Vec<LogId>),
    /// Read these registers of conversations and their members.
    Detail(Vec<(LogId, RegisterKey)>),
    /// Read these entries.
    Read(Vec<Range>),
    /// Everything is here.
    Done,
}

/// Bytes of an answer beside its lists: the epoch, the token, a time, and what is around them.
const FIXED_BYTES: usize = 256;

impl Sync {
    pub(super) fn new(client: Client, from: SyncFrom, epoch: u64) -> Sync {
        let knows_this_epoch = from.epoch == 0 || from.epoch == epoch;
        // Who names no epoch has forgotten everything, or was told to: what a token says is not there.
        let token = Token::decode(&from.token, client.user, epoch).filter(|_| from.epoch == epoch);
        let positions = if knows_this_epoch { from.positions } else { Vec::new() };
        let bytes_max = (from.bytes_max as usize).min(RESPONSE_BYTES_MAX);
        let token_listing = token.and_then(|token| token.listing);
        Sync {
            client,
            claim: None,
            entries_max: from.entries_per_conversation as usize,
            bytes_max,
            room: bytes_max.saturating_sub(FIXED_BYTES),
            positions: positions.into_iter().map(|known| (known.conversation, known)).collect(),
            token: token.unwrap_or_default(),
            afresh: token.is_none(),
            forget: token_listing.is_some_and(|listing| listing.forget),
            ahead: 0,
            version: 0,
            now: None,
            settings: Vec::new(),
            settings_version: 0,
            source: Source::Listed { after: None, list: List::default() },
            newest: Newest::new(0),
            ended: None,
            round: Round::Listing,
        }
    }

    /// Memory of what the client has told.
    pub(super) fn positions_bytes(&self) -> usize {
        self.positions.capacity() * size_of::<(LogId, Position)>()
    }

    /// Room that it needs: for what it reads and for its answer.
    pub(super) fn room_bytes(&self) -> usize {
        sync_room_bytes(self.bytes_max)
    }

    /// The question that a sync begins with.
    pub(super) fn begin(&mut self, lists: &mut Lists) -> Step {
        let user = self.client.user;
        let account = if self.afresh {
            Account::afresh(user)
        } else {
            let held = lists.of(user);
            let version = held.as_ref().map_or(u64::MAX, |list| list.version);
            let keeps_conversations = held.is_some();
            if let Some(list) = held {
                self.source = Source::Held { list, at: 0 };
            }
            Account::since(user, version.min(self.known_settings()), keeps_conversations)
        };
        let next = account.next();
        self.round = Round::Account(account);
        self.account_step(next, lists)
    }

    /// The version up to which the client knows the settings.
    fn known_settings(&self) -> u64 {
        self.token.listing.map_or(self.token.version, |listing| listing.settings_version)
    }

    /// The client is told everything, since what it was told before means nothing (any more). If it has seen what
    /// the store has not, it has to forget all of that.
    fn begin_afresh(&mut self, is_ahead: bool, lists: &mut Lists) -> Result<Step, Refusal> {
        if self.afresh {
            return Err(INTERNAL);
        }
        if is_ahead {
            self.ahead += 1;
            self.positions.clear();
        }
        self.forget |= is_ahead;
        (self.afresh, self.token, self.now) = (true, Token::default(), None);
        lists.forget(self.client.user);
        self.source = Source::Listed { after: None, list: List::default() };
        Ok(self.begin(lists))
    }

    pub(super) fn registers_read(
        &mut self,
        page: Registers,
        lists: &mut Lists,
    ) -> Result<Step, Refusal> {
        let known = self.known_settings();
        match &mut self.round {
            Round::Account(account) => match account.take(page) {
                Next::Afresh { is_ahead } => self.begin_afresh(is_ahead, lists),
                // It was asked since the version of a list, and not since the client's.
                Next::Done if account.version() < known => self.begin_afresh(true, lists),
                next @ (Next::Settings(_) | Next::Changes(_) | Next::Done) => {
                    Ok(self.account_step(next, lists))
                }
            },
            Round::Listing => Ok(self.listed(page, lists)),
            Round::Comparing(_) | Round::Detailing(_) | Round::Reading(_) => Err(INTERNAL),
        }
    }

    fn account_step(&mut self, next: Next, lists: &mut Lists) -> Step {
        match next {
            Next::Settings(range) => Step::List(range),
            Next::Changes(range) => Step::Changes(range),
            Next::Done | Next::Afresh { .. } => self.account_read(lists),
        }
    }

    fn account_read(&mut self, lists: &mut Lists) -> Step {
        let Round::Account(account) = std::mem::replace(&mut self.round, Round::Listing) else {
            return Step::Wait;
        };
        self.version = account.version();
        if let Source::Held { list, .. } = &mut self.source
            && !account.is_as(list)
        {
            if let Some(newer) = account.brought_up_to_date(list) {
                *list = Arc::new(newer);
                lists.keep(self.client.user, Arc::clone(list));
            } else {
                lists.forget(self.client.user);
                self.source = Source::Listed { after: None, list: List::default() };
            }
        }
        self.take_settings(account.into_settings(self.known_settings()));
        let fitting = self.room / FIELD_BYTES;
        self.newest = Newest::new(fitting.min(SYNC_TOLD_MAX));
        self.next_conversations()
    }

    /// As many settings as half of the answer has room for.
    fn take_settings(&mut self, settings: Vec<Register>) {
        let mut room = self.room / 2;
        self.settings_version = self.version;
        for register in settings {
            let version = register.version;
            let Some(setting) = setting_of(&register) else { continue };
            let bytes = setting.encoded_len() + FIELD_BYTES;
            if bytes > room && !self.settings.is_empty() {
                // What one version has set is told together, or not.
                let told = self.settings.iter().rev().map(|setting| setting.version);
                let last = told.clone().find(|told| *told < version);
                self.settings_version = last.unwrap_or(version - 1);
                self.settings.retain(|setting| setting.version < version);
                break;
            }
            room = room.saturating_sub(bytes);
            self.room = self.room.saturating_sub(bytes);
            self.settings.push(setting);
        }
    }

    /// Looks at the next conversations.
    fn next_conversations(&mut self) -> Step {
        match &mut self.source {
            Source::Held { list, at } => {
                let rest = list.members.get(*at..).unwrap_or_default();
                let members = &rest[..rest.len().min(SYNC_PAGE_CONVERSATIONS)];
                *at += members.len();
                let (members, is_last) = (members.to_vec(), members.len() == rest.len());
                self.compare(members, is_last)
            }
            Source::Listed { after, .. } => {
                self.round = Round::Listing;
                Step::List(RegisterRange {
                    log: LogId::account(self.client.user),
                    prefix: SmallVec::from_slice(&[CONVERSATION]),
                    after: after.clone(),
                    registers_max: SYNC_PAGE_CONVERSATIONS,
                    bytes_max: RESPONSE_BYTES_MAX,
                })
            }
        }
    }

    fn listed(&mut self, page: Registers, lists: &mut Lists) -> Step {
        let Registers { registers, more, version, .. } = page;
        let member = |register: &Register| {
            let log = conversation_of(register)?;
            Some(Member { log, version: register.version })
        };
        let members: Vec<_> = registers.iter().filter_map(member).collect();
        if let Source::Listed { after, list } = &mut self.source {
            if after.is_none() {
                list.version = version;
            }
            *after = registers.into_iter().next_back().map(|last| last.key);
            // One that is too long is not kept, and takes no memory here.
            if list.members.len() <= SYNC_LIST_MOST {
                list.members.extend_from_slice(&members);
            }
            if !more {
                lists.keep(self.client.user, Arc::new(std::mem::take(list)));
            }
        }
        self.compare(members, !more)
    }

    fn compare(&mut self, members: Vec<Member>, is_last: bool) -> Step {
        let again = self.token.listing.map(|listing| listing.now);
        let comparing = Comparing::new(members, is_last, again.is_some());
        let logs = comparing.logs();
        self.round = Round::Comparing(comparing);
        Step::Compare { logs, since: self.token.since, again }
    }

    pub(super) fn changed_known(
        &mut self,
        since: Since,
        answer: Answer<ChangedLogs>,
        lists: &mut Lists,
    ) -> Result<Step, Refusal> {
        let Round::Comparing(comparing) = &mut self.round else { return Err(INTERNAL) };
        let now = comparing.take(since, answer)?;
        let is_newest = (since == Since::LastAnswer) == self.token.listing.is_some();
        if is_newest && self.now.is_none() {
            self.now = now;
        }
        if comparing.lacks_an_answer() {
            return Ok(Step::Wait);
        }
        if comparing.is_moment_unknown() {
            return self.begin_afresh(true, lists);
        }
        let version = self.token.since.map(|_| self.token.version);
        let lacking = comparing.lacking(version, &self.positions);
        if lacking.is_empty() { Ok(self.compared()) } else { Ok(Step::Heads(lacking)) }
    }

    pub(super) fn heads_read(&mut self, heads: Vec<Answer<Head>>) -> Result<Step, Refusal> {
        let Round::Comparing(comparing) = &mut self.round else { return Err(INTERNAL) };
        comparing.take_heads(heads)?;
        Ok(self.compared())
    }

    /// So many conversations are compared: on to the next ones, or to what there is to tell of the changed.
    fn compared(&mut self) -> Step {
        let Round::Comparing(comparing) = std::mem::replace(&mut self.round, Round::Listing) else {
            return Step::Wait;
        };
        let is_last = comparing.is_last;
        for (member, compared) in comparing.into_compared() {
            self.consider(member, &compared);
        }
        if !is_last {
            return self.next_conversations();
        }
        let newest = std::mem::replace(&mut self.newest, Newest::new(0));
        let (candidates, left_out) = newest.into_sorted();
        // A quarter is left for entries.
        let room = self.room / 4 * 3;
        let detailing = Detailing::new(self.client.user, candidates, left_out, room);
        self.round = Round::Detailing(detailing);
        self.detail()
    }

    /// Whether there is something to tell of a conversation.
    fn consider(&mut self, member: Member, compared: &Compared) {
        let Compared { head, is_again, .. } = compared;
        let known = self.positions.get(&member.log);
        // Nobody can know more than there is, unless it was there once: what the client has may be
        // something else now, so it gets all anew.
        let is_ahead = known.is_some_and(|known| is_of_before(known, head));
        self.ahead += u64::from(is_ahead);
        let place = Place { time_ms: head.meta.time_ms, log: member.log };
        let is_told = self.token.listing.is_some_and(|listing| {
            let is_before = listing.told.is_none_or(|told| place <= told);
            is_before && !is_again && member.version <= listing.version
        });
        let is_empty = head.seq == 0;
        if !is_ahead && (is_told || is_empty) {
            return;
        }
        let is_new = self.token.since.is_none() || member.version > self.token.version;
        let forget = self.forget || is_ahead;
        self.newest.push(Candidate { place, head: *head, is_new, forget });
    }

    fn detail(&mut self) -> Step {
        let Round::Detailing(detailing) = &mut self.round else { return Step::Wait };
        match detailing.next() {
            Some(names) => Step::Detail(names),
            None => self.detailed(),
        }
    }

    pub(super) fn details_read(
        &mut self,
        registers: Vec<Answer<Register>>,
    ) -> Result<Step, Refusal> {
        let Round::Detailing(detailing) = &mut self.round else { return Err(INTERNAL) };
        let has_room = detailing.take(registers, &self.positions, self.token.since)?;
        Ok(if has_room { self.detail() } else { self.detailed() })
    }

    fn detailed(&mut self) -> Step {
        let Round::Detailing(detailing) = std::mem::replace(&mut self.round, Round::Listing) else {
            return Step::Wait;
        };
        let Detailed { told, room, last, left_out } = detailing.into_detailed();
        self.ended = last.filter(|_| left_out);
        let room = self.room - self.room / 4 * 3 + room;
        let reads_max = sync_reads_max(self.bytes_max);
        self.round = Round::Reading(Filling::new(told, self.entries_max, reads_max, room));
        self.read()
    }

    pub(super) fn pages_read(&mut self, pages: Vec<Answer<Page>>) -> Result<Step, Refusal> {
        let Round::Reading(filling) = &mut self.round else { return Err(INTERNAL) };
        self.ahead += filling.take(pages)?;
        Ok(self.read())
    }

    fn read(&mut self) -> Step {
        let Round::Reading(filling) = &mut self.round else { return Step::Wait };
        filling.next().map_or(Step::Done, Step::Read)
    }

    /// Conversations of which the client has more than there is, or 1 if that is so of the store.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead
    }

    /// The response.
    pub(super) fn synced(self, epoch: u64, server_time_ms: u64) -> wire::Synced {
        let token = self.next_token();
        let conversations = match self.round {
            Round::Reading(filling) => filling.into_states(),
            Round::Account(_) | Round::Listing | Round::Comparing(_) | Round::Detailing(_) => {
                Vec::new()
            }
        };
        wire::Synced {
            epoch,
            token: token.encode(self.client.user, epoch),
            more: token.listing.is_some(),
            conversations,
            server_time_ms,
            afresh: self.afresh,
            settings: self.settings,
        }
    }

    /// What the client is told with this answer.
    fn next_token(&self) -> Token {
        let (Some(now), Round::Reading(_)) = (self.now, &self.round) else { return self.token };
        let is_whole = self.ended.is_none() && self.settings_version == self.version;
        if is_whole {
            return Token { version: self.version, since: Some(now), listing: None };
        }
        let listing = Listing {
            settings_version: self.settings_version,
            version: self.version,
            now,
            told: self.ended,
            forget: self.forget,
        };
        Token { listing: Some(listing), ..self.token }
    }
}

/// Whether a client has more of a conversation than there is, or another newest entry: it was there before the
/// store was put back. What is not the newest any more is [compared](super::filling) when it is read.
fn is_of_before(known: &Position, head: &Head) -> bool {
    let has_more = known.seq.max(known.read_seq).max(known.peer_read_seq) > head.seq;
    let is_there = known.seq == head.seq && known.seq >= head.expired_below;
    has_more || is_there && known.time_ms != 0 && known.time_ms != head.meta.time_ms
}
