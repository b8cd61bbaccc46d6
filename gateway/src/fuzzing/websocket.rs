//! What a client may say in a WebSocket: any bytes, cut anywhere.
//!
//! Whatever they are:
//!
//! - nothing panics, and no more is held than may be
//! - what is understood does not depend on the cuts: the same frames, the same pongs, the same end
//! - what is said is an answer of HTTP, and then good pieces, of which a close is the last

use std::io::IoSlice;

use bytes::Bytes;
use dunlin_protocol::frame;
use dunlin_protocol::websocket::{Header, Opcode};
use dunlin_protocol::wire::CloseReason;

use crate::limits::UPGRADE_BYTES_MAX;
use crate::stream::buffers::Buffers;
use crate::stream::entrance::Entrance;
use crate::stream::web::Origins;
use crate::stream::{End, LastWord, Streams, Terms};

/// A request that is accepted. Scripts may say it, or one of their own.
const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: dunlin.v1\r\n\r\n";

/// The largest message in pieces.
const FRAME_BYTES_MAX: u32 = 1000;

/// What may be held: a request, or a message in pieces whose memory grows by doubling, and what is kept of it.
const HELD_BYTES_MAX: usize = 2 * UPGRADE_BYTES_MAX + 4 * FRAME_BYTES_MAX as usize;

/// What was understood.
#[derive(Debug, PartialEq, Eq)]
struct Understood {
    frames: Vec<u8>,
    end: Option<CloseReason>,
    said: Vec<u8>,
}

/// Plays a script: whether the usual request comes first, where to cut, and what is said.
pub(crate) fn play(script: &[u8]) {
    let Some((&first, rest)) = script.split_first() else { return };
    let (cuts, said) = rest.split_at(rest.len().min(usize::from(first >> 4)));
    let upgrade: &[u8] = if first & 1 == 0 { UPGRADE } else { &[] };
    let said = [upgrade, said].concat();
    let whole = understood(&said, &[]);
    if !cuts.is_empty() {
        assert_eq!(understood(&said, cuts), whole, "cut by {cuts:?}");
    }
    assert_eq!(understood(&said, &[1]), whole, "byte by byte");
    check_said(&whole.said);
}

fn understood(said: &[u8], cuts: &[u8]) -> Understood {
    let (mut streams, mut buffers) = (Streams::new(), Buffers::new());
    let key = streams.open(Entrance::Web, None).expect("it needs no certificate");
    let terms = Terms { frame_bytes_max: FRAME_BYTES_MAX, origins: &Origins::default() };
    let (mut rest, mut cuts) = (said, cuts.iter().cycle());
    let mut understood = Understood { frames: Vec::new(), end: None, said: Vec::new() };
    while !rest.is_empty() && understood.end.is_none() {
        let mut stream = streams.of(key);
        let room = stream.room(&mut buffers);
        let wanted = cuts.next().map_or(usize::MAX, |cut| usize::from(*cut).max(1));
        let count = wanted.min(rest.len()).min(room.len());
        room[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        let input = stream.receive(count, &mut buffers, &terms);
        understood.frames.extend_from_slice(&input.bytes);
        understood.end = input.end.map(|end| match end {
            End::Said => CloseReason::PeerClosed,
            End::Broken(error) => error.close_reason(),
        });
        assert!(stream.input_bytes() <= HELD_BYTES_MAX, "{} bytes", stream.input_bytes());
    }
    let reason = understood.end.unwrap_or(CloseReason::ServerDraining);
    while streams.of(key).has_output() || streams.of(key).close(reason) == LastWord::Queued {
        let mut stream = streams.of(key);
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = stream.output(None, &mut buffers, &mut slices).expect("memory takes all");
        assert!(filled > 0, "there is output, and there is none");
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        stream.written(bytes.len(), None, &mut buffers);
        understood.said.extend(bytes);
    }
    check_frames(&understood.frames);
    understood
}

/// Frames are whole but for the last one.
fn check_frames(frames: &[u8]) {
    let mut rest = bytes::BytesMut::from(frames);
    while let Some(body) = frame::take(&mut rest, u32::MAX).expect("there is no limit") {
        let _any: Bytes = body;
    }
}

fn check_said(said: &[u8]) {
    if said.is_empty() {
        return;
    }
    let end =
        said.windows(4).position(|window| window == b"\r\n\r\n").expect("HTTP comes first") + 4;
    if !said.starts_with(b"HTTP/1.1 101 ") {
        assert!(said.starts_with(b"HTTP/1.1 4") || said.starts_with(b"HTTP/1.1 503 "));
        return;
    }
    let (mut rest, mut has_ended) = (&said[end..], false);
    while !rest.is_empty() {
        assert!(!has_ended, "something behind the last word");
        let (header, start) = Header::decode(rest).expect("it is good").expect("it is whole");
        assert!(header.is_final && header.mask.is_none(), "{header:?}");
        assert!(matches!(header.opcode, Opcode::Pong | Opcode::Close), "{header:?}");
        has_ended = header.opcode == Opcode::Close;
        rest = &rest[start + header.payload_bytes as usize..];
    }
    assert!(has_ended, "no last word");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// What the fuzzer has found, and what it found new ways with.
    #[test]
    fn whatever_was_found_once_is_understood() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/websockets");
        let scripts = std::fs::read_dir(&corpus).expect("the corpus is there");
        let mut played = 0;
        for script in scripts {
            let path = script.expect("it can be listed").path();
            println!("{}", path.display());
            play(&std::fs::read(path).expect("it can be read"));
            played += 1;
        }
        assert!(played >= 10, "{played} scripts: the corpus is not there");
    }

    /// Pieces that are mostly good: chance alone would hardly make two of them.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let opcode =
            prop_oneof![4 => Just(2u8), 3 => Just(0), 2 => Just(9), 1 => Just(10), 1 => 0..16u8];
        let payload = proptest::collection::vec(any::<u8>(), 0..140);
        (opcode, proptest::bool::weighted(0.7), any::<[u8; 4]>(), payload).prop_map(
            |(opcode, is_final, key, payload)| {
                let first = if is_final || opcode > 7 { 0x80 | opcode } else { opcode };
                let mut piece = vec![first];
                match u8::try_from(payload.len()) {
                    Ok(length) if length < 126 => piece.push(0x80 | length),
                    _ => piece.extend([0xfe, 0, payload.len() as u8]),
                }
                piece.extend(key);
                piece.extend(payload);
                piece
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn whatever_is_said_is_understood_the_same_wherever_it_is_cut(
            first: u8,
            cuts in proptest::collection::vec(any::<u8>(), 15),
            pieces in proptest::collection::vec(piece(), 0..12),
            turned in proptest::option::of((any::<usize>(), 0..8u8)),
        ) {
            let mut script = vec![first & 0xfe];
            script.extend_from_slice(&cuts[..usize::from(first >> 4)]);
            let start = script.len();
            script.extend(pieces.concat());
            if let Some((at, bit)) = turned && script.len() > start {
                let said = script.len() - start;
                script[start + at % said] ^= 1 << bit;
            }
            play(&script);
        }
    }
}
