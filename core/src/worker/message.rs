//! What workers of one node say to each other.

use dunlin_protocol::{LogId, UserId};

pub use crate::audience::push::{Push, SignalPush};
use crate::credential::PasswordLogin;
use crate::identity::operation::Operation;
use crate::refusal::Refusal;

/// From one worker to another of the same node. To itself a worker says it by a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkerMessage {
    /// An entry for the sessions of a user.
    Push(Push),
    /// A signal or receipt for the sessions of a user.
    Signal(SignalPush),
    /// Make the user a member of the conversation, durably; answered by `Joined`.
    Join(Join),
    /// The answer to `Join`.
    Joined(Joined),
    /// A login by password, for the worker of the name.
    PasswordLogin(Box<PasswordLogin>),
    /// Something to do to a user, for the worker of the user.
    Operation(Box<Operation>),
}

/// A user shall have a conversation in the account log before anything is said in it.
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// The user.
    pub user: UserId,
    /// The conversation, whose worker waits for the answer.
    pub conversation: LogId,
}

/// The answer to [`Join`].
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    /// The user.
    pub user: UserId,
    /// The conversation.
    pub conversation: LogId,
    /// Whether it is durable now.
    pub result: Result<(), Refusal>,
}
