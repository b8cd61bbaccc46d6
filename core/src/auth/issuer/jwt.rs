//! The form of a JSON Web Token (RFC 7519): three parts of base64url, two of them JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::IssuerError;

/// A JSON object of a token.
pub(super) type Object = Map<String, Value>;

/// A JWT taken apart. Nothing of it is believed yet.
pub(super) struct Parts<'a> {
    pub(super) signed: &'a [u8],
    pub(super) header: Object,
    pub(super) claims: Object,
    pub(super) signature: Vec<u8>,
}

impl Parts<'_> {
    /// Takes it apart.
    pub(super) fn of(token: &str) -> Result<Parts<'_>, IssuerError> {
        let (signed, signature) =
            token.rsplit_once('.').ok_or(IssuerError::Malformed { part: "signature" })?;
        let (header, claims) =
            signed.split_once('.').ok_or(IssuerError::Malformed { part: "claims" })?;
        Ok(Parts {
            signed: signed.as_bytes(),
            header: object("header", header)?,
            claims: object("claims", claims)?,
            signature: bytes("signature", signature)?,
        })
    }
}

fn bytes(part: &'static str, encoded: &str) -> Result<Vec<u8>, IssuerError> {
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| IssuerError::Malformed { part })
}

fn object(part: &'static str, encoded: &str) -> Result<Object, IssuerError> {
    match serde_json::from_slice(&bytes(part, encoded)?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(IssuerError::Malformed { part }),
    }
}

/// A text of an object.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// A time in seconds, which may have a fraction (RFC 7519, 2). JSON numbers are finite.
pub(super) fn time_s(claims: &Object, claim: &'static str) -> Result<Option<f64>, IssuerError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds >= 0.0 => Ok(Some(seconds)),
            Some(_) | None => Err(IssuerError::Claim { claim }),
        },
    }
}
