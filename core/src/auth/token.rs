//! What this server signs: access, refresh and resume tokens.
//!
//! A token is a small binary payload and its HMAC-SHA256. Access and refresh tokens are text
//! (base64url), a resume token is bytes:
//!
//! ```text
//! version 1 | kind 1 | key id 4 | flags 1 | device kind 1 | generation 4
//! user 8 | session 8 | issued ms 8 | expires ms 8 | device id 16 | user name 1 to 128 | HMAC 32
//! ```
//! All numbers are big-endian. Every kind has its own key, derived from the signing key, so that
//! no token of one kind can be made into one of another. The key id names the signing key: keys
//! are changed by putting a new one in front and keeping the old ones until their tokens expired.
//!
//! A token proves that this server signed it. Whether its session still lives is the identity's
//! to say (see [`identity`](super::identity)).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dunlin_protocol::limits::ISSUED_USERNAME_BYTES_MAX;
use dunlin_protocol::wire::DeviceKind;
use dunlin_protocol::{DeviceId, SessionId, UserId};
use ring::{digest, hmac};

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
const NAME_AT: usize = 60;
/// The longest token in bytes. Longer ones are refused unseen.
const TOKEN_BYTES_MAX: usize = NAME_AT + ISSUED_USERNAME_BYTES_MAX + TAG_BYTES;
/// The same as text.
const TEXT_BYTES_MAX: usize = TOKEN_BYTES_MAX.div_ceil(3) * 4;
/// Flag: the session is recorded in the identity log, and is dead if it is not found there.
const FLAG_RECORDED: u8 = 1;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenKind {
    /// To log in, for a short time.
    Access = 1,
    /// To get new tokens, once.
    Refresh = 2,
    /// To come back after a lost connection.
    Resume = 3,
}

impl TokenKind {
    const ALL: [TokenKind; 3] = [TokenKind::Access, TokenKind::Refresh, TokenKind::Resume];

    /// What the key of this kind is derived with.
    fn domain(self) -> &'static [u8] {
        match self {
            TokenKind::Access => b"dunlin access token 1",
            TokenKind::Refresh => b"dunlin refresh token 1",
            TokenKind::Resume => b"dunlin resume token 1",
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub user: UserId,
    /// The user's name, which never changes.
    pub username: String,
    /// In which session.
    pub session: SessionId,
    /// On which device.
    pub device: DeviceId,
    /// Of what kind.
    pub device_kind: DeviceKind,
    /// The session is recorded in the identity log. Sessions of issuer logins are not.
    pub recorded: bool,
    /// How often the session was refreshed before: only the newest refresh token is good.
    pub generation: u32,
    /// When it was signed. Unix time in milliseconds.
    pub issued_ms: u64,
    /// From when it is worthless. Unix time in milliseconds.
    pub expires_ms: u64,
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It was good once.
    #[error("the token expired at {expires_ms}")]
    Expired {
        /// When. Unix time in milliseconds.
        expires_ms: u64,
    },
    /// It is not one of ours, was changed, or is of another kind.
    #[error("the token is not one of ours")]
    Invalid,
}

/// The keys that sign and verify tokens.
pub struct TokenKeys {
    /// Never empty; the first signs.
    keys: Vec<SigningKey>,
}

struct SigningKey {
    id: [u8; 4],
    of_kind: [hmac::Key; 3],
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl TokenKeys {
    /// Keys that sign with `signing`, and believe what it and the `retired` ones signed.
    pub fn new(signing: &[u8; 32], retired: &[[u8; 32]]) -> TokenKeys {
        let keys = std::iter::once(signing).chain(retired).map(SigningKey::new).collect();
        TokenKeys { keys }
    }

    /// An access or refresh token: text for a JSON field or a header.
    pub fn sign_text(&self, kind: TokenKind, claims: &Claims) -> String {
        URL_SAFE_NO_PAD.encode(self.sign(kind, claims))
    }

    /// A token as bytes.
    pub fn sign(&self, kind: TokenKind, claims: &Claims) -> Vec<u8> {
        let key = self.keys.first().expect("new() puts one there");
        let mut token = encode(kind, key.id, claims);
        let tag = hmac::sign(key.of(kind), &token);
        token.extend_from_slice(tag.as_ref());
        token
    }

    /// Verifies a token from [`sign_text`](TokenKeys::sign_text).
    pub fn verify_text(
        &self,
        kind: TokenKind,
        now_ms: u64,
        text: &str,
    ) -> Result<Claims, TokenError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let token = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Invalid)?;
        self.verify(kind, now_ms, &token)
    }

    /// Verifies a token from [`sign`](TokenKeys::sign).
    pub fn verify(&self, kind: TokenKind, now_ms: u64, token: &[u8]) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let (payload, tag) = token.split_last_chunk::<TAG_BYTES>().ok_or(TokenError::Invalid)?;
        let header = payload.first_chunk::<6>().ok_or(TokenError::Invalid)?;
        if header[0] != VERSION || header[1] != kind as u8 {
            return Err(TokenError::Invalid);
        }
        let key = self.keys.iter().find(|key| key.id == header[2..]).ok_or(TokenError::Invalid)?;
        hmac::verify(key.of(kind), payload, tag).map_err(|_| TokenError::Invalid)?;
        let claims = decode(payload).ok_or(TokenError::Invalid)?;
        if claims.expires_ms <= now_ms {
            return Err(TokenError::Expired { expires_ms: claims.expires_ms });
        }
        Ok(claims)
    }
}

impl TokenKeys {
    /// Whether a good token was signed by a key that is retired: then its owner needs new ones, before that
    /// key is gone.
    pub fn is_old(&self, token: &[u8]) -> bool {
        let newest = self.keys.first().expect("new() puts one there");
        token.get(2..6) != Some(&newest.id)
    }

    /// The same of a token from [`sign_text`](TokenKeys::sign_text).
    pub fn is_old_text(&self, text: &str) -> bool {
        // Eight characters are the six bytes up to the end of the key's id.
        let header = text.get(..8).and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
        header.is_none_or(|header| self.is_old(&header))
    }
}

impl SigningKey {
    fn new(secret: &[u8; 32]) -> SigningKey {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |domain: &[u8]| hmac::sign(&root, domain);
        let of_kind = TokenKind::ALL
            .map(|kind| hmac::Key::new(hmac::HMAC_SHA256, derive(kind.domain()).as_ref()));
        let name = digest::digest(&digest::SHA256, derive(b"dunlin key id 1").as_ref());
        let id = *name.as_ref().first_chunk().expect("SHA-256 has more than 4 bytes");
        SigningKey { id, of_kind }
    }

    fn of(&self, kind: TokenKind) -> &hmac::Key {
        let [access, refresh, resume] = &self.of_kind;
        match kind {
            TokenKind::Access => access,
            TokenKind::Refresh => refresh,
            TokenKind::Resume => resume,
        }
    }
}

fn encode(kind: TokenKind, key_id: [u8; 4], claims: &Claims) -> Vec<u8> {
    let mut payload = Vec::with_capacity(NAME_AT + claims.username.len() + TAG_BYTES);
    payload.extend([VERSION, kind as u8]);
    payload.extend(key_id);
    payload.push(if claims.recorded { FLAG_RECORDED } else { 0 });
    payload.push(u8::try_from(claims.device_kind as i32).unwrap_or(0));
    payload.extend(claims.generation.to_be_bytes());
    payload.extend(claims.user.get().to_be_bytes());
    payload.extend(claims.session.get().to_be_bytes());
    payload.extend(claims.issued_ms.to_be_bytes());
    payload.extend(claims.expires_ms.to_be_bytes());
    payload.extend(claims.device.0);
    debug_assert_eq!(payload.len(), NAME_AT);
    payload.extend(claims.username.as_bytes());
    payload
}

/// Reads a payload whose HMAC was right. It is still checked: a newer version of the server may
/// have signed things that this one doesn't know.
fn decode(payload: &[u8]) -> Option<Claims> {
    let (fixed, username) = payload.split_first_chunk::<NAME_AT>()?;
    let number = |at: usize| Some(u64::from_be_bytes(*fixed[at..].first_chunk()?));
    if fixed[6] & !FLAG_RECORDED != 0 || username.is_empty() {
        return None;
    }
    Some(Claims {
        recorded: fixed[6] & FLAG_RECORDED != 0,
        device_kind: DeviceKind::try_from(i32::from(fixed[7])).ok()?,
        generation: u32::from_be_bytes(*fixed[8..].first_chunk()?),
        user: UserId::new(number(12)?).ok()?,
        session: SessionId::new(number(20)?).ok()?,
        issued_ms: number(28)?,
        expires_ms: number(36)?,
        device: DeviceId(*fixed[44..].first_chunk()?),
        username: String::from_utf8(username.to_vec()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn claims() -> Claims {
        Claims {
            user: UserId::new(11).unwrap(),
            username: "ada".into(),
            session: SessionId::new(12).unwrap(),
            device: DeviceId([13; 16]),
            device_kind: DeviceKind::Phone,
            recorded: true,
            generation: 14,
            issued_ms: 1_000,
            expires_ms: 2_000,
        }
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let keys = TokenKeys::new(&KEY, &[]);
        for kind in TokenKind::ALL {
            let text = keys.sign_text(kind, &claims());
            assert_eq!(keys.verify_text(kind, 1_999, &text), Ok(claims()));
            let token = keys.sign(kind, &claims());
            assert_eq!(token.len(), NAME_AT + 3 + TAG_BYTES);
            assert_eq!(keys.verify(kind, 1_999, &token), Ok(claims()));
        }
    }

    #[test]
    fn the_layout_never_changes() {
        let token = TokenKeys::new(&KEY, &[]).sign(TokenKind::Resume, &claims());
        let hex: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        // Computed apart, from the description at the top of this file.
        let golden = concat!(
            "010360719c6601010000000e000000000000000b000000000000000c00000000000003e80000",
            "0000000007d00d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d616461780538488c6e24e9f37029d8f7",
            "41daefe49cdf3ea8b87b4ff9bbe5601be670e1",
        );
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_token_expires() {
        let keys = TokenKeys::new(&KEY, &[]);
        let token = keys.sign(TokenKind::Access, &claims());
        for now_ms in [2_000, 2_001, u64::MAX] {
            let expired = Err(TokenError::Expired { expires_ms: 2_000 });
            assert_eq!(keys.verify(TokenKind::Access, now_ms, &token), expired);
        }
    }

    #[test]
    fn a_token_of_one_kind_is_none_of_another() {
        let keys = TokenKeys::new(&KEY, &[]);
        for signed in TokenKind::ALL {
            for wanted in TokenKind::ALL.into_iter().filter(|kind| *kind != signed) {
                let mut token = keys.sign(signed, &claims());
                assert_eq!(keys.verify(wanted, 0, &token), Err(TokenError::Invalid));
                // Nor when it says that it is.
                token[1] = wanted as u8;
                assert_eq!(keys.verify(wanted, 0, &token), Err(TokenError::Invalid));
            }
        }
    }

    #[test]
    fn retired_keys_verify_and_unknown_ones_do_not() {
        let old = TokenKeys::new(&KEY, &[]);
        let token = old.sign(TokenKind::Refresh, &claims());
        let rotated = TokenKeys::new(&[8; 32], &[KEY]);
        assert_eq!(rotated.verify(TokenKind::Refresh, 0, &token), Ok(claims()));
        let newer = rotated.sign(TokenKind::Refresh, &claims());
        assert_eq!(rotated.verify(TokenKind::Refresh, 0, &newer), Ok(claims()));
        assert!(rotated.is_old(&token) && !rotated.is_old(&newer));
        assert!(rotated.is_old_text(&old.sign_text(TokenKind::Access, &claims())));
        assert!(!rotated.is_old_text(&rotated.sign_text(TokenKind::Access, &claims())));
        assert_eq!(old.verify(TokenKind::Refresh, 0, &newer), Err(TokenError::Invalid));
        let forgotten = TokenKeys::new(&[8; 32], &[]);
        assert_eq!(forgotten.verify(TokenKind::Refresh, 0, &token), Err(TokenError::Invalid));
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let keys = TokenKeys::new(&KEY, &[]);
        let long = keys.sign(
            TokenKind::Resume,
            &Claims { username: "x".repeat(ISSUED_USERNAME_BYTES_MAX + 1), ..claims() },
        );
        assert_eq!(keys.verify(TokenKind::Resume, 0, &long), Err(TokenError::Invalid));
        let longest = Claims { username: "x".repeat(ISSUED_USERNAME_BYTES_MAX), ..claims() };
        let text = keys.sign_text(TokenKind::Access, &longest);
        assert_eq!(keys.verify_text(TokenKind::Access, 0, &text), Ok(longest));
        let endless = "A".repeat(1_000_000);
        assert_eq!(keys.verify_text(TokenKind::Access, 0, &endless), Err(TokenError::Invalid));
    }

    proptest! {
        #[test]
        fn no_changed_bit_is_believed(at in 0usize..95, bit in 0u8..8) {
            let keys = TokenKeys::new(&KEY, &[]);
            let mut token = keys.sign(TokenKind::Access, &claims());
            token[at] ^= 1 << bit;
            prop_assert_eq!(keys.verify(TokenKind::Access, 0, &token), Err(TokenError::Invalid));
        }

        #[test]
        fn garbage_is_refused(token in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = TokenKeys::new(&KEY, &[]);
            for kind in TokenKind::ALL {
                prop_assert_eq!(keys.verify(kind, 0, &token), Err(TokenError::Invalid));
            }
        }

        #[test]
        fn garbage_text_is_refused(text in "\\PC{0,300}") {
            let keys = TokenKeys::new(&KEY, &[]);
            prop_assert_eq!(
                keys.verify_text(TokenKind::Access, 0, &text),
                Err(TokenError::Invalid)
            );
        }
    }
}
