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

use super::Cluster;
use crate::limits::RECHECKS_MAX;

/// Users whose identity is to be read again.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    /// So many are being read.
    running: usize,
    waiting: VecDeque<UserId>,
    /// At the next tick: what they need did not work.
    later: Vec<UserId>,
}

impl Cluster {
    /// Word of an end may have been lost: the identities of all who are connected are to be read
    /// again, some at a time. Those who are waiting for it already are read after this moment anyway.
    pub(crate) fn recheck_all<'a>(&mut self, users: impl Iterator<Item = &'a UserId>) {
        let Rechecks { waiting, later, .. } = &mut self.rechecks;
        later.clear();
        waiting.clear();
        waiting.extend(users);
    }

    /// Time has passed: what did not work is tried again.
    pub(crate) fn recheck_later_ones(&mut self) {
        let Rechecks { waiting, later, .. } = &mut self.rechecks;
        waiting.extend(later.drain(..));
    }

    /// The next user to look at, unless enough are being looked at already.
    pub(crate) fn next_recheck(&mut self) -> Option<UserId> {
        let Rechecks { running, waiting, .. } = &mut self.rechecks;
        if *running < RECHECKS_MAX { waiting.pop_front() } else { None }
    }

    /// The identity of a user is being read again.
    pub(crate) fn recheck_begun(&mut self) {
        self.rechecks.running += 1;
    }

    /// A recheck has ended, which was counted when it was begun or not. If it could not be done, it
    /// is done later.
    pub(crate) fn recheck_ended(&mut self, user: UserId, is_counted: bool, done: bool) {
        let Rechecks { running, later, .. } = &mut self.rechecks;
        *running -= usize::from(is_counted);
        if !done {
            later.push(user);
        }
    }
}
