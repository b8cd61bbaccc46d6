//! What the users of a run do.
//!
//! - [`pairs`]: users in pairs who write to each other; commands and reports call it chat
//! - [`fanout`]: one who writes to many
//! - [`idle`]: users who log in and then say nothing
//! - [`storm`], [`slow`], [`churn`], [`hostile`]: what may befall pairs meanwhile

pub mod churn;
mod credential;
pub mod fanout;
pub mod hostile;
pub mod idle;
pub mod pairs;
mod share;
pub mod slow;
pub mod storm;
mod task;

pub use credential::Credential;
pub(crate) use credential::ResumeTokens;
pub(crate) use share::chosen;
