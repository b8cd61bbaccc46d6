//! What other nodes say, and what they are told: what follows from it here.

use bytes::Bytes;
use dunlin_protocol::wire::CloseReason;
use dunlin_protocol::{SessionId, UserId};

use super::effect::PresenceChange;
use super::router::Router;
use super::turn::Turn;
use crate::arrival::Arrival;
use crate::audience::push::{Push, SignalPush};
use crate::audience::session::{Closed, Ended};
use crate::bus::Member;
use crate::cluster::item::{Answer, Forward, ForwardedSend, Item, NodePush, NodeSignal};
use crate::conversation::pending::{Pending, ReplyTo, Stored};
use crate::identity::asker::Asker;
use crate::identity::operation::{Action, Closing, Operation, Recheck};
use crate::membership::users_of;
use crate::placement::Origin;

impl Router {
    pub(super) fn take_members(&mut self, members: &[Member], turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        for log in cluster.members_changed(members, turn) {
            self.append_rest_here(log, turn);
        }
    }

    pub(super) fn take_envelope(&mut self, envelope: Bytes, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        let Some((from, items)) = cluster.open(envelope, turn) else { return };
        for item in items {
            match item {
                Ok(item) => self.take_item(from, item, turn),
                Err(error) => {
                    if let Some(cluster) = &mut self.cluster {
                        cluster.item_lost(from, &error);
                    }
                }
            }
        }
    }

    fn take_item(&mut self, from: Origin, item: Item, turn: &mut Turn<'_>) {
        match item {
            Item::Forward(forward) => self.take_forward(from, forward, turn),
            Item::Answer(answer) => self.take_answer(&answer, turn),
            Item::Push(push) => self.take_node_push(push, turn),
            Item::Signal(signal) => self.take_node_signal(signal, turn),
            Item::Ended(ended) => self.take_ended(ended, turn),
        }
    }

    /// Another node takes this worker for the home of a conversation. If that is wrong, it is
    /// appended all the same: a send is passed on once.
    fn take_forward(&mut self, from: Origin, forward: Forward, turn: &mut Turn<'_>) {
        let Forward { log, batch, sends } = forward;
        for (index, forwarded) in (0..).zip(sends) {
            let ForwardedSend { sender, conn, message } = forwarded;
            let reply_to = ReplyTo::Node { from, batch, index };
            self.append_here(Pending::new(reply_to, sender, conn, log, message), turn);
        }
    }

    /// The home has answered a send.
    fn take_answer(&mut self, answer: &Answer, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        match (cluster.answered(answer), answer.outcome) {
            (Some(pending), outcome) => {
                self.answer_send(pending.log, pending.reply_to, outcome, turn);
            }
            // Nobody waits for it any more: the connection that has sent it may have been refused, and it alone was
            // not told.
            (None, Ok(Stored { seq, .. })) => {
                self.push_behind(&users_of(answer.log), answer.log, seq, turn);
            }
            (None, Err(_)) => {}
        }
    }

    fn take_node_push(&mut self, push: NodePush, turn: &mut Turn<'_>) {
        let NodePush { users, log, head, except, frame } = push;
        for user in users {
            let arrived = Arrival::UNKNOWN;
            let push = Push { user, log, head, frame: frame.clone(), except, arrived };
            self.sessions.push(&push, turn.effects);
        }
    }

    fn take_node_signal(&mut self, signal: NodeSignal, turn: &mut Turn<'_>) {
        for user in signal.users {
            let (frame, is_receipt) = (signal.frame.clone(), signal.is_receipt);
            let signal = SignalPush { user, frame, except: None, is_receipt };
            self.sessions.signal(signal, turn.effects);
        }
    }

    /// Sends what has become ready during the tick.
    pub(super) fn send_forwards(&mut self, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        for log in cluster.send_forwards(turn) {
            self.append_rest_here(log, turn);
        }
    }

    /// Ends a tick: what was collected for other nodes is sent.
    pub(super) fn flush_envelopes(&mut self, turn: &mut Turn<'_>) {
        if let Some(cluster) = &mut self.cluster {
            cluster.flush(turn);
        }
    }

    /// Time has passed.
    pub(super) fn tick_cluster(&mut self, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        if cluster.tick(turn) {
            self.sessions.all_behind(turn.effects);
            cluster.recheck_all(self.sessions.users().chain(self.identities.busy_users()));
        }
        for log in cluster.take_late(turn) {
            self.append_rest_here(log, turn);
        }
        self.recheck_again(turn);
    }
}

/// Where users are, and what was ended elsewhere.
impl Router {
    /// Tells other nodes that the user is not connected here, unless one of the sessions is open or
    /// about to be.
    pub(super) fn announce_absence(&mut self, user: UserId, turn: &mut Turn<'_>) {
        if turn.others_append() && !self.is_here(user) {
            turn.effects.presence.push(PresenceChange::Left(user));
        }
    }

    /// Whether the user has a session, or may have one in a moment.
    fn is_here(&self, user: UserId) -> bool {
        !self.sessions.of(user).is_empty() || self.identities.is_busy(user)
    }

    /// Tells other nodes about connections that are closed here, and apart from the others about those
    /// of the session that comes back: they are told another reason.
    pub(super) fn end_elsewhere(
        &mut self,
        user: UserId,
        closing: Option<&Closing>,
        comes_back: Option<SessionId>,
        turn: &mut Turn<'_>,
    ) {
        let (Some(cluster), Some(Closing { of, reason })) = (&mut self.cluster, closing) else {
            return;
        };
        let at_ms = turn.dates.revoking_ms;
        let mut closed = of.clone();
        if let Some(session) = comes_back.filter(|session| of.includes(*session)) {
            let (closed, reason) = (Closed::Sessions(vec![session]), CloseReason::Reconnected);
            cluster.ended(&Ended { user, closed, reason, at_ms }, turn);
        }
        if let Closed::Sessions(sessions) = &mut closed {
            sessions.retain(|session| comes_back != Some(*session));
            if sessions.is_empty() {
                return;
            }
        }
        cluster.ended(&Ended { user, closed, reason: *reason, at_ms }, turn);
    }

    /// Another node has ended sessions of a user.
    fn take_ended(&mut self, ended: Ended, turn: &mut Turn<'_>) {
        let user = ended.user;
        if !self.is_here(user) {
            return;
        }
        let action = Action::Recheck(Recheck { ended: Some(Box::new(ended)), is_counted: false });
        self.take_operation(Operation { user, asker: Asker::Nobody, action }, turn);
    }

    fn recheck_again(&mut self, turn: &mut Turn<'_>) {
        if let Some(cluster) = &mut self.cluster {
            cluster.recheck_later_ones();
            self.run_rechecks(turn);
        }
    }

    fn run_rechecks(&mut self, turn: &mut Turn<'_>) {
        while let Some(cluster) = &mut self.cluster
            && let Some(user) = cluster.next_recheck()
        {
            if self.is_here(user) {
                self.begin_recheck(user, turn);
            }
        }
    }

    fn begin_recheck(&mut self, user: UserId, turn: &mut Turn<'_>) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.recheck_begun();
        let action = Action::Recheck(Recheck { ended: None, is_counted: true });
        self.take_operation(Operation { user, asker: Asker::Nobody, action }, turn);
    }

    /// A recheck has ended; if it could not be done, it is done later.
    pub(super) fn recheck_ended(
        &mut self,
        user: UserId,
        recheck: &Recheck,
        done: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.recheck_ended(user, recheck.is_counted, done);
        if recheck.is_counted && done {
            self.run_rechecks(turn);
        }
    }
}
