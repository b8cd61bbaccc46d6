//! What a sync asks of the store, as a pure state machine: answers in, next questions out.
//!
//! ```text
//!  Listing ──► Comparing ──► Reading ──► done
//!     ▲────────────┘ there are more      ▲─┘ there is room for more
//! ```
//!
//! Conversations are listed and compared so many at a time, and of them only what has changed is kept:
//! a user may have any number.

use dunlin_protocol::LogId;
use dunlin_protocol::wire;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::filling::{Changed, Filling};
use crate::account::cursor::ReadCursor;
use crate::account::membership::{CONVERSATION, conversation_of};
use crate::entry::unread;
use crate::limits::{RESPONSE_BYTES_MAX, SYNC_CHANGED_MAX, SYNC_PAGE_CONVERSATIONS};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal};
use crate::request::{Client, Position, SyncFrom};
use crate::room::Claim;
use crate::store::{Head, Page, Range, Register, RegisterKey, RegisterRange, Registers};
use crate::worker::flow::Answer;

/// A sync that was taken.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) client: Client,
    /// Room for the answer, from when it is begun.
    pub(super) claim: Option<Claim>,
    entries_max: usize,
    /// What the client has; empty if its epoch is another one.
    positions: HashMap<LogId, Position, RandomState>,
    /// Up to where the conversations are listed.
    listed: Option<RegisterKey>,
    changed: Vec<Changed>,
    /// Some that have changed were left out.
    more: bool,
    /// Conversations of which the client has more than there is.
    ahead: u64,
    round: Round,
}

#[derive(Debug)]
enum Round {
    Listing,
    Comparing(Comparing),
    Reading(Filling),
}

/// Some conversations, with what is known of each.
#[derive(Debug)]
struct Comparing {
    logs: Vec<LogId>,
    is_last: bool,
    /// `None` of one that is damaged.
    heads: Option<Vec<Option<Head>>>,
    /// Of each, that of the user and that of the other member.
    cursors: Option<Vec<[ReadCursor; 2]>>,
}

/// What a sync does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An answer is missing.
    Wait,
    /// List these conversations.
    List(RegisterRange),
    /// Read the heads of these, and the cursors.
    Compare { logs: Vec<LogId>, cursors: Vec<(LogId, RegisterKey)> },
    /// Read these entries.
    Read(Vec<Range>),
    /// Everything is here.
    Done,
}

impl Sync {
    pub(super) fn new(client: Client, from: SyncFrom, epoch: u64) -> Sync {
        let knows_this_epoch = from.epoch == 0 || from.epoch == epoch;
        let positions = if knows_this_epoch { from.positions } else { Vec::new() };
        Sync {
            client,
            claim: None,
            entries_max: from.entries_per_conversation,
            positions: positions.into_iter().map(|known| (known.conversation, known)).collect(),
            listed: None,
            changed: Vec::new(),
            more: false,
            ahead: 0,
            round: Round::Listing,
        }
    }

    /// Memory of what the client has told.
    pub(super) fn positions_bytes(&self) -> usize {
        self.positions.capacity() * size_of::<(LogId, Position)>()
    }

    /// The next conversations of the user: the question that a sync begins with.
    pub(super) fn conversations(&self) -> RegisterRange {
        RegisterRange {
            log: LogId::account(self.client.user),
            prefix: SmallVec::from_slice(&[CONVERSATION]),
            after: self.listed.clone(),
            registers_max: SYNC_PAGE_CONVERSATIONS,
            bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    pub(super) fn conversations_read(&mut self, page: Registers) -> Result<Step, Refusal> {
        let Round::Listing = self.round else { return Err(INTERNAL) };
        let Registers { registers, more, .. } = page;
        let logs: Vec<_> = registers.iter().filter_map(conversation_of).collect();
        if let Some(last) = registers.into_iter().next_back() {
            self.listed = Some(last.key);
        }
        if logs.is_empty() {
            return Ok(self.compared(!more));
        }
        let user = self.client.user;
        let both = |log: &LogId| {
            let other = other_member(*log, user).unwrap_or(user);
            [(*log, ReadCursor::key(user)), (*log, ReadCursor::key(other))]
        };
        let step =
            Step::Compare { cursors: logs.iter().flat_map(both).collect(), logs: logs.clone() };
        let (heads, cursors) = (None, None);
        self.round = Round::Comparing(Comparing { logs, is_last: !more, heads, cursors });
        Ok(step)
    }

    pub(super) fn heads_read(&mut self, heads: Vec<Answer<Head>>) -> Result<Step, Refusal> {
        let comparing = self.comparing(heads.len())?;
        comparing.heads = Some(heads.into_iter().map(head_of).collect::<Result<_, _>>()?);
        Ok(self.compare())
    }

    pub(super) fn cursors_read(
        &mut self,
        registers: Vec<Answer<Register>>,
    ) -> Result<Step, Refusal> {
        let comparing = self.comparing(registers.len() / 2)?;
        let cursors = registers.into_iter().map(cursor_of).collect::<Result<Vec<_>, _>>()?;
        comparing.cursors = Some(cursors.as_chunks().0.to_vec());
        Ok(self.compare())
    }

    /// The conversations that are compared, if there is an answer for each of them.
    fn comparing(&mut self, answers: usize) -> Result<&mut Comparing, Refusal> {
        match &mut self.round {
            Round::Comparing(comparing) if comparing.logs.len() == answers => Ok(comparing),
            Round::Listing | Round::Comparing(_) | Round::Reading(_) => Err(INTERNAL),
        }
    }

    fn compare(&mut self) -> Step {
        let Round::Comparing(comparing) = &mut self.round else { return Step::Wait };
        if comparing.heads.is_none() || comparing.cursors.is_none() {
            return Step::Wait;
        }
        let is_last = comparing.is_last;
        let logs = std::mem::take(&mut comparing.logs).into_iter();
        let heads = comparing.heads.take().into_iter().flatten();
        let cursors = comparing.cursors.take().into_iter().flatten();
        for ((log, head), [own, other]) in logs.zip(heads).zip(cursors) {
            // Of what can't be read now nothing is said: the client keeps what it has.
            let Some(head) = head else { continue };
            if let Some(changed) = self.change_of(log, &head, own, other) {
                self.ahead += u64::from(changed.state.forget);
                self.changed.push(changed);
            }
        }
        self.compared(is_last)
    }

    /// So many conversations are compared: on to the next ones, or to the entries of what has changed.
    fn compared(&mut self, is_last: bool) -> Step {
        if self.changed.len() > SYNC_CHANGED_MAX {
            self.changed.sort_unstable_by_key(Changed::newest_first);
            self.changed.truncate(SYNC_CHANGED_MAX);
            self.more = true;
        }
        if !is_last {
            self.round = Round::Listing;
            return Step::List(self.conversations());
        }
        let filling = Filling::new(std::mem::take(&mut self.changed), self.entries_max, self.more);
        self.round = Round::Reading(filling);
        self.read()
    }

    pub(super) fn pages_read(&mut self, pages: Vec<Answer<Page>>) -> Result<Step, Refusal> {
        let Round::Reading(filling) = &mut self.round else { return Err(INTERNAL) };
        filling.take(pages)?;
        Ok(self.read())
    }

    fn read(&mut self) -> Step {
        let Round::Reading(filling) = &mut self.round else { return Step::Wait };
        filling.next().map_or(Step::Done, Step::Read)
    }

    /// Conversations of which the client has more than there is.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead
    }

    /// The response.
    pub(super) fn synced(self, epoch: u64, server_time_ms: u64) -> wire::Synced {
        let (conversations, more) = match self.round {
            Round::Reading(filling) => filling.into_states(),
            Round::Listing | Round::Comparing(_) => (Vec::new(), true),
        };
        wire::Synced { epoch, conversations, more, server_time_ms }
    }

    /// What the client lacks of a conversation; `None` if it has it as it is.
    fn change_of(
        &self,
        log: LogId,
        head: &Head,
        own: ReadCursor,
        other: ReadCursor,
    ) -> Option<Changed> {
        let user = self.client.user;
        let is_note_to_self = other_member(log, user) == Some(user);
        let peer_read_seq = if is_note_to_self { 0 } else { other.receipt_seq };
        let known = self.positions.get(&log);
        let known = known.map_or((0, 0, 0), |at| (at.seq, at.read_seq, at.peer_read_seq));
        if known == (head.seq, own.seq, peer_read_seq) {
            return None;
        }
        // Nobody can know more than there is, unless it was there once: what the client has may be
        // something else now, so it gets all anew.
        let forget = known.0.max(known.1).max(known.2) > head.seq;
        let from = if forget { 1 } else { known.0 + 1 };
        let state = wire::ConversationState {
            conversation_id: log.to_wire(),
            head: head.seq,
            read_seq: own.seq,
            unread: unread(head, own.others_counted, user),
            peer_read_seq,
            entries: Vec::new(),
            forget,
            expired_below: head.expired_below,
        };
        Some(Changed { log, time_ms: head.meta.time_ms, from, state })
    }
}

/// A damaged cursor is at the beginning: the user can move it again, and the rest is not held up by it.
/// Damage holds up what it is in, and nothing else.
fn head_of(answer: Answer<Head>) -> Result<Option<Head>, Refusal> {
    match answer {
        Err(refusal) if refusal == DATA_CORRUPT => Ok(None),
        head => head.map(Some),
    }
}

fn cursor_of(answer: Answer<Register>) -> Result<ReadCursor, Refusal> {
    match answer.and_then(|register| ReadCursor::of(&register)) {
        Err(refusal) if refusal == DATA_CORRUPT => Ok(ReadCursor::default()),
        cursor => cursor,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use dunlin_protocol::UserId;

    use super::*;
    use crate::account::cursor::tests::held;
    use crate::store::{EntryMeta, StoredEntry};
    use crate::transport::ConnId;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn chat(id: u64) -> LogId {
        LogId::direct(user(1), user(id))
    }

    /// What an account log says of these conversations.
    pub(in crate::sync) fn joined(logs: &[LogId]) -> Registers {
        let register = |log: &LogId| {
            let key = RegisterKey::of(CONVERSATION, log.as_bytes());
            Register { key, version: 1, value: Some(bytes::Bytes::new()) }
        };
        Registers { registers: logs.iter().map(register).collect(), ..Registers::default() }
    }

    /// So many conversations that a client has.
    pub(in crate::sync) fn positions(count: u64) -> Vec<Position> {
        (2..2 + count).map(|id| position(chat(id), 1, 1, 1)).collect()
    }

    fn position(log: LogId, seq: u64, read_seq: u64, peer_read_seq: u64) -> Position {
        Position { conversation: log, seq, read_seq, peer_read_seq }
    }

    fn sync(positions: Vec<Position>) -> Sync {
        let conn = ConnId { shard: 0, slot: 1, generation: 1 };
        let client = Client { conn, user: user(1), request_id: 1, may_deflate: false };
        Sync::new(client, SyncFrom { epoch: 5, positions, entries_per_conversation: 3 }, 5)
    }

    fn head(seq: u64) -> Head {
        let meta = EntryMeta { time_ms: seq, sender: 2, counted: seq, sender_counted: seq };
        Head { seq, meta, ..Head::default() }
    }

    fn cursor(seq: u64) -> Answer<Register> {
        let register = held(ReadCursor::public(seq, seq));
        Ok(Register { value: register.value.filter(|_| seq > 0), ..register })
    }

    /// One conversation, as it is at the server, for a client that has this of it.
    fn of_one(known: Position, now: (u64, u64, u64)) -> (Sync, Step) {
        let mut sync = sync(vec![known]);
        let step = sync.conversations_read(joined(&[chat(2)])).unwrap();
        assert!(matches!(step, Step::Compare { .. }));
        assert_eq!(sync.heads_read(vec![Ok(head(now.0))]), Ok(Step::Wait));
        let step = sync.cursors_read(vec![cursor(now.1), cursor(now.2)]).unwrap();
        (sync, step)
    }

    #[test]
    fn what_the_client_has_as_it_is_needs_no_word() {
        let (sync, step) = of_one(position(chat(2), 7, 5, 6), (7, 5, 6));
        assert_eq!(step, Step::Done);
        assert_eq!(sync.synced(5, 0).conversations, []);
    }

    #[test]
    fn each_of_the_three_numbers_is_a_change() {
        for now in [(8, 5, 6), (7, 6, 6), (7, 5, 7)] {
            let (mut sync, step) = of_one(position(chat(2), 7, 5, 6), now);
            if now.0 > 7 {
                let Step::Read(ranges) = step else { panic!("{step:?}") };
                assert_eq!((ranges[0].from, ranges[0].to), (8, 8));
                assert_eq!(sync.pages_read(vec![Ok(Page::default())]), Ok(Step::Done));
            } else {
                assert_eq!(step, Step::Done);
            }
            assert_eq!(sync.ahead(), 0);
            let states = sync.synced(5, 0).conversations;
            let state = &states[0];
            assert_eq!((state.head, state.read_seq, state.peer_read_seq), now);
            assert_eq!((state.unread, state.forget), (now.0 - now.1, false));
        }
    }

    #[test]
    fn who_is_ahead_of_the_log_is_told_to_forget_it_and_gets_it_from_its_beginning() {
        for known in [(9, 5, 6), (8, 9, 6), (8, 5, 9)] {
            let (mut sync, step) = of_one(position(chat(2), known.0, known.1, known.2), (8, 5, 6));
            let Step::Read(ranges) = step else { panic!("{step:?}") };
            assert_eq!((ranges[0].from, ranges[0].to, ranges[0].entries_max), (1, 8, 3));
            sync.pages_read(vec![Ok(Page::default())]).unwrap();
            assert_eq!(sync.ahead(), 1);
            assert!(sync.synced(5, 0).conversations[0].forget);
        }
        // Of a cursor that only stands lower now, the client takes the new place.
        let (sync, step) = of_one(position(chat(2), 8, 8, 8), (8, 5, 6));
        assert_eq!((step, sync.ahead()), (Step::Done, 0));
    }

    #[test]
    fn a_conversation_that_is_gone_with_the_copy_is_forgotten() {
        let (sync, step) = of_one(position(chat(2), 3, 0, 0), (0, 0, 0));
        assert_eq!((step, sync.ahead()), (Step::Done, 1));
        let states = sync.synced(5, 0).conversations;
        assert_eq!((states[0].head, states[0].forget), (0, true));
    }

    #[test]
    fn another_epoch_is_a_client_that_has_nothing() {
        let from = SyncFrom {
            epoch: 6,
            positions: vec![position(chat(2), 9, 9, 9)],
            entries_per_conversation: 3,
        };
        let client = sync(Vec::new()).client;
        let mut sync = Sync::new(client, from, 5);
        sync.conversations_read(joined(&[chat(2)])).unwrap();
        sync.heads_read(vec![Ok(head(4))]).unwrap();
        let step = sync.cursors_read(vec![cursor(0), cursor(0)]).unwrap();
        assert!(matches!(step, Step::Read(_)));
        assert_eq!(sync.ahead(), 0);
    }

    #[test]
    fn a_user_may_have_any_number_of_conversations() {
        let logs: Vec<_> = (1..=3).map(|id| chat(id + 1)).collect();
        let mut sync = sync(Vec::new());
        assert_eq!(sync.conversations().after, None);
        for log in &logs[..2] {
            let page = Registers { more: true, ..joined(&[*log]) };
            sync.conversations_read(page).unwrap();
            sync.heads_read(vec![Ok(head(1))]).unwrap();
            let step = sync.cursors_read(vec![cursor(0), cursor(0)]).unwrap();
            let Step::List(range) = step else { panic!("{step:?}") };
            let after = RegisterKey::of(CONVERSATION, log.as_bytes());
            assert_eq!(range.after, Some(after));
        }
        sync.conversations_read(joined(&logs[2..])).unwrap();
        sync.cursors_read(vec![cursor(0), cursor(0)]).unwrap();
        let Ok(Step::Read(ranges)) = sync.heads_read(vec![Ok(head(1))]) else { panic!() };
        assert_eq!(ranges.len(), 3, "the entries of all of them in one question");
    }

    #[test]
    fn what_is_damaged_holds_nothing_else_up() {
        let mut sync = sync(Vec::new());
        sync.conversations_read(joined(&[chat(2), chat(3), chat(4)])).unwrap();
        sync.heads_read(vec![Ok(head(4)), Ok(head(4)), Err(DATA_CORRUPT)]).unwrap();
        let cursors =
            vec![Err(DATA_CORRUPT), cursor(2), cursor(3), cursor(0), cursor(1), cursor(1)];
        let step = sync.cursors_read(cursors).unwrap();
        let Step::Read(ranges) = step else { panic!("{step:?}") };
        assert_eq!(ranges.len(), 2);
        let entry =
            StoredEntry { seq: 4, meta: head(4).meta, erased: true, body: bytes::Bytes::new() };
        let page = Page { entries: vec![entry], head: head(4), more: true };
        assert_eq!(sync.pages_read(vec![Err(DATA_CORRUPT), Ok(page)]), Ok(Step::Done));
        let states = sync.synced(5, 0).conversations;
        let shown = |state: &wire::ConversationState| {
            (state.read_seq, state.unread, state.peer_read_seq, state.entries.len())
        };
        let mut shown: Vec<_> = states.iter().map(shown).collect();
        shown.sort_unstable();
        assert_eq!(shown, [(0, 4, 2, 0), (3, 1, 0, 1)]);
    }

    #[test]
    fn answers_for_others_are_refused() {
        let mut sync = sync(Vec::new());
        assert_eq!(sync.heads_read(Vec::new()), Err(INTERNAL));
        assert_eq!(sync.pages_read(Vec::new()), Err(INTERNAL));
        sync.conversations_read(joined(&[chat(2)])).unwrap();
        assert_eq!(sync.conversations_read(joined(&[])), Err(INTERNAL));
        assert_eq!(sync.cursors_read(vec![cursor(0)]), Err(INTERNAL));
    }
}
