//! What is done to the credentials and sessions of users: one thing of a user after another.
//!
//! The worker of the user does one [`Operation`] of a user at a time, as a
//! [transaction](crate::transaction) on the identity log. So a login that has read "not disabled" can't
//! open its session after the disabling has closed all of them.
//!
//! - [`operation`]: what is done, and what it comes to; `decide`, [`enter`]: how that is decided
//! - [`asker`]: who waits for it; [`look_up`]: reads that begin most of what concerns a user
//!
//! An operation that has come to its end is [`Finished`]: the caller carries it out, and then begins
//! the [next](Identities::next).

pub(crate) mod asker;
mod decide;
pub(crate) mod enter;
pub(crate) mod look_up;
pub(crate) mod operation;

use std::collections::VecDeque;

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId};

use crate::audience::session::Sessions;
use crate::auth::identity::Identity;
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal, STORE_UNAVAILABLE};
use crate::store::{Deleted, Deletion, Registers, Set, Written};
use crate::transaction::{Running, Taken, Transactions};
use crate::worker::flow::{Answer, Answers, DeleteFlow, RegistersFlow, WriteFlow, single};
use crate::worker::turn::Turn;
use decide::decide;
pub(crate) use decide::{ISSUER_ACCOUNT, WRONG_CREDENTIALS};
use enter::ABANDONED;
use operation::{Action, Decision, Operation};

const TOO_BUSY: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many changes wait for this user",
    OVERLOADED_RETRY_MS,
);

/// Operations of one user that may wait. An honest user has a few devices.
const WAITING_MAX: usize = 32;

/// The users to whom something is being done.
#[derive(Debug)]
pub(crate) struct Identities {
    operations: Transactions<UserId, Operation>,
}

impl Default for Identities {
    fn default() -> Identities {
        Identities { operations: Transactions::new(WAITING_MAX) }
    }
}

/// What waits until a changed identity is durable.
#[derive(Debug)]
pub(crate) struct Writing {
    running: Running<Operation>,
    decision: Decision,
    /// What one write had no room for: many sessions end at once.
    rest: VecDeque<Set>,
}

/// An operation that has come to its end.
#[derive(Debug)]
#[must_use]
pub(crate) struct Finished {
    pub(crate) operation: Operation,
    pub(crate) decided: Result<Decision, Refusal>,
    /// It was begun: when it is carried out, the [next](Identities::next) of the user is begun.
    pub(crate) was_begun: bool,
}

impl Identities {
    /// Whether something is being done to the user.
    pub(crate) fn is_busy(&self, user: UserId) -> bool {
        self.operations.is_busy(user)
    }

    /// The users to whom something is being done.
    pub(crate) fn busy_users(&self) -> impl Iterator<Item = &UserId> {
        self.operations.owners()
    }

    /// Begins an operation of a user of this worker, or lets it wait for the one before it.
    pub(crate) fn take(
        &mut self,
        operation: Operation,
        sessions: &Sessions,
        turn: &mut Turn<'_>,
    ) -> Option<Finished> {
        // Logins of connections that are gone must not be in the way of those that came after them.
        for abandoned in self.operations.make_room(operation.user, Operation::is_abandoned) {
            abandoned.asker.refuse(ABANDONED, turn);
        }
        match self.operations.take(operation.user, operation) {
            Taken::Begins(running) => {
                begin(running, sessions, turn);
                None
            }
            Taken::Waits => None,
            Taken::Refused(operation) => {
                Some(Finished { operation, decided: Err(TOO_BUSY), was_begun: false })
            }
        }
    }

    /// Begins the next operation of a user, after one was carried out. False if there is none.
    pub(crate) fn next(&mut self, user: UserId, sessions: &Sessions, turn: &mut Turn<'_>) -> bool {
        let next = self.operations.next(user);
        let is_there = next.is_some();
        if let Some(running) = next {
            begin(running, sessions, turn);
        }
        is_there
    }
}

fn begin(running: Running<Operation>, sessions: &Sessions, turn: &mut Turn<'_>) {
    let Operation { user, ref action, .. } = running.change;
    if matches!(action, Action::Enter(_)) {
        sessions.announce(user, turn);
    }
    let flow = RegistersFlow::Identity(Box::new(running));
    turn.ask_registers(vec![look_up::read_identity(user)], flow);
}

/// The identity of the user was read.
pub(crate) fn identity_read(
    running: Running<Operation>,
    answers: Answers<Registers>,
    sessions: &Sessions,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    match look_up::identity(single(answers)) {
        Ok((identity, version)) => decided(running, &identity, version, sessions, turn),
        Err(DATA_CORRUPT) if running.change.needs_nothing_of_before() => {
            drop_damaged(running, turn);
            None
        }
        Err(refusal) => Some(finished(running.change, Err(refusal))),
    }
}

/// Nobody could ever enter again: all that can't be read of an identity goes, the rest of it too.
fn drop_damaged(running: Running<Operation>, turn: &mut Turn<'_>) {
    let user = running.change.user;
    tracing::warn!(
        %user,
        "the identity was damaged and is made anew: all sessions have ended, and if the account was \
         disabled, it is to be disabled again"
    );
    let deletion = Deletion::Drop { log: LogId::identity(user) };
    turn.delete(vec![deletion], DeleteFlow::Identity(Box::new(running)));
}

/// A damaged identity is gone, or not.
pub(crate) fn dropped(
    running: Running<Operation>,
    answer: Answer<Vec<Deleted>>,
    sessions: &Sessions,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    let deleted = answer.and_then(|verdicts| match &verdicts[..] {
        [Deleted::Done { .. }] => Ok(()),
        [Deleted::Unknown] => Err(STORE_UNAVAILABLE),
        _ => Err(INTERNAL),
    });
    if let Err(refusal) = deleted {
        return Some(finished(running.change, Err(refusal)));
    }
    match running.again() {
        Ok(running) => {
            begin(running, sessions, turn);
            None
        }
        // It is as damaged as before.
        Err(operation) => Some(finished(operation, Err(DATA_CORRUPT))),
    }
}

fn decided(
    running: Running<Operation>,
    before: &Identity,
    version: u64,
    sessions: &Sessions,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    let user = running.change.user;
    let mut identity = before.clone();
    let decision = decide(&running.change, &mut identity, sessions.of(user), turn);
    let rest = VecDeque::from(identity.sets_after(before));
    if rest.is_empty() {
        return Some(finished(running.change, Ok(decision)));
    }
    write(Writing { running, decision, rest }, version, turn);
    None
}

/// Writes what is left of a changed identity, if nobody has written since this version.
fn write(mut writing: Writing, version: u64, turn: &mut Turn<'_>) {
    let user = writing.running.change.user;
    let write = look_up::write_identity(user, version, &mut writing.rest);
    turn.write(vec![write], WriteFlow::Identity(Box::new(writing)));
}

/// A changed identity is durable, or somebody else was faster.
pub(crate) fn written(
    writing: Writing,
    answer: Answer<Vec<Written>>,
    sessions: &Sessions,
    turn: &mut Turn<'_>,
) -> Option<Finished> {
    match look_up::stored_alone(answer) {
        Ok(Some(version)) if !writing.rest.is_empty() => {
            write(writing, version, turn);
            None
        }
        Ok(Some(_)) => Some(finished(writing.running.change, Ok(writing.decision))),
        Ok(None) => match writing.running.again() {
            Ok(running) => {
                begin(running, sessions, turn);
                None
            }
            Err(operation) => Some(finished(operation, Err(TOO_BUSY))),
        },
        // Who comes back is no worse off by it than by not having come.
        Err(_) if writing.running.change.needs_no_write() => {
            Some(finished(writing.running.change, Ok(writing.decision)))
        }
        Err(refusal) => Some(finished(writing.running.change, Err(refusal))),
    }
}

fn finished(operation: Operation, decided: Result<Decision, Refusal>) -> Finished {
    Finished { operation, decided, was_begun: true }
}
