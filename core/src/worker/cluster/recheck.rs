//! Sessions that were ended on another node.
//!
//! A log-out, a new password or a disabled account ends sessions wherever they are connected. The
//! node that has made it durable tells the nodes where the user is; these read the identity again and
//! close what it no longer admits. If the word gets lost, the gap in the numbers makes the receiver
//! read the identity of everybody who is connected.
//!
//! What this guarantees: once an end is durable, a session of another node is closed as soon as the
//! word arrives; if it is lost, within one round of looking after the loss was noticed, which is one
//! beacon later at most. If the two nodes can't hear each other at all, the end takes effect when one
//! of them leaves the other's list of members, or when they hear each other again. In the meantime
//! the connection can go on; but nobody can come in with what was ended, since every login reads the
//! identity.
//!
//! A login can't slip through: a node announces a user's presence *before* it reads the identity for
//! the login. So either the login reads what the end has written, or the node that ends finds the
//! presence, and the word waits for its turn behind the login.

use std::collections::VecDeque;

use dunlin_protocol::UserId;

use super::super::Worker;
use crate::audience::session::{Closed, Ended};
use crate::limits::RECHECKS_MAX;
use crate::worker::effect::Effects;
use crate::worker::login::asker::Asker;
use crate::worker::login::operation::{Action, Closing, Operation, Recheck};

/// Users whose identity is to be read again.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    /// So many are being read.
    running: usize,
    waiting: VecDeque<UserId>,
    /// At the next tick: what they need did not work.
    later: Vec<UserId>,
}

impl Worker {
    /// Tells other nodes about connections that are closed here.
    pub(in super::super) fn end_elsewhere(
        &mut self,
        user: UserId,
        closing: Option<&Closing>,
        effects: &mut Effects,
    ) {
        let (Some(cluster), Some(Closing { of, reason })) = (&mut self.cluster, closing) else {
            return;
        };
        if matches!(of, Closed::Sessions(sessions) if sessions.is_empty()) {
            return;
        }
        let (closed, reason, at_ms) = (of.clone(), *reason, self.now_ms);
        cluster.ended(&Ended { user, closed, reason, at_ms }, effects);
    }

    /// Another node has ended sessions of a user.
    pub(super) fn take_ended(&mut self, ended: Ended, effects: &mut Effects) {
        let user = ended.user;
        if !self.is_here(user) {
            return;
        }
        let action = Action::Recheck(Recheck { ended: Some(Box::new(ended)), is_counted: false });
        self.take_operation(Operation { user, asker: Asker::Nobody, action }, effects);
    }

    /// Whether the user has a session, or may have one in a moment.
    fn is_here(&self, user: UserId) -> bool {
        !self.sessions.of(user).is_empty() || self.operations.contains_key(&user)
    }

    /// Word of an end may have been lost: the identities of all who are connected are read again,
    /// some at a time. Those who are waiting for it already are read after this moment anyway.
    pub(super) fn recheck_everybody(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        let rechecks = &mut cluster.rechecks;
        rechecks.later.clear();
        rechecks.waiting.clear();
        rechecks.waiting.extend(self.sessions.users());
        rechecks.waiting.extend(self.operations.keys());
    }

    pub(super) fn tick_rechecks(&mut self, effects: &mut Effects) {
        let Some(cluster) = &mut self.cluster else { return };
        let rechecks = &mut cluster.rechecks;
        rechecks.waiting.extend(rechecks.later.drain(..));
        self.run_rechecks(effects);
    }

    fn run_rechecks(&mut self, effects: &mut Effects) {
        while let Some(cluster) = &mut self.cluster
            && cluster.rechecks.running < RECHECKS_MAX
            && let Some(user) = cluster.rechecks.waiting.pop_front()
        {
            if self.is_here(user) {
                self.begin_recheck(user, effects);
            }
        }
    }

    fn begin_recheck(&mut self, user: UserId, effects: &mut Effects) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.rechecks.running += 1;
        let action = Action::Recheck(Recheck { ended: None, is_counted: true });
        self.take_operation(Operation { user, asker: Asker::Nobody, action }, effects);
    }

    /// A recheck has ended; if it could not be done, it is done later.
    pub(in super::super) fn recheck_ended(
        &mut self,
        user: UserId,
        recheck: &Recheck,
        done: bool,
        effects: &mut Effects,
    ) {
        let Some(cluster) = &mut self.cluster else { return };
        let rechecks = &mut cluster.rechecks;
        rechecks.running -= usize::from(recheck.is_counted);
        if !done {
            rechecks.later.push(user);
        }
        if recheck.is_counted && done {
            self.run_rechecks(effects);
        }
    }
}
