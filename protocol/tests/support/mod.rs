//! The files of `tests/data`, and frames as protobuf JSON: read by reflection, which shares no
//! code with the generated messages that are on trial.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use dunlin_protocol::FrameError;
use dunlin_protocol::frame;
use dunlin_protocol::wire::Frame;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// The `vectors` of a file in `tests/data`.
pub(crate) fn vectors(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let text = fs::read_to_string(&path).expect("the file is part of the crate");
    let mut whole: Value = serde_json::from_str(&text).expect("the file is JSON");
    let Value::Array(vectors) = whole["vectors"].take() else {
        panic!("{file} has no vectors");
    };
    assert!(!vectors.is_empty(), "{file} is empty");
    vectors
}

/// A text field of a vector.
pub(crate) fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} is missing in {vector}"))
}

/// A field of a vector that holds bytes in hex.
pub(crate) fn hex(vector: &Value, field: &str) -> Vec<u8> {
    let digits = text(vector, field).as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "{field} is no hex in {vector}");
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("hex");
    pairs.iter().map(|&[high, low]| (digit(high) << 4 | digit(low)) as u8).collect()
}

/// The descriptor of `Frame`.
pub(crate) fn frame_descriptor() -> MessageDescriptor {
    let pool = DescriptorPool::decode(dunlin_protocol::FILE_DESCRIPTOR_SET);
    let pool = pool.expect("the descriptors are whole");
    pool.get_message_by_name("dunlin.v1.Frame").expect("Frame is described")
}

/// A frame as protobuf JSON with the field names of the .proto files.
pub(crate) fn to_json(body: &[u8]) -> Value {
    let message = DynamicMessage::decode(frame_descriptor(), body).expect("a frame");
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON")
}

/// The body that protobuf JSON stands for.
pub(crate) fn from_json(json: &Value) -> Vec<u8> {
    use prost::Message;
    let message = DynamicMessage::deserialize(frame_descriptor(), json.clone());
    message.unwrap_or_else(|error| panic!("{error} in {json}")).encode_to_vec()
}

/// What a reader made of a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The frames, in order.
    pub(crate) frames: Vec<Frame>,
    /// Why it can't be read on.
    pub(crate) fault: Option<FrameError>,
    /// Bytes that were not consumed.
    pub(crate) left: usize,
}

/// Reads frames until there are no more: after each piece, as a connection does.
pub(crate) fn read_in_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    frame_bytes_max: u32,
) -> Outcome {
    let mut input = BytesMut::new();
    let mut outcome = Outcome { frames: Vec::new(), fault: None, left: 0 };
    for piece in pieces {
        input.extend_from_slice(piece);
        while outcome.fault.is_none() {
            match frame::take(&mut input, frame_bytes_max).and_then(decoded) {
                Ok(Some(frame)) => outcome.frames.push(frame),
                Ok(None) => break,
                Err(fault) => outcome.fault = Some(fault),
            }
        }
    }
    outcome.left = input.len();
    outcome
}

fn decoded(body: Option<Bytes>) -> Result<Option<Frame>, FrameError> {
    body.map(frame::decode).transpose()
}

/// Reads the same with [`frame::split`], which borrows.
pub(crate) fn read_borrowed(stream: &[u8], frame_bytes_max: u32) -> Outcome {
    let mut outcome = Outcome { frames: Vec::new(), fault: None, left: stream.len() };
    let mut input = stream;
    while outcome.fault.is_none() {
        match frame::split(input, frame_bytes_max) {
            Ok(None) => break,
            Err(fault) => outcome.fault = Some(fault),
            Ok(Some((body, rest))) => {
                input = rest;
                outcome.left = rest.len();
                match frame::decode(Bytes::copy_from_slice(body)) {
                    Ok(frame) => outcome.frames.push(frame),
                    Err(fault) => outcome.fault = Some(fault),
                }
            }
        }
    }
    outcome
}
