//! What belongs to one user: registers of the account log, and read cursors in the conversations. The
//! store keeps them right, so nothing of an account stays in memory.
//!
//! - [`register`]: that the account exists; [`membership`]: what a conversation is to its members, and
//!   [`join`]: becoming one; [`setting`]: what the devices of a user share; [`changes`]: changing both
//! - [`cursor`]: what a read cursor is; [`read`]: moving it
//! - [`find`]: looking users up

pub(crate) mod changes;
pub(crate) mod cursor;
pub(crate) mod find;
pub(crate) mod join;
pub(crate) mod membership;
pub(crate) mod read;
pub(crate) mod register;
pub(crate) mod setting;

use dunlin_protocol::wire::ErrorCode;

use crate::refusal::Refusal;

pub(crate) const NO_SUCH_USER: Refusal = Refusal::new(ErrorCode::NoSuchUser, "no user has this id");
