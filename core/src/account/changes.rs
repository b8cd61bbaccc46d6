//! Changes of what the registers of an account hold: a setting, or what a conversation is to the user. Each is a
//! [transaction](crate::transaction), so that two devices do not undo each other's changes.
//!
//! ```text
//!  taken ─► the end of the conversation ─► the registers ─► decided ─► written ─► answered, and the
//!                 (if it is one)                 ▲                         │       other devices are told
//!                                                └── somebody was faster ──┘
//! ```

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::membership::{Ending, MembershipChange};
use super::setting::SettingChange;
use crate::arrival::Arrival;
use crate::audience::push::LogPush;
use crate::conversation::hearing::Heard;
use crate::limits::{CHANGES_BYTES_MAX, OVERLOADED_RETRY_MS};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, NO_SUCH_CONVERSATION, Refusal, STORE_UNAVAILABLE};
use crate::request::Client;
use crate::room::fair_share;
use crate::store::{Head, Page, Register, Write, Written};
use crate::transaction::{Running, Taken, Transactions};
use crate::transport::ConnId;
use crate::worker::flow::{Answer, Answers, HeadsFlow, PagesFlow, RegisterFlow, WriteFlow, single};
use crate::worker::turn::Turn;

const TOO_BUSY: Refusal = Refusal::retry(
    wire::ErrorCode::Overloaded,
    "too many changes of this wait",
    OVERLOADED_RETRY_MS,
);

/// The changes that are not answered yet. What bounds them is memory, and the part of it that one user may have:
/// any number that a client may have under way waits for each other.
#[derive(Debug)]
pub(crate) struct Changes {
    transactions: Transactions<Subject, Change>,
    /// Memory of all of them.
    bytes: usize,
    /// The same of each user who has some.
    users: HashMap<UserId, usize, RandomState>,
}

impl Default for Changes {
    fn default() -> Changes {
        let transactions = Transactions::new(usize::MAX);
        Changes { transactions, bytes: 0, users: HashMap::default() }
    }
}

/// What is changed by one change after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    /// All settings of a user, since their total is one register.
    Settings(UserId),
    Conversation(UserId, LogId),
}

/// A change that a client has asked for.
#[derive(Debug)]
pub(crate) struct Change {
    client: Client,
    what: What,
}

#[derive(Debug)]
enum What {
    Setting(SettingChange),
    /// With the end of the conversation, once it was read.
    Conversation(LogId, MembershipChange, Option<Ending>),
}

/// What comes of a change.
#[derive(Debug)]
pub(super) enum Decision {
    /// It is so already, or can't be.
    Told(Result<Told, Box<wire::Error>>),
    /// It is, once this is written.
    Write(Box<Write>, Told),
}

/// What the user is told of it, on all devices if it was written.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Setting(wire::Setting),
    Membership(wire::Membership),
}

/// What waits until a change is durable.
#[derive(Debug)]
pub(crate) struct Writing {
    running: Running<Change>,
    told: Told,
}

/// A change that has come to its end.
#[derive(Debug)]
#[must_use]
pub(crate) struct Finished {
    change: Change,
    outcome: Result<Told, Box<wire::Error>>,
    was_written: bool,
}

/// What follows from a change for others.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) user: UserId,
    /// The connection that knows it by its response.
    pub(crate) conn: ConnId,
    /// For the other devices of the user, as a push of the account: who can't be told now learns that
    /// something was missed.
    pub(crate) hint: LogPush,
    /// Whether the user wants to hear of a conversation, if that has changed, and its head.
    pub(crate) heard: Option<(Heard, u64)>,
}

impl Changes {
    pub(crate) fn set(&mut self, client: Client, change: SettingChange, turn: &mut Turn<'_>) {
        self.take(Change { client, what: What::Setting(change) }, turn);
    }

    pub(crate) fn update(
        &mut self,
        client: Client,
        log: LogId,
        change: MembershipChange,
        turn: &mut Turn<'_>,
    ) {
        if other_member(log, client.user).is_none() {
            turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        }
        self.take(Change { client, what: What::Conversation(log, change, None) }, turn);
    }

    fn take(&mut self, change: Change, turn: &mut Turn<'_>) {
        let Client { conn, user, request_id, .. } = change.client;
        let bytes = change.bytes();
        if !self.has_room(user, bytes) {
            return turn.effects.refuse(conn, request_id, TOO_BUSY);
        }
        match self.transactions.take(change.subject(), change) {
            Taken::Begins(running) => begin(running, turn),
            Taken::Waits => {}
            Taken::Refused(_) => return turn.effects.refuse(conn, request_id, TOO_BUSY),
        }
        self.bytes += bytes;
        *self.users.entry(user).or_default() += bytes;
    }

    /// Who has none finds room as long as there is any; who has more may have a part of what is free.
    fn has_room(&self, user: UserId, bytes: usize) -> bool {
        let free = CHANGES_BYTES_MAX.saturating_sub(self.bytes);
        let taken = self.users.get(&user).copied().unwrap_or(0);
        let bytes_max = if taken == 0 { free } else { fair_share(free, CHANGES_BYTES_MAX) };
        taken + bytes <= bytes_max
    }

    fn give_back(&mut self, user: UserId, bytes: usize) {
        self.bytes -= bytes;
        if let Entry::Occupied(mut taken) = self.users.entry(user) {
            *taken.get_mut() -= bytes;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }

    /// A change has come to its end: answers it, and begins the next one of its subject.
    pub(crate) fn finish(&mut self, finished: Finished, turn: &mut Turn<'_>) -> Option<Changed> {
        let Finished { change, outcome, was_written } = finished;
        let Client { conn, user, request_id, .. } = change.client;
        self.give_back(user, change.bytes());
        if let Some(next) = self.transactions.next(change.subject()) {
            begin(next, turn);
        }
        match outcome {
            Ok(told) => {
                turn.effects.respond(conn, request_id, told.clone().into_body());
                was_written.then(|| change.concerns_others(told))
            }
            Err(error) => {
                turn.effects.respond(conn, request_id, Body::Error(*error));
                None
            }
        }
    }
}

fn begin(running: Running<Change>, turn: &mut Turn<'_>) {
    match &running.change.what {
        What::Setting(_) => ask_registers(running, turn),
        What::Conversation(log, change, _) => match change.range(*log) {
            Some(range) => turn.ask_pages(vec![range], PagesFlow::Change(Box::new(running))),
            None => turn.ask_heads(vec![*log], HeadsFlow::Change(Box::new(running))),
        },
    }
}

fn ask_registers(running: Running<Change>, turn: &mut Turn<'_>) {
    let account = LogId::account(running.change.client.user);
    let keys = match &running.change.what {
        What::Setting(change) => change.keys().map(|key| (account, key)).to_vec(),
        What::Conversation(log, ..) => vec![(account, super::membership::Membership::key(*log))],
    };
    turn.ask_register(keys, RegisterFlow::Change(Box::new(running)));
}

/// The head of the conversation was read.
pub(crate) fn head_read(
    running: Running<Change>,
    answers: Answers<Head>,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    ended(running, single(answers).and_then(Ending::at), turn)
}

/// The entry up to which the conversation is to be cleared was read, and its head.
pub(crate) fn page_read(
    running: Running<Change>,
    answers: Answers<Page>,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    let user = running.change.client.user;
    ended(running, single(answers).and_then(|page| Ending::up_to(&page, user)), turn)
}

fn ended(
    mut running: Running<Change>,
    ending: Answer<Ending>,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    match (&mut running.change.what, ending) {
        (What::Conversation(_, _, known), Ok(ending)) => *known = Some(ending),
        (What::Setting(_), Ok(_)) => return Some(refused(running.change, INTERNAL)),
        (_, Err(refusal)) => return Some(refused(running.change, refusal)),
    }
    ask_registers(running, turn);
    None
}

/// The registers were read: it is decided by them.
pub(crate) fn registers_read(
    running: Running<Change>,
    answers: Answers<Register>,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    let registers = answers.and_then(|answers| answers.into_iter().collect::<Answer<Vec<_>>>());
    match registers.and_then(|registers| running.change.decide(&registers)) {
        Ok(Decision::Told(outcome)) => {
            Some(Finished { change: running.change, outcome, was_written: false })
        }
        Ok(Decision::Write(write, told)) => {
            turn.write(vec![*write], WriteFlow::Change(Box::new(Writing { running, told })));
            None
        }
        Err(refusal) => Some(refused(running.change, refusal)),
    }
}

/// It is durable, or somebody else was faster.
pub(crate) fn written(
    writing: Writing,
    answer: &Answer<Vec<Written>>,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    let Writing { running, mut told } = writing;
    let refusal = match answer.as_ref().map(|verdicts| &verdicts[..]) {
        Ok([Written::Stored { version }]) => {
            told.set_version(*version);
            return Some(Finished { change: running.change, outcome: Ok(told), was_written: true });
        }
        Ok([Written::Unmet { .. }]) => match running.again() {
            Ok(running) => {
                ask_registers(running, turn);
                return None;
            }
            Err(change) => return Some(refused(change, TOO_BUSY)),
        },
        Ok([Written::Corrupt]) => DATA_CORRUPT,
        Ok([Written::Unknown]) => STORE_UNAVAILABLE,
        Ok(_) => INTERNAL,
        Err(refusal) => *refusal,
    };
    Some(refused(running.change, refusal))
}

fn refused(change: Change, refusal: Refusal) -> Finished {
    Finished { change, outcome: Err(Box::new(refusal.into())), was_written: false }
}

impl Change {
    fn subject(&self) -> Subject {
        let user = self.client.user;
        match &self.what {
            What::Setting(_) => Subject::Settings(user),
            What::Conversation(log, ..) => Subject::Conversation(user, *log),
        }
    }

    fn bytes(&self) -> usize {
        let more = match &self.what {
            What::Setting(change) => change.bytes(),
            What::Conversation(..) => 0,
        };
        size_of::<Change>() + more
    }

    fn decide(&self, registers: &[Register]) -> Answer<Decision> {
        match (&self.what, registers) {
            (What::Setting(change), [setting, total]) => {
                change.decide(self.client.user, setting, total)
            }
            (What::Conversation(log, change, Some(ending)), [register]) => {
                change.decide(self.client.user, *log, ending, register)
            }
            (What::Setting(_) | What::Conversation(..), _) => Err(INTERNAL),
        }
    }

    fn concerns_others(self, told: Told) -> Changed {
        let Client { user, conn, .. } = self.client;
        let heard = match self.what {
            What::Conversation(log, change, Some(ending)) => change
                .is_heard()
                .map(|heard| (Heard { log, user, ignored: !heard }, ending.head_seq())),
            What::Conversation(..) | What::Setting(_) => None,
        };
        let (log, head) = (LogId::account(user), told.version());
        let hint = LogPush {
            log,
            head,
            frame: EncodedFrame::push(told.into_body()),
            arrived: Arrival::UNKNOWN,
        };
        Changed { user, conn, hint, heard }
    }
}

impl Told {
    fn into_body(self) -> Body {
        match self {
            Told::Setting(setting) => Body::Setting(setting),
            Told::Membership(membership) => Body::Membership(membership),
        }
    }

    fn version(&self) -> u64 {
        match self {
            Told::Setting(wire::Setting { version, .. })
            | Told::Membership(wire::Membership { version, .. }) => *version,
        }
    }

    fn set_version(&mut self, written: u64) {
        match self {
            Told::Setting(wire::Setting { version, .. })
            | Told::Membership(wire::Membership { version, .. }) => *version = written,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::limits::{REQUESTS_OUTSTANDING_MAX, SETTING_VALUE_BYTES_MAX};

    use super::*;
    use crate::worker::turn::stage::Stage;

    fn client(user: u64) -> Client {
        let conn = ConnId { shard: 0, slot: 1, generation: 1 };
        let user = UserId::new(user).unwrap();
        Client { conn, user, request_id: 1, may_deflate: false, arrived: Arrival::UNKNOWN }
    }

    /// So many settings of a user, of which none is answered by the store. How many were refused.
    fn set(
        changes: &mut Changes,
        stage: &mut Stage,
        user: u64,
        count: usize,
        bytes: usize,
    ) -> usize {
        for number in 0..count {
            let value = Bytes::from(vec![7; bytes]);
            let change = SettingChange::new(&number.to_string(), value, None);
            changes.set(client(user), change, &mut stage.turn());
        }
        let mut refused = 0;
        stage.effects.take_outbound(|_, batch| refused += batch.len());
        refused
    }

    #[test]
    fn as_many_wait_as_a_connection_may_have_under_way() {
        let (mut changes, mut stage) = (Changes::default(), Stage::new());
        let most = REQUESTS_OUTSTANDING_MAX as usize;
        for user in 1..=2 {
            assert_eq!(set(&mut changes, &mut stage, user, most, SETTING_VALUE_BYTES_MAX), 0);
        }
        for user in 3..=20 {
            assert_eq!(set(&mut changes, &mut stage, user, most, 10), 0, "{user}");
        }
        assert_eq!(stage.asked().len(), 20, "of each user one at a time");
    }

    #[test]
    fn who_sends_without_end_leaves_room_for_others() {
        let (mut changes, mut stage) = (Changes::default(), Stage::new());
        for greedy in 1..=20 {
            assert!(set(&mut changes, &mut stage, greedy, 1_000, SETTING_VALUE_BYTES_MAX) > 0);
        }
        assert!(changes.bytes <= CHANGES_BYTES_MAX);
        assert_eq!(set(&mut changes, &mut stage, 100, 100, 10), 0);
    }

    #[test]
    fn what_was_answered_takes_no_room() {
        let (mut changes, mut stage) = (Changes::default(), Stage::new());
        set(&mut changes, &mut stage, 1, 1, 10);
        set(&mut changes, &mut stage, 2, 1, 20);
        for user in 1..=2 {
            let value = Bytes::from(vec![7; 10 * user as usize]);
            let what = What::Setting(SettingChange::new("0", value, None));
            let finished = refused(Change { client: client(user), what }, INTERNAL);
            assert!(changes.finish(finished, &mut stage.turn()).is_none());
        }
        assert!(changes.bytes == 0 && changes.users.is_empty());
    }
}
