//! The golden bytes in `tests/data` mean what they say, in both directions. Other implementations
//! test themselves with the same files; so a change here is a change of the protocol.

mod support;

use std::collections::BTreeSet;

use bytes::Bytes;
use dunlin_protocol::compressed::inflate;
use dunlin_protocol::wire::{CloseReason, Done, Frame, Sent, frame::Body};
use dunlin_protocol::{EncodedFrame, FrameError, LogId, LogKind, UserId, frame, limits};
use serde_json::Value;
use support::{from_json, hex, read_borrowed, read_in_pieces, text, to_json, vectors};

#[test]
fn golden_bytes_decode_to_their_fields() {
    for vector in vectors("frames.json") {
        let frame = decode_one(&hex(&vector, "wire"));
        // Encoded by prost, then read by reflection: nothing was dropped on the way.
        let encoded = EncodedFrame::new(&frame);
        assert_eq!(to_json(&encoded.body()), vector["frame"], "{}", text(&vector, "name"));
    }
}

#[test]
fn golden_fields_encode_to_their_bytes() {
    for vector in vectors("frames.json") {
        let (name, wire) = (text(&vector, "name"), hex(&vector, "wire"));
        let body = from_json(&vector["frame"]);
        assert_eq!(body, &wire[limits::FRAME_PREFIX_BYTES..], "{name}");
        let frame = frame::decode(body.into()).unwrap();
        assert_eq!(EncodedFrame::new(&frame).wire(), wire.as_slice(), "{name}");
    }
}

#[test]
fn a_few_golden_frames_are_what_the_code_says() {
    let golden = |name: &str| {
        let vector = vectors("frames.json").into_iter().find(|vector| vector["name"] == name);
        Bytes::from(hex(&vector.expect(name), "wire"))
    };
    assert_eq!(EncodedFrame::heartbeat().into_wire(), golden("heartbeat of the client"));
    assert_eq!(EncodedFrame::response(9, Body::Done(Done {})).into_wire(), golden("done"));
    let sent = Sent { seq: u64::MAX, time_ms: u64::MAX };
    let sent = EncodedFrame::response(u64::MAX, Body::Sent(sent)).into_wire();
    assert_eq!(sent, golden("sent, with the largest numbers"));
}

#[test]
fn every_body_has_a_golden_frame() {
    let frame = support::frame_descriptor();
    let bodies = frame.oneofs().next().expect("Frame has a body");
    let known: BTreeSet<String> = bodies.fields().map(|field| field.name().to_owned()).collect();
    let shown: BTreeSet<String> = vectors("frames.json")
        .iter()
        .flat_map(|vector| vector["frame"].as_object().expect("an object").keys().cloned())
        .filter(|field| field != "request_id")
        .collect();
    assert_eq!(known, shown);
}

#[test]
fn golden_deflated_frames_are_what_they_stand_for() {
    let mut inflated = 0;
    for vector in vectors("frames.json") {
        let Some(Body::Compressed(compressed)) = decode_one(&hex(&vector, "wire")).body else {
            continue;
        };
        let request_id = vector["frame"]["request_id"].as_str().unwrap().parse().unwrap();
        let frame = inflate(request_id, &compressed).unwrap();
        let expected = &vector["inflated"];
        assert_eq!(to_json(&EncodedFrame::new(&frame).body()), *expected);
        assert_eq!(from_json(expected).len(), compressed.bytes as usize);
        inflated += 1;
    }
    assert!(inflated > 0, "there is none");
}

#[test]
fn streams_give_what_is_written_however_they_are_cut() {
    for vector in vectors("streams.json") {
        let name = text(&vector, "name");
        let stream = hex(&vector, "stream");
        let max = u32::try_from(vector["frame_bytes_max"].as_u64().unwrap()).unwrap();

        let whole = read_in_pieces([stream.as_slice()], max);
        let mut gives: Vec<Value> = whole.frames.iter().map(frame_json).collect();
        gives.extend(whole.fault.as_ref().map(close_json));
        assert_eq!(Value::from(gives), vector["gives"], "{name}");
        assert_eq!(Value::from(whole.left), vector["left"], "{name}");

        assert_eq!(read_borrowed(&stream, max), whole, "{name}, borrowed");
        assert_eq!(read_in_pieces(stream.chunks(1), max), whole, "{name}, byte by byte");
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(read_in_pieces([first, second], max), whole, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn ids_are_computed_and_refused_as_written() {
    for vector in vectors("ids.json") {
        let id = hex(&vector, "id");
        let users: Vec<UserId> =
            vector["users"].as_array().into_iter().flatten().map(user).collect();
        let parsed = LogId::from_wire(&id);
        match (text(&vector, "kind"), users.as_slice()) {
            ("direct", &[one, other]) => {
                assert_eq!(parsed, Ok(LogId::direct(one, other)), "{vector}");
                assert_eq!(
                    parsed.unwrap().direct_members(),
                    Some((one.min(other), one.max(other))),
                    "{vector}"
                );
            }
            ("group", []) => assert_eq!(parsed.map(LogId::kind), Ok(LogKind::Group), "{vector}"),
            ("invalid", []) => assert!(parsed.is_err(), "{vector}"),
            _ => panic!("no such kind of vector: {vector}"),
        }
        if let Ok(parsed) = parsed {
            assert_eq!(parsed.to_wire(), id, "{vector}");
        }
    }
}

fn user(number: &Value) -> UserId {
    UserId::new(number.as_str().unwrap().parse().unwrap()).unwrap()
}

fn decode_one(wire: &[u8]) -> Frame {
    let (body, rest) = frame::split(wire, limits::FRAME_BYTES_MAX).unwrap().expect("whole");
    assert!(rest.is_empty());
    frame::decode(Bytes::copy_from_slice(body)).unwrap()
}

fn frame_json(frame: &Frame) -> Value {
    serde_json::json!({ "frame": to_json(&EncodedFrame::new(frame).body()) })
}

fn close_json(fault: &FrameError) -> Value {
    let reason = match fault {
        FrameError::TooLarge { .. } => CloseReason::FrameTooLarge,
        FrameError::Malformed { .. } => CloseReason::MalformedFrame,
        _ => panic!("{fault} has no close reason"),
    };
    let name = reason.as_str_name().strip_prefix("CLOSE_REASON_").expect("the prefix");
    serde_json::json!({ "close": name })
}
