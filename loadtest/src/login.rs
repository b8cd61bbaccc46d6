//! The first two requests of every connection.

use bytes::Bytes;
use dunlin_protocol::limits::PROTOCOL_VERSION;
use dunlin_protocol::wire::{Device, DeviceKind, Hello, Login, login::Credential};

use crate::token::Issuer;

pub(crate) fn hello() -> Hello {
    let client = concat!("dunlin-loadtest/", env!("CARGO_PKG_VERSION")).to_owned();
    Hello { protocol_version: PROTOCOL_VERSION, client, ..Hello::default() }
}

/// A login of a user who exists from now on, from the device with this number.
pub(crate) fn login(issuer: &Issuer, user: &str, device: u32) -> Login {
    let token = issuer.token(user);
    let credential = Some(Credential::IssuerToken(token));
    Login { credential, device: Some(of_number(device)), ..Login::default() }
}

/// A return to the session of the last login.
pub(crate) fn resume(token: &[u8], device: u32) -> Login {
    let token = Bytes::copy_from_slice(token);
    let credential = Some(Credential::ResumeToken(token));
    Login { credential, device: Some(of_number(device)), ..Login::default() }
}

fn of_number(device: u32) -> Device {
    let mut device_id = [0; 16];
    device_id[8..].copy_from_slice(&(u64::from(device) + 1).to_be_bytes());
    Device {
        device_id: device_id.to_vec().into(),
        kind: DeviceKind::Bot.into(),
        name: "dunlin-loadtest".to_owned(),
    }
}
