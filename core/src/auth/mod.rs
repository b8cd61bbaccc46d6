//! Who somebody is, and how that is proved.
//!
//! Nothing here does I/O or keeps the time: the flows that use it live in the workers.
//!
//! - [`names`]: user names, and the logs that make them unique
//! - [`password`]: Argon2id, and the threads that compute it
//! - [`token`]: what this server signs: access, refresh and resume tokens
//! - [`issuer`]: what others sign, whom this server trusts
//! - [`identity`]: the credentials and sessions of a user, and how they change
//! - [`throttle`]: how often a password may be guessed

pub mod identity;
pub mod issuer;
pub mod names;
pub mod password;
pub mod throttle;
pub mod token;

use issuer::{IssuerConfigError, Issuers};
use token::TokenKeys;

use crate::config::IssuerConfig;

/// Whose word is taken: this server's own, by its keys, and that of the issuers.
#[derive(Debug)]
pub struct Authority {
    /// What signs and verifies the tokens of this server.
    pub keys: TokenKeys,
    /// Who else is believed.
    pub issuers: Issuers,
}

impl Authority {
    /// An authority with one signing key, older keys whose tokens are still good, and the
    /// configured issuers.
    pub fn new(
        signing_key: &[u8; 32],
        retired_keys: &[[u8; 32]],
        issuers: &[IssuerConfig],
    ) -> Result<Authority, IssuerConfigError> {
        let keys = TokenKeys::new(signing_key, retired_keys);
        Ok(Authority { keys, issuers: Issuers::new(issuers)? })
    }
}
