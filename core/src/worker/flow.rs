//! What a worker is in the middle of: for each request to the store, how to go on with the answer.
//!
//! A flow of several steps is a state machine: each step ends by a request under a new ticket, and
//! what must be remembered until the answer goes into the [`Flow`] that is kept under it. So:
//!
//! ```text
//! self.ask_store(StoreRequest::..., Flow::Login(LoginFlow::ReadingName { .. }), effects);
//! ...
//! fn login_answered(&mut self, flow: LoginFlow, result: StoreResult, effects) {
//!     match flow {
//!         LoginFlow::ReadingName { .. } => ... the next step, or the response
//! ```
//!
//! A ticket is used once. The store answers each request once; an unknown ticket is ignored, since
//! a restarted worker may hear answers that were meant for the one before it.

use dunlin_protocol::{LogId, UserId};

use super::Client;
use super::account::find::FindRead;
use super::account::read::MarkRead;
use super::batch::Run;
use super::conversation::Pending;
use super::login::LoginFlow;
use super::login::admin::AdminFlow;
use super::sync::SyncRead;
use crate::auth::password::{PasswordDone, PasswordError};
use crate::store::{StoreError, StoreReply};

/// What the store answers.
pub(super) type StoreResult = Result<StoreReply, StoreError>;

/// What the password threads answer.
pub(super) type PasswordResult = Result<PasswordDone, PasswordError>;

/// How to go on.
#[derive(Debug)]
pub(super) enum Flow {
    /// The appends of a tick are done.
    Batch {
        /// Who waits for them.
        runs: Vec<Run>,
        /// How large they are.
        bytes: usize,
    },
    /// The heads of conversations were read.
    LoadHeads(Vec<LogId>),
    /// A page of an account log was read.
    LoadAccount(UserId),
    /// The first entry of a message that was sent again was read.
    Retried(Box<Pending>),
    /// A page of history was read.
    History(Client),
    /// The entry that a read cursor shall move to was read.
    MarkRead(MarkRead),
    /// The heads of logs were read, of which the last batch failed.
    Unsure(Vec<(LogId, u64)>),
    /// Something that this look-up of users needs was read.
    Find(u64, FindRead),
    /// Something that this sync needs was read.
    Sync(u64, SyncRead),
    /// A login or the like has an answer of the store or of the password threads.
    Login(LoginFlow),
    /// A request of the program around the engine has one.
    Admin(AdminFlow),
}
