//! Tokens of the issuer that every server under test believes.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dunlin_protocol::wire::login::Credential;
use ring::hmac;

pub const ISSUER: &str = "app";
pub const SECRET: &[u8; 32] = b"the secret of the app's backend.";

/// The secret as the configuration has it.
pub fn secret_text() -> String {
    STANDARD.encode(SECRET)
}

/// Seconds since 1970, so many from now.
pub fn seconds_from_now(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + offset
}

/// A JWT, signed with HS256 whatever the header says.
pub fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

pub const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Made just now, or before it expired.
pub fn claims(user: &str, expires: i64) -> String {
    let made = seconds_from_now(0).min(expires - 1);
    format!(r#"{{"iss":"{ISSUER}","sub":"{user}","iat":{made},"exp":{expires}}}"#)
}

/// A good token.
pub fn of(user: &str) -> String {
    signed(HEADER, &claims(user, seconds_from_now(3600)), SECRET)
}

pub fn credential(user: &str) -> Credential {
    Credential::IssuerToken(of(user))
}
