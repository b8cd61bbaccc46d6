//! What registers hold, as generated from `proto/dunlin/store/v1`: bytes of the disk, which no client
//! ever sees.

use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::refusal::{DATA_CORRUPT, Refusal};

#[allow(clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/dunlin.store.v1.rs"));
}

pub(crate) use generated::*;

/// Reads what a register holds. The store vouches for the bytes, so if they can't be read, somebody
/// else has written them.
pub(crate) fn decode<M: Message + Default>(value: &Bytes) -> Result<M, Refusal> {
    M::decode(value.clone()).map_err(|_| DATA_CORRUPT)
}

/// What a register shall hold.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

impl fmt::Debug for Credentials {
    /// Without the hash: values of registers get printed in failed assertions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { disabled, tokens_valid_from_ms, password_hash, known_devices } = self;
        f.debug_struct("Credentials")
            .field("disabled", disabled)
            .field("tokens_valid_from_ms", tokens_valid_from_ms)
            .field("known_devices", &known_devices.len())
            .field("has_password", &!password_hash.is_empty())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hash_is_printed() {
        let password_hash = "$argon2id".to_owned();
        let credentials = Credentials { password_hash, ..Credentials::default() };
        let printed = format!("{credentials:?}");
        assert!(!printed.contains("argon") && printed.contains("has_password: true"), "{printed}");
    }

    #[test]
    fn what_is_no_message_is_damage() {
        let claim = NameClaim { user_id: 7, ..NameClaim::default() };
        assert_eq!(decode(&encode(&claim)), Ok(claim));
        assert_eq!(decode::<NameClaim>(&Bytes::from_static(b"\xff")), Err(DATA_CORRUPT));
    }
}
