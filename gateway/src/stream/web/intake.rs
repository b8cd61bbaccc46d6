//! What a client says in a WebSocket, turned into frames where it lies.
//!
//! A header of a client is longer than the prefix of a frame, since it has a mask. So the prefix is written over its
//! end, the payload is unmasked behind it, and what comes next moves up: nothing is allocated, and the first
//! message of what was read, mostly the only one, does not move. A message of one piece is handed on as it comes,
//! since its length is known; the loop holds it, and holds it to its limits, as it does with any frame. A message
//! in pieces is collected here, within the limit of a frame, until its length is known.
//!
//! A header, and a ping, pong or close, is held until it is whole: 131 bytes.

use bytes::{Buf, BufMut, BytesMut};
use dunlin_protocol::limits::FRAME_PREFIX_BYTES;
use dunlin_protocol::websocket::close_code::CloseCode;
use dunlin_protocol::websocket::{Header, Mask, Opcode};

use super::error::WebError;
use super::upgrade::{self, Request};

/// See the module. `None` between two messages.
#[derive(Debug, Default)]
pub(super) struct Intake(Option<Box<Begun>>);

/// What was begun.
#[derive(Debug, Default)]
struct Begun {
    /// The beginning of a header, of a control piece, or of the request for all of it.
    held: Vec<u8>,
    /// A piece that is coming in.
    piece: Option<Piece>,
    /// A message in pieces, with room for its prefix in front.
    message: Option<BytesMut>,
}

/// A piece of a message.
#[derive(Debug)]
struct Piece {
    missing: usize,
    mask: Mask,
    place: PieceOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceOf {
    /// It is the whole message.
    One,
    /// The message goes on behind it.
    More,
    /// It is the last of its message.
    Last,
}

/// What a client says beside messages, and has to be known of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    Close(Option<CloseCode>),
}

/// What was taken at once.
#[derive(Debug)]
pub(super) struct Taken {
    /// Frames, cut anywhere.
    pub(super) bytes: BytesMut,
    pub(super) shares_scratch: bool,
    /// What was said beside messages, and pieces with nothing in them: somebody may say nothing else.
    pub(super) asides: u32,
    /// What the last ping wants to hear.
    pub(super) pong: Option<Vec<u8>>,
    /// Why nothing more is taken.
    pub(super) end: Option<Result<Control, WebError>>,
}

impl Intake {
    /// The memory of what has not come whole.
    pub(super) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |begun| {
            let message = begun.message.as_ref().map_or(0, BytesMut::capacity);
            begun.held.capacity() + message + size_of::<Begun>()
        })
    }

    /// Takes more of the request that begins it all; what it is with what came behind it, once it is whole.
    pub(super) fn hold_request(&mut self, fresh: &[u8]) -> Result<Option<Request>, WebError> {
        let mut begun = self.0.take().unwrap_or_default();
        let seen = begun.held.len();
        begun.held.extend_from_slice(fresh);
        let whole = upgrade::whole(&begun.held, seen)?;
        if whole.is_none() {
            self.0 = Some(begun);
        }
        Ok(whole)
    }

    /// Takes what was read. `message_bytes_max` is for a message in pieces.
    pub(super) fn take(
        &mut self,
        input: BytesMut,
        shares_scratch: bool,
        message_bytes_max: u32,
    ) -> Taken {
        let mut begun = self.0.take().map_or_else(Begun::default, |begun| *begun);
        let held = std::mem::take(&mut begun.held);
        let (input, shares_scratch) =
            if held.is_empty() { (input, shares_scratch) } else { (behind(&held, &input), false) };
        let frames = Frames::of(input, shares_scratch);
        let mut taking = Taking { begun, frames, message_bytes_max, asides: 0, pong: None };
        let end = taking.run().transpose();
        let Taking { begun, frames, asides, pong, .. } = taking;
        if end.is_none() && begun.is_begun() {
            self.0 = Some(Box::new(begun));
        }
        let (bytes, shares_scratch) = frames.into_bytes();
        Taken { bytes, shares_scratch, asides, pong, end }
    }
}

/// The bytes that were held, with those that came after them.
fn behind(held: &[u8], fresh: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(held.len() + fresh.len());
    bytes.extend_from_slice(held);
    bytes.extend_from_slice(fresh);
    bytes
}

impl Begun {
    fn is_begun(&self) -> bool {
        !self.held.is_empty() || self.piece.is_some() || self.message.is_some()
    }
}

/// What [`Intake::take`] works on.
struct Taking {
    begun: Begun,
    frames: Frames,
    message_bytes_max: u32,
    asides: u32,
    pong: Option<Vec<u8>>,
}

impl Taking {
    /// Goes through all of it, or to what ends it.
    fn run(&mut self) -> Result<Option<Control>, WebError> {
        loop {
            if let Some(piece) = self.begun.piece.take() {
                self.take_payload(piece);
            }
            if self.frames.unread().is_empty() {
                return Ok(None);
            }
            let Some((header, header_bytes)) = Header::decode(self.frames.unread())? else {
                return Ok(self.hold_the_rest());
            };
            let Some(key) = header.mask else { return Err(WebError::NotMasked) };
            let mask = Mask::new(key);
            if !header.opcode.is_control() {
                let piece = self.begin_piece(&header, mask)?;
                self.asides += u32::from(piece.missing == 0 && piece.place == PieceOf::More);
                self.frames.skip(header_bytes);
                if piece.place == PieceOf::One {
                    self.frames.begin(piece.missing as u32);
                }
                self.begun.piece = Some(piece);
                continue;
            }
            let end = header_bytes + header.payload_bytes as usize;
            if self.frames.unread().len() < end {
                return Ok(self.hold_the_rest());
            }
            self.frames.skip(header_bytes);
            let ended = self.take_control(header.opcode, header.payload_bytes as usize, mask)?;
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }

    fn hold_the_rest(&mut self) -> Option<Control> {
        self.begun.held = self.frames.unread().to_vec();
        self.frames.skip(self.begun.held.len());
        None
    }

    /// Whether a piece may come now, and what it is of.
    fn begin_piece(&mut self, header: &Header, mask: Mask) -> Result<Piece, WebError> {
        let collected = self.begun.message.as_ref().map(|it| it.len() - FRAME_PREFIX_BYTES);
        let place = match (header.opcode, collected, header.is_final) {
            (Opcode::Text, _, _) => return Err(WebError::Text),
            (Opcode::Binary, None, true) => PieceOf::One,
            (Opcode::Binary, None, false) => {
                self.begun.message = Some(BytesMut::zeroed(FRAME_PREFIX_BYTES));
                PieceOf::More
            }
            (Opcode::Continuation, Some(_), false) => PieceOf::More,
            (Opcode::Continuation, Some(_), true) => PieceOf::Last,
            // (What is no part of a message does not come here.)
            (Opcode::Binary, Some(_), _)
            | (Opcode::Continuation, None, _)
            | (Opcode::Close | Opcode::Ping | Opcode::Pong, _, _) => return Err(WebError::Pieces),
        };
        let bytes = header.payload_bytes.saturating_add(collected.unwrap_or(0) as u64);
        // A message of one piece is held to its limit by the loop, which knows more of it.
        let bytes_max = if place == PieceOf::One { u32::MAX } else { self.message_bytes_max };
        if bytes > u64::from(bytes_max) {
            return Err(WebError::TooLarge { bytes, bytes_max });
        }
        Ok(Piece { missing: header.payload_bytes as usize, mask, place })
    }

    /// Takes what there is of a piece.
    fn take_payload(&mut self, mut piece: Piece) {
        let count = piece.missing.min(self.frames.unread().len());
        piece.missing -= count;
        match (&mut self.begun.message, piece.place) {
            (Some(message), PieceOf::More | PieceOf::Last) => {
                let start = message.len();
                message.extend_from_slice(&self.frames.unread()[..count]);
                piece.mask.apply(&mut message[start..]);
                self.frames.skip(count);
            }
            (None, _) | (Some(_), PieceOf::One) => self.frames.payload(count, &mut piece.mask),
        }
        if piece.missing > 0 {
            self.begun.piece = Some(piece);
        } else if piece.place == PieceOf::Last
            && let Some(message) = self.begun.message.take()
        {
            self.frames.collected(message);
        }
    }

    fn take_control(
        &mut self,
        opcode: Opcode,
        payload_bytes: usize,
        mut mask: Mask,
    ) -> Result<Option<Control>, WebError> {
        let mut payload = self.frames.unread()[..payload_bytes].to_vec();
        mask.apply(&mut payload);
        self.frames.skip(payload_bytes);
        self.asides += 1;
        match opcode {
            Opcode::Ping => self.pong = Some(payload),
            Opcode::Close => return Ok(Some(Control::Close(said_code(&payload)?))),
            Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        Ok(None)
    }
}

/// The code of a close; none need be said.
fn said_code(payload: &[u8]) -> Result<Option<CloseCode>, WebError> {
    let Some((code, text)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(WebError::Close) };
    };
    let code = CloseCode::from_be_bytes(*code);
    // Those that the standard and its registry have for the wire, and what is left to libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(WebError::Close);
    }
    if std::str::from_utf8(text).is_err() {
        return Err(WebError::CloseText);
    }
    Ok(Some(code))
}

/// Frames that are made in the place of what they came in. What is made never reaches what is not read yet.
struct Frames {
    input: BytesMut,
    shares_scratch: bool,
    /// Made so far: `from..to`.
    from: usize,
    to: usize,
    /// Read so far.
    at: usize,
    /// Memory of their own, if a message in pieces is among them.
    apart: Option<BytesMut>,
}

impl Frames {
    fn of(input: BytesMut, shares_scratch: bool) -> Frames {
        Frames { input, shares_scratch, from: 0, to: 0, at: 0, apart: None }
    }

    fn unread(&self) -> &[u8] {
        &self.input[self.at..]
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// The prefix of a frame, whose header was just read.
    fn begin(&mut self, body_bytes: u32) {
        let prefix = body_bytes.to_be_bytes();
        if let Some(apart) = &mut self.apart {
            return apart.extend_from_slice(&prefix);
        }
        if self.from == self.to {
            self.from = self.at - FRAME_PREFIX_BYTES;
            self.to = self.from;
        }
        self.put(prefix.len(), |to| to.copy_from_slice(&prefix));
    }

    /// So much of the body of a frame.
    fn payload(&mut self, count: usize, mask: &mut Mask) {
        let read = self.at..self.at + count;
        self.at += count;
        if let Some(apart) = &mut self.apart {
            let start = apart.len();
            apart.extend_from_slice(&self.input[read]);
            return mask.apply(&mut apart[start..]);
        }
        if self.from == self.to {
            (self.from, self.to) = (read.start, read.start);
        }
        if self.to != read.start {
            self.input.copy_within(read, self.to);
        }
        self.put(count, |body| mask.apply(body));
    }

    fn put(&mut self, count: usize, make: impl FnOnce(&mut [u8])) {
        debug_assert!(self.to + count <= self.at, "what is not read yet would be written over");
        make(&mut self.input[self.to..self.to + count]);
        self.to += count;
    }

    /// A message that was collected, with room for its prefix.
    fn collected(&mut self, mut message: BytesMut) {
        let body_bytes = (message.len() - FRAME_PREFIX_BYTES) as u32;
        message[..FRAME_PREFIX_BYTES].copy_from_slice(&body_bytes.to_be_bytes());
        let made = &self.input[self.from..self.to];
        match &mut self.apart {
            Some(apart) => apart.put_slice(&message),
            None if made.is_empty() => self.apart = Some(message),
            None => self.apart = Some(behind(made, &message)),
        }
    }

    fn into_bytes(mut self) -> (BytesMut, bool) {
        if let Some(apart) = self.apart {
            return (apart, false);
        }
        self.input.truncate(self.to);
        self.input.advance(self.from);
        (self.input, self.shares_scratch)
    }
}
