//! Why something was not done, for the user: what the server calls a field by its rule.

use dunlin_client::machine::{Failure, Stop};
use dunlin_protocol::limits::{PASSWORD_BYTES, USERNAME_LENGTH};
use dunlin_protocol::wire::{self, ErrorCode};

/// How long a password may be.
pub(crate) fn password_length() -> String {
    format!("{} to {} bytes", PASSWORD_BYTES.start(), PASSWORD_BYTES.end())
}

fn password_rule() -> String {
    format!("a password has {}", password_length())
}

/// Why a password can't be one.
pub(crate) fn check_new_password(password: &str) -> Result<(), String> {
    match PASSWORD_BYTES.contains(&password.len()) {
        true => Ok(()),
        false => Err(format!("{}; this one has {}", password_rule(), password.len())),
    }
}

pub(crate) fn why_stopped(stop: &Stop) -> String {
    match stop {
        Stop::Refused(error) => rule_of(error).unwrap_or_else(|| stop.to_string()),
        other => other.to_string(),
    }
}

pub(crate) fn why_failed(failure: &Failure) -> String {
    match failure {
        Failure::Refused(error) => rule_of(error).unwrap_or_else(|| failure.to_string()),
        other => other.to_string(),
    }
}

/// Whether what was asked for can be read no more.
pub(crate) fn is_damage(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(error) if error.code() == ErrorCode::DataCorrupt)
}

fn rule_of(error: &wire::Error) -> Option<String> {
    match (error.code(), error.field.as_str()) {
        (ErrorCode::InvalidArgument, "password" | "new_password") => Some(password_rule()),
        (ErrorCode::InvalidArgument, "username") => Some(format!(
            "a user name has {} to {} characters: a-z, then a-z 0-9 . _ -",
            USERNAME_LENGTH.start(),
            USERNAME_LENGTH.end()
        )),
        (ErrorCode::WrongCredentials, _) => Some("the password is wrong".into()),
        (ErrorCode::InvitationInvalid, _) => {
            Some("registering needs an invitation: --invitation with a good code".into())
        }
        (ErrorCode::RegistrationClosed, _) => Some("nobody can register on this server".into()),
        (ErrorCode::IssuerAccount, _) => Some("this account has no password on this server".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_said_instead_of_the_names_of_fields() {
        let refused = |code: ErrorCode, field: &str| wire::Error {
            code: code as i32,
            field: field.into(),
            ..wire::Error::default()
        };
        let short = Stop::Refused(refused(ErrorCode::InvalidArgument, "password"));
        assert_eq!(why_stopped(&short), "a password has 8 to 128 bytes");
        let changed = Failure::Refused(refused(ErrorCode::InvalidArgument, "new_password"));
        assert_eq!(why_failed(&changed), "a password has 8 to 128 bytes");
        let name = Stop::Refused(refused(ErrorCode::InvalidArgument, "username"));
        assert!(why_stopped(&name).starts_with("a user name has 3 to 32 characters"));
        let other = Failure::Refused(refused(ErrorCode::PermissionDenied, "conversation_id"));
        assert_eq!(why_failed(&other), other.to_string());
        assert!(check_new_password("1234567").unwrap_err().contains("this one has 7"));
        assert!(check_new_password("12345678").is_ok());
        assert!(check_new_password(&"x".repeat(129)).is_err());
    }
}
