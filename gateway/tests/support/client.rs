//! A blocking client that says exactly what it is told to say.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use bytes::BytesMut;
use dunlin_protocol::wire::{CloseReason, Error, ErrorCode, Frame, LoggedIn, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId, frame};
use rustls::{ClientConnection, StreamOwned};
use socket2::SockRef;

use super::messages::{hello, login, sync};
use super::web::Web;
use super::{DEADLINE, token};

/// What bytes go over.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Web(Box<Web>),
}

impl Stream {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &tls.sock,
            Stream::Web(web) => web.stream().socket(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
            Stream::Web(web) => web.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
            Stream::Web(web) => web.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(tls) => tls.flush(),
            Stream::Web(web) => web.flush(),
        }
    }
}

/// Connects; the socket gives up waiting at the deadline of the tests.
pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    input: BytesMut,
    next_request_id: u64,
    /// Frames that arrived while something else was awaited.
    put_aside: VecDeque<Frame>,
    /// After a login.
    pub user: Option<UserId>,
}

impl Client {
    pub fn over(stream: Stream) -> Client {
        Client {
            stream,
            input: BytesMut::new(),
            next_request_id: 1,
            put_aside: VecDeque::new(),
            user: None,
        }
    }

    pub fn plain(address: SocketAddr) -> Client {
        Client::over(Stream::Plain(connect(address)))
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the server takes it");
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Encodes a request, without sending it.
    pub fn encode(&mut self, body: Body) -> (u64, EncodedFrame) {
        let request_id = self.next_request_id;
        self.next_request_id += 1;
        (request_id, EncodedFrame::response(request_id, body))
    }

    /// For a message that no other one of this client has.
    pub fn next_id(&self) -> String {
        let from = self.stream.socket().local_addr().map_or(0, |address| address.port());
        format!("{from}-{}", self.next_request_id)
    }

    pub fn send(&mut self, body: Body) -> u64 {
        let (request_id, frame) = self.encode(body);
        self.write(frame.wire());
        request_id
    }

    /// The next frame that arrives; `None` at the end of the stream, in order or by a reset.
    pub fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(body) = frame::take(&mut self.input, 64 << 20).unwrap() {
                return Some(frame::decode(body).expect("the server sends good frames"));
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.input.is_empty(), "the stream ends within a frame");
                    return None;
                }
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => panic!("nothing arrives"),
                    _ => return None,
                },
            }
        }
    }

    /// The next frame that was not taken yet.
    pub fn next(&mut self) -> Option<Frame> {
        self.put_aside.pop_front().or_else(|| self.read_frame())
    }

    /// The first frame that `wanted` accepts; others are put aside.
    pub fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Frame) -> Option<T>) -> T {
        for index in 0..self.put_aside.len() {
            if let Some(found) = wanted(&self.put_aside[index]) {
                self.put_aside.remove(index);
                return found;
            }
        }
        loop {
            let frame = self.read_frame();
            let frame = frame.unwrap_or_else(|| panic!("closed; before: {:?}", self.put_aside));
            if let Some(found) = wanted(&frame) {
                return found;
            }
            self.put_aside.push_back(frame);
        }
    }

    /// The response to a request.
    pub fn answer(&mut self, request_id: u64) -> Body {
        self.wait_for(|frame| (frame.request_id == request_id).then(|| frame.body.clone())?)
    }

    pub fn request(&mut self, body: Body) -> Body {
        let request_id = self.send(body);
        self.answer(request_id)
    }

    /// The error that a request is answered with.
    pub fn refused(&mut self, body: Body) -> Error {
        match self.request(body) {
            Body::Error(error) => error,
            other => panic!("no error: {other:?}"),
        }
    }

    pub fn refused_with(&mut self, body: Body) -> ErrorCode {
        self.refused(body).code()
    }

    /// Sends a heartbeat and waits for its answer: everything before it was dealt with.
    pub fn heartbeat(&mut self) {
        self.write(&[0; 4]);
        self.wait_for(|frame| (*frame == Frame::default()).then_some(()));
    }

    /// Reads to the end of the stream; returns the reason of the Close frame, which is the last.
    pub fn read_to_close(&mut self) -> Option<CloseReason> {
        let mut reason = None;
        while let Some(frame) = self.next() {
            assert_eq!(reason, None, "{frame:?} after a Close");
            if let Some(Body::Close(close)) = frame.body {
                reason = Some(close.reason());
            }
        }
        reason
    }

    pub fn greet(&mut self) {
        match self.request(hello()) {
            Body::Welcome(_) => {}
            other => panic!("no Welcome: {other:?}"),
        }
    }

    /// Says hello and logs in by a token of the issuer.
    pub fn log_in(&mut self, name: &str) -> LoggedIn {
        self.greet();
        let logged_in = self.try_log_in(login(token::credential(name), name));
        logged_in.unwrap_or_else(|error| panic!("{name}: {error:?}"))
    }

    pub fn try_log_in(&mut self, login: Body) -> Result<LoggedIn, Error> {
        match self.request(login) {
            Body::LoggedIn(logged_in) => {
                self.user = UserId::new(logged_in.user_id).ok();
                Ok(logged_in)
            }
            Body::Error(error) => Err(error),
            other => panic!("no answer to a login: {other:?}"),
        }
    }

    /// Syncs from nothing; pushes arrive from now on.
    pub fn sync(&mut self) {
        match self.request(sync()) {
            Body::Synced(_) => {}
            other => panic!("no Synced: {other:?}"),
        }
    }

    /// The direct conversation with another client's user.
    pub fn with(&self, other: &Client) -> LogId {
        LogId::direct(self.user.expect("logged in"), other.user.expect("logged in"))
    }

    /// Says that no more will be sent, below TLS.
    pub fn shut_writing(&self) {
        self.stream.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// Says that nothing follows, in TLS alone: both sides of the socket stay open.
    pub fn say_the_end(&mut self) {
        let Stream::Tls(tls) = &mut self.stream else { panic!("only TLS has a word for it") };
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    }

    /// Writes this and, with the same records, that nothing follows.
    pub fn say_all(&mut self, bytes: &[u8]) {
        let Stream::Tls(tls) = &mut self.stream else { panic!("only TLS has a word for the end") };
        tls.conn.writer().write_all(bytes).unwrap();
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        reset(self.stream.socket());
    }
}

/// Makes the close of a socket a reset.
pub fn reset(socket: &TcpStream) {
    SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}
