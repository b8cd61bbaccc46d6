//! The length prefix: a `u32`, big-endian, then that many bytes of one protobuf `Frame`.
//!
//! A frame of length 0 is a heartbeat: the smallest thing that can be said.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::limits::FRAME_PREFIX_BYTES;
use crate::wire::{Frame, frame::Body};

/// What is wrong with the bytes of a frame. After it the stream can't be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The prefix announces more than the limit.
    #[error("a frame of {bytes} bytes, where {bytes_max} are allowed")]
    TooLarge {
        /// What the prefix says.
        bytes: u32,
        /// The limit in force.
        bytes_max: u32,
    },
    /// The body is no protobuf `Frame`.
    #[error("a body of {bytes} bytes is no frame: {reason}")]
    Malformed {
        /// Length of the body.
        bytes: usize,
        /// What the decoder says.
        reason: String,
    },
}

/// Reads the prefix at the start of `input`: the length of the body, or `None` if the prefix
/// itself is incomplete. Checks the limit before a byte of the body has arrived.
pub fn body_length(input: &[u8], bytes_max: u32) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = input.first_chunk::<FRAME_PREFIX_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes(*prefix);
    if bytes > bytes_max {
        return Err(FrameError::TooLarge { bytes, bytes_max });
    }
    Ok(Some(bytes as usize))
}

/// A body, and what follows it.
pub type BodyAndRest<'a> = (&'a [u8], &'a [u8]);

/// Splits the first body off `input`, borrowed; `None` if it is incomplete.
pub fn split(input: &[u8], bytes_max: u32) -> Result<Option<BodyAndRest<'_>>, FrameError> {
    let Some(length) = body_length(input, bytes_max)? else {
        return Ok(None);
    };
    let behind_prefix = &input[FRAME_PREFIX_BYTES..];
    Ok((behind_prefix.len() >= length).then(|| behind_prefix.split_at(length)))
}

/// Takes the first body off `input` without a copy: the body shares the buffer's memory.
/// `None` if it is incomplete; nothing is consumed then.
pub fn take(input: &mut BytesMut, bytes_max: u32) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = body_length(input, bytes_max)? else {
        return Ok(None);
    };
    if input.len() - FRAME_PREFIX_BYTES < length {
        return Ok(None);
    }
    input.advance(FRAME_PREFIX_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}

/// The field of the body in the first frame that is no heartbeat, of which the prefix and at least the first bytes are
/// in `input`: so one knows what it is before it has arrived. `None` as long as these bytes are missing; 0 if it does
/// not begin with a body, or a request id and a body, as every encoder writes them.
pub fn body_field(input: &[u8]) -> Option<u32> {
    const REQUEST_ID_KEY: u64 = 1 << 3;
    const LENGTH_DELIMITED: u64 = 2;
    let mut rest = input;
    // Heartbeats say nothing of what comes behind them.
    while rest.get(..FRAME_PREFIX_BYTES)? == [0; FRAME_PREFIX_BYTES] {
        rest = &rest[FRAME_PREFIX_BYTES..];
    }
    rest = &rest[FRAME_PREFIX_BYTES..];
    let mut key = varint(&mut rest)?;
    if key == REQUEST_ID_KEY {
        varint(&mut rest)?;
        key = varint(&mut rest)?;
    }
    let is_body = key & 7 == LENGTH_DELIMITED;
    Some(if is_body { u32::try_from(key >> 3).unwrap_or(0) } else { 0 })
}

/// The request id of a whole frame, prefix included, without decoding the rest; `None` if it has none in
/// front.
pub fn request_id(frame: &[u8]) -> Option<u64> {
    const REQUEST_ID_KEY: u64 = 1 << 3;
    let mut rest = frame.get(FRAME_PREFIX_BYTES..)?;
    let key = varint(&mut rest)?;
    if key == REQUEST_ID_KEY { varint(&mut rest) } else { None }
}

/// Takes a variable-length number; `None` if it is incomplete. One that never ends is the largest.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    const BYTES_MAX: usize = 10;
    let mut value = 0;
    for (place, &byte) in rest.iter().take(BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place).min(63);
        if byte & 0x80 == 0 {
            *rest = &rest[place + 1..];
            return Some(value);
        }
    }
    (rest.len() >= BYTES_MAX).then_some(u64::MAX)
}

/// Decodes a body. Contents stay slices of `body`.
pub fn decode(body: Bytes) -> Result<Frame, FrameError> {
    let bytes = body.len();
    Frame::decode(body).map_err(|error| FrameError::Malformed { bytes, reason: error.to_string() })
}

/// Appends prefix and body to `output`.
pub fn encode_into(frame: &Frame, output: &mut impl BufMut) {
    let length = frame.encoded_len();
    let prefix = u32::try_from(length).expect("frames are built within limits far below 4 GiB");
    output.put_u32(prefix);
    frame.encode_raw(output);
}

/// A frame in its final form, prefix included: encoded once, shared by every recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame(Bytes);

impl EncodedFrame {
    /// Encodes a frame.
    pub fn new(frame: &Frame) -> EncodedFrame {
        let mut bytes = BytesMut::with_capacity(FRAME_PREFIX_BYTES + frame.encoded_len());
        encode_into(frame, &mut bytes);
        EncodedFrame(bytes.freeze())
    }

    /// Takes a frame that was encoded elsewhere, prefix included.
    pub fn from_wire(bytes: Bytes) -> Result<EncodedFrame, FrameError> {
        match body_length(&bytes, u32::MAX)? {
            Some(length) if length == bytes.len() - FRAME_PREFIX_BYTES => Ok(EncodedFrame(bytes)),
            _ => Err(FrameError::Malformed {
                bytes: bytes.len(),
                reason: "the prefix is not the length of the body".into(),
            }),
        }
    }

    /// The response to a request.
    pub fn response(request_id: u64, body: Body) -> EncodedFrame {
        EncodedFrame::new(&Frame { request_id, body: Some(body) })
    }

    /// A frame that nobody asked for.
    pub fn push(body: Body) -> EncodedFrame {
        EncodedFrame::response(0, body)
    }

    /// The heartbeat.
    pub fn heartbeat() -> EncodedFrame {
        EncodedFrame(Bytes::from_static(&[0; FRAME_PREFIX_BYTES]))
    }

    /// Prefix and body, as they go over TCP.
    pub fn wire(&self) -> &Bytes {
        &self.0
    }

    /// The body alone, for transports that frame by themselves.
    pub fn body(&self) -> Bytes {
        self.0.slice(FRAME_PREFIX_BYTES..)
    }

    /// Takes the bytes, prefix and body.
    pub fn into_wire(self) -> Bytes {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Close, Done, Sent};

    #[test]
    fn the_heartbeat_is_an_empty_frame() {
        assert_eq!(EncodedFrame::heartbeat(), EncodedFrame::new(&Frame::default()));
        assert_eq!(EncodedFrame::heartbeat().wire().as_ref(), [0, 0, 0, 0]);
        assert_eq!(decode(Bytes::new()), Ok(Frame::default()));
    }

    #[test]
    fn what_was_encoded_is_taken_back_whole() {
        let first = EncodedFrame::response(1, Body::Sent(Sent { seq: 5, time_ms: 6 }));
        let second = EncodedFrame::response(2, Body::Done(Done {}));
        let mut input = BytesMut::new();
        input.extend_from_slice(first.wire());
        input.extend_from_slice(second.wire());
        assert_eq!(take(&mut input, 64), Ok(Some(first.body())));
        assert_eq!(take(&mut input, 64), Ok(Some(second.body())));
        assert_eq!(take(&mut input, 64), Ok(None));
    }

    #[test]
    fn what_a_frame_is_shows_in_its_first_bytes() {
        for request_id in [0, 1, 127, 128, u64::MAX] {
            for (body, field) in
                [(Body::Sent(Sent { seq: 5, time_ms: 6 }), 3), (Body::Close(Close::default()), 97)]
            {
                let frame = EncodedFrame::response(request_id, body);
                let id = Some(request_id).filter(|id| *id != 0);
                assert_eq!(super::request_id(frame.wire()), id);
                let known = (0..=frame.wire().len()).map(|end| body_field(&frame.wire()[..end]));
                let known: Vec<_> = known.collect();
                let first = known.iter().position(Option::is_some).expect("it shows");
                assert!(first <= FRAME_PREFIX_BYTES + 13, "{first}");
                assert!(known[..first].iter().all(Option::is_none));
                assert!(known[first..].iter().all(|shown| *shown == Some(field)), "{known:?}");
            }
        }
    }

    #[test]
    fn what_begins_with_something_else_is_no_body() {
        let prefix = |body: &[u8]| u32::try_from(body.len()).unwrap().to_be_bytes();
        let begun = |body: &[u8]| body_field(&[&prefix(body), body].concat());
        assert_eq!(begun(&[0x08, 1, 0x10, 7]), Some(0), "a number");
        assert_eq!(begun(&[0xff; 9]), None);
        assert_eq!(begun(&[0xff; 10]), Some(0), "no number at all");
        assert_eq!(begun(&[0x08, 1, 0x08, 1, 0x12]), Some(0), "two request ids");
        assert_eq!(begun(&[]), None);
    }

    #[test]
    fn heartbeats_before_a_frame_do_not_hide_what_it_is() {
        let frame = EncodedFrame::response(5, Body::Done(Done {}));
        let field = body_field(frame.wire());
        assert!(field.is_some_and(|field| field > 0));
        for count in 0..3 {
            let heartbeats = vec![0; count * FRAME_PREFIX_BYTES];
            assert_eq!(body_field(&heartbeats), None);
            assert_eq!(body_field(&[&heartbeats, &frame.wire()[..]].concat()), field);
        }
    }

    #[test]
    fn a_frame_from_elsewhere_must_be_whole() {
        let frame = EncodedFrame::push(Body::Done(Done {}));
        assert_eq!(EncodedFrame::from_wire(frame.wire().clone()), Ok(frame.clone()));
        assert!(EncodedFrame::from_wire(frame.wire().slice(..5)).is_err());
        assert!(EncodedFrame::from_wire(frame.wire().slice(..3)).is_err());
    }

    #[test]
    fn the_limit_is_checked_before_the_body_arrives() {
        let too_large = FrameError::TooLarge { bytes: 65, bytes_max: 64 };
        assert_eq!(body_length(&65u32.to_be_bytes(), 64), Err(too_large));
        assert_eq!(body_length(&64u32.to_be_bytes(), 64), Ok(Some(64)));
        assert_eq!(body_length(&[0, 0, 0], 64), Ok(None));
    }
}
