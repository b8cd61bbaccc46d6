//! Tokens of issuers that this server trusts: JSON Web Tokens, read strictly.
//!
//! An app that has its own accounts signs a token for each user, and its users log in with it
//! without ever registering here. Of all that a JWT may be, this is accepted:
//!
//! | part | rule |
//! |---|---|
//! | `alg` | the algorithm of the configured key: the token can't choose |
//! | `crit` | absent: an extension that must be understood is not understood |
//! | `iss` | a configured issuer, exactly |
//! | `sub` | the user name: 1 to 128 bytes that [can be shown](super::display) |
//! | `iat` | required, not more than a minute in the future: when it was made |
//! | `exp` | required, not more than a minute in the past, nor further from `iat` than configured |
//! | `nbf` | if present, not more than a minute in the future |
//! | `aud` | if present, `dunlin` is among it |
//! | `name` | if present, the display name of a user who is new |
//!
//! Several issuers of one name are one issuer with several keys, so that keys can be rotated.

mod jwt;
mod key;

use std::sync::Arc;

use dunlin_protocol::limits::NAME_BYTES_MAX;
use serde_json::Value;

use super::{names, spelling};
use crate::config::IssuerConfig;
use jwt::{Object, Parts, text, time_s};
use key::Verifier;

/// The longest token that is looked at. Real ones have a few hundred bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The audience that a token must name if it names any.
pub const AUDIENCE: &str = "dunlin";

/// How far the issuer's clock may be ahead of ours or behind it, in milliseconds.
pub const LEEWAY_MS: u64 = 60_000;
const LEEWAY_S: f64 = 60.0;

/// Whom an issuer vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The issuer's name.
    pub issuer: Arc<str>,
    /// The user's name.
    pub username: String,
    /// The name for people, if the token has a usable one.
    pub display_name: Option<String>,
    /// When the token was made, by the issuer's clock. Unix time in milliseconds, rounded down to a
    /// second by most issuers.
    pub issued_ms: u64,
}

/// Why a token of an issuer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("a token of {bytes} bytes")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// No JWT: not three parts of base64url, or no JSON objects in them.
    #[error("the token is no JWT: {part}")]
    Malformed {
        /// The part that is at fault.
        part: &'static str,
    },
    /// `iss` is missing, or nobody whom this server trusts.
    #[error("the issuer is not trusted")]
    UnknownIssuer,
    /// `alg` is not that of the issuer's key.
    #[error("the algorithm is not the issuer's")]
    WrongAlgorithm,
    /// It has extensions that must be understood.
    #[error("the token has critical extensions")]
    Critical,
    /// The signature is not the issuer's.
    #[error("the signature is wrong")]
    WrongSignature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// It is good for longer than the configuration allows.
    #[error("the token is good for longer than {lifetime_s_max} seconds")]
    TooLongLived {
        /// What is allowed.
        lifetime_s_max: u64,
    },
    /// `nbf` or `iat` lie in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is meant for others.
    #[error("the audience is not \"dunlin\"")]
    WrongAudience,
    /// A claim that is needed is missing, or one has the wrong form.
    #[error("the claim {claim} is missing or malformed")]
    Claim {
        /// Which.
        claim: &'static str,
    },
}

/// A configured issuer that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerConfigError {
    /// The name is empty.
    #[error("an issuer has no name")]
    NoName,
    /// The key is too short, or has another length than its algorithm wants.
    #[error("the key of issuer {issuer:?} has {bytes} bytes where {wanted} are needed")]
    KeyLength {
        /// Whose key.
        issuer: String,
        /// Its length.
        bytes: usize,
        /// The right length (of a secret: the least).
        wanted: usize,
    },
}

/// The issuers that this server trusts.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Issuer>);

#[derive(Debug)]
struct Issuer {
    name: Arc<str>,
    verifier: Verifier,
    lifetime_s_max: u64,
}

impl Issuers {
    /// Takes the configured ones, if their keys can be used.
    pub fn new(configs: &[IssuerConfig]) -> Result<Issuers, IssuerConfigError> {
        configs.iter().map(Issuer::new).collect::<Result<_, _>>().map(Issuers)
    }

    /// Says whom a token vouches for.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Issued, IssuerError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(IssuerError::TooLong { bytes: token.len() });
        }
        let parts = Parts::of(token)?;
        if parts.header.contains_key("crit") {
            return Err(IssuerError::Critical);
        }
        let issuer = self.signer_of(&parts)?;
        let issued_s = check_times(&parts.claims, issuer.lifetime_s_max, now_ms)?;
        check_audience(&parts.claims)?;
        issued(issuer, &parts.claims, issued_s)
    }

    /// The issuer that `iss` names, if one of its keys made the signature.
    fn signer_of(&self, parts: &Parts<'_>) -> Result<&Issuer, IssuerError> {
        let name = text(&parts.claims, "iss").ok_or(IssuerError::UnknownIssuer)?;
        let algorithm = text(&parts.header, "alg").ok_or(IssuerError::WrongAlgorithm)?;
        let mut refusal = IssuerError::UnknownIssuer;
        for issuer in self.0.iter().filter(|issuer| &*issuer.name == name) {
            if issuer.verifier.algorithm() != algorithm {
                if refusal == IssuerError::UnknownIssuer {
                    refusal = IssuerError::WrongAlgorithm;
                }
            } else if issuer.verifier.accepts(parts.signed, &parts.signature) {
                return Ok(issuer);
            } else {
                refusal = IssuerError::WrongSignature;
            }
        }
        Err(refusal)
    }
}

impl Issuer {
    fn new(config: &IssuerConfig) -> Result<Issuer, IssuerConfigError> {
        if config.name.is_empty() {
            return Err(IssuerConfigError::NoName);
        }
        let verifier = Verifier::new(config)?;
        let lifetime_s_max = config.lifetime_max.as_secs();
        Ok(Issuer { name: config.name.as_str().into(), verifier, lifetime_s_max })
    }
}

/// When the token was made, in seconds, if it is good now. Without that time nobody could tell whether
/// it was made before all tokens of its user were revoked; and one that is good for ever could never be
/// forgotten.
#[allow(clippy::cast_precision_loss, reason = "what is configured is far below 2^53")]
fn check_times(claims: &Object, lifetime_s_max: u64, now_ms: u64) -> Result<f64, IssuerError> {
    let now_s = seconds(now_ms);
    let required = |claim| time_s(claims, claim)?.ok_or(IssuerError::Claim { claim });
    let (issued_s, expires_s) = (required("iat")?, required("exp")?);
    if expires_s + LEEWAY_S <= now_s {
        return Err(IssuerError::Expired);
    }
    let from_s = time_s(claims, "nbf")?.map_or(issued_s, |from_s| from_s.max(issued_s));
    if from_s > now_s + LEEWAY_S {
        return Err(IssuerError::NotYetValid);
    }
    if expires_s - issued_s > lifetime_s_max as f64 {
        return Err(IssuerError::TooLongLived { lifetime_s_max });
    }
    Ok(issued_s)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(now_ms: u64) -> f64 {
    now_ms as f64 / 1000.0
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; not < 0")]
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

fn check_audience(claims: &Object) -> Result<(), IssuerError> {
    let named = match claims.get("aud") {
        None => true,
        Some(Value::String(audience)) => audience == AUDIENCE,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == AUDIENCE),
        Some(_) => return Err(IssuerError::Claim { claim: "aud" }),
    };
    if named { Ok(()) } else { Err(IssuerError::WrongAudience) }
}

fn issued(issuer: &Issuer, claims: &Object, issued_s: f64) -> Result<Issued, IssuerError> {
    let username = text(claims, "sub")
        .filter(|name| names::can_be_issued(name))
        .ok_or(IssuerError::Claim { claim: "sub" })?;
    // A display name that can't be shown is no reason to keep somebody out.
    let is_short = |name: &&str| name.len() <= NAME_BYTES_MAX;
    Ok(Issued {
        issuer: Arc::clone(&issuer.name),
        username: username.to_owned(),
        display_name: text(claims, "name").filter(is_short).and_then(spelling::display_name),
        issued_ms: milliseconds(issued_s),
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use ring::{hmac, signature};
    use serde_json::json;

    use super::*;
    use crate::config::IssuerKey;

    const NOW_S: u64 = 1_000_000;
    const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

    fn part(json: &Value) -> String {
        URL_SAFE_NO_PAD.encode(json.to_string())
    }

    fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn header() -> Value {
        json!({"alg": "HS256", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({"iss": "app", "sub": "ada", "exp": NOW_S + 10, "iat": NOW_S - 10, "name": "Ada L."})
    }

    fn claims_with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    fn config(name: &str, key: IssuerKey) -> IssuerConfig {
        IssuerConfig::new(name, key)
    }

    fn issuers() -> Issuers {
        Issuers::new(&[config("app", IssuerKey::Hs256(SECRET.into()))]).unwrap()
    }

    fn verify(token: &str) -> Result<Issued, IssuerError> {
        issuers().verify(token, NOW_S * 1000)
    }

    fn verify_claims(claims: &Value) -> Result<Issued, IssuerError> {
        verify(&hs256(SECRET, &header(), claims))
    }

    #[test]
    fn a_token_vouches_for_its_subject() {
        let issued = verify_claims(&claims()).unwrap();
        assert_eq!(&*issued.issuer, "app");
        assert_eq!(issued.username, "ada");
        assert_eq!(issued.display_name.as_deref(), Some("Ada L."));
        assert_eq!(issued.issued_ms, (NOW_S - 10) * 1000);
    }

    #[test]
    fn the_least_token_is_enough() {
        let least = json!({"iss": "app", "sub": "ada", "iat": NOW_S, "exp": NOW_S + 1});
        let issued = verify(&hs256(SECRET, &json!({"alg": "HS256"}), &least)).unwrap();
        assert_eq!(issued.display_name, None);
    }

    #[test]
    fn every_algorithm_verifies_its_own_signatures() {
        let random = SystemRandom::new();
        let ed_pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(ed_pkcs8.as_ref()).unwrap();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec_pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(algorithm, ec_pkcs8.as_ref(), &random).unwrap();
        let issuers = Issuers::new(&[
            config("ed", IssuerKey::EdDsa(ed.public_key().as_ref().into())),
            config("ec", IssuerKey::Es256(ec.public_key().as_ref().into())),
        ])
        .unwrap();
        let sign = |algorithm: &str, issuer: &str, by: &dyn Fn(&[u8]) -> Vec<u8>| {
            let claims = claims_with("iss", json!(issuer));
            let signed = format!("{}.{}", part(&json!({"alg": algorithm})), part(&claims));
            let signature = by(signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        let by_ed = |message: &[u8]| ed.sign(message).as_ref().to_vec();
        let by_ec = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
        let verify = |token: String| issuers.verify(&token, NOW_S * 1000);
        assert!(verify(sign("EdDSA", "ed", &by_ed)).is_ok());
        assert!(verify(sign("ES256", "ec", &by_ec)).is_ok());
        // The right signature of the wrong issuer.
        assert_eq!(verify(sign("EdDSA", "ec", &by_ed)), Err(IssuerError::WrongAlgorithm));
        assert_eq!(verify(sign("ES256", "ec", &by_ed)), Err(IssuerError::WrongSignature));
        // The classic: the public key, which everybody knows, used as an HMAC secret.
        let key = hmac::Key::new(hmac::HMAC_SHA256, ed.public_key().as_ref());
        let by_hmac = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
        assert_eq!(verify(sign("HS256", "ed", &by_hmac)), Err(IssuerError::WrongAlgorithm));
        assert_eq!(verify(sign("EdDSA", "ed", &by_hmac)), Err(IssuerError::WrongSignature));
    }

    #[test]
    fn a_token_cant_choose_its_algorithm() {
        for algorithm in ["none", "None", "NONE", "", "hs256", "HS512", "EdDSA", "RS256"] {
            let token = hs256(SECRET, &json!({"alg": algorithm}), &claims());
            assert_eq!(verify(&token), Err(IssuerError::WrongAlgorithm), "{algorithm}");
            let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
            assert_eq!(verify(&unsigned), Err(IssuerError::WrongAlgorithm), "{algorithm}");
        }
        let missing = hs256(SECRET, &json!({"typ": "JWT"}), &claims());
        assert_eq!(verify(&missing), Err(IssuerError::WrongAlgorithm));
        let no_text = hs256(SECRET, &json!({"alg": ["HS256"]}), &claims());
        assert_eq!(verify(&no_text), Err(IssuerError::WrongAlgorithm));
    }

    #[test]
    fn an_unsigned_or_foreign_token_is_refused() {
        let token = hs256(SECRET, &header(), &claims());
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&unsigned), Err(IssuerError::WrongSignature));
        let foreign = hs256(b"another secret of thirty-two bytes", &header(), &claims());
        assert_eq!(verify(&foreign), Err(IssuerError::WrongSignature));
        for issuer in [json!("App"), json!("app "), json!(""), json!(null), json!(["app"])] {
            let refused = verify_claims(&claims_with("iss", issuer));
            assert_eq!(refused, Err(IssuerError::UnknownIssuer));
        }
    }

    #[test]
    fn critical_extensions_are_refused() {
        for crit in [json!(["exp"]), json!([]), json!(null)] {
            let header = json!({"alg": "HS256", "crit": crit});
            assert_eq!(verify(&hs256(SECRET, &header, &claims())), Err(IssuerError::Critical));
        }
    }

    #[test]
    fn keys_can_be_rotated() {
        let newer = b"the newer secret has enough bytes too";
        let issuers = Issuers::new(&[
            config("app", IssuerKey::Hs256(newer.into())),
            config("app", IssuerKey::Hs256(SECRET.into())),
        ])
        .unwrap();
        for secret in [newer.as_slice(), SECRET] {
            assert!(issuers.verify(&hs256(secret, &header(), &claims()), NOW_S * 1000).is_ok());
        }
    }

    #[test]
    fn times_are_kept() {
        let exp = |value| verify_claims(&claims_with("exp", value));
        // The issuer's clock may be a minute behind.
        assert!(exp(json!(NOW_S - 59)).is_ok());
        assert_eq!(exp(json!(NOW_S - 60)), Err(IssuerError::Expired));
        assert_eq!(exp(json!(0)), Err(IssuerError::Expired));
        assert!(exp(json!(1_000_000.5)).is_ok());
        for malformed in [json!(null), json!("1000010"), json!(-1), json!([1]), json!({})] {
            assert_eq!(exp(malformed), Err(IssuerError::Claim { claim: "exp" }));
        }
        let mut endless = claims();
        endless.as_object_mut().unwrap().remove("exp");
        assert_eq!(verify_claims(&endless), Err(IssuerError::Claim { claim: "exp" }));
        let mut undated = claims();
        undated.as_object_mut().unwrap().remove("iat");
        assert_eq!(verify_claims(&undated), Err(IssuerError::Claim { claim: "iat" }));
        for claim in ["nbf", "iat"] {
            let at = |seconds: u64| verify_claims(&claims_with(claim, json!(seconds)));
            assert!(at(NOW_S + 60).is_ok());
            assert_eq!(at(NOW_S + 61), Err(IssuerError::NotYetValid));
            assert_eq!(at(u64::MAX), Err(IssuerError::NotYetValid));
            let malformed = verify_claims(&claims_with(claim, json!("now")));
            assert_eq!(malformed, Err(IssuerError::Claim { claim }));
        }
    }

    #[test]
    fn nothing_is_good_for_ever() {
        let lived = |iat: Value, exp: Value| {
            let claims = json!({"iss": "app", "sub": "ada", "iat": iat, "exp": exp});
            verify_claims(&claims).map(|_| ())
        };
        let month_s = 30 * 24 * 3600;
        let too_long = Err(IssuerError::TooLongLived { lifetime_s_max: month_s });
        assert_eq!(lived(json!(NOW_S), json!(NOW_S + month_s)), Ok(()));
        assert_eq!(lived(json!(NOW_S), json!(NOW_S + month_s + 1)), too_long);
        for absurd in [json!(1e308), json!(u64::MAX), json!(4_102_444_800_u64)] {
            assert_eq!(lived(json!(NOW_S), absurd), too_long);
        }
        // As if it had been made long ago.
        assert_eq!(lived(json!(0), json!(NOW_S + 10)), Ok(()), "1970 is eleven days ago here");
        let longer = IssuerConfig {
            lifetime_max: std::time::Duration::from_secs(2 * month_s),
            ..config("app", IssuerKey::Hs256(SECRET.into()))
        };
        let claims = claims_with("exp", json!(NOW_S + month_s + 1));
        let token = hs256(SECRET, &header(), &claims);
        assert!(Issuers::new(&[longer]).unwrap().verify(&token, NOW_S * 1000).is_ok());
    }

    #[test]
    fn the_audience_is_kept() {
        let aud = |value| verify_claims(&claims_with("aud", value)).map(|_| ());
        assert_eq!(aud(json!("dunlin")), Ok(()));
        assert_eq!(aud(json!(["other", "dunlin"])), Ok(()));
        assert_eq!(aud(json!("other")), Err(IssuerError::WrongAudience));
        assert_eq!(aud(json!([])), Err(IssuerError::WrongAudience));
        assert_eq!(aud(json!([["dunlin"]])), Err(IssuerError::WrongAudience));
        assert_eq!(aud(json!({"dunlin": 1})), Err(IssuerError::Claim { claim: "aud" }));
        assert_eq!(aud(json!(null)), Err(IssuerError::Claim { claim: "aud" }));
    }

    #[test]
    fn the_subject_is_a_name() {
        let sub = |value| verify_claims(&claims_with("sub", value)).map(|issued| issued.username);
        assert_eq!(sub(json!("Ada@example.org")), Ok("Ada@example.org".into()));
        assert_eq!(sub(json!("x".repeat(128))), Ok("x".repeat(128)));
        for refused in [json!(""), json!("x".repeat(129)), json!("a\u{0}b"), json!(7), json!(null)]
        {
            assert_eq!(sub(refused), Err(IssuerError::Claim { claim: "sub" }));
        }
    }

    #[test]
    fn an_odd_display_name_is_left_out() {
        let name =
            |value| verify_claims(&claims_with("name", value)).map(|issued| issued.display_name);
        for odd in [
            json!("x".repeat(65)),
            json!("a\nb"),
            json!("a\u{202e}b"),
            json!("\u{200b}"),
            json!("  "),
            json!(""),
            json!(7),
        ] {
            assert_eq!(name(odd), Ok(None));
        }
    }

    #[test]
    fn no_jwt_is_refused() {
        for token in ["", ".", "..", "...", "a.b", "a.b.c", "é.é.é", "e30.e30", "e30.e30.!"] {
            assert!(matches!(verify(token), Err(IssuerError::Malformed { .. })), "{token}");
        }
        let padded = hs256(SECRET, &header(), &claims()) + "=";
        assert_eq!(verify(&padded), Err(IssuerError::Malformed { part: "signature" }));
        let list = hs256(SECRET, &header(), &json!(["iss"]));
        assert_eq!(verify(&list), Err(IssuerError::Malformed { part: "claims" }));
        let deep = "[".repeat(4000);
        let deep = format!("e30.{}.e30", URL_SAFE_NO_PAD.encode(deep));
        assert_eq!(verify(&deep), Err(IssuerError::Malformed { part: "claims" }));
        let bytes = TOKEN_BYTES_MAX + 1;
        assert_eq!(verify(&"a".repeat(bytes)), Err(IssuerError::TooLong { bytes }));
    }

    #[test]
    fn keys_of_the_wrong_length_are_refused_at_the_start() {
        let refused = |key| Issuers::new(&[config("app", key)]).map(|_| ()).unwrap_err();
        let length =
            |bytes, wanted| IssuerConfigError::KeyLength { issuer: "app".into(), bytes, wanted };
        assert_eq!(refused(IssuerKey::Hs256(vec![0; 31])), length(31, 32));
        assert_eq!(refused(IssuerKey::EdDsa(vec![0; 33])), length(33, 32));
        assert_eq!(refused(IssuerKey::Es256(vec![0; 33])), length(33, 65));
        let nameless = Issuers::new(&[config("", IssuerKey::Hs256(vec![0; 32]))]);
        assert_eq!(nameless.map(|_| ()).unwrap_err(), IssuerConfigError::NoName);
    }

    proptest! {
        #[test]
        fn no_changed_character_is_believed(at in any::<prop::sample::Index>(), with in "[A-Za-z0-9_.-]") {
            let token = hs256(SECRET, &header(), &claims());
            let at = at.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &with);
            prop_assume!(changed != token);
            prop_assert!(verify(&changed).is_err());
        }

        #[test]
        fn garbage_is_refused(token in "\\PC{0,100}") {
            prop_assert!(verify(&token).is_err());
        }
    }
}
