//! The first two requests of every connection.

use bytes::Bytes;
use dunlin_protocol::limits::PROTOCOL_VERSION;
use dunlin_protocol::wire::{Device, DeviceKind, Hello, Login, login::Credential};

use crate::token::Issuer;

pub(crate) fn hello() -> Hello {
    let client = concat!("dunlin-loadtest/", env!("CARGO_PKG_VERSION")).to_owned();
    Hello { protocol_version: PROTOCOL_VERSION, client }
}

/// A login of a user who exists from now on, always from the same device.
pub(crate) fn login(issuer: &Issuer, prefix: &str, user: u32) -> Login {
    let token = issuer.token(&format!("{prefix}-{user}"));
    Login { credential: Some(Credential::IssuerToken(token)), device: Some(device(user)) }
}

/// A return to the session of the last login.
pub(crate) fn resume(token: &[u8], user: u32) -> Login {
    let token = Bytes::copy_from_slice(token);
    Login { credential: Some(Credential::ResumeToken(token)), device: Some(device(user)) }
}

fn device(user: u32) -> Device {
    let mut device_id = [0; 16];
    device_id[8..].copy_from_slice(&(u64::from(user) + 1).to_be_bytes());
    Device {
        device_id: device_id.to_vec().into(),
        kind: DeviceKind::Bot.into(),
        name: "dunlin-loadtest".to_owned(),
    }
}
