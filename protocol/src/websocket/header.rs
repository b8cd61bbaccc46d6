//! What stands in front of each piece of a WebSocket: its kind, its length, its mask.

/// Length of the longest header: two bytes, a length of eight, a mask of four.
pub const HEADER_BYTES_MAX: usize = 14;

/// Length of the longest header without a mask.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// The most that a control piece may carry: a ping, its answer, or a close.
pub const CONTROL_BYTES_MAX: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// The length is in the next two bytes.
const LENGTH_OF_TWO: u8 = 126;
/// The length is in the next eight bytes.
const LENGTH_OF_EIGHT: u8 = 127;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message that was begun.
    Continuation,
    /// A message of text, or its beginning. There are none in this protocol.
    Text,
    /// A message of bytes, or its beginning.
    Binary,
    /// Nothing more follows.
    Close,
    /// Wants a pong with the same payload.
    Ping,
    /// The answer to a ping, or just a sign of life.
    Pong,
}

impl Opcode {
    fn new(bits: u8) -> Result<Opcode, HeaderError> {
        match bits {
            0 => Ok(Opcode::Continuation),
            1 => Ok(Opcode::Text),
            2 => Ok(Opcode::Binary),
            8 => Ok(Opcode::Close),
            9 => Ok(Opcode::Ping),
            10 => Ok(Opcode::Pong),
            reserved => Err(HeaderError::Opcode(reserved)),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    /// Whether it may stand between the pieces of a message, and is never in pieces itself.
    pub fn is_control(self) -> bool {
        match self {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => false,
            Opcode::Close | Opcode::Ping | Opcode::Pong => true,
        }
    }
}

/// A header that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A bit is set that only an extension may set.
    #[error("reserved bits are set, and there is no extension")]
    ReservedBits,
    /// The kind is none.
    #[error("opcode {0} is reserved")]
    Opcode(u8),
    /// A control piece that is not the last of its message.
    #[error("a ping, pong or close in pieces")]
    ControlInPieces,
    /// A control piece with too long a payload.
    #[error("a ping, pong or close of more than {CONTROL_BYTES_MAX} bytes")]
    ControlTooLarge,
    /// A length that could have been written in fewer bytes, or is negative.
    #[error("a length that is not written as it must be")]
    Length,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether it is the last piece of its message.
    pub is_final: bool,
    /// What it is.
    pub opcode: Opcode,
    /// How its payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Length of its payload.
    pub payload_bytes: u64,
}

/// A header as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    length: u8,
}

impl EncodedHeader {
    fn append(&mut self, bytes: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u8;
    }
}

impl std::ops::Deref for EncodedHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Header {
    /// The header of a whole binary message, from a server.
    pub fn of_message(payload_bytes: usize) -> Header {
        let payload_bytes = payload_bytes as u64;
        Header { is_final: true, opcode: Opcode::Binary, mask: None, payload_bytes }
    }

    /// Reads the header at the start of `input`, and says how long it is; `None` if it is incomplete. What is
    /// wrong is refused with the first byte that shows it.
    pub fn decode(input: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
        let Some(&first) = input.first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(HeaderError::ReservedBits);
        }
        let (is_final, opcode) = (first & FINAL != 0, Opcode::new(first & OPCODE)?);
        if opcode.is_control() && !is_final {
            return Err(HeaderError::ControlInPieces);
        }
        let Some(&second) = input.get(1) else { return Ok(None) };
        if opcode.is_control() && usize::from(second & LENGTH) > CONTROL_BYTES_MAX {
            return Err(HeaderError::ControlTooLarge);
        }
        let Some((payload_bytes, end)) = payload_length(second & LENGTH, input)? else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Ok(Some((Header { is_final, opcode, mask: None, payload_bytes }, end)));
        }
        let Some(key) = input[end..].first_chunk::<4>() else { return Ok(None) };
        let header = Header { is_final, opcode, mask: Some(*key), payload_bytes };
        Ok(Some((header, end + key.len())))
    }

    /// As it is written.
    pub fn encode(&self) -> EncodedHeader {
        let mut encoded = EncodedHeader { bytes: [0; HEADER_BYTES_MAX], length: 0 };
        let is_final = if self.is_final { FINAL } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        let first = is_final | self.opcode.bits();
        match (u8::try_from(self.payload_bytes), u16::try_from(self.payload_bytes)) {
            (Ok(bytes), _) if bytes < LENGTH_OF_TWO => encoded.append(&[first, masked | bytes]),
            (_, Ok(bytes)) => {
                encoded.append(&[first, masked | LENGTH_OF_TWO]);
                encoded.append(&bytes.to_be_bytes());
            }
            (_, Err(_)) => {
                encoded.append(&[first, masked | LENGTH_OF_EIGHT]);
                encoded.append(&self.payload_bytes.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            encoded.append(&key);
        }
        encoded
    }
}

/// The length of the payload, and where it ends to be said.
fn payload_length(short: u8, input: &[u8]) -> Result<Option<(u64, usize)>, HeaderError> {
    match short {
        LENGTH_OF_TWO => {
            let Some(bytes) = input[2..].first_chunk::<2>() else { return Ok(None) };
            let length = u16::from_be_bytes(*bytes);
            if length < u16::from(LENGTH_OF_TWO) {
                return Err(HeaderError::Length);
            }
            Ok(Some((length.into(), 4)))
        }
        LENGTH_OF_EIGHT => {
            let Some(bytes) = input[2..].first_chunk::<8>() else { return Ok(None) };
            let length = u64::from_be_bytes(*bytes);
            if length <= u16::MAX.into() || length > i64::MAX as u64 {
                return Err(HeaderError::Length);
            }
            Ok(Some((length, 10)))
        }
        length => Ok(Some((length.into(), 2))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];

    /// The bytes of a header, said by hand.
    #[test]
    fn headers_look_as_the_standard_shows_them() {
        let header = |opcode, mask, payload_bytes| {
            Header { is_final: true, opcode, mask, payload_bytes }.encode().to_vec()
        };
        let key = [0x37, 0xfa, 0x21, 0x3d];
        assert_eq!(header(Opcode::Text, None, 5), [0x81, 0x05]);
        assert_eq!(header(Opcode::Text, Some(key), 5), [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(header(Opcode::Ping, None, 5), [0x89, 0x05]);
        assert_eq!(header(Opcode::Binary, None, 256), [0x82, 0x7e, 0x01, 0x00]);
        let long = [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(header(Opcode::Binary, None, 65_536), long);
        assert_eq!(Header::of_message(65_536).encode()[..], long);
    }

    #[test]
    fn what_is_wrong_shows_with_its_first_byte() {
        let wrong = |bytes: &[u8]| {
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(Header::decode(cut), Ok(None), "{bytes:?}");
            Header::decode(bytes).unwrap_err()
        };
        for first in [0xc2, 0xa2, 0x92] {
            assert_eq!(wrong(&[first]), HeaderError::ReservedBits);
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(wrong(&[FINAL | opcode]), HeaderError::Opcode(opcode));
        }
        for control in [8, 9, 10] {
            assert_eq!(wrong(&[control]), HeaderError::ControlInPieces);
            assert_eq!(wrong(&[FINAL | control, 126]), HeaderError::ControlTooLarge);
        }
        assert_eq!(wrong(&[0x82, 0xfe, 0, 125]), HeaderError::Length);
        assert_eq!(wrong(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), HeaderError::Length);
        assert_eq!(wrong(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), HeaderError::Length);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_wherever_it_is_cut(
            opcode in proptest::sample::select(&OPCODES[..]),
            is_final: bool,
            mask: Option<[u8; 4]>,
            payload_bytes in prop_oneof![0..200u64, 0..70_000u64, 0..=i64::MAX as u64],
        ) {
            let is_control = opcode.is_control();
            let is_final = is_final || is_control;
            let payload_bytes = if is_control { payload_bytes % 126 } else { payload_bytes };
            let header = Header { is_final, opcode, mask, payload_bytes };
            let mut bytes = header.encode().to_vec();
            prop_assert!(bytes.len() <= HEADER_BYTES_MAX);
            prop_assert!(mask.is_some() || bytes.len() <= SERVER_HEADER_BYTES_MAX);
            for cut in 0..bytes.len() {
                prop_assert_eq!(Header::decode(&bytes[..cut]), Ok(None));
            }
            let length = bytes.len();
            bytes.push(0);
            prop_assert_eq!(Header::decode(&bytes), Ok(Some((header, length))));
        }
    }
}
