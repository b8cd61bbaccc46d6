//! What proves who this is.

use std::fmt;

use bytes::Bytes;

/// The tokens of a session. Empty ones are absent. Keep them like a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SavedTokens {
    /// The cheapest way back, for about a day.
    pub resume_token: Bytes,
    /// For minutes.
    pub access_token: String,
    /// For a month, once.
    pub refresh_token: String,
}

impl SavedTokens {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.resume_token.is_empty()
            && self.access_token.is_empty()
            && self.refresh_token.is_empty()
    }
}

impl fmt::Debug for SavedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "SavedTokens(none)" } else { "SavedTokens(hidden)" })
    }
}

/// Everything that may be tried to log in, the cheapest first: tokens, then the password or the
/// issuer's token.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Of an earlier session of this device.
    pub tokens: SavedTokens,
    /// What the user typed.
    pub password: Option<Password>,
    /// Signed by an issuer that the server trusts.
    pub issuer_token: Option<String>,
    /// Create the account first, with the password and this display name (empty: the user name).
    /// If the name is taken, the password decides whether it is taken by this user.
    pub register: Option<String>,
    /// The code of an invitation, if the server wants one of those who register.
    pub invitation: String,
}

/// A name and its password.
#[derive(Clone)]
pub struct Password {
    /// Who.
    pub username: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("tokens", &self.tokens)
            .field("password", &self.password)
            .field("issuer_token", &self.issuer_token.is_some())
            .field("register", &self.register)
            .field("invitation", &!self.invitation.is_empty())
            .finish()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password of {:?}", self.username)
    }
}
