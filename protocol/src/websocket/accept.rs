//! The key of an upgrade and what is answered to it: so that no cache or other server answers by mistake.
//!
//! SHA-1 is what the standard asks for. It protects nothing here, so whoever has an implementation lends it.

/// Random bytes in a key.
pub const KEY_BYTES: usize = 16;

/// A key as it is written, in base64.
pub const KEY_LENGTH: usize = 24;

/// What the standard appends to a key.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The key of these random bytes.
pub fn key(random: [u8; KEY_BYTES]) -> String {
    base64(&random)
}

/// What a server answers to a key, by a function that is SHA-1.
pub fn accept(key: &[u8], sha1: impl FnOnce(&[u8]) -> [u8; 20]) -> String {
    base64(&sha1(&[key, SUFFIX].concat()))
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let padded = [three[0], *three.get(1).unwrap_or(&0), *three.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= three.len() { ALPHABET[index as usize].into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_text_of_the_usual_kind() {
        let known =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("fooba", "Zm9vYmE=")];
        for (bytes, text) in known {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff; 3]), "////");
        assert_eq!(key([0; KEY_BYTES]).len(), KEY_LENGTH);
    }

    #[test]
    fn what_is_hashed_is_the_key_and_the_suffix() {
        let hashed = |bytes: &[u8]| {
            assert_eq!(bytes, b"abc258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            [0; 20]
        };
        assert_eq!(accept(b"abc", hashed), "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
}
