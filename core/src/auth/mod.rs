//! Who somebody is, and how that is proved.
//!
//! Nothing here does I/O or keeps the time: the flows that use it live in the workers.
//!
//! - [`display`]: what names for people may be made of
//! - [`names`]: user names, and the logs that make them unique
//! - [`password`]: Argon2id, and the threads that compute it
//! - [`token`]: what this server signs: access, refresh and resume tokens
//! - [`issuer`]: what others sign, whom this server trusts
//! - [`identity`]: the credentials and sessions of a user, and how they change
//! - [`invitation`]: the codes of invitations, and how they are used up
//! - [`room`]: which sessions have to go so that one more device fits
//! - [`spelling`]: one spelling of what people type, for names and passwords
//! - [`throttle`]: how often a password may be guessed

pub mod display;
pub mod identity;
pub mod invitation;
pub mod issuer;
pub mod names;
pub mod password;
pub mod room;
pub mod spelling;
pub mod throttle;
pub mod token;
