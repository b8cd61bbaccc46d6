//! The end of a WebSocket of a client: frames with their prefix are written to it and read from it, as to and from
//! any stream, however they are cut. Below that, piece by piece, it says whatever a test wants.

use std::collections::VecDeque;
use std::io::{Read, Result, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_protocol::websocket::{self, Header, Mask, Opcode};
use rustls::ClientConfig;

use super::client::{Client, Stream, connect};
use super::tls;

/// A good request, but for what a test changes.
pub const UPGRADE: &str = "GET /anywhere HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: dunlin.v1\r\n\r\n";

/// The most that is read at once.
const READ_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Web {
    stream: Stream,
    /// What was read and is no whole piece yet.
    raw: Vec<u8>,
    /// Frames that were heard, with their prefix.
    heard: VecDeque<u8>,
    /// Of the frame that is being written: its prefix so far, and what is missing of its body.
    prefix: Vec<u8>,
    missing: usize,
    mask: Mask,
    masks: u32,
    /// What the server said in its last word.
    pub close: Option<Vec<u8>>,
}

impl Web {
    /// Over a stream on which nothing was said yet.
    pub fn over(stream: Stream) -> Web {
        let mut web = Web::unopened(stream);
        web.say_raw(UPGRADE.as_bytes());
        let response = web.response();
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        web
    }

    /// The same, without the request.
    pub fn unopened(stream: Stream) -> Web {
        Web {
            stream,
            raw: Vec::new(),
            heard: VecDeque::new(),
            prefix: Vec::new(),
            missing: 0,
            mask: Mask::new([0; 4]),
            masks: 1,
            close: None,
        }
    }

    pub fn plain(address: SocketAddr) -> Web {
        Web::over(Stream::Plain(connect(address)))
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    pub fn into_stream(self) -> Stream {
        self.stream
    }

    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
        self.stream.flush().expect("the server takes it");
    }

    /// The head of a response of HTTP, and a body as long as it says.
    pub fn response(&mut self) -> String {
        let head =
            self.read_to(|raw| raw.windows(4).position(|it| it == b"\r\n\r\n").map(|at| at + 4));
        let mut text = String::from_utf8(head.expect("there is a response")).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if let Some(length) = length.map(|length| length.parse::<usize>().unwrap()) {
            let body = self.read_to(|raw| (raw.len() >= length).then_some(length));
            text.push_str(&String::from_utf8(body.expect("it is whole")).unwrap());
        }
        text
    }

    /// Reads until there is an end; `None` if the stream ends before.
    fn read_to(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = end(&self.raw) {
                return Some(self.raw.drain(..end).collect());
            }
            if self.read_more().ok()? == 0 {
                assert!(self.raw.is_empty(), "it ends within something: {:?}", self.raw);
                return None;
            }
        }
    }

    fn read_more(&mut self) -> Result<usize> {
        let mut buffer = [0; READ_BYTES];
        let count = self.stream.read(&mut buffer)?;
        self.raw.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// One piece, masked by another key each time.
    pub fn piece(&mut self, is_final: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut mask = self.next_mask();
        let payload_bytes = payload.len() as u64;
        let header = Header { is_final, opcode, mask: Some(mask.key()), payload_bytes };
        let mut piece = header.encode().to_vec();
        let start = piece.len();
        piece.extend_from_slice(payload);
        mask.apply(&mut piece[start..]);
        piece
    }

    fn next_mask(&mut self) -> Mask {
        self.masks = self.masks.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
        Mask::new(self.masks.to_be_bytes())
    }

    pub fn say(&mut self, is_final: bool, opcode: Opcode, payload: &[u8]) {
        let piece = self.piece(is_final, opcode, payload);
        self.say_raw(&piece);
    }

    /// The next piece of the server; `None` at the end of the stream.
    pub fn hear(&mut self) -> Option<(Opcode, Vec<u8>)> {
        let end_of = |raw: &[u8]| {
            let (header, start) = Header::decode(raw).expect("a server's headers are good")?;
            assert!(header.mask.is_none() && header.is_final, "{header:?}");
            let end = start + usize::try_from(header.payload_bytes).unwrap();
            (raw.len() >= end).then_some(end)
        };
        let mut piece = self.read_to(end_of)?;
        let (header, start) = Header::decode(&piece).unwrap().expect("it is whole");
        assert_eq!(self.close, None, "{header:?} after a close");
        let payload = piece.split_off(start);
        if header.opcode == Opcode::Close {
            self.close = Some(payload.clone());
        }
        Some((header.opcode, payload))
    }

    /// Reads to the end; the code of the last word.
    pub fn code(&mut self) -> Option<u16> {
        while self.hear().is_some() {}
        self.said_code()
    }

    /// The code of the last word, which was heard.
    pub fn said_code(&self) -> Option<u16> {
        self.close.as_ref()?.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

impl Read for Web {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.heard.is_empty() {
            match self.hear() {
                None | Some((Opcode::Close, _)) => return Ok(0),
                Some((Opcode::Binary, body)) => {
                    self.heard.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
                    self.heard.extend(body);
                }
                Some((other, payload)) => panic!("nobody asked for {other:?} {payload:?}"),
            }
        }
        self.heard.read(buffer)
    }
}

impl Write for Web {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let (mut rest, mut raw) = (bytes, Vec::new());
        while let Some((&byte, behind)) = rest.split_first() {
            if self.missing > 0 {
                let (part, behind) = rest.split_at(self.missing.min(rest.len()));
                let start = raw.len();
                raw.extend_from_slice(part);
                self.mask.apply(&mut raw[start..]);
                self.missing -= part.len();
                rest = behind;
                continue;
            }
            self.prefix.push(byte);
            rest = behind;
            if let Some(prefix) = self.prefix.first_chunk() {
                let length = u32::from_be_bytes(*prefix);
                self.prefix.clear();
                self.mask = self.next_mask();
                let header =
                    Header { mask: Some(self.mask.key()), ..Header::of_message(length as usize) };
                raw.extend_from_slice(&header.encode());
                self.missing = length as usize;
            }
        }
        self.stream.write_all(&raw)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}

/// A configuration that offers what a browser offers.
pub fn config(certificate: &std::path::Path) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&tls::both_versions(certificate));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

pub fn connect_to(address: SocketAddr) -> Client {
    Client::over(Stream::Web(Box::new(Web::plain(address))))
}

pub fn connect_securely(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let Client { stream, .. } = tls::connect_to(address, config);
    Client::over(Stream::Web(Box::new(Web::over(stream))))
}
