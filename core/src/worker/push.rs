//! Telling users what was appended, wherever their sessions are.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};

use super::Worker;
use super::effect::Effects;
use super::message::WorkerMessage;
use crate::audience::push::{Knower, LogPush, Push, SignalPush};

impl Worker {
    /// Pushes what happened in a log to users, on this node and on others.
    pub(super) fn push_to_users(
        &mut self,
        users: &[UserId],
        push: &LogPush,
        except: Option<Knower>,
        effects: &mut Effects,
    ) {
        if let Some(cluster) = &mut self.cluster {
            cluster.push(users, push, except, effects);
        }
        let except = except.and_then(Knower::conn_here);
        for &user in users {
            let LogPush { log, head, ref frame } = *push;
            let push = Push { user, log, head, frame: frame.clone(), except };
            let worker = self.worker_of_user(user);
            if worker == self.index {
                self.sessions.push(&push, effects);
            } else {
                effects.tell_worker(worker, WorkerMessage::Push(push));
            }
        }
    }

    /// Tells users that a log of theirs has grown up to `head`, without saying by what.
    pub(super) fn push_behind(
        &mut self,
        users: &[UserId],
        log: LogId,
        head: u64,
        effects: &mut Effects,
    ) {
        let behind = wire::Behind { conversation_id: log.to_wire(), head };
        let frame = EncodedFrame::push(Body::Behind(behind));
        self.push_to_users(users, &LogPush { log, head, frame }, None, effects);
    }

    /// Delivers a signal or a receipt to a user, on this node and on others.
    pub(super) fn signal_to_user(&mut self, signal: SignalPush, effects: &mut Effects) {
        if let Some(cluster) = &mut self.cluster {
            cluster.signal(signal.user, &signal.frame, effects);
        }
        let worker = self.worker_of_user(signal.user);
        if worker == self.index {
            self.sessions.signal(signal, effects);
        } else {
            effects.tell_worker(worker, WorkerMessage::Signal(signal));
        }
    }
}
