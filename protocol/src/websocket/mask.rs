//! The mask of what a client says: four bytes that go round.

const KEY_BYTES: usize = 4;

/// See the module. It knows how far it has gone round, so a payload may come in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask([u8; KEY_BYTES]);

impl Mask {
    /// A mask at its beginning.
    pub fn new(key: [u8; 4]) -> Mask {
        Mask(key)
    }

    /// The key from here on.
    pub fn key(self) -> [u8; 4] {
        self.0
    }

    /// Masks the next bytes of a payload, or takes the mask off.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        // Eight bytes at once: what a byte at a time would take is more than the rest of a small frame.
        let [a, b, c, d] = self.0;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let length = bytes.len();
        let (words, rest) = bytes.as_chunks_mut::<{ size_of::<u64>() }>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.0.into_iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(length % KEY_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_own_of_the_key_wherever_a_payload_is_cut() {
        let plain: Vec<u8> = (0..100).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
        for first in 0..plain.len() {
            for second in first..plain.len() {
                let (mut bytes, mut mask) = (masked.clone(), Mask::new(key));
                mask.apply(&mut bytes[..first]);
                mask.apply(&mut bytes[first..second]);
                mask.apply(&mut bytes[second..]);
                assert_eq!(bytes, plain, "cut at {first} and {second}");
            }
        }
    }
}
