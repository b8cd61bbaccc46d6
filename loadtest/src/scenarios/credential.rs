//! What users who come back log in with.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The kinds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Credential {
    /// The resume token of the session.
    ResumeToken,
    /// A new token of the issuer, as at first; it makes a new session.
    IssuerToken,
}

/// The resume tokens of the users of a thread, by slot; of none if they log in otherwise.
#[derive(Debug)]
pub(crate) struct ResumeTokens(Vec<Box<[u8]>>);

impl ResumeTokens {
    pub(crate) fn new(credential: Credential, users: usize) -> ResumeTokens {
        let users = if credential == Credential::ResumeToken { users } else { 0 };
        ResumeTokens(vec![Box::default(); users])
    }

    /// A login by such a token need not bring another one: then the one before is still good.
    pub(crate) fn keep(&mut self, slot: usize, token: &[u8]) {
        if let Some(place) = self.0.get_mut(slot).filter(|_| !token.is_empty()) {
            *place = token.into();
        }
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&[u8]> {
        self.0.get(slot).map(AsRef::as_ref).filter(|token| !token.is_empty())
    }
}
