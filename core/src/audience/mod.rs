//! Who is told what happens: the open sessions of users, and what is pushed to them.

pub(crate) mod push;
pub(crate) mod session;
