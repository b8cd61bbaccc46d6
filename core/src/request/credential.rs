//! Becoming somebody: what may be asked before login.

use std::borrow::Cow;

use dunlin_protocol::DeviceId;
use dunlin_protocol::limits::{ISSUED_USERNAME_BYTES_MAX, NAME_BYTES_MAX, PASSWORD_BYTES};
use dunlin_protocol::wire::{self, DeviceKind, login::Credential};

use super::Request;
use super::invalid::{InvalidRequest, at_most, invalid};
use crate::attempt::Attempt;
use crate::auth::{display, spelling};

/// A request of somebody who is nobody yet. Any worker takes it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CredentialRequest {
    /// Make an account.
    Register(Register),
    /// Become somebody on this connection.
    Login(Login),
}

impl CredentialRequest {
    /// Whether a password has to be hashed for it: that is what a guesser costs, and what he may find out.
    pub fn needs_password(&self) -> bool {
        match self {
            CredentialRequest::Register(_) => true,
            CredentialRequest::Login(login) => match login.credential {
                Credential::Password(_) => true,
                Credential::AccessToken(_)
                | Credential::RefreshToken(_)
                | Credential::ResumeToken(_)
                | Credential::IssuerToken(_) => false,
            },
        }
    }
}

/// Where a connection comes from, as far as its transport tells such places apart: all connections of one address
/// have one, and nobody can choose a number. A transport without addresses has one place for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Source(pub u64);

impl From<CredentialRequest> for Request {
    fn from(request: CredentialRequest) -> Request {
        Request::Credential(request)
    }
}

/// See [`wire::Register`].
#[derive(Debug, Clone, PartialEq)]
pub struct Register {
    /// Lower case; see `USERNAME_LENGTH`.
    pub username: String,
    /// In clear; hashed and forgotten.
    pub password: String,
    /// The user name if none was given.
    pub display_name: String,
    /// The code of an invitation; empty if there is none.
    pub invitation: String,
    /// Whether somebody waits for it.
    pub attempt: Attempt,
}

/// See [`wire::Login`].
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// What proves who it is.
    pub credential: Credential,
    /// On what device.
    pub device: Device,
    /// What for.
    pub purpose: Purpose,
    /// Whether somebody waits for it, and which are newer.
    pub attempt: Attempt,
    /// Where it comes from: [`Request::comes_from`] says it.
    pub source: Source,
}

/// What somebody logs in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To stay, and be told what happens.
    #[default]
    Live,
    /// The same, and for new tokens.
    NewTokens,
    /// To look at what has happened, beside the connection that stays.
    Fetch,
}

/// A device that is complete and within limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// Of what kind.
    pub kind: DeviceKind,
    /// Its name for people.
    pub name: String,
}

impl TryFrom<wire::Register> for Register {
    type Error = InvalidRequest;

    fn try_from(register: wire::Register) -> Result<Register, InvalidRequest> {
        let username = checked_username(&register.username)?;
        let password = checked_new_password("password", register.password)?;
        let display_name = match register.display_name.trim() {
            "" => username.clone(),
            typed => checked_display_name(typed)?,
        };
        at_most("invitation", &register.invitation, NAME_BYTES_MAX)?;
        let (invitation, attempt) = (register.invitation, Attempt::default());
        Ok(Register { username, password, display_name, invitation, attempt })
    }
}

impl TryFrom<wire::Register> for Request {
    type Error = InvalidRequest;

    fn try_from(register: wire::Register) -> Result<Request, InvalidRequest> {
        Ok(CredentialRequest::Register(register.try_into()?).into())
    }
}

impl TryFrom<wire::Login> for Request {
    type Error = InvalidRequest;

    fn try_from(login: wire::Login) -> Result<Request, InvalidRequest> {
        let credential = login.credential.ok_or_else(|| invalid("credential", "is missing"))?;
        let device = login.device.ok_or_else(|| invalid("device", "is missing"))?;
        let purpose = purpose(&credential, login.want_tokens, login.fetch_only)?;
        let (device, attempt, source) = (device.try_into()?, Attempt::default(), Source::default());
        Ok(CredentialRequest::Login(Login { credential, device, purpose, attempt, source }).into())
    }
}

impl TryFrom<wire::Device> for Device {
    type Error = InvalidRequest;

    fn try_from(device: wire::Device) -> Result<Device, InvalidRequest> {
        let id = DeviceId::from_wire(&device.device_id)
            .map_err(|error| invalid("device.device_id", error.to_string()))?;
        at_most("device.name", &device.name, NAME_BYTES_MAX)?;
        let kind = device.kind();
        // Whoever logs in has not chosen it just now, as a rule: it is no reason to keep somebody out.
        let name = match display::shown(&device.name) {
            Cow::Borrowed(_) => device.name,
            Cow::Owned(shown) => shown,
        };
        Ok(Device { id, kind, name })
    }
}

/// A refresh token, a password and an issuer's word end something, or begin a session, or both.
fn purpose(
    credential: &Credential,
    want_tokens: bool,
    fetch_only: bool,
) -> Result<Purpose, InvalidRequest> {
    let continues = match credential {
        Credential::AccessToken(_) | Credential::ResumeToken(_) => true,
        Credential::Password(_) | Credential::IssuerToken(_) | Credential::RefreshToken(_) => false,
    };
    match (want_tokens, fetch_only) {
        (_, true) if !continues => Err(invalid("fetch_only", "needs an access or resume token")),
        (true, true) => Err(invalid("want_tokens", "who only fetches gets no tokens")),
        (false, true) => Ok(Purpose::Fetch),
        (true, false) => Ok(Purpose::NewTokens),
        (false, false) => Ok(Purpose::Live),
    }
}

pub(crate) fn checked_username(name: &str) -> Result<String, InvalidRequest> {
    at_most("username", name, ISSUED_USERNAME_BYTES_MAX)?;
    spelling::username(name).map_err(|reason| invalid("username", reason))
}

/// A display name that may be set.
pub(crate) fn checked_display_name(typed: &str) -> Result<String, InvalidRequest> {
    at_most("display_name", typed, NAME_BYTES_MAX)?;
    let reason = "has characters that nobody sees, or that move others";
    spelling::display_name(typed).ok_or_else(|| invalid("display_name", reason))
}

/// A password that may be set.
pub(crate) fn checked_new_password(
    field: &'static str,
    password: String,
) -> Result<String, InvalidRequest> {
    if !PASSWORD_BYTES.contains(&password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        return Err(invalid(field, format!("{} bytes, not {least} to {most}", password.len())));
    }
    if !spelling::can_be_password(&password) {
        return Err(invalid(field, "has characters that can't be typed everywhere"));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered_as(display_name: &str) -> Result<String, &'static str> {
        let (username, password) = ("ada".to_owned(), "a password".to_owned());
        let register = wire::Register {
            username,
            password,
            display_name: display_name.into(),
            ..wire::Register::default()
        };
        Register::try_from(register)
            .map(|register| register.display_name)
            .map_err(|error| error.field)
    }

    fn device_called(name: &str) -> String {
        let device_id = vec![1; 16].into();
        let device = wire::Device { device_id, name: name.into(), ..wire::Device::default() };
        Device::try_from(device).unwrap().name
    }

    #[test]
    fn a_display_name_is_one_that_can_be_shown() {
        assert_eq!(registered_as("  Ada L. \n"), Ok("Ada L.".into()));
        assert_eq!(registered_as(" \u{3000}"), Ok("ada".into()));
        for odd in ["\u{1b}[2J", "a\0", "a\u{202e}b", "\u{200b}", &"x".repeat(65)] {
            assert_eq!(registered_as(odd), Err("display_name"), "{odd:?}");
        }
    }

    #[test]
    fn of_the_name_of_a_device_the_rest_is_left() {
        assert_eq!(device_called("Ann\u{2019}s phone"), "Ann\u{2019}s phone");
        assert_eq!(device_called("a\u{1b}[2J \u{202e}phone"), "a[2J phone");
        assert_eq!(device_called("\u{200b}"), "");
    }
}
