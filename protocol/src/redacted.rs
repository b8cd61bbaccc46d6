//! `Debug` of the messages that hold a credential: everything but the credential.
//!
//! Frames get printed: in logs, in panics, in failed assertions. What must never be in a log is
//! therefore not printed by anything. `build.rs` names these messages a second time; one that is
//! missing here does not compile.

use std::fmt;

use crate::wire::login::Credential;
use crate::wire::{ChangePassword, LoggedIn, Login, PasswordCredential, Refresh, Register, Tokens};

/// Stands for a secret. Its length is a secret too; that it is missing is not.
struct Hidden {
    empty: bool,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.empty { "(empty)" } else { "(hidden)" })
    }
}

macro_rules! redact {
    ($message:ident { $($shown:ident),* } hides { $($secret:ident),* }) => {
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(stringify!($secret), &Hidden { empty: self.$secret.is_empty() }))*
                    .finish()
            }
        }
    };
}

redact!(Register { username, display_name } hides { password, invitation });
redact!(PasswordCredential { username } hides { password });
redact!(Login { credential, device, want_tokens, fetch_only } hides {});
redact!(
    LoggedIn { user_id, session_id, username, tokens, resume_expires_in_s, session_expires_in_s }
    hides { resume_token }
);
redact!(Tokens { access_expires_in_s, refresh_expires_in_s } hides { access_token, refresh_token });
redact!(Refresh {} hides { refresh_token });
redact!(ChangePassword {} hides { old_password, new_password });

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, empty) = match self {
            Credential::Password(password) => return password.fmt(f),
            Credential::AccessToken(token) => ("AccessToken", token.is_empty()),
            Credential::IssuerToken(token) => ("IssuerToken", token.is_empty()),
            Credential::ResumeToken(token) => ("ResumeToken", token.is_empty()),
            Credential::RefreshToken(token) => ("RefreshToken", token.is_empty()),
        };
        f.debug_tuple(name).field(&Hidden { empty }).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, Login, frame::Body};

    const SECRET: &str = "correct horse";

    #[test]
    fn no_credential_is_printed() {
        let password = PasswordCredential { username: "alice".into(), password: SECRET.into() };
        let tokens = Tokens {
            access_token: SECRET.into(),
            refresh_token: SECRET.into(),
            ..Tokens::default()
        };
        let login =
            |credential| Body::Login(Login { credential: Some(credential), ..Login::default() });
        let bodies = [
            login(Credential::Password(password)),
            login(Credential::AccessToken(SECRET.into())),
            login(Credential::IssuerToken(SECRET.into())),
            login(Credential::ResumeToken(SECRET.into())),
            login(Credential::RefreshToken(SECRET.into())),
            Body::Register(Register { password: SECRET.into(), ..Register::default() }),
            Body::LoggedIn(LoggedIn {
                tokens: Some(tokens.clone()),
                resume_token: SECRET.into(),
                ..LoggedIn::default()
            }),
            Body::Tokens(tokens),
            Body::Refresh(Refresh { refresh_token: SECRET.into() }),
            Body::ChangePassword(ChangePassword {
                old_password: SECRET.into(),
                new_password: SECRET.into(),
            }),
        ];
        for body in bodies {
            let printed = format!("{:?}", Frame { request_id: 1, body: Some(body) });
            assert!(!printed.contains(SECRET), "{printed}");
            assert!(!printed.contains("99, 111, 114"), "{printed}");
            assert!(printed.contains("(hidden)"), "{printed}");
        }
        assert!(format!("{:?}", Refresh::default()).contains("(empty)"));
    }
}
