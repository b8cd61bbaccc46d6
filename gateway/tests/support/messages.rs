//! Requests, with everything filled in that a test does not care about.

use bytes::Bytes;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::{
    Device, DeviceKind, Hello, History, Login, MarkRead, PasswordCredential, Register, Send,
    Signal, Sync, frame::Body, login::Credential,
};

pub fn hello() -> Body {
    Body::Hello(Hello { protocol_version: 1, client: "a test".into(), ..Hello::default() })
}

/// 16 bytes that follow from a text.
pub fn id_of(text: &str) -> Bytes {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    Bytes::copy_from_slice(&digest.as_ref()[..16])
}

/// A login on the device of this name.
pub fn login(credential: Credential, device: &str) -> Body {
    login_on(credential, device, DeviceKind::Phone)
}

pub fn login_on(credential: Credential, device: &str, kind: DeviceKind) -> Body {
    let device = Device { device_id: id_of(device), kind: kind.into(), name: device.into() };
    Body::Login(Login { credential: Some(credential), device: Some(device), ..Login::default() })
}

pub fn password(username: &str, password: &str) -> Credential {
    let (username, password) = (username.into(), password.into());
    Credential::Password(PasswordCredential { username, password })
}

pub fn register(username: &str, password: &str) -> Body {
    let display_name = username.into();
    Body::Register(Register {
        username: username.into(),
        password: password.into(),
        display_name,
        ..Register::default()
    })
}

pub fn sync() -> Body {
    Body::Sync(Sync::default())
}

/// A text message; its id follows from `id`.
pub fn message(to: LogId, id: &str, text: impl Into<Bytes>) -> Body {
    Body::Send(Send {
        conversation_id: to.to_wire(),
        client_message_id: id_of(id),
        content: text.into(),
        ..Send::default()
    })
}

pub fn history(of: LogId, from_seq: u64) -> Body {
    Body::History(History { conversation_id: of.to_wire(), from_seq, ..History::default() })
}

pub fn mark_read(of: LogId, seq: u64) -> Body {
    Body::MarkRead(MarkRead { conversation_id: of.to_wire(), seq, private: false })
}

pub fn typing(to: LogId) -> Body {
    let conversation_id = to.to_wire();
    Body::Signal(Signal { conversation_id, kind: "typing".into(), ..Signal::default() })
}
