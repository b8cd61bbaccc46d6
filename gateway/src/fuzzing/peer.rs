//! The other side of a connection.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use dunlin_protocol::wire::{self, CloseReason, frame::Body};
use dunlin_protocol::{EncodedFrame, frame};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use socket2::{Domain, SockRef, Socket, Type};

/// Small, so that who does not read is noticed soon.
const RECEIVE_BUFFER_BYTES: usize = 4096;

/// The usual size of a segment on the loopback is many times that buffer, and the kernel would take
/// its time to announce that there is room for a part of one.
const SEGMENT_BYTES: u32 = 1000;

/// How a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    InOrder,
    Reset,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Peer {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Frames that were not written yet.
    unsaid: Vec<u8>,
    /// Records that the socket did not take yet.
    records: Vec<u8>,
    input: BytesMut,
    last_request: u64,
    asked: HashSet<u64>,
    answered: HashSet<u64>,
    /// Everything that it said was a good frame; else nobody knows what its bytes mean.
    is_honest: bool,
    /// It said what is no TLS.
    spoils_tls: bool,
    has_shut: bool,
    was_reset: bool,
    close: Option<CloseReason>,
    end: Option<End>,
}

impl Peer {
    /// `None` if nobody listens any more.
    pub(super) fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Option<Peer> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok()?;
        socket.set_tcp_mss(SEGMENT_BYTES).ok()?;
        socket.connect(&address.into()).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.set_tcp_nodelay(true).ok()?;
        let tls = tls.map(|config| {
            let name = ServerName::try_from("localhost").expect("it is a name");
            let tls = ClientConnection::new(Arc::clone(config), name);
            Box::new(tls.expect("the configuration is good"))
        });
        Some(Peer {
            socket: socket.into(),
            tls,
            unsaid: Vec::new(),
            records: Vec::new(),
            input: BytesMut::new(),
            last_request: 0,
            asked: HashSet::new(),
            answered: HashSet::new(),
            is_honest: true,
            spoils_tls: false,
            has_shut: false,
            was_reset: false,
            close: None,
            end: None,
        })
    }

    /// A request, to be written later.
    pub(super) fn ask(&mut self, body: Body) {
        self.last_request += 1;
        self.asked.insert(self.last_request);
        let request = EncodedFrame::response(self.last_request, body);
        self.unsaid.extend_from_slice(request.wire());
    }

    /// A frame that wants no answer.
    pub(super) fn mention(&mut self, body: Body) {
        self.unsaid.extend_from_slice(EncodedFrame::push(body).wire());
    }

    pub(super) fn heartbeat(&mut self) {
        self.unsaid.extend_from_slice(EncodedFrame::heartbeat().wire());
    }

    /// Anything.
    pub(super) fn babble(&mut self, bytes: &[u8]) {
        self.is_honest = false;
        self.unsaid.extend_from_slice(bytes);
    }

    /// A frame with anything in it.
    pub(super) fn babble_in_a_frame(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("it is short");
        self.babble(&length.to_be_bytes());
        self.babble(bytes);
    }

    /// Turns a bit of what was not written yet.
    pub(super) fn turn_bit(&mut self, place: usize) {
        let bits = self.unsaid.len() * 8;
        if bits > 0 {
            let place = place % bits;
            self.unsaid[place / 8] ^= 1 << (place % 8);
            self.is_honest = false;
        }
    }

    /// Never says the rest.
    pub(super) fn break_off(&mut self) {
        self.is_honest &= self.unsaid.is_empty();
        self.unsaid.clear();
    }

    /// Bytes below TLS that are no records.
    pub(super) fn spoil_tls(&mut self, bytes: &[u8]) {
        if self.tls.is_some() {
            self.records.extend_from_slice(bytes);
            (self.is_honest, self.spoils_tls) = (false, true);
        }
    }

    /// Writes so many bytes, if the socket takes them. True if it took any.
    pub(super) fn write(&mut self, bytes: usize) -> bool {
        if self.was_reset {
            return false;
        }
        let count = bytes.min(self.unsaid.len());
        let Some(tls) = &mut self.tls else {
            let written = write(&mut self.socket, &self.unsaid[..count], &mut self.was_reset);
            self.unsaid.drain(..written);
            return written > 0;
        };
        if !tls.is_handshaking() {
            let taken = tls.writer().write(&self.unsaid[..count]).unwrap_or(0);
            self.unsaid.drain(..taken);
        }
        while tls.wants_write() {
            let made = tls.write_tls(&mut self.records);
            made.expect("memory takes everything");
        }
        let written = write(&mut self.socket, &self.records, &mut self.was_reset);
        self.records.drain(..written);
        written > 0
    }

    /// Reads so many times. True if there was anything.
    pub(super) fn read(&mut self, times: usize) -> bool {
        (0..times).take_while(|_| self.end.is_none() && self.read_once()).count() > 0
    }

    fn read_once(&mut self) -> bool {
        let mut buffer = [0; 2048];
        let read = match &mut self.tls {
            None => self.socket.read(&mut buffer),
            Some(tls) => read_tls(tls, &mut self.socket, &mut buffer),
        };
        match read {
            Ok(0) => self.end = Some(End::InOrder),
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                self.take_frames();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // Records that did not come in time to be read.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.end = Some(End::Reset),
        }
        true
    }

    fn take_frames(&mut self) {
        while let Some(body) = frame::take(&mut self.input, u32::MAX).expect("there is no limit") {
            let frame = frame::decode(body).expect("a server sends good frames");
            assert_eq!(self.close, None, "{frame:?} after a Close");
            if frame.request_id != 0 && self.is_honest {
                assert!(self.asked.contains(&frame.request_id), "{frame:?} was not asked for");
                let is_first = self.answered.insert(frame.request_id);
                assert!(is_first, "{frame:?} is a second answer");
            }
            if let Some(Body::Close(wire::Close { reason, .. })) = frame.body {
                let reason = CloseReason::try_from(reason).expect("the reason is known");
                assert_ne!(reason, CloseReason::Unspecified);
                self.close = Some(reason);
            }
        }
    }

    pub(super) fn shut_writing(&mut self) {
        self.has_shut = true;
        // It fails if the connection is gone already.
        let _gone = self.socket.shutdown(Shutdown::Write);
    }

    /// Whether it is still waiting for something that it will get if it reads on.
    pub(super) fn lacks_answers(&self) -> bool {
        self.is_honest
            && !self.has_shut
            && !self.was_reset
            && self.end.is_none()
            && self.close.is_none()
            && (!self.unsaid.is_empty() || self.asked != self.answered)
    }

    /// Panics if the stream ended in order and without a word, though there was one who could have
    /// been told. `excused` is whether the server had reason to give up on it.
    pub(super) fn assert_told(&self, excused: bool) {
        let excused = excused || self.was_reset || self.has_shut;
        let is_deaf = self.spoils_tls || self.tls.as_ref().is_some_and(|it| it.is_handshaking());
        if self.end == Some(End::InOrder) && !excused && !is_deaf {
            assert!(self.close.is_some(), "it was closed without a reason: {self:?}");
            assert!(self.input.is_empty(), "the stream ends within a frame");
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Makes the end of it a reset, for the drop that follows; without, the close is in order if
    /// everything was read.
    pub(super) fn reset(&self) {
        let reset = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        debug_assert!(reset.is_ok(), "{reset:?}");
    }
}

/// A reset is told once: after a write has seen it, it looks like an end in order.
fn write(socket: &mut TcpStream, bytes: &[u8], was_reset: &mut bool) -> usize {
    match socket.write(bytes) {
        Ok(written) => written,
        Err(error) => {
            *was_reset |= error.kind() != ErrorKind::WouldBlock;
            0
        }
    }
}

fn read_tls(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    buffer: &mut [u8],
) -> std::io::Result<usize> {
    match tls.reader().read(buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        // The end without the word that it is one: whoever looks at frames sees more.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
        read => return read,
    }
    if tls.read_tls(socket)? == 0 && tls.is_handshaking() {
        return Ok(0);
    }
    tls.process_new_packets().map_err(std::io::Error::other)?;
    match tls.reader().read(buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::Interrupted.into()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}
