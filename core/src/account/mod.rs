//! The accounts of the users of a worker: logs that are read when needed, and appended to by
//! nobody else on this node.
//!
//! - `fold`: what the entries of an account log add up to; `log`: an account log in use
//! - [`read`]: moving a read cursor; [`find`]: looking users up
//!
//! What others must hear of an account is [`Told`] to the caller.

pub(crate) mod find;
mod fold;
mod log;
pub(crate) mod read;

use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};

use crate::audience::push::LogPush;
use crate::dense_map::DenseMap;
use crate::entry::EncodedEntry;
use crate::limits::{ACCOUNT_PUSH_BYTES_MAX, OVERLOADED_RETRY_MS, STATE_IDLE_MS};
use crate::refusal::{INTERNAL, Refusal};
use crate::request::Client;
use crate::store::{Append, Appended, Page};
use crate::worker::agenda::Owner;
use crate::worker::flow::{Answer, PageFlow};
use crate::worker::message::{Join, Joined};
use crate::worker::turn::Turn;
use find::FindId;
pub(crate) use fold::{Account, ReadState};
use log::{AccountLog, Changed, Load, Need};
pub(crate) use log::{Change, Reader};
use read::MarkRead;

pub(crate) const NO_SUCH_USER: Refusal = Refusal::new(ErrorCode::NoSuchUser, "no user has this id");

const QUEUE_FULL: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many changes wait for this account",
    OVERLOADED_RETRY_MS,
);

const TOO_MANY_CONVERSATIONS: Refusal =
    Refusal::new(ErrorCode::PermissionDenied, "the user has too many conversations");

/// The accounts that are in use.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    logs: DenseMap<UserId, AccountLog>,
}

/// What waits for a page.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AccountPage {
    /// An account, for a page of its log.
    Log(UserId),
    /// A read cursor, for the entry that it shall move to.
    MarkRead(MarkRead),
    /// A look-up of users.
    Find(FindId, UserId),
}

/// What became of a change, for those whom it concerns.
#[derive(Debug)]
pub(crate) enum Told {
    /// An entry of the account log is durable: the sessions of the user should know.
    Entry { user: UserId, push: LogPush },
    /// A conversation was joined, or can't be: its worker waits for it.
    Joined(Joined),
    /// A read cursor is where it was asked to be, or further.
    Read { mark: MarkRead, has_moved: bool },
    /// A client asked for what can't be.
    Refused { client: Client, refusal: Refusal },
}

/// What follows from a page of an account log.
#[derive(Debug)]
#[must_use]
pub(crate) enum Loaded {
    /// More pages are needed.
    Waits,
    /// The account is loaded: it is to be [served](Accounts::serve).
    Done,
    /// It can't be read: it is to be [failed](Accounts::fail).
    Failed(Refusal),
}

/// Who is left when a log can't be read or appended to.
#[derive(Debug)]
pub(crate) struct Failed {
    /// They wait for the account in vain.
    pub(crate) readers: Vec<Reader>,
    /// What the batch at the store was to follow, of which nobody knows what became of it.
    pub(crate) unsure_after: Option<u64>,
}

impl Accounts {
    /// Accounts in memory.
    pub(crate) fn len(&self) -> usize {
        self.logs.len()
    }

    /// Queues a change. Then the account is to be [served](Accounts::serve).
    pub(crate) fn change(
        &mut self,
        user: UserId,
        change: Change,
        turn: &mut Turn<'_>,
    ) -> Result<(), Option<Told>> {
        let refused = self.log(user, turn).enqueue(change);
        refused.map_err(|change| refused_change(&change, QUEUE_FULL))
    }

    /// Lets somebody wait for the account until it is durable and up to date. Then it is to be
    /// [served](Accounts::serve).
    pub(crate) fn read(&mut self, user: UserId, reader: Reader, turn: &mut Turn<'_>) {
        let others_append = turn.others_append();
        self.log(user, turn).add_reader(reader, others_append);
    }

    /// The account as it is durable; `None` if there is no such user, or while it is not known.
    pub(crate) fn durable(&self, user: UserId) -> Option<&Account> {
        self.logs.get(&user)?.durable()
    }

    /// Takes the next steps of an account. Gives back those who can read it now; then it is to be
    /// called again, until there are none.
    pub(crate) fn serve(&mut self, user: UserId, turn: &mut Turn<'_>) -> Option<Vec<Reader>> {
        loop {
            match self.logs.get_mut(&user)?.next_step(user) {
                Need::Nothing => return None,
                Need::Load(range) => {
                    turn.ask_page(range, PageFlow::Account(AccountPage::Log(user)));
                }
                Need::Serve(readers) => return Some(readers),
                Need::Number => turn.agenda.number(Owner::Account(user)),
            }
        }
    }

    /// A page of an account log was read.
    pub(crate) fn page_read(
        &mut self,
        user: UserId,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) -> Loaded {
        let Some(log) = self.logs.get_mut(&user) else { return Loaded::Waits };
        match answer.map(|page| log.loaded(user, &page)) {
            Ok(Load::Read(range)) => {
                turn.ask_page(range, PageFlow::Account(AccountPage::Log(user)));
                Loaded::Waits
            }
            Ok(Load::Done) => Loaded::Done,
            Ok(Load::Damaged) => Loaded::Failed(INTERNAL),
            Err(refusal) => Loaded::Failed(refusal),
        }
    }

    /// Numbers the changes of an account at the end of a tick. Returns how many.
    pub(crate) fn number(
        &mut self,
        user: UserId,
        now_ms: u64,
        appends: &mut Vec<Append>,
        told: &mut Vec<Told>,
    ) -> usize {
        let Some(log) = self.logs.get_mut(&user) else { return 0 };
        log.number(user, now_ms, appends, |change, changed| tell(user, &change, changed, told))
    }

    /// The store has answered for what was numbered. Then the account is to be
    /// [served](Accounts::serve).
    pub(crate) fn appended(&mut self, user: UserId, results: &[Appended], told: &mut Vec<Told>) {
        let Some(log) = self.logs.get_mut(&user) else { return };
        log.settle(results, |change, changed| tell(user, &change, changed, told));
    }

    /// The log of an account can't be read or appended to.
    pub(crate) fn fail(
        &mut self,
        user: UserId,
        refusal: Refusal,
        told: &mut Vec<Told>,
    ) -> Option<Failed> {
        let log = self.logs.get_mut(&user)?;
        let unsure_after = log.unsure_after();
        let (changes, readers) = log.fail();
        told.extend(changes.iter().filter_map(|change| refused_change(change, refusal)));
        Some(Failed { readers, unsure_after })
    }

    /// Forgets an account that was not used for a while. False if it has to stay.
    pub(crate) fn forget_if_idle(&mut self, user: UserId, now_ms: u64) -> bool {
        let unused_since_ms = now_ms.saturating_sub(STATE_IDLE_MS);
        let idle = |kept: &AccountLog| kept.is_idle() && kept.used_ms <= unused_since_ms;
        let forget = self.logs.get(&user).is_none_or(idle);
        if forget {
            self.logs.remove(&user);
        }
        forget
    }

    fn log(&mut self, user: UserId, turn: &mut Turn<'_>) -> &mut AccountLog {
        let (log, is_new) = self.logs.get_or_insert_with(user, AccountLog::new);
        if is_new {
            turn.agenda.sweep_later(Owner::Account(user), turn.now_ms);
        }
        log.used_ms = turn.now_ms;
        log
    }
}

/// Tells what became of a change.
fn tell(user: UserId, change: &Change, changed: Changed, told: &mut Vec<Told>) {
    match changed {
        Changed::Stored { seq, entry } => {
            told.push(Told::Entry { user, push: push_of(user, seq, &entry) });
            told.extend(confirmed_change(change, true));
        }
        Changed::AlreadySo => told.extend(confirmed_change(change, false)),
        Changed::TooMany => told.extend(refused_change(change, TOO_MANY_CONVERSATIONS)),
        Changed::NoSuchUser => told.extend(refused_change(change, NO_SUCH_USER)),
    }
}

fn confirmed_change(change: &Change, is_new: bool) -> Option<Told> {
    match *change {
        Change::Join(join) => Some(joined(join, Ok(()))),
        Change::Read(mark) => Some(Told::Read { mark, has_moved: is_new }),
        Change::Snapshot => None,
    }
}

fn refused_change(change: &Change, refusal: Refusal) -> Option<Told> {
    match *change {
        Change::Join(join) => Some(joined(join, Err(refusal))),
        Change::Read(MarkRead { client, .. }) => Some(Told::Refused { client, refusal }),
        // The next change of the account asks for it again.
        Change::Snapshot => None,
    }
}

fn joined(join: Join, result: Result<(), Refusal>) -> Told {
    let Join { user, conversation } = join;
    Told::Joined(Joined { user, conversation, result })
}

/// What is pushed of an entry of an account log.
fn push_of(user: UserId, seq: u64, entry: &EncodedEntry) -> LogPush {
    let log = LogId::account(user);
    let frame = if entry.body.len() > ACCOUNT_PUSH_BYTES_MAX {
        let conversation_id = log.to_wire();
        EncodedFrame::push(Body::Behind(wire::Behind { conversation_id, head: seq }))
    } else {
        entry.frame.clone()
    };
    LogPush { log, head: seq, frame }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::INTERNAL;
    use crate::sync::SyncId;
    use crate::worker::turn::stage::Stage;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn join() -> Join {
        Join { user: user(1), conversation: LogId::direct(user(1), user(2)) }
    }

    /// A join waits for the account to be loaded.
    fn loading(stage: &mut Stage) -> Accounts {
        let mut accounts = Accounts::default();
        let taken = accounts.change(user(1), Change::Join(join()), &mut stage.turn());
        assert!(taken.is_ok());
        assert!(accounts.serve(user(1), &mut stage.turn()).is_none());
        assert_eq!(stage.asked().len(), 1);
        accounts
    }

    fn result_of(told: &[Told]) -> Result<(), Refusal> {
        match told {
            [Told::Joined(joined)] => joined.result,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whoever_does_not_exist_joins_nothing() {
        let mut stage = Stage::new();
        let mut accounts = loading(&mut stage);
        let page = accounts.page_read(user(1), Ok(Page::default()), &mut stage.turn());
        assert!(matches!(page, Loaded::Done));
        assert!(accounts.serve(user(1), &mut stage.turn()).is_none());
        let (mut appends, mut told) = (Vec::new(), Vec::new());
        assert_eq!(accounts.number(user(1), 1, &mut appends, &mut told), 0);
        assert_eq!(result_of(&told), Err(NO_SUCH_USER));
    }

    #[test]
    fn an_account_that_cannot_be_read_lets_nobody_wait() {
        let mut stage = Stage::new();
        let mut accounts = loading(&mut stage);
        accounts.read(user(1), Reader::Sync(SyncId::of(1)), &mut stage.turn());
        let page = accounts.page_read(user(1), Err(INTERNAL), &mut stage.turn());
        let Loaded::Failed(refusal) = page else { panic!("{page:?}") };
        let mut told = Vec::new();
        let failed = accounts.fail(user(1), refusal, &mut told).unwrap();
        assert_eq!((failed.readers.len(), failed.unsure_after), (1, None));
        assert_eq!(result_of(&told), Err(INTERNAL));
    }
}
