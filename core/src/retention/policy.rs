//! How long messages are kept.

use bytes::Bytes;

use crate::config::RetentionConfig;
use crate::store::RegisterKey;

/// The register of a conversation's log that says how long its messages are kept: 8 bytes, big-endian,
/// in milliseconds; 0 for ever.
pub(super) fn key() -> RegisterKey {
    RegisterKey::letter(b't')
}

/// As the register holds it.
pub(super) fn value_of(kept_ms: u64) -> Bytes {
    Bytes::copy_from_slice(&kept_ms.to_be_bytes())
}

/// What the register of a conversation says; `None` if nothing, or nothing that can be understood.
pub(super) fn own_kept_ms(value: Option<&[u8]>) -> Option<u64> {
    value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes)
}

impl RetentionConfig {
    /// How long the messages of a conversation are kept that has said so itself, or has not: what the
    /// node allows. `None` for ever.
    pub(super) fn kept_ms(&self, own_ms: Option<u64>) -> Option<u64> {
        let own_ms = own_ms.filter(|own_ms| *own_ms > 0).map(|own_ms| own_ms.max(self.kept_ms_min));
        match (own_ms, self.kept_ms_max) {
            (Some(own_ms), Some(max_ms)) => Some(own_ms.min(max_ms)),
            (own_ms, max_ms) => own_ms.or(max_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_decides_within_what_the_node_allows() {
        let node = |kept_ms_min, kept_ms_max| RetentionConfig {
            kept_ms_min,
            kept_ms_max,
            ..RetentionConfig::default()
        };
        for (node, own, kept) in [
            (node(0, None), None, None),
            (node(0, None), Some(0), None),
            (node(0, None), Some(7), Some(7)),
            (node(10, None), Some(7), Some(10)),
            (node(10, Some(20)), None, Some(20)),
            (node(10, Some(20)), Some(0), Some(20)),
            (node(10, Some(20)), Some(15), Some(15)),
            (node(10, Some(20)), Some(99), Some(20)),
        ] {
            assert_eq!(node.kept_ms(own), kept, "{node:?} {own:?}");
        }
        assert_eq!(own_kept_ms(Some(&value_of(7))), Some(7));
        assert_eq!((own_kept_ms(Some(b"seven")), own_kept_ms(None)), (None, None));
    }
}
