//! What is between a socket and its frames.
//!
//! A [`Stream`] turns the bytes that a socket carries into those of frames, and back. It does no
//! I/O: it says where to read into and what to write, and is told how much was read and written. So
//! a shard has one way to read, one to write and one to close, whatever a connection speaks, and
//! every kind of stream is tested without a socket. The verbs, as a shard uses them:
//!
//! - [`room`](Stream::room), read, [`receive`](Stream::receive): bytes in
//! - [`output`](Stream::output), write, [`written`](Stream::written): bytes out, those of the outbox
//!   and its own
//! - [`close`](Stream::close): nothing more follows
//!
//! Streams share the [`Buffers`] of their shard, so that an idle one holds none. What a kind keeps
//! for a connection is in a table of [`Streams`], and what keeps nothing takes no room.
//!
//! A new kind is a file with these verbs, a table if it keeps something, an [`Entrance`], and an arm
//! in the matches of this folder.
//!
//! - [`plain`], [`tls`], [`web`]: the kinds
//! - [`entrance`]: the kinds of listeners
//! - [`table`]: the streams of a shard
//! - [`buffers`], [`read_buffer`]: what all of them share
//! - [`outbox`]: what waits to be written
//! - `peer`: the other end, for tests

pub(crate) mod buffers;
pub(crate) mod entrance;
pub(crate) mod outbox;
#[cfg(test)]
pub(crate) mod peer;
mod plain;
mod read_buffer;
mod table;
mod tls;
pub(crate) mod web;

use std::io::{self, IoSlice};

use bytes::BytesMut;
use dunlin_protocol::wire::CloseReason;

use crate::limits::TLS_RECORD_BYTES;
use buffers::Buffers;
use outbox::Outbox;
use plain::PlainStream;
use tls::TlsStream;
use web::{Origins, SecureWebStream, WebError, WebStream};

pub(crate) use table::{StreamKey, Streams};

/// The stream of one connection.
#[derive(Debug)]
pub(crate) enum Stream<'a> {
    Plain(PlainStream),
    Tls(&'a mut TlsStream),
    Web(&'a mut WebStream),
    SecureWeb(&'a mut SecureWebStream),
}

/// What is allowed on a connection now, as far as its stream has to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// The largest body of a frame.
    pub(crate) frame_bytes_max: u32,
    /// Whose pages may come in.
    pub(crate) origins: &'a Origins,
}

/// What a peer has said.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Bytes of frames, cut anywhere.
    pub(crate) bytes: BytesMut,
    /// They are a part of the scratch buffer, and not memory of their own.
    pub(crate) shares_scratch: bool,
    /// What was said beside frames and costs as much as a heartbeat: pings and the like.
    pub(crate) asides: u32,
    /// Why nothing follows them.
    pub(crate) end: Option<End>,
}

/// Why nothing more follows.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer says so.
    Said,
    /// It said what can't be understood. There may be output afterwards.
    Broken(Box<StreamError>),
}

impl Input {
    fn of_scratch(bytes: BytesMut) -> Input {
        Input { bytes, shares_scratch: true, ..Input::default() }
    }

    fn broken(error: StreamError) -> Input {
        Input { end: Some(End::Broken(Box::new(error))), ..Input::default() }
    }
}

/// How far a stream is with its last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWord {
    /// It is in the output now.
    Queued,
    /// It was said before, or there is none to say.
    Said,
}

/// Bytes that are no such stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("WebSocket: {0}")]
    Web(#[from] WebError),
}

impl StreamError {
    /// Why the connection is closed.
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self {
            StreamError::Tls(_) => CloseReason::TlsError,
            StreamError::Web(error) => error.close_reason(),
        }
    }

    /// Whether frames can be said still, though none can be heard.
    pub(crate) fn leaves_words(&self) -> bool {
        match self {
            StreamError::Tls(_) => false,
            StreamError::Web(error) => error.leaves_words(),
        }
    }
}

impl Stream<'_> {
    /// Where to read into.
    pub(crate) fn room<'b>(&mut self, buffers: &'b mut Buffers) -> &'b mut [u8] {
        match self {
            Stream::Plain(plain) => plain.room(buffers),
            Stream::Tls(tls) => tls.room(buffers),
            Stream::Web(web) => web.room(buffers),
            Stream::SecureWeb(web) => web.room(buffers),
        }
    }

    /// Takes so many bytes that were read into the [`room`](Self::room). There may be output
    /// afterwards.
    pub(crate) fn receive(
        &mut self,
        count: usize,
        buffers: &mut Buffers,
        terms: &Terms<'_>,
    ) -> Input {
        match self {
            Stream::Plain(plain) => plain.receive(count, buffers),
            Stream::Tls(tls) => {
                tls.receive(count, buffers).unwrap_or_else(|error| Input::broken(error.into()))
            }
            Stream::Web(web) => web.receive(count, buffers, terms),
            Stream::SecureWeb(web) => web.receive(count, buffers, terms),
        }
    }

    /// Whether hands are shaken by TLS still, and so nothing can be said.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Stream::Plain(_) | Stream::Web(_) => false,
            Stream::Tls(tls) => tls.is_handshaking(),
            Stream::SecureWeb(web) => web.is_handshaking(),
        }
    }

    /// Whether it has something of its own to write.
    pub(crate) fn has_output(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.has_output(),
            Stream::Web(web) => web.has_output(),
            Stream::SecureWeb(web) => web.has_output(),
        }
    }

    /// Bytes of what it has of its own to write.
    pub(crate) fn output_bytes(&self) -> usize {
        match self {
            Stream::Plain(_) => 0,
            Stream::Tls(tls) => tls.output_bytes(),
            Stream::Web(web) => web.output_bytes(),
            Stream::SecureWeb(web) => web.output_bytes(),
        }
    }

    /// Bytes that it holds of something that has not arrived whole.
    pub(crate) fn input_bytes(&self) -> usize {
        match self {
            Stream::Plain(_) => 0,
            Stream::Tls(tls) => tls.input_bytes(),
            Stream::Web(web) => web.input_bytes(),
            Stream::SecureWeb(web) => web.input_bytes(),
        }
    }

    /// Fills `slices` with what to write next; returns how many were filled, 0 if there is nothing.
    /// Bytes may move from the outbox to the buffers, so what became of them must be told
    /// ([`written`](Self::written)) before anything else.
    pub(crate) fn output<'b>(
        &'b mut self,
        outbox: Option<&'b mut Outbox>,
        buffers: &'b mut Buffers,
        slices: &mut [IoSlice<'b>],
    ) -> io::Result<usize> {
        match self {
            Stream::Plain(plain) => Ok(plain.output(outbox, slices)),
            Stream::Tls(tls) => {
                let waiting = outbox.filter(|outbox| !outbox.is_empty());
                let fill = |plain: &mut Vec<u8>| {
                    waiting.into_iter().for_each(|it| it.take_into(plain, TLS_RECORD_BYTES));
                };
                tls.output(fill, buffers, slices)
            }
            Stream::Web(web) => Ok(web.output(outbox, buffers, slices)),
            Stream::SecureWeb(web) => web.output(outbox, buffers, slices),
        }
    }

    /// So much of the [`output`](Self::output) was written; 0 if the socket took nothing.
    pub(crate) fn written(
        &mut self,
        count: usize,
        outbox: Option<&mut Outbox>,
        buffers: &mut Buffers,
    ) {
        match self {
            Stream::Plain(plain) => plain.written(count, outbox),
            Stream::Tls(tls) => tls.written(count, buffers),
            Stream::Web(web) => web.written(count, outbox, buffers),
            Stream::SecureWeb(web) => web.written(count, buffers),
        }
    }

    /// Whether the peer has said its last word and, by the rules of what is spoken, waits for one.
    pub(crate) fn owes_last_word(&self) -> bool {
        match self {
            Stream::Plain(_) | Stream::Tls(_) => false,
            Stream::Web(web) => web.owes_last_word(),
            Stream::SecureWeb(web) => web.owes_last_word(),
        }
    }

    /// Says that nothing more follows, and why as far as it has a word for it. To be asked again until all was
    /// said, which are [`LAST_WORDS_MAX`](crate::limits::LAST_WORDS_MAX) words.
    pub(crate) fn close(&mut self, reason: CloseReason) -> LastWord {
        match self {
            Stream::Plain(_) => LastWord::Said,
            Stream::Tls(tls) => tls.close(),
            Stream::Web(web) => web.close(reason),
            Stream::SecureWeb(web) => web.close(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::wire::{Signal, frame::Body};
    use dunlin_protocol::{EncodedFrame, frame};
    use proptest::prelude::*;

    use super::outbox::OutboxLimits;
    use super::peer::{Peer, Seen, Side, Speech};
    use super::*;

    const NO_LIMITS: OutboxLimits = OutboxLimits { soft: usize::MAX, hard: usize::MAX };

    /// A frame with so many bytes in it that can be told apart.
    fn frame_of(bytes: usize) -> EncodedFrame {
        let payload: Vec<u8> = (0..bytes).map(|at| (at * 31 + bytes) as u8).collect();
        EncodedFrame::push(Body::Signal(Signal { payload: payload.into(), ..Signal::default() }))
    }

    fn frames(sizes: &[usize]) -> Vec<EncodedFrame> {
        sizes.iter().map(|&bytes| frame_of(bytes)).collect()
    }

    fn wire(frames: &[EncodedFrame]) -> Vec<u8> {
        frames.iter().flat_map(|frame| frame.wire().to_vec()).collect()
    }

    fn outbox(frames: &[EncodedFrame]) -> Option<Outbox> {
        let mut outbox = Outbox::default();
        frames.iter().for_each(|frame| outbox.keep(frame.clone(), NO_LIMITS).unwrap());
        Some(outbox)
    }

    fn taken(bytes: &mut BytesMut) -> Vec<Bytes> {
        std::iter::from_fn(|| frame::take(bytes, u32::MAX).unwrap()).collect()
    }

    fn bodies(frames: &[EncodedFrame]) -> Vec<Bytes> {
        frames.iter().map(EncodedFrame::body).collect()
    }

    /// Hears the pieces one after the other; what frames they make.
    fn heard<'a>(side: &mut Side, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
        let (mut bytes, mut all) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            let input = side.hear(piece).unwrap();
            assert!(input.end.is_none());
            bytes.extend_from_slice(&input.bytes);
            all.extend(taken(&mut bytes));
        }
        assert!(bytes.is_empty(), "a frame was cut off");
        all
    }

    #[test]
    fn frames_are_understood_wherever_they_are_cut() {
        let said = frames(&[0, 5, 300]);
        for speech in Speech::ALL {
            let length = Side::opened(speech).1.say(&wire(&said)).len();
            let (mut side, mut peer) = Side::opened(speech);
            for cut in 0..=length {
                let raw = peer.say(&wire(&said));
                let (first, rest) = raw.split_at(cut);
                assert_eq!(heard(&mut side, [first, rest]), bodies(&said), "{speech:?} {cut}");
            }
        }
    }

    #[test]
    fn hands_are_shaken_and_frames_understood_byte_by_byte() {
        let said = frames(&[0, 5, 20_000]);
        for speech in Speech::ALL {
            let (mut side, mut peer) = (Side::new(speech), Peer::new(speech));
            loop {
                let raw = peer.answer();
                if raw.is_empty() && !side.stream().is_handshaking() {
                    break;
                }
                for byte in raw.chunks(1) {
                    assert!(side.hear(byte).unwrap().bytes.is_empty());
                }
                for byte in side.write(&mut None).chunks(1) {
                    assert_eq!(peer.hear(byte, &mut Vec::new()), Seen::Open);
                }
            }
            let raw = peer.say(&wire(&said));
            assert_eq!(heard(&mut side, raw.chunks(1)), bodies(&said), "{speech:?}");
        }
    }

    #[test]
    fn nothing_is_said_before_hands_were_shaken() {
        for speech in Speech::ALL.into_iter().filter(|speech| *speech != Speech::Plain) {
            let mut side = Side::new(speech);
            let mut outbox = outbox(&frames(&[5]));
            assert_eq!(side.stream().is_handshaking(), speech.entrance().is_secure());
            assert!(side.write(&mut outbox).is_empty());
            assert!(!outbox.unwrap().is_empty(), "it waits");
        }
    }

    #[test]
    fn a_big_frame_is_whole_on_both_ways() {
        let big = frames(&[1 << 20]);
        for speech in Speech::ALL {
            let (mut side, mut peer) = Side::opened(speech);
            let raw = peer.say(&wire(&big));
            // No cut falls where a record ends.
            assert_eq!(heard(&mut side, raw.chunks(7919)), bodies(&big), "{speech:?}");
            let mut plain = Vec::new();
            assert_eq!(peer.hear(&side.write(&mut outbox(&big)), &mut plain), Seen::Open);
            assert!(plain == wire(&big), "{speech:?}");
            assert!(!side.stream().has_output(), "all was written");
        }
    }

    /// A socket that takes little, or nothing for a while, changes nothing but the time.
    #[test]
    fn what_a_socket_does_not_take_is_written_later() {
        let said = frames(&[0, 5, 300, 17_000, 1]);
        for speech in Speech::ALL {
            for step in [1, 2, 3, 1000, 16_000, 17_000] {
                let (mut side, mut peer) = Side::opened(speech);
                let (mut outbox, mut raw) = (outbox(&said), Vec::new());
                loop {
                    if side.write_some(&mut outbox, 0, &mut Vec::new()) == 0 {
                        break;
                    }
                    side.write_some(&mut outbox, step, &mut raw);
                }
                let mut plain = Vec::new();
                assert_eq!(peer.hear(&raw, &mut plain), Seen::Open);
                assert!(plain == wire(&said), "{speech:?}, {step} bytes at a time");
            }
        }
    }

    #[test]
    fn the_last_word_comes_once_and_after_all_others() {
        let said = frames(&[5, 30_000]);
        for speech in Speech::ALL {
            let (mut side, mut peer) = Side::opened(speech);
            let mut raw = side.write(&mut outbox(&said));
            let mut words = 0;
            while side.stream().close(CloseReason::LoggedOut) == LastWord::Queued {
                raw.extend(side.write(&mut None));
                words += 1;
            }
            assert_eq!(words > 0, speech.has_a_last_word());
            assert!(words <= crate::limits::LAST_WORDS_MAX, "{speech:?}: {words}");
            assert!(side.write(&mut None).is_empty());
            let mut plain = Vec::new();
            let seen = peer.hear(&raw, &mut plain);
            assert_eq!(seen == Seen::Ended, speech.has_a_last_word());
            assert!(plain == wire(&said), "{speech:?}");
        }
    }

    /// Who says that nothing more follows may still listen.
    #[test]
    fn an_end_is_heard_behind_what_came_before_it_and_can_be_answered() {
        let said = frames(&[5, 300]);
        for speech in Speech::ALL.into_iter().filter(|speech| speech.has_a_last_word()) {
            let (mut side, mut peer) = Side::opened(speech);
            let mut raw = peer.say(&wire(&said));
            raw.extend(peer.say_the_end());
            let mut input = side.hear(&raw).unwrap();
            assert!(matches!(input.end, Some(End::Said)));
            assert_eq!(taken(&mut input.bytes), bodies(&said));
            let mut plain = Vec::new();
            assert_eq!(peer.hear(&side.write(&mut outbox(&said)), &mut plain), Seen::Open);
            assert!(plain == wire(&said), "{speech:?}");
        }
    }

    #[test]
    fn what_is_no_such_stream_is_told_so_and_nothing_else() {
        for speech in [Speech::Tls13, Speech::Tls12] {
            let (mut side, mut peer) = Side::opened(speech);
            let mut raw = peer.say(&wire(&frames(&[300])));
            *raw.last_mut().unwrap() ^= 1;
            let error = side.hear(&raw).unwrap_err();
            assert_eq!(error.close_reason(), CloseReason::TlsError);
            assert!(side.stream().has_output(), "an alert says it");
            side.write(&mut None);
            assert_eq!(side.stream().close(CloseReason::TlsError), LastWord::Said);
        }
        let mut side = Side::new(Speech::Tls13);
        assert!(side.hear(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").is_err());
    }

    #[test]
    fn streams_give_back_what_they_held() {
        let mut streams = Streams::new();
        let open = |streams: &mut Streams| {
            let open = |speech: &Speech| {
                streams.open(speech.entrance(), Some(super::peer::tls_configs())).unwrap()
            };
            Speech::ALL.iter().map(open).collect::<Vec<_>>()
        };
        for _ in 0..3 {
            let keys = open(&mut streams);
            assert_eq!(streams.len(), Speech::ALL.len() - 1, "a plain stream keeps nothing");
            keys.into_iter().for_each(|key| streams.remove(key));
            assert_eq!(streams.len(), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Both talk at once, in pieces of any size; each understands the other.
        #[test]
        fn both_sides_understand_each_other_whatever_the_pieces(
            speech in proptest::sample::select(&Speech::ALL[..]),
            rounds in proptest::collection::vec((0..20_000usize, 0..20_000usize), 1..6),
            pieces in proptest::collection::vec(1..9000usize, 1..10),
        ) {
            let (mut side, mut peer) = Side::opened(speech);
            let (mut up, mut down) = (BytesMut::new(), Vec::new());
            let mut lengths = pieces.iter().cycle();
            for &(asked, answered) in &rounds {
                let raw = peer.say(&wire(&frames(&[asked])));
                let mut rest = &raw[..];
                while !rest.is_empty() {
                    let (piece, left) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
                    rest = left;
                    up.extend_from_slice(&side.hear(piece).unwrap().bytes);
                }
                let (mut outbox, mut raw) = (outbox(&frames(&[answered])), Vec::new());
                while side.write_some(&mut outbox, *lengths.next().unwrap(), &mut raw) > 0 {}
                peer.hear(&raw, &mut down);
            }
            let (asked, answered): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
            prop_assert_eq!(taken(&mut up), bodies(&frames(&asked)));
            prop_assert!(down == wire(&frames(&answered)));
        }
    }
}
