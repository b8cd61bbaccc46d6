//! Frames in a WebSocket (RFC 6455): one binary message is the body of one frame.
//!
//! What is read is turned, where it lies, into frames with the prefix that they have on a bare socket, so that the
//! loop takes them as it takes any ([`intake`]). What is written are the frames of the outbox as they are, each
//! with a header in the place of its prefix ([`messages`]). Between two frames the stream has words of its own
//! ([`words`]): the answer to the request that begins it ([`upgrade`]), pongs, and the last one.
//!
//! An idle one holds no buffer: two empty pointers and how far it is.

mod error;
mod intake;
mod messages;
mod origins;
mod secure;
mod upgrade;
mod words;

use std::io::IoSlice;

use dunlin_protocol::websocket::close_code;
use dunlin_protocol::websocket::close_code::{CloseCode, NORMAL};
use dunlin_protocol::wire::CloseReason;

use super::buffers::Buffers;
use super::outbox::Outbox;
use super::{End, Input, LastWord, Terms};
use intake::{Control, Intake, Taken};
use words::Words;

pub(super) use error::WebError;
pub(super) use messages::Heads;
pub(crate) use origins::Origins;
pub(super) use secure::SecureWebStream;
pub(super) use upgrade::farewell;

/// See the module.
#[derive(Debug)]
pub(crate) struct WebStream {
    stage: Stage,
    intake: Intake,
    words: Words,
}

// A million of them are in a table; a slot has no room for it.
const _: () = assert!(size_of::<WebStream>() <= 24);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The request has not come whole.
    Upgrading,
    Open,
    /// The peer says that nothing more follows, perhaps with a code, which is said back.
    PeerClosed(Option<CloseCode>),
    /// What the peer said is no WebSocket; the code says in which way.
    Broken(CloseCode),
    /// Nothing more will be said.
    Closed,
}

impl WebStream {
    pub(super) fn new() -> WebStream {
        WebStream { stage: Stage::Upgrading, intake: Intake::default(), words: Words::default() }
    }

    pub(super) fn room<'b>(&self, buffers: &'b mut Buffers) -> &'b mut [u8] {
        buffers.input.room()
    }

    pub(super) fn receive(
        &mut self,
        count: usize,
        buffers: &mut Buffers,
        terms: &Terms<'_>,
    ) -> Input {
        self.take(Input::of_scratch(buffers.input.take(count)), terms)
    }

    /// Takes what was said in it; frames are left.
    fn take(&mut self, input: Input, terms: &Terms<'_>) -> Input {
        let Input { bytes, shares_scratch, end, .. } = input;
        let fresh = match self.stage {
            Stage::Upgrading => match self.upgrade(&bytes, terms) {
                Ok(Some(behind)) => (behind, false),
                Ok(None) => return Input { end, ..Input::default() },
                Err(error) => return self.broken(Input::default(), error),
            },
            Stage::Open => (bytes, shares_scratch),
            Stage::PeerClosed(_) | Stage::Broken(_) | Stage::Closed => {
                return Input { end, ..Input::default() };
            }
        };
        let (bytes, shares_scratch) = fresh;
        let taken = self.intake.take(bytes, shares_scratch, terms.frame_bytes_max);
        if let Some(pong) = taken.pong {
            self.words.pong(&pong);
        }
        let Taken { bytes, shares_scratch, asides, .. } = taken;
        let frames = Input { bytes, shares_scratch, asides, end };
        match taken.end {
            None => frames,
            Some(Ok(Control::Close(code))) => {
                self.stage = Stage::PeerClosed(code);
                Input { end: Some(End::Said), ..frames }
            }
            Some(Err(error)) => self.broken(frames, error),
        }
    }

    /// Takes more of the request. What came behind it, once it is whole.
    fn upgrade(
        &mut self,
        bytes: &[u8],
        terms: &Terms<'_>,
    ) -> Result<Option<bytes::BytesMut>, WebError> {
        let Some(request) = self.intake.hold_request(bytes)? else { return Ok(None) };
        let answer = upgrade::answer(&request.head, terms.origins)?;
        self.words.say(&answer);
        self.stage = Stage::Open;
        Ok(Some(request.behind))
    }

    fn broken(&mut self, frames: Input, error: WebError) -> Input {
        self.stage = match &error {
            WebError::Refused(refusal) => {
                self.words.say(&refusal.response());
                Stage::Closed
            }
            WebError::Header(_)
            | WebError::NotMasked
            | WebError::Text
            | WebError::Pieces
            | WebError::TooLarge { .. }
            | WebError::Close
            | WebError::CloseText => Stage::Broken(error.close_code()),
        };
        Input { end: Some(End::Broken(Box::new(error.into()))), ..frames }
    }

    pub(super) fn has_output(&self) -> bool {
        !self.words.is_empty()
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.words.memory()
    }

    pub(super) fn input_bytes(&self) -> usize {
        self.intake.memory()
    }

    /// The frames that may be said now: none before the upgrade.
    fn sayable<'b>(&self, outbox: Option<&'b mut Outbox>) -> Option<&'b mut Outbox> {
        match self.stage {
            Stage::Upgrading | Stage::Closed => None,
            Stage::Open | Stage::PeerClosed(_) | Stage::Broken(_) => outbox,
        }
    }

    pub(super) fn output<'b>(
        &'b mut self,
        outbox: Option<&'b mut Outbox>,
        buffers: &'b mut Buffers,
        slices: &mut [IoSlice<'b>],
    ) -> usize {
        let outbox = self.sayable(outbox);
        messages::slices(&self.words, outbox.map(|outbox| &*outbox), &mut buffers.heads, slices)
    }

    pub(super) fn written(
        &mut self,
        count: usize,
        outbox: Option<&mut Outbox>,
        buffers: &mut Buffers,
    ) {
        let outbox = self.sayable(outbox);
        messages::written(&mut self.words, outbox, &mut buffers.heads, count);
    }

    /// Appends what is to be said next to `plain`, `bytes_max` at most, and takes it as written.
    fn take_into(&mut self, outbox: Option<&mut Outbox>, plain: &mut Vec<u8>, bytes_max: usize) {
        let outbox = self.sayable(outbox);
        messages::take_into(&mut self.words, outbox, plain, bytes_max);
    }

    /// Whether the peer has said its last word and waits for ours.
    pub(super) fn owes_last_word(&self) -> bool {
        matches!(self.stage, Stage::PeerClosed(_))
    }

    /// One more word says why nothing follows: a code, or a response where there is no WebSocket yet.
    pub(super) fn close(&mut self, reason: CloseReason) -> LastWord {
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Upgrading => match upgrade::parting(reason) {
                Some(response) => self.words.say(&response),
                None => return LastWord::Said,
            },
            Stage::Open => self.words.close(Some(close_code(reason))),
            // It may have gone on for a reason of ours meanwhile; then that is the news.
            Stage::PeerClosed(code) => self.words.close(match close_code(reason) {
                NORMAL => code,
                other => Some(other),
            }),
            Stage::Broken(code) => self.words.close(Some(code)),
            Stage::Closed => return LastWord::Said,
        }
        LastWord::Queued
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use dunlin_protocol::websocket::{Header, Opcode};
    use dunlin_protocol::wire::{Signal, frame::Body};
    use dunlin_protocol::{EncodedFrame, frame};
    use proptest::prelude::*;

    use super::*;
    use crate::stream::outbox::OutboxLimits;
    use crate::stream::peer::{FRAME_BYTES_MAX, Peer, Seen, Side, Speech};

    const WEB: [Speech; 2] = [Speech::Web, Speech::SecureWeb];

    fn bodies(mut bytes: BytesMut) -> Vec<Bytes> {
        let all = std::iter::from_fn(|| frame::take(&mut bytes, u32::MAX).unwrap()).collect();
        assert!(bytes.is_empty(), "a frame was cut off");
        all
    }

    fn heard(side: &mut Side, raw: &[u8]) -> Vec<Bytes> {
        let input = side.hear_all(raw);
        assert!(input.end.is_none(), "{:?}", input.end);
        bodies(input.bytes)
    }

    fn outbox(sizes: &[usize]) -> Option<Outbox> {
        let mut outbox = Outbox::default();
        for &bytes in sizes {
            let payload = vec![bytes as u8; bytes].into();
            let signal = Body::Signal(Signal { payload, ..Signal::default() });
            let limits = OutboxLimits { soft: usize::MAX, hard: usize::MAX };
            outbox.keep(EncodedFrame::push(signal), limits).unwrap();
        }
        Some(outbox)
    }

    /// What the side says, as its peer understands it.
    fn answered(side: &mut Side, peer: &mut Peer, outbox: &mut Option<Outbox>) -> (Seen, Vec<u8>) {
        let mut plain = Vec::new();
        let raw = side.write(outbox);
        (peer.hear(&raw, &mut plain), plain)
    }

    #[test]
    fn a_message_may_come_in_pieces_with_pings_between_them_cut_anywhere() {
        for speech in WEB {
            let said = |peer: &mut Peer| {
                [
                    peer.piece(true, Opcode::Binary, b"before"),
                    peer.piece(false, Opcode::Binary, b"one "),
                    peer.piece(true, Opcode::Ping, b"first"),
                    peer.piece(false, Opcode::Continuation, b""),
                    peer.piece(false, Opcode::Continuation, b"and "),
                    peer.piece(true, Opcode::Pong, b"nobody asked"),
                    peer.piece(true, Opcode::Continuation, b"two"),
                    peer.piece(true, Opcode::Ping, b"second"),
                    peer.piece(true, Opcode::Binary, b""),
                    peer.piece(true, Opcode::Binary, b"behind"),
                ]
                .concat()
            };
            let wanted = [&b"before"[..], b"one and two", b"", b"behind"];
            let length = said(&mut Side::opened(speech).1).len();
            for cut in 0..=length {
                let (mut side, mut peer) = Side::opened(speech);
                let raw = said(&mut peer);
                let (first, second) = raw.split_at(cut);
                let Input { mut bytes, asides: before, .. } = side.hear(first).unwrap();
                let behind = side.hear(second).unwrap();
                bytes.extend_from_slice(&behind.bytes);
                let asides = before + behind.asides;
                assert_eq!(bodies(bytes), wanted, "{speech:?} cut at {cut}");
                assert_eq!(side.stream().input_bytes(), 0, "an idle one holds nothing");
                answered(&mut side, &mut peer, &mut None);
                assert_eq!(peer.web().pongs, [b"second"], "the last ping is answered");
                // Two pings, a pong and an empty piece.
                assert_eq!(asides, 4);
            }
        }
    }

    #[test]
    fn a_pong_comes_between_two_messages_wherever_a_write_ends() {
        for speech in WEB {
            for step in 1..400 {
                let (mut side, mut peer) = Side::opened(speech);
                let mut outbox = outbox(&[0, 5, 130, 300]);
                let mut raw = Vec::new();
                side.write_some(&mut outbox, step, &mut raw);
                side.hear(&peer.piece(true, Opcode::Ping, b"now")).unwrap();
                while side.write_some(&mut outbox, step, &mut raw) > 0 {}
                let mut plain = Vec::new();
                assert_eq!(peer.hear(&raw, &mut plain), Seen::Open);
                assert_eq!(
                    bodies(BytesMut::from(&plain[..])).len(),
                    4,
                    "{speech:?}, {step} at a time"
                );
                assert_eq!(peer.web().pongs, [b"now"]);
                assert_eq!(side.stream().output_bytes(), 0, "an idle one holds nothing");
            }
        }
    }

    #[test]
    fn who_sends_pings_and_reads_nothing_is_owed_one_pong() {
        let (mut side, mut peer) = Side::opened(Speech::Web);
        for _ in 0..1000 {
            side.hear(&peer.piece(true, Opcode::Ping, &[7; 125])).unwrap();
        }
        assert!(side.stream().output_bytes() < 400, "{}", side.stream().output_bytes());
        answered(&mut side, &mut peer, &mut None);
        assert_eq!(peer.web().pongs, [[7; 125]]);
    }

    /// What is said, and the code of the close that answers it.
    #[test]
    fn what_is_no_websocket_ends_it_with_a_code_behind_what_came_before() {
        let masked = |opcode, is_final, payload: &[u8]| {
            let mut header = Header { is_final, opcode, mask: Some([0; 4]), payload_bytes: 0 };
            header.payload_bytes = payload.len() as u64;
            [&header.encode()[..], payload].concat()
        };
        let close = |code: u16, text: &[u8]| {
            masked(Opcode::Close, true, &[&code.to_be_bytes(), text].concat())
        };
        let too_large = vec![0; FRAME_BYTES_MAX as usize + 1];
        let cases: Vec<(&str, Vec<u8>, u16)> = vec![
            ("no mask", vec![0x82, 1, 0], 1002),
            ("reserved bits", vec![0xc2], 1002),
            ("a reserved opcode", vec![0x83], 1002),
            ("a ping in pieces", vec![0x09], 1002),
            ("a large ping", vec![0x89, 0xfe], 1002),
            ("text", masked(Opcode::Text, true, b"hello"), 1003),
            ("the beginning of text", masked(Opcode::Text, false, b"hello"), 1003),
            ("a piece of nothing", masked(Opcode::Continuation, true, b"x"), 1002),
            (
                "a message within another",
                [masked(Opcode::Binary, false, b"x"), masked(Opcode::Binary, true, b"y")].concat(),
                1002,
            ),
            (
                "pieces of too much",
                [
                    masked(Opcode::Binary, false, b"x"),
                    masked(Opcode::Continuation, true, &too_large),
                ]
                .concat(),
                1009,
            ),
            ("a code of one byte", masked(Opcode::Close, true, &[3]), 1002),
            ("a code for no wire", close(1005, b""), 1002),
            ("a code of nobody", close(999, b""), 1002),
            ("a code to come", close(2999, b""), 1002),
            ("a text that is none", close(1000, &[0xff]), 1007),
        ];
        for speech in WEB {
            for (name, wrong, code) in &cases {
                let (mut side, mut peer) = Side::opened(speech);
                // What is wrong is said as it is: the peer of these tests could not.
                let before = peer.piece(true, Opcode::Binary, b"before");
                let input = side.hear_all(&[before, peer.raw(wrong)].concat());
                assert_eq!(bodies(input.bytes), [&b"before"[..]], "{name}");
                let Some(End::Broken(error)) = input.end else { panic!("{name}: {:?}", input.end) };
                assert!(error.leaves_words());
                let reason = error.close_reason();
                assert_eq!(reason == CloseReason::FrameTooLarge, *code == 1009, "{name}");
                // There is time for a frame that says why, and then it is said by a code.
                answered(&mut side, &mut peer, &mut outbox(&[5]));
                assert_eq!(side.stream().close(reason), LastWord::Queued);
                let (seen, _) = answered(&mut side, &mut peer, &mut None);
                assert_eq!((seen, peer.web().code), (Seen::Ended, Some(*code)), "{name}");
            }
        }
    }

    #[test]
    fn the_last_word_of_a_peer_is_said_back_or_outdone_by_a_reason() {
        let close = |peer: &mut Peer, payload: &[u8]| peer.piece(true, Opcode::Close, payload);
        let cases: [(&[u8], CloseReason, Option<u16>); 5] = [
            (&[], CloseReason::PeerClosed, None),
            (&[0x03, 0xe9], CloseReason::PeerClosed, Some(1001)),
            (&[0x0f, 0xa7, b'b', b'y', b'e'], CloseReason::PeerClosed, Some(4007)),
            (&[0x03, 0xe8], CloseReason::PeerClosed, Some(1000)),
            (&[0x03, 0xe8], CloseReason::ServerDraining, Some(1001)),
        ];
        for speech in WEB {
            for (payload, reason, code) in cases {
                let (mut side, mut peer) = Side::opened(speech);
                assert!(!side.stream().owes_last_word());
                let input = side.hear_all(&close(&mut peer, payload));
                assert!(matches!(input.end, Some(End::Said)));
                assert!(side.stream().owes_last_word());
                assert!(
                    side.hear(&peer.piece(true, Opcode::Binary, b"x")).unwrap().bytes.is_empty()
                );
                assert_eq!(side.stream().close(reason), LastWord::Queued);
                let (seen, _) = answered(&mut side, &mut peer, &mut None);
                assert_eq!((seen, peer.web().code), (Seen::Ended, code), "{payload:?}");
            }
        }
    }

    #[test]
    fn what_is_no_upgrade_gets_a_response_and_nothing_else() {
        let mut side = Side::new(Speech::Web);
        let input = side.hear_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nmore");
        let Some(End::Broken(error)) = input.end else { panic!("{:?}", input.end) };
        assert!(!error.leaves_words());
        assert_eq!(error.close_reason(), CloseReason::UpgradeRefused);
        let response = String::from_utf8(side.write(&mut outbox(&[5]))).unwrap();
        assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{response}");
        assert!(response.ends_with("with the subprotocol dunlin.v1\n"), "{response}");
        assert_eq!(side.stream().close(CloseReason::UpgradeRefused), LastWord::Said);
    }

    #[test]
    fn who_has_to_go_before_the_upgrade_is_told_by_http() {
        let parting = |reason| {
            let mut side = Side::new(Speech::Web);
            side.hear(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
            assert!(side.stream().input_bytes() > 25);
            let _last_word = side.stream().close(reason);
            String::from_utf8(side.write(&mut None)).unwrap()
        };
        assert!(parting(CloseReason::HandshakeTimeout).starts_with("HTTP/1.1 408 "));
        assert!(parting(CloseReason::ServerDraining).starts_with("HTTP/1.1 503 "));
        assert_eq!(parting(CloseReason::ServerError), "");
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let (mut side, mut peer) = Side::opened(Speech::Web);
        let mut pieces = peer.piece(false, Opcode::Binary, &[1; 10]);
        // One of four megabytes, of which nothing comes.
        let header = Header {
            is_final: false,
            opcode: Opcode::Continuation,
            mask: Some([0; 4]),
            payload_bytes: u64::from(FRAME_BYTES_MAX) - 10,
        };
        pieces.extend_from_slice(&header.encode());
        assert!(heard(&mut side, &pieces).is_empty());
        assert!((14..1000).contains(&side.stream().input_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the pieces, the reads and the masks, what was said is heard.
        #[test]
        fn messages_are_understood_in_any_pieces(
            speech in proptest::sample::select(&WEB[..]),
            messages in proptest::collection::vec((0..70_000usize, 1..5usize), 1..8),
            reads in proptest::collection::vec(1..9000usize, 1..6),
        ) {
            let (mut side, mut peer) = Side::opened(speech);
            let (mut raw, mut wanted) = (Vec::new(), Vec::new());
            for &(bytes, pieces) in &messages {
                let body: Vec<u8> = (0..bytes).map(|at| (at * 7 + bytes) as u8).collect();
                let of_piece = body.len().div_ceil(pieces).max(1);
                let mut parts: Vec<&[u8]> = body.chunks(of_piece).collect();
                if parts.is_empty() {
                    parts.push(&[]);
                }
                for (index, part) in parts.iter().enumerate() {
                    let opcode = if index == 0 { Opcode::Binary } else { Opcode::Continuation };
                    raw.extend(peer.piece(index + 1 == parts.len(), opcode, part));
                }
                wanted.push(Bytes::from(body));
            }
            let (mut rest, mut bytes) = (&raw[..], BytesMut::new());
            for &read in reads.iter().cycle() {
                let (now, later) = rest.split_at(read.min(rest.len()));
                bytes.extend_from_slice(&side.hear(now).unwrap().bytes);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(bodies(bytes), wanted);
        }

        /// Anything at all is refused or understood; nothing panics, and little is held of it.
        #[test]
        fn any_bytes_break_nothing(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20),
        ) {
            let (mut side, _) = Side::opened(Speech::Web);
            for piece in pieces {
                if side.hear_all(&piece).end.is_some() {
                    break;
                }
                prop_assert!(side.stream().input_bytes() < 4000);
            }
        }
    }
}
