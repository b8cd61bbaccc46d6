//! Calls at the door that wait for their answer.

use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::{EncodedFrame, frame};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::admin::{AdminError, AdminReply};
use crate::limits::DOOR_CALLS_MAX;
use crate::refusal::INTERNAL;
use crate::transport::Delivery;

use super::door_error::{DoorError, OVERLOADED};

/// What is called with the answer to a request of a user.
pub(super) type Done = Box<dyn FnOnce(Result<Body, DoorError>) + Send>;

/// What is called with the answer to a request of the operator.
pub(super) type AdminDone = Box<dyn FnOnce(Result<AdminReply, AdminError>) + Send>;

/// Who waits.
pub(super) enum Waiting {
    User(Done),
    Operator(AdminDone),
}

impl Waiting {
    fn refuse(self, error: DoorError) {
        match self {
            Waiting::User(done) => done(Err(error)),
            Waiting::Operator(done) => done(Err(for_operator(error))),
        }
    }
}

/// See the module. A call is answered by being taken out, so it is answered once. No answer is
/// given under the lock: whoever is answered may call again.
#[derive(Default)]
pub(crate) struct Calls(Mutex<State>);

#[derive(Default)]
struct State {
    /// By a number that is never used again: an answer that comes too late meets nobody.
    waiting: HashMap<u64, Waiting, RandomState>,
    last: u64,
    stopped: bool,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Calls {
    /// Takes a call in, or answers it at once: that there are too many, or that it is too late.
    pub(super) fn begin(&self, waiting: Waiting) -> Option<u64> {
        let mut state = self.0.lock();
        let refusal = if state.stopped {
            DoorError::Stopped
        } else if state.waiting.len() >= DOOR_CALLS_MAX {
            DoorError::of(OVERLOADED)
        } else {
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, waiting);
            return Some(number);
        };
        drop(state);
        waiting.refuse(refusal);
        None
    }

    /// Answers a call that no worker has taken.
    pub(super) fn refuse(&self, call: u64, error: DoorError) {
        if let Some(waiting) = self.take(call) {
            waiting.refuse(error);
        }
    }

    /// Answers a request of the operator.
    pub(super) fn answer_operator(&self, call: u64, answer: Result<AdminReply, AdminError>) {
        match self.take(call) {
            Some(Waiting::Operator(done)) => done(answer),
            Some(waiting @ Waiting::User(_)) => waiting.refuse(DoorError::of(INTERNAL)),
            None => {}
        }
    }

    /// Answers a request of a user with what a connection would be sent.
    pub(super) fn deliver(&self, call: u64, delivery: &Delivery) {
        match (self.take(call), delivery) {
            (Some(Waiting::User(done)), Delivery::Response(response)) => done(told(response)),
            // A defect: whoever waits is told all the same.
            (Some(waiting), _) => waiting.refuse(DoorError::of(INTERNAL)),
            (None, _) => {}
        }
    }

    /// The engine has stopped: nobody is left to answer what still waits, and what comes.
    pub(super) fn stop(&self) {
        let left = {
            let mut state = self.0.lock();
            state.stopped = true;
            std::mem::take(&mut state.waiting)
        };
        left.into_values().for_each(|waiting| waiting.refuse(DoorError::Stopped));
    }

    fn take(&self, call: u64) -> Option<Waiting> {
        self.0.lock().waiting.remove(&call)
    }

    /// How many calls wait for their answer.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

/// Takes a response apart that was made for a client.
fn told(response: &EncodedFrame) -> Result<Body, DoorError> {
    match frame::decode(response.body()).ok().and_then(|frame| frame.body) {
        Some(Body::Error(error)) => Err(DoorError::Refused(error)),
        Some(body) => Ok(body),
        None => Err(DoorError::of(INTERNAL)),
    }
}

/// The operator is refused before anything is done only because it is too much, or too late.
fn for_operator(error: DoorError) -> AdminError {
    match error {
        DoorError::Refused(error) if error.code() == OVERLOADED.code => {
            AdminError::Refused { code: OVERLOADED.code, message: OVERLOADED.message }
        }
        DoorError::Refused(_) => {
            AdminError::Refused { code: INTERNAL.code, message: INTERNAL.message }
        }
        DoorError::Stopped => AdminError::Stopped,
    }
}
