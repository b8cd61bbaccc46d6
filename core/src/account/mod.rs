//! What belongs to one user: registers of the account log, and read cursors in the conversations. The
//! store keeps them right, so nothing of an account stays in memory.
//!
//! - [`register`]: that the account exists, and its conversations; [`join`]: becoming a member
//! - [`cursor`]: what a read cursor is; [`read`]: moving it
//! - [`find`]: looking users up

pub(crate) mod cursor;
pub(crate) mod find;
pub(crate) mod join;
pub(crate) mod read;
pub(crate) mod register;

use dunlin_protocol::wire::ErrorCode;

use crate::refusal::Refusal;

pub(crate) const NO_SUCH_USER: Refusal = Refusal::new(ErrorCode::NoSuchUser, "no user has this id");
