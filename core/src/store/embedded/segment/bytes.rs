//! Numbers of a file's bytes, which are little-endian.

/// # Panics
/// If the bytes end before it: callers have taken a slice of a fixed size.
pub(in super::super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

/// # Panics
/// As [`u64_at`].
pub(in super::super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}
