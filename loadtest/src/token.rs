//! Tokens of an issuer that the server trusts: any number of users log in without registration.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Serialize;

/// How long a token is good: longer than any run between two logins.
const VALID_S: u64 = 24 * 3600;

/// Signs JWTs with HS256 for an issuer whose key the server shares.
#[derive(Clone)]
pub struct Issuer {
    name: String,
    secret: Vec<u8>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
}

impl Issuer {
    /// An issuer with the `iss` claim `name`.
    pub fn new(name: &str, secret: &[u8]) -> Issuer {
        Issuer { name: name.to_owned(), secret: secret.to_vec() }
    }

    /// The `iss` claim.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For those who make tokens elsewhere.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A token for `username`, good from now on.
    pub fn token(&self, username: &str) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims { iss: &self.name, sub: username, iat: now_s, exp: now_s + VALID_S };
        let claims = serde_json::to_vec(&claims).expect("strings and numbers are always JSON");
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let signature = hmac::sign(&key, token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_a_signature_over_the_first_two() {
        let secret = b"a secret of at least 32 bytes....";
        let token = Issuer::new("loadtest", secret).token("somebody");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&"loadtest".into(), &"somebody".into()));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), VALID_S);
    }
}
