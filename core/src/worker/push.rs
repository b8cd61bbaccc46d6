//! Telling users what was appended, wherever their sessions are.

use super::Worker;
use super::effect::Effects;
use super::message::{Push, SignalPush, WorkerMessage};

impl Worker {
    /// Pushes an entry to a user.
    pub(super) fn push_to_user(&mut self, push: Push, effects: &mut Effects) {
        let worker = self.worker_of_user(push.user);
        if worker == self.index {
            self.sessions.push(&push, effects);
        } else {
            effects.tell_worker(worker, WorkerMessage::Push(push));
        }
    }

    /// Delivers a signal or a receipt to a user.
    pub(super) fn signal_to_user(&mut self, signal: SignalPush, effects: &mut Effects) {
        let worker = self.worker_of_user(signal.user);
        if worker == self.index {
            self.sessions.signal(&signal, effects);
        } else {
            effects.tell_worker(worker, WorkerMessage::Signal(signal));
        }
    }
}
