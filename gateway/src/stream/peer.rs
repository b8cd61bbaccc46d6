//! The other end of a stream, for tests: of every kind, without a socket.

use std::io::{IoSlice, Read, Write};
use std::sync::{Arc, OnceLock};

use dunlin_protocol::frame;
use dunlin_protocol::websocket::{Header, Mask, Opcode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, SignatureScheme,
};

use super::buffers::Buffers;
use super::entrance::Entrance;
use super::outbox::Outbox;
use super::web::Origins;
use super::{End, Input, Stream, StreamError, StreamKey, Streams, Terms};
use crate::node::data::DataFolder;
use crate::tls::{Certificate, TlsConfigs, ticketer};

/// What is spoken on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    Tls13,
    Tls12,
    Web,
    SecureWeb,
}

impl Speech {
    pub(crate) const ALL: [Speech; 5] =
        [Speech::Plain, Speech::Tls13, Speech::Tls12, Speech::Web, Speech::SecureWeb];

    pub(crate) fn entrance(self) -> Entrance {
        match self {
            Speech::Plain => Entrance::Tcp,
            Speech::Tls13 | Speech::Tls12 => Entrance::Tls,
            Speech::Web => Entrance::Web,
            Speech::SecureWeb => Entrance::WebTls,
        }
    }

    /// Whether it is said by bytes that nothing more follows.
    pub(crate) fn has_a_last_word(self) -> bool {
        match self {
            Speech::Plain => false,
            Speech::Tls13 | Speech::Tls12 | Speech::Web | Speech::SecureWeb => true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Peer {
    Plain,
    Tls(Box<ClientConnection>),
    Web(WebPeer),
    SecureWeb(Box<ClientConnection>, WebPeer),
}

/// How a stream looks to its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// More may follow.
    Open,
    /// It was said that nothing follows.
    Ended,
}

impl Peer {
    pub(crate) fn new(speech: Speech) -> Peer {
        match speech {
            Speech::Plain => Peer::Plain,
            Speech::Tls13 => Peer::Tls(Box::new(tls_client(false, None))),
            Speech::Tls12 => Peer::Tls(Box::new(tls_client(true, None))),
            Speech::Web => Peer::Web(WebPeer::new()),
            Speech::SecureWeb => Peer::SecureWeb(Box::new(tls_client(false, None)), WebPeer::new()),
        }
    }

    /// Says something; what is to be written for it.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Peer::Plain => bytes.to_vec(),
            Peer::Tls(tls) => say_tls(tls, bytes),
            Peer::Web(web) => web.say(bytes),
            Peer::SecureWeb(tls, web) => say_tls(tls, &web.say(bytes)),
        }
    }

    /// The one of a WebSocket.
    pub(crate) fn web(&mut self) -> &mut WebPeer {
        match self {
            Peer::Web(web) | Peer::SecureWeb(_, web) => web,
            Peer::Plain | Peer::Tls(_) => panic!("it has none"),
        }
    }

    /// Bytes that are no good piece, as they are to be written.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Peer::Plain | Peer::Web(_) => bytes.to_vec(),
            Peer::Tls(tls) | Peer::SecureWeb(tls, _) => say_tls(tls, bytes),
        }
    }

    /// One piece of a WebSocket, as it is to be written.
    pub(crate) fn piece(&mut self, is_final: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let piece = self.web().piece(is_final, opcode, payload);
        self.raw(&piece)
    }

    /// Says that nothing follows, as far as it is said by bytes.
    pub(crate) fn say_the_end(&mut self) -> Vec<u8> {
        match self {
            Peer::Plain => Vec::new(),
            Peer::Tls(tls) => {
                tls.send_close_notify();
                let mut raw = Vec::new();
                write_tls(tls, &mut raw);
                raw
            }
            Peer::Web(web) => web.say_the_end(),
            Peer::SecureWeb(tls, web) => say_tls(tls, &web.say_the_end()),
        }
    }

    /// Takes what was written to it; what it understands is appended to `plain`.
    pub(crate) fn hear(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> Seen {
        match self {
            Peer::Plain => {
                plain.extend_from_slice(raw);
                Seen::Open
            }
            Peer::Tls(tls) => hear_tls(tls, raw, plain),
            Peer::Web(web) => web.hear(raw, plain),
            Peer::SecureWeb(tls, web) => {
                let mut messages = Vec::new();
                let of_tls = hear_tls(tls, raw, &mut messages);
                let of_web = web.hear(&messages, plain);
                if of_tls == Seen::Ended {
                    assert!(web.has_ended, "TLS says the end before the WebSocket has");
                }
                of_web
            }
        }
    }

    /// What it has to write by itself.
    pub(crate) fn answer(&mut self) -> Vec<u8> {
        let mut raw = Vec::new();
        match self {
            Peer::Plain => {}
            Peer::Tls(tls) => write_tls(tls, &mut raw),
            Peer::Web(web) => raw.append(&mut web.unsaid),
            Peer::SecureWeb(tls, web) => raw = say_tls(tls, &std::mem::take(&mut web.unsaid)),
        }
        raw
    }
}

fn say_tls(tls: &mut ClientConnection, bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut raw) = (bytes, Vec::new());
    while !rest.is_empty() {
        let taken = tls.writer().write(rest).unwrap();
        rest = &rest[taken..];
        write_tls(tls, &mut raw);
    }
    write_tls(tls, &mut raw);
    raw
}

/// A client of a WebSocket. It masks each message by another key.
#[derive(Debug)]
pub(crate) struct WebPeer {
    /// The request that begins it.
    unsaid: Vec<u8>,
    heard: Vec<u8>,
    is_open: bool,
    has_ended: bool,
    masks: u32,
    /// Pongs, and the code of the close.
    pub(crate) pongs: Vec<Vec<u8>>,
    pub(crate) code: Option<u16>,
}

impl WebPeer {
    fn new() -> WebPeer {
        let unsaid = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: dunlin.v1\r\n\r\n";
        WebPeer {
            unsaid: unsaid.into(),
            heard: Vec::new(),
            is_open: false,
            has_ended: false,
            masks: 0,
            pongs: Vec::new(),
            code: None,
        }
    }

    /// One piece of anything.
    fn piece(&mut self, is_final: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        self.masks = self.masks.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
        let key = self.masks.to_be_bytes();
        let payload_bytes = payload.len() as u64;
        let header = Header { is_final, opcode, mask: Some(key), payload_bytes };
        let mut piece = header.encode().to_vec();
        let start = piece.len();
        piece.extend_from_slice(payload);
        Mask::new(key).apply(&mut piece[start..]);
        piece
    }

    fn say(&mut self, frames: &[u8]) -> Vec<u8> {
        let (mut rest, mut raw) = (frames, Vec::new());
        while let Some((body, behind)) = frame::split(rest, u32::MAX).unwrap() {
            raw.extend(self.piece(true, Opcode::Binary, body));
            rest = behind;
        }
        assert!(rest.is_empty(), "only whole frames are said");
        raw
    }

    fn say_the_end(&mut self) -> Vec<u8> {
        self.piece(true, Opcode::Close, &1000u16.to_be_bytes())
    }

    fn hear(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> Seen {
        self.heard.extend_from_slice(raw);
        if !self.is_open {
            let Some(end) = self.heard.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Seen::Open;
            };
            let head = String::from_utf8(self.heard.drain(..end + 4).collect()).unwrap();
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            self.is_open = true;
        }
        while let Some((header, start)) = Header::decode(&self.heard).unwrap() {
            let end = start + header.payload_bytes as usize;
            if self.heard.len() < end {
                break;
            }
            assert!(!self.has_ended, "{header:?} after the end");
            assert!(header.is_final && header.mask.is_none(), "{header:?}");
            let payload = self.heard.drain(..end).skip(start).collect();
            self.take(header.opcode, payload, plain);
        }
        if self.has_ended { Seen::Ended } else { Seen::Open }
    }

    fn take(&mut self, opcode: Opcode, payload: Vec<u8>, plain: &mut Vec<u8>) {
        match opcode {
            Opcode::Binary => {
                plain.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                plain.extend_from_slice(&payload);
            }
            Opcode::Pong => self.pongs.push(payload),
            Opcode::Close => {
                self.has_ended = true;
                self.code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
            Opcode::Continuation | Opcode::Text | Opcode::Ping => {
                panic!("a server says {opcode:?}")
            }
        }
    }
}

fn write_tls(tls: &mut ClientConnection, raw: &mut Vec<u8>) {
    while tls.wants_write() {
        tls.write_tls(raw).unwrap();
    }
}

fn hear_tls(tls: &mut ClientConnection, mut raw: &[u8], plain: &mut Vec<u8>) -> Seen {
    let mut seen = Seen::Open;
    while !raw.is_empty() {
        tls.read_tls(&mut raw).unwrap();
        let state = tls.process_new_packets().unwrap();
        let mut said = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut said).unwrap();
        plain.extend_from_slice(&said);
        if state.peer_has_closed() {
            seen = Seen::Ended;
        }
    }
    seen
}

/// The streams of a shard with one connection, and the buffers that it reads into and writes from.
pub(crate) struct Side {
    pub(crate) streams: Streams,
    pub(crate) key: StreamKey,
    pub(crate) buffers: Buffers,
}

impl Side {
    pub(crate) fn new(speech: Speech) -> Side {
        let mut streams = Streams::new();
        let key = streams.open(speech.entrance(), Some(tls_configs())).unwrap();
        Side { streams, key, buffers: Buffers::new() }
    }

    /// One with whom hands were shaken.
    pub(crate) fn opened(speech: Speech) -> (Side, Peer) {
        let (mut side, mut peer) = (Side::new(speech), Peer::new(speech));
        loop {
            let raw = peer.answer();
            if raw.is_empty() && !side.stream().is_handshaking() {
                return (side, peer);
            }
            side.hear(&raw).unwrap();
            assert_eq!(peer.hear(&side.write(&mut None), &mut Vec::new()), Seen::Open);
        }
    }

    pub(crate) fn stream(&mut self) -> Stream<'_> {
        self.streams.of(self.key)
    }

    /// Reads as a shard does: as much at once as there is room for.
    pub(crate) fn hear(&mut self, raw: &[u8]) -> Result<Input, StreamError> {
        let input = self.hear_all(raw);
        match input.end {
            Some(End::Broken(error)) => Err(*error),
            Some(End::Said) | None => Ok(input),
        }
    }

    /// The same, with what came before something that can't be understood.
    pub(crate) fn hear_all(&mut self, mut raw: &[u8]) -> Input {
        let mut all = Input::default();
        while !raw.is_empty() && all.end.is_none() {
            let Side { streams, key, buffers } = self;
            let mut stream = streams.of(*key);
            let room = stream.room(buffers);
            let count = room.len().min(raw.len());
            room[..count].copy_from_slice(&raw[..count]);
            raw = &raw[count..];
            let terms = Terms { frame_bytes_max: FRAME_BYTES_MAX, origins: &Origins::default() };
            let input = stream.receive(count, buffers, &terms);
            all.bytes.extend_from_slice(&input.bytes);
            all.asides += input.asides;
            all.end = input.end;
        }
        all
    }

    /// Writes until nothing is left, to a socket that takes everything.
    pub(crate) fn write(&mut self, outbox: &mut Option<Outbox>) -> Vec<u8> {
        let mut raw = Vec::new();
        while let written @ 1.. = self.write_some(outbox, usize::MAX, &mut raw) {
            debug_assert!(written > 0);
        }
        raw
    }

    /// One call of a socket that takes so many bytes. How many it could have taken; 0 if there was
    /// nothing to write.
    pub(crate) fn write_some(
        &mut self,
        outbox: &mut Option<Outbox>,
        bytes_max: usize,
        raw: &mut Vec<u8>,
    ) -> usize {
        let Side { streams, key, buffers } = self;
        let mut stream = streams.of(*key);
        let mut slices = [IoSlice::new(&[]); 3];
        let count = stream.output(outbox.as_mut(), buffers, &mut slices).unwrap();
        let offered = slices[..count].iter().map(|slice| slice.len()).sum();
        let mut taken = 0;
        for slice in &slices[..count] {
            let part = slice.len().min(bytes_max - taken);
            raw.extend_from_slice(&slice[..part]);
            taken += part;
        }
        if count > 0 {
            stream.written(taken, outbox.as_mut(), buffers);
        }
        offered
    }
}

/// What a peer may send at once in these tests.
pub(crate) const FRAME_BYTES_MAX: u32 = 4 << 20;

/// One for all tests: to make keys takes longer than most of them.
pub(crate) fn server_config() -> &'static Arc<ServerConfig> {
    &tls_configs().frames
}

/// The same for all entrances.
pub(crate) fn tls_configs() -> &'static TlsConfigs {
    static CONFIG: OnceLock<TlsConfigs> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        Certificate::own(&data).unwrap().load(ticketer().unwrap()).unwrap().0
    })
}

/// A client whose handshake messages span many records, if they are this short.
pub(crate) fn tls_client(tls12: bool, fragment_bytes: Option<usize>) -> ClientConnection {
    let version = if tls12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.max_fragment_size = fragment_bytes;
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// Whoever the server is, these tests are about bytes.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
