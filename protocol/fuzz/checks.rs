// What must hold for any input. The fuzz targets call these, and so does `tests/fuzz_corpus.rs`,
// which replays the corpus with a stable compiler. A function panics if its promise is broken.
#![allow(dead_code, reason = "each fuzz target calls one of them")]

use bytes::{Bytes, BytesMut};
use dunlin_protocol::compressed::inflate;
use dunlin_protocol::wire::{Frame, frame::Body};
use dunlin_protocol::{
    ClientMessageId, DeviceId, EncodedFrame, FrameError, InvalidId, LogId, SessionId, UserId, frame,
};

/// The first byte is the limit in force, in units of 4 bytes; the second the size of a read; the
/// rest is the stream. The borrowing and the consuming splitter agree, whatever the reads.
pub(crate) fn splitter(input: &[u8]) {
    let [limit, read, stream @ ..] = input else {
        return;
    };
    let bytes_max = u32::from(*limit) * 4;

    let mut borrowed = Vec::new();
    let mut rest = stream;
    let borrowed_end = loop {
        match frame::split(rest, bytes_max) {
            Ok(Some((body, behind))) => {
                assert!(body.len() <= bytes_max as usize);
                assert_eq!(rest.len(), 4 + body.len() + behind.len());
                borrowed.push(Bytes::copy_from_slice(body));
                rest = behind;
            }
            Ok(None) => break None,
            Err(fault) => break Some(fault),
        }
    };

    let mut taken = Vec::new();
    let mut buffer = BytesMut::new();
    let mut taken_end = None;
    for piece in stream.chunks(usize::from(*read).max(1)) {
        buffer.extend_from_slice(piece);
        while taken_end.is_none() {
            match frame::take(&mut buffer, bytes_max) {
                Ok(Some(body)) => taken.push(body),
                Ok(None) => break,
                Err(fault) => taken_end = Some(fault),
            }
        }
    }
    assert_eq!(taken, borrowed);
    assert_eq!(taken_end, borrowed_end);
    assert_eq!(buffer, rest);
}

/// A body either is no frame, or a frame that survives a second encoding unchanged, and whose
/// contents are within the bytes that were given.
pub(crate) fn frame(input: &[u8]) {
    let frame = match frame::decode(Bytes::copy_from_slice(input)) {
        Ok(frame) => frame,
        Err(FrameError::Malformed { bytes, .. }) => {
            assert_eq!(bytes, input.len());
            return;
        }
        Err(fault) => panic!("{fault:?} says nothing about a body"),
    };
    let encoded = EncodedFrame::new(&frame);
    let again = frame::decode(encoded.body()).expect("what was encoded can be decoded");
    assert_eq!(again, frame);
    assert_eq!(EncodedFrame::new(&again), encoded);
    assert_eq!(EncodedFrame::from_wire(encoded.wire().clone()), Ok(encoded.clone()));
    assert_eq!(frame::split(encoded.wire(), u32::MAX), Ok(Some((&encoded.body()[..], &[][..]))));
    every_id_of(&frame);
    if let Some(Body::Compressed(compressed)) = &frame.body
        && let Ok(inner) = inflate(frame.request_id, compressed)
    {
        assert!(!matches!(inner.body, Some(Body::Compressed(_))));
        assert_eq!(inner.request_id, frame.request_id);
    }
}

/// The ids that a client can put into a frame are parsed without a fault.
fn every_id_of(frame: &Frame) {
    match &frame.body {
        Some(Body::Send(send)) => {
            ids(&send.conversation_id);
            ids(&send.client_message_id);
        }
        Some(Body::Sync(sync)) => sync.positions.iter().for_each(|p| ids(&p.conversation_id)),
        Some(Body::History(history)) => ids(&history.conversation_id),
        Some(Body::MarkRead(mark)) => ids(&mark.conversation_id),
        Some(Body::Signal(signal)) => ids(&signal.conversation_id),
        Some(Body::Login(login)) => login.device.iter().for_each(|d| ids(&d.device_id)),
        _ => {}
    }
}

/// An id that is accepted is the same bytes again, and is what its constructor makes of its parts.
pub(crate) fn ids(input: &[u8]) {
    assert_eq!(ClientMessageId::from_wire(input).is_ok(), input.len() == 16);
    assert_eq!(DeviceId::from_wire(input).is_ok(), input.len() == 16);
    if let Some(number) = input.first_chunk() {
        let number = u64::from_be_bytes(*number);
        assert_eq!(UserId::new(number).map(UserId::get).ok(), valid_number(number));
        assert_eq!(SessionId::new(number).map(SessionId::get).ok(), valid_number(number));
        assert!(valid_number(UserId::from_random(number).get()).is_some());
    }
    match LogId::from_bytes(input) {
        Ok(id) => accepted_log(id, input),
        Err(InvalidId::Length(bytes)) => assert!(bytes == input.len() && bytes != 16),
        Err(InvalidId::Log) => assert!(LogId::from_wire(input).is_err()),
        Err(fault) => panic!("{fault:?} says nothing about a log"),
    }
}

fn accepted_log(id: LogId, input: &[u8]) {
    assert_eq!(id.as_bytes(), input);
    assert_eq!(id.to_wire(), input);
    if let Some((lower, higher)) = id.direct_members() {
        assert!(lower <= higher);
        assert_eq!(LogId::direct(higher, lower), id);
    }
    if let Some(owner) = id.owner() {
        assert!(id == LogId::account(owner) || id == LogId::identity(owner));
    }
    if let Ok(on_the_wire) = LogId::from_wire(input) {
        assert_eq!(on_the_wire, id);
    }
}

fn valid_number(number: u64) -> Option<u64> {
    (1..1 << 53).contains(&number).then_some(number)
}
