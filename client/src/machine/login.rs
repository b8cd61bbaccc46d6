//! Which credential to try next, and what a refusal means.
//!
//! ```text
//! register ──► password            resume ──► access ──► refresh ──► password ──► issuer ──► user
//!   (NAME_TAKEN: perhaps by us)      each after the one before it was refused
//! ```

use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, ErrorCode, LoggedIn};
use dunlin_protocol::{ErrorClass, class};

use super::event::Stop;
use super::renewal::Renewal;
use super::tokens::{Credentials, SavedTokens};

/// The credentials that are left.
#[derive(Debug)]
pub(super) struct Login {
    credentials: Credentials,
    renewal: Renewal,
    /// A registration found the name taken: by our own lost attempt, or by somebody else.
    name_was_taken: bool,
    /// A login succeeded since the user gave these credentials. Until then a dead session is no
    /// news to the user, who has just asked for a new one.
    is_established: bool,
}

/// What to send next.
#[derive(Debug)]
pub(super) enum Attempt {
    Register(wire::Register),
    /// By this, and whether new tokens are wanted with it.
    LogIn(Credential, bool),
    /// Nothing is left.
    Exhausted,
}

/// What a refusal means.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// Make the next attempt on the same connection.
    TryNext,
    /// Come back later: it was no verdict.
    NotNow {
        code: ErrorCode,
        retry_after_ms: u32,
    },
    Stop(Stop),
}

impl Login {
    pub(super) fn new(credentials: Credentials) -> Login {
        Login { credentials, renewal: Renewal::new(), name_was_taken: false, is_established: false }
    }

    pub(super) fn tokens(&self) -> &SavedTokens {
        &self.credentials.tokens
    }

    /// `now_ms` is of a clock that does not go backwards.
    pub(super) fn next(&self, now_ms: u64) -> Attempt {
        let Credentials { tokens, password, issuer_token, register, invitation } =
            &self.credentials;
        if !tokens.resume_token.is_empty() {
            let token = Credential::ResumeToken(tokens.resume_token.clone());
            return Attempt::LogIn(token, self.wants_tokens(now_ms));
        }
        if !tokens.access_token.is_empty() {
            let token = Credential::AccessToken(tokens.access_token.clone());
            return Attempt::LogIn(token, self.wants_tokens(now_ms));
        }
        if !tokens.refresh_token.is_empty() {
            let token = Credential::RefreshToken(tokens.refresh_token.clone());
            return Attempt::LogIn(token, false);
        }
        if let Some(password) = password {
            let (username, password) = (password.username.clone(), password.password.clone());
            if let Some(display_name) = register.clone() {
                let invitation = invitation.clone();
                let register = wire::Register { username, password, display_name, invitation };
                return Attempt::Register(register);
            }
            let credential = wire::PasswordCredential { username, password };
            return Attempt::LogIn(Credential::Password(credential), false);
        }
        match issuer_token {
            Some(token) => Attempt::LogIn(Credential::IssuerToken(token.clone()), false),
            None => Attempt::Exhausted,
        }
    }

    /// Whether a login that would leave the refresh token as it is should bring another one.
    fn wants_tokens(&self, now_ms: u64) -> bool {
        self.credentials.tokens.refresh_token.is_empty() || self.renewal.is_due(now_ms)
    }

    /// The account exists now.
    pub(super) fn registered(&mut self) {
        self.credentials.register = None;
    }

    /// Registration was refused.
    pub(super) fn registration_refused(&mut self, error: wire::Error) -> Refusal {
        match class(error.code) {
            ErrorClass::Request if error.code() == ErrorCode::NameTaken => {
                self.credentials.register = None;
                self.name_was_taken = true;
                Refusal::TryNext
            }
            // It would be the same the next time.
            ErrorClass::Server if error.code() == ErrorCode::DataCorrupt => {
                Refusal::Stop(Stop::Refused(error))
            }
            ErrorClass::Request | ErrorClass::Credentials | ErrorClass::NotAllowed => {
                Refusal::Stop(Stop::Refused(error))
            }
            ErrorClass::NotNow | ErrorClass::Server => not_now(&error),
        }
    }

    /// The credential that [`Login::next`] named was refused.
    pub(super) fn refused(&mut self, error: wire::Error) -> Refusal {
        let is_token = !self.credentials.tokens.is_empty();
        match ErrorCode::try_from(error.code) {
            Ok(ErrorCode::AccountDisabled) => Refusal::Stop(Stop::AccountDisabled),
            // What is stored of this account is damaged: it would be the same the next time.
            Ok(ErrorCode::DataCorrupt) => Refusal::Stop(Stop::Refused(error)),
            Ok(ErrorCode::SessionRevoked) => {
                self.credentials.tokens = SavedTokens::default();
                if self.is_established {
                    return Refusal::Stop(Stop::LoggedOut);
                }
                self.next_or(Stop::LoggedOut)
            }
            Ok(ErrorCode::NewTokenNeeded) => {
                self.drop_current();
                self.next_or(Stop::NewTokenNeeded)
            }
            Ok(ErrorCode::WrongCredentials) if !is_token => {
                self.credentials.password = None;
                if self.name_was_taken {
                    return Refusal::Stop(Stop::NameTaken);
                }
                Refusal::Stop(Stop::WrongCredentials)
            }
            _ => match class(error.code) {
                ErrorClass::Credentials => {
                    self.drop_current();
                    self.next_or(Stop::NoCredentials)
                }
                ErrorClass::Request | ErrorClass::NotAllowed => Refusal::Stop(Stop::Refused(error)),
                ErrorClass::NotNow | ErrorClass::Server => not_now(&error),
            },
        }
    }

    fn next_or(&self, stop: Stop) -> Refusal {
        match self.next(0) {
            Attempt::Exhausted => Refusal::Stop(stop),
            Attempt::Register(_) | Attempt::LogIn(..) => Refusal::TryNext,
        }
    }

    fn drop_current(&mut self) {
        let Credentials { tokens, password, issuer_token, .. } = &mut self.credentials;
        if !tokens.resume_token.is_empty() {
            tokens.resume_token.clear();
        } else if !tokens.access_token.is_empty() {
            tokens.access_token.clear();
        } else if !tokens.refresh_token.is_empty() {
            tokens.refresh_token.clear();
        } else if password.is_some() {
            *password = None;
        } else {
            *issuer_token = None;
        }
    }

    /// A login succeeded: what it brought replaces what was there, what it did not bring stays
    /// good. An issuer's token is for one login.
    pub(super) fn succeeded(&mut self, now_ms: u64, logged_in: &LoggedIn) {
        self.is_established = true;
        self.name_was_taken = false;
        let Credentials { tokens, password, issuer_token, register, .. } = &mut self.credentials;
        if tokens.is_empty() && password.is_none() {
            *issuer_token = None;
        }
        *register = None;
        if !logged_in.resume_token.is_empty() {
            tokens.resume_token = logged_in.resume_token.clone();
        }
        let has_refresh_token = !tokens.refresh_token.is_empty();
        if let Some(new) = &logged_in.tokens {
            self.renewed(now_ms, new);
        } else if has_refresh_token {
            self.renewal.kept(now_ms, logged_in.session_expires_in_s);
        }
    }

    /// New tokens came, by a login or by Refresh.
    pub(super) fn renewed(&mut self, now_ms: u64, new: &wire::Tokens) {
        let tokens = &mut self.credentials.tokens;
        tokens.access_token = new.access_token.clone();
        tokens.refresh_token = new.refresh_token.clone();
        self.renewal.renewed(now_ms, new.refresh_expires_in_s);
    }

    /// When the refresh token wants to be renewed.
    pub(super) fn renewal_ms(&self) -> Option<u64> {
        self.renewal.due_ms()
    }

    /// The request that renews it, if it is time; to be sent.
    pub(super) fn renew(&mut self, now_ms: u64) -> Option<wire::Refresh> {
        if !self.renewal.is_due(now_ms) {
            return None;
        }
        let token = &self.credentials.tokens.refresh_token;
        if token.is_empty() {
            self.renewal = Renewal::new();
            return None;
        }
        self.renewal.asked(now_ms);
        Some(wire::Refresh { refresh_token: token.clone() })
    }

    pub(super) fn renewal_refused(&mut self, now_ms: u64) {
        self.renewal.refused(now_ms);
    }

    pub(super) fn disconnected(&mut self) {
        self.renewal.disconnected();
    }

    /// The session is over.
    pub(super) fn forget_tokens(&mut self) {
        self.credentials.tokens = SavedTokens::default();
    }

    /// The password was changed, so this one is good from now on.
    pub(super) fn password_changed(&mut self, new: &str) {
        if let Some(password) = &mut self.credentials.password {
            password.password = new.to_owned();
        }
    }
}

fn not_now(error: &wire::Error) -> Refusal {
    Refusal::NotNow { code: error.code(), retry_after_ms: error.retry_after_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Password;

    fn password() -> Option<Password> {
        Some(Password { username: "alice".into(), password: "correct horse".into() })
    }

    fn tokens() -> SavedTokens {
        SavedTokens {
            resume_token: "resume".into(),
            access_token: "access".into(),
            refresh_token: "refresh".into(),
        }
    }

    fn error(code: ErrorCode) -> wire::Error {
        wire::Error { code: code as i32, ..wire::Error::default() }
    }

    fn kind(login: &Login) -> &'static str {
        match login.next(0) {
            Attempt::Register(_) => "register",
            Attempt::LogIn(Credential::ResumeToken(_), _) => "resume",
            Attempt::LogIn(Credential::AccessToken(_), _) => "access",
            Attempt::LogIn(Credential::RefreshToken(_), _) => "refresh",
            Attempt::LogIn(Credential::Password(_), _) => "password",
            Attempt::LogIn(Credential::IssuerToken(_), _) => "issuer",
            Attempt::Exhausted => "nothing",
        }
    }

    #[test]
    fn the_cheapest_credential_comes_first_and_the_user_last() {
        let mut login = Login::new(Credentials {
            tokens: tokens(),
            password: password(),
            ..Credentials::default()
        });
        for expected in ["resume", "access", "refresh"] {
            assert_eq!(kind(&login), expected);
            assert_eq!(login.refused(error(ErrorCode::TokenExpired)), Refusal::TryNext);
        }
        assert_eq!(kind(&login), "password");
        let refusal = login.refused(error(ErrorCode::WrongCredentials));
        assert_eq!(refusal, Refusal::Stop(Stop::WrongCredentials));
        assert_eq!(kind(&login), "nothing");
    }

    #[test]
    fn tokens_alone_end_at_the_user() {
        let credentials = Credentials { tokens: tokens(), ..Credentials::default() };
        let mut login = Login::new(credentials);
        login.refused(error(ErrorCode::TokenInvalid));
        login.refused(error(ErrorCode::TokenInvalid));
        let refusal = login.refused(error(ErrorCode::TokenInvalid));
        assert_eq!(refusal, Refusal::Stop(Stop::NoCredentials));
    }

    #[test]
    fn a_session_that_was_ended_elsewhere_is_not_taken_back() {
        let credentials =
            Credentials { tokens: tokens(), password: password(), ..Credentials::default() };
        let mut login = Login::new(credentials.clone());
        assert_eq!(login.refused(error(ErrorCode::SessionRevoked)), Refusal::TryNext);
        assert_eq!(kind(&login), "password", "the user has just typed it");

        let mut login = Login::new(credentials);
        login.succeeded(0, &LoggedIn { resume_token: "new".into(), ..LoggedIn::default() });
        let refusal = login.refused(error(ErrorCode::SessionRevoked));
        assert_eq!(refusal, Refusal::Stop(Stop::LoggedOut));
        assert!(login.tokens().is_empty());
    }

    #[test]
    fn a_taken_name_may_be_ones_own() {
        let credentials = Credentials {
            password: password(),
            register: Some(String::new()),
            ..Credentials::default()
        };
        let mut login = Login::new(credentials);
        assert_eq!(kind(&login), "register");
        assert_eq!(login.registration_refused(error(ErrorCode::NameTaken)), Refusal::TryNext);
        assert_eq!(kind(&login), "password");
        let refusal = login.refused(error(ErrorCode::WrongCredentials));
        assert_eq!(refusal, Refusal::Stop(Stop::NameTaken));
    }

    #[test]
    fn not_now_is_no_verdict() {
        let credentials = Credentials { password: password(), ..Credentials::default() };
        let mut login = Login::new(credentials);
        let refusal = login.refused(wire::Error {
            code: ErrorCode::Overloaded as i32,
            retry_after_ms: 700,
            ..wire::Error::default()
        });
        let expected = Refusal::NotNow { code: ErrorCode::Overloaded, retry_after_ms: 700 };
        assert_eq!(refusal, expected);
        assert_eq!(kind(&login), "password");
        let refusal = login.refused(error(ErrorCode::AccountDisabled));
        assert_eq!(refusal, Refusal::Stop(Stop::AccountDisabled));
    }

    #[test]
    fn an_account_that_is_damaged_is_not_asked_for_again() {
        let credentials = Credentials {
            tokens: tokens(),
            password: password(),
            register: Some(String::new()),
            ..Credentials::default()
        };
        let mut login = Login::new(credentials);
        let damaged = error(ErrorCode::DataCorrupt);
        let stopped = Refusal::Stop(Stop::Refused(damaged.clone()));
        assert_eq!(login.refused(damaged.clone()), stopped);
        assert_eq!(login.registration_refused(damaged), stopped);
        assert_eq!(kind(&login), "resume", "it may be mended");
    }

    #[test]
    fn a_login_brings_the_next_tokens_and_keeps_the_others() {
        let mut login = Login::new(Credentials { tokens: tokens(), ..Credentials::default() });
        login.succeeded(0, &LoggedIn { resume_token: "second".into(), ..LoggedIn::default() });
        assert_eq!(login.tokens().resume_token, "second");
        assert_eq!(login.tokens().refresh_token, "refresh");
        // An issuer's user gets a resume token by the issuer's token alone.
        login.succeeded(0, &LoggedIn::default());
        assert_eq!(login.tokens().resume_token, "second");
    }

    fn wants_tokens(login: &Login, now_ms: u64) -> bool {
        match login.next(now_ms) {
            Attempt::LogIn(_, wants_tokens) => wants_tokens,
            other @ (Attempt::Register(_) | Attempt::Exhausted) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refresh_token_is_used_again_until_the_next_one_came() {
        let mut login = Login::new(Credentials { password: password(), ..Credentials::default() });
        let refresh_token = "one".to_owned();
        let refresh_expires_in_s = 2000;
        let tokens = wire::Tokens { refresh_token, refresh_expires_in_s, ..Default::default() };
        login.succeeded(0, &LoggedIn { tokens: Some(tokens), ..LoggedIn::default() });
        assert_eq!(login.renew(999_999), None);
        for now_ms in [1_000_000, 1_090_000, 90_000_000] {
            assert_eq!(login.renew(now_ms).unwrap().refresh_token, "one");
            login.disconnected();
        }
    }

    #[test]
    fn who_comes_back_without_a_good_refresh_token_asks_for_one() {
        let lost = SavedTokens { refresh_token: String::new(), ..tokens() };
        let mut login = Login::new(Credentials { tokens: lost, ..Credentials::default() });
        assert!(wants_tokens(&login, 0));
        let new = wire::Tokens {
            access_token: "access".into(),
            refresh_token: "two".into(),
            refresh_expires_in_s: 2000,
            ..Default::default()
        };
        login.succeeded(0, &LoggedIn { tokens: Some(new), ..LoggedIn::default() });
        assert!(!wants_tokens(&login, 999_999));
        assert!(wants_tokens(&login, 1_000_000), "it is due");
        // The session was used: it is not due any more.
        let kept = LoggedIn { session_expires_in_s: 2000, ..LoggedIn::default() };
        let mut login = Login::new(Credentials { tokens: tokens(), ..Credentials::default() });
        login.succeeded(0, &kept);
        login.succeeded(900_000, &kept);
        assert!(!wants_tokens(&login, 1_899_999));
        assert!(wants_tokens(&login, 1_900_000));
    }

    #[test]
    fn a_token_of_an_issuer_may_be_too_old_while_the_session_is_not_lost() {
        let issuer_token = Some("header.claims.signature".to_owned());
        let mut login = Login::new(Credentials { issuer_token, ..Credentials::default() });
        let refusal = login.refused(error(ErrorCode::NewTokenNeeded));
        assert_eq!(refusal, Refusal::Stop(Stop::NewTokenNeeded));
    }
}
