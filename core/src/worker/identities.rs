//! What follows from what is done to users.

use dunlin_protocol::wire::CloseReason;
use dunlin_protocol::{SessionId, UserId};

use super::message::WorkerMessage;
use super::router::Router;
use super::turn::Turn;
use crate::audience::session::OpenSession;
use crate::identity::Finished;
use crate::identity::asker::Asker;
use crate::identity::enter::{ABANDONED, Entered, OVERTAKEN};
use crate::identity::operation::{Closing, Decision, Operation, Outcome};
use crate::refusal::Refusal;
use crate::transport::{Delivery, Session};

impl Router {
    /// Has something done to a user, by the worker of that user.
    pub(super) fn operate(&mut self, operation: Option<Operation>, turn: &mut Turn<'_>) {
        let Some(operation) = operation else { return };
        let worker = turn.worker_of_user(operation.user);
        if worker == turn.index {
            self.take_operation(operation, turn);
        } else {
            turn.effects.tell_worker(worker, WorkerMessage::Operation(Box::new(operation)));
        }
    }

    /// Has something done to a user of this worker.
    pub(super) fn take_operation(&mut self, operation: Operation, turn: &mut Turn<'_>) {
        let finished = self.identities.take(operation, &self.sessions, turn);
        self.operation_finished(finished, turn);
    }

    /// Carries out what was decided, and begins the user's next operation.
    pub(super) fn operation_finished(&mut self, finished: Option<Finished>, turn: &mut Turn<'_>) {
        let Some(Finished { operation, decided, was_begun }) = finished else { return };
        match decided {
            Ok(decision) => self.carry_out(&operation, decision, turn),
            Err(refusal) => self.refuse_operation(&operation, refusal, turn),
        }
        if was_begun && !self.identities.next(operation.user, &self.sessions, turn) {
            self.announce_absence(operation.user, turn);
        }
    }

    fn refuse_operation(&mut self, operation: &Operation, refusal: Refusal, turn: &mut Turn<'_>) {
        match operation.recheck() {
            Some(recheck) => self.recheck_ended(operation.user, recheck, false, turn),
            None => operation.asker.refuse(refusal, turn),
        }
    }

    fn carry_out(&mut self, operation: &Operation, decision: Decision, turn: &mut Turn<'_>) {
        let Operation { user, asker, .. } = *operation;
        let Decision { closing, outcome, .. } = decision;
        match operation.recheck() {
            // What another node has told is told to nobody.
            Some(recheck) => self.recheck_ended(user, recheck, true, turn),
            None if outcome.as_ref().is_ok_and(Outcome::only_fetches) => {}
            None => self.end_elsewhere(user, closing.as_ref(), comes_back(&outcome), turn),
        }
        match outcome {
            Ok(Outcome::Entered(entered)) => {
                // First the old connections of the session go, then the new one comes.
                let Session { session, .. } = entered.session;
                let beside = Some((session, entered.only_fetches));
                self.close_connections(user, closing, beside, turn);
                self.entered(asker, *entered, turn);
            }
            Ok(Outcome::Overtaken) => close_overtaken(asker, turn),
            // First the reply, which may go to one of them.
            Ok(Outcome::Reply(reply)) => {
                asker.reply(reply, turn);
                self.close_connections(user, closing, None, turn);
            }
            Err(refusal) => {
                asker.refuse(refusal, turn);
                self.close_connections(user, closing, None, turn);
            }
        }
    }

    /// The identity allows it, durably: the connection speaks for the session.
    fn entered(&mut self, asker: Asker, entered: Entered, turn: &mut Turn<'_>) {
        if entered.attempt.is_abandoned() {
            // While it was made durable.
            return asker.refuse(ABANDONED, turn);
        }
        self.sessions.open(entered.session.user, entered.opens());
        let Entered { conn, session, response, .. } = entered;
        turn.effects.deliver(conn, Delivery::LoggedIn { session, response });
    }

    /// `entering` is a session for which somebody comes now, and whether to look only: of its connections
    /// those stay that are of the other kind, and the others are told that it is on another one.
    fn close_connections(
        &mut self,
        user: UserId,
        closing: Option<Closing>,
        entering: Option<(SessionId, bool)>,
        turn: &mut Turn<'_>,
    ) {
        let Some(Closing { of, reason }) = closing else { return };
        let stays = |open: &OpenSession| {
            let is_beside = |(session, only_fetches)| {
                open.session == session && open.only_fetches != only_fetches
            };
            entering.is_some_and(is_beside) || !of.includes(open.session)
        };
        let open = self.sessions.of(user).iter();
        let comes_back =
            |open: &OpenSession| entering.is_some_and(|(session, _)| open.session == session);
        let closed: Vec<_> =
            open.filter(|open| !stays(open)).map(|open| (open.conn, comes_back(open))).collect();
        for (conn, comes_back) in closed {
            let reason = if comes_back { CloseReason::Reconnected } else { reason };
            self.close_session(user, conn, turn);
            turn.effects.deliver(conn, Delivery::Close { reason, reconnect_delay_ms: 0 });
        }
    }
}

/// The session that is on another connection from now on.
fn comes_back(outcome: &Result<Outcome, Refusal>) -> Option<SessionId> {
    match outcome {
        Ok(Outcome::Entered(entered)) => Some(entered.session.session),
        Ok(Outcome::Overtaken | Outcome::Reply(_)) | Err(_) => None,
    }
}

/// The device has come back on another connection already.
fn close_overtaken(asker: Asker, turn: &mut Turn<'_>) {
    asker.refuse(OVERTAKEN, turn);
    if let Asker::Login { conn, .. } = asker {
        let reason = CloseReason::Reconnected;
        turn.effects.deliver(conn, Delivery::Close { reason, reconnect_delay_ms: 0 });
    }
}
