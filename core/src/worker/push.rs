//! Telling users what was appended, wherever their sessions are.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};

use super::message::WorkerMessage;
use super::router::Router;
use super::turn::Turn;
use crate::arrival::Arrival;
use crate::audience::push::{Knower, LogPush, Push, SignalPush};

impl Router {
    /// Pushes what happened in a log to users, on this node and on others.
    pub(super) fn push_to_users(
        &mut self,
        users: &[UserId],
        push: &LogPush,
        except: Option<Knower>,
        turn: &mut Turn<'_>,
    ) {
        if let Some(cluster) = &mut self.cluster {
            cluster.push(users, push, except, turn);
        }
        let except = except.and_then(Knower::conn_here);
        for &user in users {
            let LogPush { log, head, ref frame, arrived } = *push;
            let push = Push { user, log, head, frame: frame.clone(), except, arrived };
            let worker = turn.worker_of_user(user);
            if worker == turn.index {
                self.sessions.push(&push, turn.effects);
            } else {
                turn.effects.tell_worker(worker, WorkerMessage::Push(push));
            }
        }
    }

    /// Tells users that a log of theirs has grown up to `head`, without saying by what.
    pub(super) fn push_behind(
        &mut self,
        users: &[UserId],
        log: LogId,
        head: u64,
        turn: &mut Turn<'_>,
    ) {
        let behind = wire::Behind { conversation_id: log.to_wire(), head };
        let frame = EncodedFrame::push(Body::Behind(behind));
        let arrived = Arrival::UNKNOWN;
        self.push_to_users(users, &LogPush { log, head, frame, arrived }, None, turn);
    }

    /// Delivers a signal or a receipt to a user, on this node and on others.
    pub(super) fn signal_to_user(&mut self, signal: SignalPush, turn: &mut Turn<'_>) {
        if let Some(cluster) = &mut self.cluster {
            cluster.signal(&signal, turn);
        }
        let worker = turn.worker_of_user(signal.user);
        if worker == turn.index {
            self.sessions.signal(signal, turn.effects);
        } else {
            turn.effects.tell_worker(worker, WorkerMessage::Signal(signal));
        }
    }
}
