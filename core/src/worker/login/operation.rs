//! What is done to the credentials and sessions of one user: one thing after another.
//!
//! ```text
//! waiting ─► read the newest identity ─► decide ─► append it ─► carry it out ─► the next one
//!                      ▲                   │          │
//!                      │                   └── nothing changed ─► carry it out
//!                      └─────── Conflict: another node was faster
//! ```
//!
//! The worker of the user does one operation of a user at a time. So a login that has read "not
//! disabled" can't open its session after the disabling has closed all of them. Nothing is kept
//! of an identity in between: the store is the truth, and a million users cost nothing here.

use std::collections::VecDeque;

use dunlin_protocol::wire::{CloseReason, ErrorCode};
use dunlin_protocol::{SessionId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::audience::session::{Closed, Ended};
use crate::auth::identity::{Identity, Inadmissible};
use crate::auth::token::Claims;
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::Refusal;
use crate::request::Logout;
use crate::store::{Appended, Head, Page};
use crate::transport::{ConnId, Delivery};
use crate::worker::flow::{self, AppendFlow, PageFlow};
use crate::worker::login::asker::{Answer, Asker};
use crate::worker::login::enter::{ABANDONED, Enter, Entered, OVERTAKEN};
use crate::worker::login::look_up;
use crate::worker::login::{LoginAppend, LoginMessage, LoginPage};
use crate::worker::message::WorkerMessage;
use crate::worker::router::Router;
use crate::worker::turn::Turn;

/// Operations of one user that may wait. An honest user has a few devices; more are answered
/// `OVERLOADED`.
const WAITING_MAX: usize = 32;

/// How often another node may be faster before the client is asked to try later.
const ATTEMPTS_MAX: u8 = 8;

const TOO_BUSY: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many changes wait for this user",
    OVERLOADED_RETRY_MS,
);

/// Operations that wait for the one before them. A user without any is not in it.
pub(in crate::worker) type Operations = HashMap<UserId, VecDeque<Operation>, RandomState>;

/// Something that is done to a user's credentials or sessions.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Whose.
    pub(in crate::worker) user: UserId,
    /// Who wants it.
    pub(in crate::worker) asker: Asker,
    /// What.
    pub(in crate::worker) action: Action,
}

#[derive(Debug, Clone)]
pub(in crate::worker) enum Action {
    /// Let somebody in.
    Enter(Enter),
    /// New tokens.
    Refresh { speaker: Speaker, claims: Claims },
    /// End sessions.
    Logout { speaker: Speaker, which: Logout },
    /// Tell which sessions there are.
    ListSessions { speaker: Speaker },
    /// Set a new password, if the one that was checked is still the one.
    SetPassword { speaker: Speaker, checked_hash: String, new_hash: String },
    /// Set a new password, whatever it was.
    ResetPassword { hash: String },
    /// Let nobody in.
    Disable,
    /// Undo that.
    Enable,
    /// Close the sessions that were ended on another node.
    Recheck(Recheck),
}

/// Why the sessions of a user are looked at again.
#[derive(Debug, Clone)]
pub(crate) struct Recheck {
    /// What another node has told of it.
    pub(in crate::worker) ended: Option<Box<Ended>>,
    /// It is one of those of which only so many are done at a time.
    pub(in crate::worker) is_counted: bool,
}

/// The connection and the session that ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker {
    pub(in crate::worker) conn: ConnId,
    pub(in crate::worker) session: SessionId,
}

/// What an operation comes to, once it is durable.
#[derive(Debug)]
pub(crate) struct Decision {
    /// Whether the identity was changed and must be appended.
    pub(in crate::worker) changed: bool,
    /// Connections that end by it.
    pub(in crate::worker) closing: Option<Closing>,
    /// What the asker is told.
    pub(in crate::worker) outcome: Result<Outcome, Refusal>,
}

#[derive(Debug)]
pub(in crate::worker) enum Outcome {
    Entered(Box<Entered>),
    /// A newer login has come before this one.
    Overtaken,
    Answer(Answer),
}

/// Which connections of the user to close, and what to tell them.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(in crate::worker) of: Closed,
    pub(in crate::worker) reason: CloseReason,
}

impl Operation {
    /// Whether it is a login that nobody waits for any more.
    fn is_abandoned(&self) -> bool {
        matches!(&self.action, Action::Enter(enter) if enter.attempt.is_abandoned())
    }
}

impl Decision {
    pub(in crate::worker) fn refuse(refusal: impl Into<Refusal>) -> Decision {
        Decision { changed: false, closing: None, outcome: Err(refusal.into()) }
    }

    pub(in crate::worker) fn tell(answer: Answer) -> Decision {
        Decision { changed: false, closing: None, outcome: Ok(Outcome::Answer(answer)) }
    }

    pub(in crate::worker) fn overtaken() -> Decision {
        Decision { changed: false, closing: None, outcome: Ok(Outcome::Overtaken) }
    }

    pub(in crate::worker) fn store(
        outcome: Outcome,
        closed: Closed,
        reason: CloseReason,
    ) -> Decision {
        let closing = Some(Closing { of: closed, reason });
        Decision { changed: true, closing, outcome: Ok(outcome) }
    }
}

impl From<Inadmissible> for Refusal {
    fn from(why: Inadmissible) -> Refusal {
        match why {
            Inadmissible::Disabled => ACCOUNT_DISABLED,
            Inadmissible::Expired => {
                Refusal::new(ErrorCode::TokenExpired, "the session has expired")
            }
            Inadmissible::Revoked => SESSION_ENDED,
            Inadmissible::Reused => Refusal::new(
                ErrorCode::SessionRevoked,
                "the refresh token was used before; its session is ended",
            ),
        }
    }
}

pub(in crate::worker) const ACCOUNT_DISABLED: Refusal =
    Refusal::new(ErrorCode::AccountDisabled, "the account is disabled");

pub(in crate::worker) const SESSION_ENDED: Refusal =
    Refusal::new(ErrorCode::SessionRevoked, "the session was ended");

/// What waits for an append.
#[derive(Debug)]
pub(crate) struct Appending {
    running: Running,
    decision: Decision,
}

/// The operation of a user that is being done.
#[derive(Debug)]
pub(crate) struct Running {
    operation: Operation,
    attempts: u8,
}

impl Router {
    /// Has something done to a user, by the worker of that user.
    pub(in crate::worker) fn operate(&mut self, operation: Operation, turn: &mut Turn<'_>) {
        let worker = turn.worker_of_user(operation.user);
        if worker == turn.index {
            self.take_operation(operation, turn);
        } else {
            let message = LoginMessage::Operation(Box::new(operation));
            turn.effects.tell_worker(worker, WorkerMessage::Login(message));
        }
    }

    /// Begins an operation of a user of this worker, or lets it wait for the one before it.
    pub(in crate::worker) fn take_operation(&mut self, operation: Operation, turn: &mut Turn<'_>) {
        self.clear_abandoned(operation.user, turn);
        match self.operations.entry(operation.user) {
            Entry::Vacant(none_before) => {
                none_before.insert(VecDeque::new());
                self.begin_operation(Running { operation, attempts: 0 }, turn);
            }
            Entry::Occupied(waiting) if waiting.get().len() >= WAITING_MAX => {
                self.refuse_operation(&operation, TOO_BUSY, turn);
            }
            Entry::Occupied(mut waiting) => waiting.get_mut().push_back(operation),
        }
    }

    /// Logins of connections that are gone must not be in the way of those that came after them.
    fn clear_abandoned(&mut self, user: UserId, turn: &mut Turn<'_>) {
        let Some(waiting) = self.operations.get_mut(&user) else { return };
        if waiting.len() < WAITING_MAX {
            return;
        }
        let (abandoned, wanted): (VecDeque<_>, _) =
            std::mem::take(waiting).into_iter().partition(Operation::is_abandoned);
        *waiting = wanted;
        for operation in &abandoned {
            self.refuse_operation(operation, ABANDONED, turn);
        }
    }

    fn begin_operation(&mut self, running: Running, turn: &mut Turn<'_>) {
        let Operation { user, action, .. } = &running.operation;
        let (user, enters) = (*user, matches!(action, Action::Enter(_)));
        if enters {
            self.announce(user, turn);
        }
        let request = look_up::read_identity(user);
        turn.ask_page(request, PageFlow::Login(LoginPage::Operation(Box::new(running))));
    }

    pub(in crate::worker) fn operation_identity_read(
        &mut self,
        running: Box<Running>,
        answer: flow::Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        match look_up::identity(answer) {
            Ok((identity, head)) => self.decide_operation(*running, identity, head, turn),
            Err(refusal) => self.end_operation(&running.operation, Err(refusal), turn),
        }
    }

    fn decide_operation(
        &mut self,
        running: Running,
        mut identity: Identity,
        head: Head,
        turn: &mut Turn<'_>,
    ) {
        let user = running.operation.user;
        let decision = self.decide(&running.operation, &mut identity, turn);
        if !decision.changed {
            self.end_operation(&running.operation, Ok(decision), turn);
            return;
        }
        let append = look_up::append_identity(user, &identity, head, turn.now_ms);
        let appending = Box::new(Appending { running, decision });
        turn.append(vec![append], AppendFlow::Login(LoginAppend::Operation(appending)));
    }

    pub(in crate::worker) fn operation_appended(
        &mut self,
        appending: Box<Appending>,
        answer: flow::Answer<Vec<Appended>>,
        turn: &mut Turn<'_>,
    ) {
        let Appending { mut running, decision } = *appending;
        match look_up::all_stored(answer) {
            Ok(true) => self.end_operation(&running.operation, Ok(decision), turn),
            Ok(false) if running.attempts < ATTEMPTS_MAX => {
                running.attempts += 1;
                self.begin_operation(running, turn);
            }
            Ok(false) => self.end_operation(&running.operation, Err(TOO_BUSY), turn),
            Err(refusal) => self.end_operation(&running.operation, Err(refusal), turn),
        }
    }

    /// Carries out what was decided, and begins the user's next operation.
    fn end_operation(
        &mut self,
        operation: &Operation,
        decided: Result<Decision, Refusal>,
        turn: &mut Turn<'_>,
    ) {
        match decided {
            Ok(decision) => self.carry_out(operation, decision, turn),
            Err(refusal) => self.refuse_operation(operation, refusal, turn),
        }
        let Entry::Occupied(mut waiting) = self.operations.entry(operation.user) else { return };
        match waiting.get_mut().pop_front() {
            Some(operation) => self.begin_operation(Running { operation, attempts: 0 }, turn),
            None => {
                waiting.remove();
                self.announce_absence(operation.user, turn);
            }
        }
    }

    fn refuse_operation(&mut self, operation: &Operation, refusal: Refusal, turn: &mut Turn<'_>) {
        match &operation.action {
            Action::Recheck(recheck) => self.recheck_ended(operation.user, recheck, false, turn),
            Action::Enter(_)
            | Action::Refresh { .. }
            | Action::Logout { .. }
            | Action::ListSessions { .. }
            | Action::SetPassword { .. }
            | Action::ResetPassword { .. }
            | Action::Disable
            | Action::Enable => self.refuse_asker(operation.asker, refusal, turn),
        }
    }

    fn carry_out(&mut self, operation: &Operation, decision: Decision, turn: &mut Turn<'_>) {
        let Operation { user, asker, ref action } = *operation;
        let Decision { closing, outcome, .. } = decision;
        match action {
            // What another node has told is told to nobody.
            Action::Recheck(recheck) => self.recheck_ended(user, recheck, true, turn),
            Action::Enter(_)
            | Action::Refresh { .. }
            | Action::Logout { .. }
            | Action::ListSessions { .. }
            | Action::SetPassword { .. }
            | Action::ResetPassword { .. }
            | Action::Disable
            | Action::Enable => self.end_elsewhere(user, closing.as_ref(), turn),
        }
        match outcome {
            Ok(Outcome::Entered(entered)) => {
                // First the old connections of the session go, then the new one comes.
                self.close_connections(user, closing, turn);
                self.entered(asker, *entered, turn);
            }
            Ok(Outcome::Overtaken) => self.close_overtaken(asker, turn),
            // First the answer, which may go to one of them.
            Ok(Outcome::Answer(answer)) => {
                self.answer(asker, answer, turn);
                self.close_connections(user, closing, turn);
            }
            Err(refusal) => {
                self.refuse_asker(asker, refusal, turn);
                self.close_connections(user, closing, turn);
            }
        }
    }

    /// As the newer login would have done it, had it come later.
    fn close_overtaken(&mut self, asker: Asker, turn: &mut Turn<'_>) {
        self.refuse_asker(asker, OVERTAKEN, turn);
        if let Asker::Login { conn, .. } = asker {
            let reason = CloseReason::Replaced;
            turn.effects.deliver(conn, Delivery::Close { reason, reconnect_delay_ms: 0 });
        }
    }

    fn close_connections(&mut self, user: UserId, closing: Option<Closing>, turn: &mut Turn<'_>) {
        let Some(Closing { of, reason }) = closing else { return };
        let open = self.sessions.of(user).iter();
        let closed: Vec<_> =
            open.filter(|open| of.includes(open.session)).map(|open| open.conn).collect();
        for conn in closed {
            self.close_session(user, conn, turn);
            turn.effects.deliver(conn, Delivery::Close { reason, reconnect_delay_ms: 0 });
        }
    }

    /// Whether this connection still speaks for the session: its requests may have been under way
    /// when it was closed.
    pub(in crate::worker) fn still_speaks(&self, user: UserId, speaker: Speaker) -> bool {
        let Speaker { conn, session } = speaker;
        self.sessions.of(user).iter().any(|open| open.conn == conn && open.session == session)
    }
}
