//! What a peer has said of which something is missing: the beginning of a frame, or of a record of its
//! stream; frames that may not be taken yet; large requests that are not answered.
//!
//! The beginning of a frame is the one thing that a peer can make a server hold without being anybody. So
//! its memory is counted, for the node, as it is allocated: a frame grows in steps, never by what its
//! length promises, and never beyond that. And it has a deadline that begins with its first byte, so that
//! nobody keeps it by a byte now and then.
//!
//! Requests that are under way are counted where they are, by the engine. Here it is known whose the large
//! ones are, so that one connection can't fill what all of them share.

use bytes::BytesMut;
use dunlin_protocol::limits::FRAME_PREFIX_BYTES;
use dunlin_protocol::{EncodedFrame, frame};

use super::timer_wheel::Tick;

/// See the module. A connection has none while nothing is missing.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    bytes: BytesMut,
    /// Held by the stream, before it is bytes of frames.
    stream_bytes: usize,
    /// When its first byte came, or when it could go on after it had to wait for us.
    pub(super) begun: Tick,
    /// Large requests by their number, each with its bytes.
    requests: Vec<(u64, usize)>,
}

/// The memory of one beside its bytes.
const OWN_BYTES: usize = size_of::<Unfinished>();

impl Unfinished {
    /// Takes the bytes that were held, with those that came after them; `None` if none were. The memory
    /// grows by halves and ends where the frame does: by doubling it would be up to twice the frame.
    pub(super) fn take_with(&mut self, fresh: &[u8]) -> Option<BytesMut> {
        if self.bytes.is_empty() {
            return None;
        }
        let length = self.bytes.len() + fresh.len();
        if length > self.bytes.capacity() {
            let grown = (length + length / 2).min(self.frame_bytes());
            let mut larger = BytesMut::with_capacity(grown.max(length));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(fresh);
        Some(std::mem::take(&mut self.bytes))
    }

    /// Keeps what has not arrived whole since then, in memory that is its own.
    pub(super) fn keep(&mut self, rest: BytesMut, stream_bytes: usize, begun: Tick) {
        (self.bytes, self.stream_bytes, self.begun) = (rest, stream_bytes, begun);
    }

    /// A large request is under way.
    pub(super) fn begin_request(&mut self, request_id: u64, bytes: usize) {
        self.requests.push((request_id, bytes));
    }

    /// One of the requests was answered.
    pub(super) fn end_request(&mut self, response: &EncodedFrame) {
        if self.requests.is_empty() {
            return;
        }
        let ended = frame::request_id(response.wire());
        // Requests with the same number are the peer's own fault: each is ended once.
        if let Some(index) = self.requests.iter().position(|(id, _)| Some(*id) == ended) {
            self.requests.swap_remove(index);
        }
    }

    /// Bytes of the large requests that are under way.
    pub(super) fn request_bytes(&self) -> usize {
        self.requests.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether the peer owes the rest of something.
    pub(super) fn is_begun(&self) -> bool {
        self.stream_bytes > 0 || !self.bytes.is_empty()
    }

    /// Whether nothing is missing.
    pub(super) fn is_done(&self) -> bool {
        !self.is_begun() && self.requests.is_empty()
    }

    /// How long the first frame will be, with its prefix.
    fn frame_bytes(&self) -> usize {
        match frame::body_length(&self.bytes, u32::MAX) {
            Ok(Some(length)) => length.saturating_add(FRAME_PREFIX_BYTES),
            Ok(None) | Err(_) => 0,
        }
    }

    /// The memory that it takes.
    pub(super) fn memory(&self) -> usize {
        let requests = self.requests.capacity() * size_of::<(u64, usize)>();
        self.bytes.capacity() + self.stream_bytes + requests + OWN_BYTES
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::{Done, frame::Body};

    use super::*;

    fn holding(bytes: &[u8]) -> Unfinished {
        let mut held = Unfinished::default();
        held.keep(BytesMut::from(bytes), 0, 1);
        held
    }

    /// A frame of this body, in pieces.
    fn grow(body_bytes: u32, piece_bytes: usize) -> BytesMut {
        let mut frame = body_bytes.to_be_bytes().to_vec();
        frame.resize(FRAME_PREFIX_BYTES + body_bytes as usize, 7);
        let mut pieces = frame.chunks(piece_bytes);
        let mut held = holding(pieces.next().unwrap());
        for piece in pieces {
            let rest = held.take_with(piece).unwrap();
            held.keep(rest, 0, 1);
            let (length, memory) = (held.bytes.len(), held.memory() - OWN_BYTES);
            assert!(memory <= length + length / 2, "{memory} for {length}");
            assert!(memory <= frame.len(), "{memory} for a frame of {}", frame.len());
        }
        assert_eq!(held.bytes, frame);
        held.bytes
    }

    #[test]
    fn a_frame_takes_no_more_memory_than_it_has_bytes() {
        for piece_bytes in [5, 1000, 65_536] {
            assert_eq!(grow(300_000, piece_bytes).len(), 300_004);
        }
    }

    #[test]
    fn a_length_alone_takes_nothing() {
        let mut held = holding(&[0, 0]);
        let rest = held.take_with(&[0xff, 0xff]).unwrap();
        assert!(rest.capacity() < 128, "{}", rest.capacity());
    }

    #[test]
    fn what_a_stream_holds_counts() {
        let mut held = Unfinished::default();
        assert!(held.is_done());
        held.keep(BytesMut::new(), 300, 1);
        assert!(held.is_begun() && held.memory() >= 300);
        assert_eq!(held.take_with(&[1]), None);
    }

    #[test]
    fn a_large_request_counts_until_it_is_answered() {
        let mut held = Unfinished::default();
        for (id, bytes) in [(1, 10_000), (2, 20_000), (2, 5000)] {
            held.begin_request(id, bytes);
        }
        assert!(!held.is_begun() && !held.is_done());
        for (id, left) in [(7, 35_000), (1, 25_000), (2, 20_000), (2, 0)] {
            held.end_request(&EncodedFrame::response(id, Body::Done(Done {})));
            assert_eq!(held.request_bytes(), left);
        }
        assert!(held.is_done());
    }
}
