//! What a worker is in the middle of: for each question that is under way, who goes on with the
//! answer.
//!
//! A flow of several steps is a state machine: each step ends by a question under a new ticket, and
//! what must be remembered until the answer goes into the flow that is kept under it. Flows are
//! sorted by the kind of question, so that whoever asks for a page gets a page, or the reason why
//! there is none:
//!
//! ```text
//! turn.ask_pages(ranges, PagesFlow::Sync(id));               the machine asks, and returns
//! ...
//! PagesFlow::Sync(id) => self.syncs.pages_read(id, answers, turn)               the router carries on
//! ```
//!
//! A ticket is used once. Each question is answered once; an unknown ticket is ignored, since a
//! restarted worker may hear answers that were meant for the one before it.

use dunlin_protocol::{LogId, UserId};

use super::agenda::Run;
use crate::account::changes::{Change, Writing};
use crate::account::find::FindId;
use crate::account::read::MarkRead;
use crate::auth::password::{PasswordDone, PasswordError};
use crate::conversation::ConversationPage;
use crate::conversation::find::Finding;
use crate::conversation::hearing::Silent;
use crate::conversation::history::FlooredPage;
use crate::conversation::signal::Signalling;
use crate::credential::{CredentialRegister, CredentialWrite};
use crate::identity;
use crate::identity::operation::Operation;
use crate::refusal::{INTERNAL, Refusal, store_refusal};
use crate::retention::RetentionFlow;
use crate::store::question::Reply;
use crate::store::{StoreError, StoreReply};
use crate::sync::{Since, SyncId};
use crate::transaction::Running;

/// The answer to a question of one kind, or what to tell whoever waits for it.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// The answer to several questions of one kind: each has its own.
pub(crate) type Answers<T> = Answer<Vec<Answer<T>>>;

/// The answer where one thing was asked.
pub(crate) fn single<T>(answers: Answers<T>) -> Answer<T> {
    let mut answers = answers?;
    let answer = answers.pop().ok_or(INTERNAL)?;
    if answers.is_empty() { answer } else { Err(INTERNAL) }
}

/// What the store answers, whatever it was asked.
pub(crate) type StoreResult = Result<StoreReply, StoreError>;

/// What the password threads answer.
pub(crate) type PasswordResult = Result<PasswordDone, PasswordError>;

/// Who goes on with an answer of the store.
#[derive(Debug)]
pub(super) enum StoreFlow {
    Written(WriteFlow),
    Pages(PagesFlow),
    Keys(KeysFlow),
    Register(RegisterFlow),
    Registers(RegistersFlow),
    Heads(HeadsFlow),
    Changed(ChangedFlow),
    Logs(LogsFlow),
    Deleted(DeleteFlow),
    /// Whatever the retention has asked.
    Retention(RetentionFlow),
}

impl StoreFlow {
    /// Whether it waits for the disk whatever is in memory. (The retention asks one thing at a time.)
    pub(super) fn is_write(&self) -> bool {
        match self {
            StoreFlow::Written(_) | StoreFlow::Deleted(_) => true,
            StoreFlow::Pages(_)
            | StoreFlow::Keys(_)
            | StoreFlow::Register(_)
            | StoreFlow::Registers(_)
            | StoreFlow::Heads(_)
            | StoreFlow::Changed(_)
            | StoreFlow::Logs(_)
            | StoreFlow::Retention(_) => false,
        }
    }
}

/// Who waits for writes.
#[derive(Debug)]
pub(crate) enum WriteFlow {
    /// The conversations that were numbered at the end of a tick.
    Batch(Vec<Run>),
    /// The members of these conversations join.
    Joins(Vec<LogId>),
    /// These read cursors move.
    Cursors(Vec<MarkRead>),
    /// What an account holds.
    Change(Box<Writing>),
    /// A new account.
    Credential(CredentialWrite),
    /// A changed identity.
    Identity(Box<identity::Writing>),
}

/// Who waits for pages of several logs.
#[derive(Debug)]
pub(crate) enum PagesFlow {
    /// What is asked of a conversation; one page.
    Conversation(ConversationPage),
    /// Read cursors, for the entries that they shall move to.
    MarkRead(Vec<MarkRead>),
    /// What is to be cleared, for the entry up to which.
    Change(Box<Running<Change>>),
    /// A sync, for the entries of some conversations.
    Sync(SyncId),
}

/// Who waits for entries that were asked for by their keys.
#[derive(Debug)]
pub(crate) enum KeysFlow {
    /// A client, for a message of its own.
    Find(Box<Finding>),
}

/// Who waits for registers that were asked for by their names.
#[derive(Debug)]
pub(crate) enum RegisterFlow {
    /// Conversations that are to be joined, for the accounts of their members.
    Members(Vec<LogId>),
    /// Conversations, for whether these members want to hear what is said.
    Silent(Vec<Silent>),
    /// A signal, for whether the other member wants to hear it.
    Signal(Box<Signalling>),
    /// A page of history, for where it begins for this user.
    Floor(Box<FlooredPage>),
    /// A look-up of users, for who has these names.
    FindNames(FindId, Vec<String>),
    /// A look-up of users, for how these are called.
    FindAccounts(FindId, Vec<UserId>),
    /// Read cursors whose entries are damaged, for where they are.
    MarkRead(Vec<MarkRead>),
    /// What decides about a change of an account.
    Change(Box<Running<Change>>),
    /// A sync, for read cursors.
    Sync(SyncId),
    /// A login or the like.
    Credential(CredentialRegister),
}

/// Who waits for registers of logs.
#[derive(Debug)]
pub(crate) enum RegistersFlow {
    /// A sync, for the conversations of its user.
    Sync(SyncId),
    /// What is done to a user, for the identity.
    Identity(Box<Running<Operation>>),
    /// The identities of a page of all accounts, by the call that asked for it.
    List(u64),
    /// The operator, for a page of invitations.
    Invitations(u64),
}

/// Who waits for the heads of logs.
#[derive(Debug)]
pub(crate) enum HeadsFlow {
    /// These conversations.
    Load(Vec<LogId>),
    /// The users of these logs, of which the last batch failed, with what they were told of each.
    Unsure(Vec<(LogId, u64)>),
    /// A change of what a conversation is to a user.
    Change(Box<Running<Change>>),
    /// A signal to somebody who ignores it, unless there is an answer.
    Signal(Box<Signalling>),
    /// A sync.
    Sync(SyncId),
}

/// Who waits to be told which logs have changed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChangedFlow {
    /// A sync, for its conversations.
    Sync(SyncId, Since),
}

/// Who waits for a list of logs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LogsFlow {
    /// A page of all accounts, of so many.
    List { call: u64, limit: usize },
}

/// Who waits for deletions.
#[derive(Debug)]
pub(crate) enum DeleteFlow {
    /// What is done to a user whose identity is damaged, and is made anew.
    Identity(Box<Running<Operation>>),
}

/// The one place where it is seen whether a store has answered what it was asked.
pub(crate) fn answer<T: Reply>(result: StoreResult) -> Answer<T> {
    let fitting = result.and_then(|reply| T::of(reply).ok_or(StoreError::Mismatched));
    fitting.map_err(|error| store_refusal(&error))
}

/// The same where each item has an answer of its own.
pub(crate) fn answers<T>(result: StoreResult) -> Answers<T>
where
    Vec<Result<T, StoreError>>: Reply,
{
    let items: Vec<Result<T, StoreError>> = answer(result)?;
    Ok(items.into_iter().map(|item| item.map_err(|error| store_refusal(&error))).collect())
}

/// The answers by what they are for: each has one, whatever the store has said.
pub(crate) fn each<A, T>(
    asked: Vec<A>,
    answers: Answers<T>,
) -> impl Iterator<Item = (A, Answer<T>)> {
    let (mut answers, rest) = match answers {
        Ok(answers) => (answers.into_iter(), INTERNAL),
        Err(refusal) => (Vec::new().into_iter(), refusal),
    };
    asked.into_iter().map(move |asked| (asked, answers.next().unwrap_or(Err(rest))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::DATA_CORRUPT;
    use crate::store::{Head, Page, Written};

    #[test]
    fn what_was_not_asked_is_a_defect_and_no_answer() {
        assert_eq!(answers(Ok(StoreReply::Heads(Vec::new()))), Ok(Vec::<Answer<Head>>::new()));
        let refused: Answer<Vec<Written>> = answer(Ok(StoreReply::Heads(Vec::new())));
        assert_eq!(refused, Err(INTERNAL));
    }

    #[test]
    fn whoever_asked_gets_an_answer_even_if_there_are_too_few() {
        let both = |answers| each(vec!['a', 'b'], answers).collect::<Vec<_>>();
        let one_is_damaged = Ok(vec![Err(DATA_CORRUPT), Ok(2)]);
        assert_eq!(both(one_is_damaged), [('a', Err(DATA_CORRUPT)), ('b', Ok(2))]);
        assert_eq!(both(Ok(vec![Ok(1)])), [('a', Ok(1)), ('b', Err(INTERNAL))]);
        assert_eq!(both(Err(DATA_CORRUPT)), [('a', Err(DATA_CORRUPT)), ('b', Err(DATA_CORRUPT))]);
    }

    #[test]
    fn each_of_several_answers_is_a_page_or_says_why_there_is_none() {
        let corrupt = StoreError::Corrupt { log: LogId::account(UserId::new(1).unwrap()), seq: 1 };
        let refusal = store_refusal(&corrupt);
        let reply = StoreReply::Pages(vec![Err(corrupt), Ok(Page::default())]);
        let answers: Answers<Page> = answers(Ok(reply));
        assert_eq!(answers, Ok(vec![Err(refusal), Ok(Page::default())]));
        assert_eq!(single(answers), Err(INTERNAL), "one was asked for");
        assert_eq!(single(Ok(vec![Ok(7)])), Ok(7));
        assert_eq!(single::<u8>(Ok(Vec::new())), Err(INTERNAL));
    }
}
