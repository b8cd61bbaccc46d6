//! Any frame survives the wire, and any stream reads the same however it is cut.
//!
//! Frames are made by reflection from a string of random bytes, so that a message that is added to
//! the .proto files is covered without a word here.

mod support;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use dunlin_protocol::{EncodedFrame, FrameError, LogId, UserId, frame, limits};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use support::{frame_descriptor, read_borrowed, read_in_pieces};

/// Choices to make, from random bytes; 0 for ever when they are used up, so that small inputs make
/// small frames and shrinking works.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Small, large and extreme numbers.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            shift @ 128.. => u64::from(self.byte()) << (shift & 63),
            small => u64::from(small),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn message(&mut self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields().filter(|field| field.containing_oneof().is_none()) {
            if self.below(4) != 0 {
                let value = self.field(&field);
                message.set_field(&field, value);
            }
        }
        for oneof in descriptor.oneofs() {
            let fields: Vec<FieldDescriptor> = oneof.fields().collect();
            if let Some(field) = fields.get(self.below(fields.len() + 1)) {
                let value = self.single(field);
                message.set_field(field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_list() {
            let count = self.below(3);
            Value::List((0..count).map(|_| self.single(field)).collect())
        } else {
            self.single(field)
        }
    }

    fn single(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::Uint32 => Value::U32(self.number() as u32),
            Kind::Bool => Value::Bool(self.byte() & 1 == 1),
            // Also values that this version does not know.
            Kind::Enum(_) => Value::EnumNumber(i32::from(self.byte())),
            Kind::String => {
                Value::String(char::from(self.byte()).to_string().repeat(self.below(9)))
            }
            Kind::Bytes => Value::Bytes(vec![self.byte(); self.below(40)].into()),
            Kind::Message(descriptor) => Value::Message(self.message(&descriptor)),
            kind => panic!("{kind:?} is new in the .proto files: say here how to choose one"),
        }
    }
}

fn frame_bodies() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(|choices| {
        let frame = Choices(&choices).message(&frame_descriptor());
        Bytes::from(frame.encode_to_vec())
    })
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(frame_bodies(), 0..5).prop_map(|bodies| {
        let mut stream = Vec::new();
        for body in bodies {
            stream.extend_from_slice(&(body.len() as u32).to_be_bytes());
            stream.extend_from_slice(&body);
        }
        stream
    })
}

/// Where a stream is cut into reads.
fn cut_at<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| &stream[Range { start, end }]).collect()
}

proptest! {
    #[test]
    fn a_frame_survives_the_wire(body in frame_bodies()) {
        let frame = frame::decode(body.clone()).unwrap();
        let encoded = EncodedFrame::new(&frame);
        prop_assert_eq!(encoded.body(), body);
        prop_assert_eq!(EncodedFrame::from_wire(encoded.wire().clone()), Ok(encoded.clone()));
        let mut appended = BytesMut::new();
        frame::encode_into(&frame, &mut appended);
        prop_assert_eq!(appended.freeze(), encoded.into_wire());
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut(
        stream in streams(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = read_in_pieces([stream.as_slice()], limits::FRAME_BYTES_MAX);
        prop_assert_eq!(&whole.fault, &None);
        prop_assert_eq!(whole.left, 0);
        let encoded: Vec<u8> =
            whole.frames.iter().flat_map(|frame| EncodedFrame::new(frame).into_wire()).collect();
        prop_assert_eq!(&encoded, &stream);
        prop_assert_eq!(&read_borrowed(&stream, limits::FRAME_BYTES_MAX), &whole);
        prop_assert_eq!(&read_in_pieces(stream.chunks(1), limits::FRAME_BYTES_MAX), &whole);
        prop_assert_eq!(&read_in_pieces(cut_at(&stream, &cuts), limits::FRAME_BYTES_MAX), &whole);
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            prop_assert_eq!(&read_in_pieces([first, second], limits::FRAME_BYTES_MAX), &whole);
        }
    }

    #[test]
    fn garbage_never_panics_and_reads_the_same_however_it_is_cut(
        stream in prop::collection::vec(any::<u8>(), 0..64),
        frame_bytes_max in 0u32..64,
    ) {
        // Prefixes with three zero bytes, so that bodies are reached.
        let mut framed = vec![0, 0, 0];
        framed.extend_from_slice(&stream);
        for stream in [&stream, &framed] {
            let whole = read_in_pieces([stream.as_slice()], frame_bytes_max);
            prop_assert_eq!(&read_borrowed(stream, frame_bytes_max), &whole);
            prop_assert_eq!(&read_in_pieces(stream.chunks(1), frame_bytes_max), &whole);
        }
    }

    #[test]
    fn the_limit_is_exact(length in 0u32..300, bytes_max in 0u32..300) {
        let prefix = length.to_be_bytes();
        let mut input = BytesMut::from(&prefix[..]);
        let taken = frame::take(&mut input, bytes_max);
        if length > bytes_max {
            prop_assert_eq!(taken, Err(FrameError::TooLarge { bytes: length, bytes_max }));
        } else if length > 0 {
            prop_assert_eq!(taken, Ok(None));
        } else {
            prop_assert_eq!(taken, Ok(Some(Bytes::new())));
        }
    }

    #[test]
    fn bytes_that_are_an_id_are_that_id(
        kind in 0u8..7,
        lower in any::<u64>(),
        higher in any::<u64>(),
        bits in 0u32..56,
    ) {
        let mut bytes = [0; 16];
        bytes[0] = kind;
        bytes[2..9].copy_from_slice(&(lower >> bits).to_be_bytes()[1..]);
        bytes[9..].copy_from_slice(&(higher >> bits).to_be_bytes()[1..]);
        if let Ok(id) = LogId::from_bytes(&bytes) {
            prop_assert_eq!(id.as_bytes(), &bytes);
            prop_assert_eq!(id.kind() as u8, kind);
            if let Some((lower, higher)) = id.direct_members() {
                prop_assert_eq!(LogId::direct(higher, lower), id);
            }
            if let Some(owner) = id.owner() {
                prop_assert!(id == LogId::account(owner) || id == LogId::identity(owner));
            }
        }
    }

    #[test]
    fn users_that_exist_have_a_conversation(one in any::<u64>(), other in any::<u64>()) {
        let (one, other) = (UserId::from_random(one), UserId::from_random(other));
        prop_assert_eq!(UserId::new(one.get()), Ok(one));
        let id = LogId::direct(one, other);
        prop_assert_eq!(LogId::from_wire(id.as_bytes()), Ok(id));
        prop_assert_eq!(id.direct_members(), Some((one.min(other), one.max(other))));
    }
}
