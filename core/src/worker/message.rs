//! What workers of one node say to each other.

pub use crate::audience::push::{Push, SignalPush};
pub use crate::conversation::hearing::Heard;
use crate::credential::PasswordLogin;
use crate::identity::operation::Operation;

/// From one worker to another of the same node. To itself a worker says it by a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkerMessage {
    /// An entry for the sessions of a user.
    Push(Push),
    /// A signal or receipt for the sessions of a user.
    Signal(SignalPush),
    /// Whether somebody wants to hear what is said in a conversation, for the worker of the conversation.
    Heard(Heard),
    /// A login by password, for the worker of the name.
    PasswordLogin(Box<PasswordLogin>),
    /// Something to do to a user, for the worker of the user.
    Operation(Box<Operation>),
}

impl WorkerMessage {
    /// The memory that it takes while it waits, as far as that can be much.
    pub(crate) fn memory(&self) -> usize {
        let frame = match self {
            WorkerMessage::Push(Push { frame, .. })
            | WorkerMessage::Signal(SignalPush { frame, .. }) => frame.wire().len(),
            WorkerMessage::Heard(_)
            | WorkerMessage::PasswordLogin(_)
            | WorkerMessage::Operation(_) => 0,
        };
        size_of::<WorkerMessage>() + frame
    }
}
