//! A WebSocket of a client, without waiting: frames go out as masked messages, and come in as bare ones. And one that
//! waits, to look at a server.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use dunlin_protocol::frame::{self, BodyAndRest};
use dunlin_protocol::limits::FRAME_BYTES_MAX;
use dunlin_protocol::websocket::{Header, Mask, Opcode, SUBPROTOCOL, VERSION, key};

use crate::net::link::CloseCause;

/// How far a connection is with its WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Web {
    /// There is to be none.
    None,
    /// It was asked for.
    Upgrading,
    Open,
}

/// Where the head of a response ends, and how the one begins that is hoped for.
const END: &[u8] = b"\r\n\r\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// More than any response has.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// The last mask. A mask keeps proxies from mistaking contents for requests; here there is none, so any
/// sequence will do that differs from message to message.
static MASK: AtomicU32 = AtomicU32::new(1);

/// Appends the request that begins it.
pub(crate) fn ask(host: SocketAddr, messages: &mut Vec<u8>) {
    let key = key([0x5a; 16]);
    messages.extend_from_slice(
        format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: {VERSION}\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        )
        .as_bytes(),
    );
}

/// What is behind the response, once that is there.
pub(crate) fn upgraded(input: &[u8]) -> Result<Option<&[u8]>, CloseCause> {
    let Some(end) = input.windows(END.len()).position(|window| window == END) else {
        let is_too_long = input.len() > RESPONSE_BYTES_MAX;
        return if is_too_long {
            Err(CloseCause::Web("an endless response".into()))
        } else {
            Ok(None)
        };
    };
    if !input.starts_with(SWITCHING) {
        let line = input.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(CloseCause::Web(String::from_utf8_lossy(line).into_owned()));
    }
    Ok(Some(&input[end + END.len()..]))
}

/// Makes messages of the whole frames in an outbox.
pub(crate) fn seal(outbox: &mut Vec<u8>, messages: &mut Vec<u8>) {
    let mut rest = &outbox[..];
    while let Ok(Some((body, behind))) = frame::split(rest, u32::MAX) {
        let mut mask = Mask::new(MASK.fetch_add(0x9E37_79B9, Ordering::Relaxed).to_be_bytes());
        let header = Header { mask: Some(mask.key()), ..Header::of_message(body.len()) };
        messages.extend_from_slice(&header.encode());
        let start = messages.len();
        messages.extend_from_slice(body);
        mask.apply(&mut messages[start..]);
        rest = behind;
    }
    let sealed = outbox.len() - rest.len();
    outbox.drain(..sealed);
}

/// The first message, and what is behind it. What else a server may say is passed over.
pub(crate) fn split(input: &[u8]) -> Result<Option<BodyAndRest<'_>>, CloseCause> {
    let mut rest = input;
    loop {
        let header = Header::decode(rest).map_err(|error| CloseCause::Web(error.to_string()))?;
        let Some((header, start)) = header else { return Ok(None) };
        if header.payload_bytes > FRAME_BYTES_MAX.into() || header.mask.is_some() {
            return Err(CloseCause::Web(format!("{header:?}")));
        }
        let behind_header = &rest[start..];
        if (behind_header.len() as u64) < header.payload_bytes {
            return Ok(None);
        }
        let (payload, behind) = behind_header.split_at(header.payload_bytes as usize);
        match header.opcode {
            Opcode::Binary if header.is_final => return Ok(Some((payload, behind))),
            Opcode::Ping | Opcode::Pong => rest = behind,
            // The Close frame has said why.
            Opcode::Close => return Err(CloseCause::End),
            Opcode::Binary | Opcode::Continuation | Opcode::Text => {
                return Err(CloseCause::Web(format!("{header:?}")));
            }
        }
    }
}

/// A stream of frames in a WebSocket, for who may wait.
#[derive(Debug)]
pub(crate) struct WaitingWeb<S> {
    stream: S,
    /// What was read and is no whole message yet.
    raw: Vec<u8>,
    /// Frames that were heard, with their prefix.
    heard: VecDeque<u8>,
    /// The beginning of a frame that is being written.
    outbox: Vec<u8>,
}

impl<S: Read + Write> WaitingWeb<S> {
    /// Asks for the upgrade; why there is none, if that is so.
    pub(crate) fn begin(stream: S, host: SocketAddr) -> Result<WaitingWeb<S>, String> {
        let (heard, outbox) = (VecDeque::new(), Vec::new());
        let mut web = WaitingWeb { stream, raw: Vec::new(), heard, outbox };
        let mut request = Vec::new();
        ask(host, &mut request);
        web.stream.write_all(&request).map_err(|error| error.to_string())?;
        loop {
            let upgraded = upgraded(&web.raw).map_err(|cause| cause.to_string())?;
            if let Some(behind) = upgraded.map(<[u8]>::to_vec) {
                web.raw = behind;
                return Ok(web);
            }
            match web.read_more() {
                Ok(0) => return Err("no WebSocket: it closes the connection".into()),
                Ok(_) => {}
                Err(error) => return Err(format!("no WebSocket: {error}")),
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        self.raw.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl<S: Read + Write> Read for WaitingWeb<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.heard.is_empty() {
            let message = match split(&self.raw) {
                Ok(message) => message.map(|(body, behind)| (body.to_vec(), behind.to_vec())),
                Err(CloseCause::End) => return Ok(0),
                Err(cause) => return Err(io::Error::other(cause)),
            };
            if let Some((body, behind)) = message {
                self.heard.extend((body.len() as u32).to_be_bytes());
                self.heard.extend(body);
                self.raw = behind;
            } else if self.read_more()? == 0 {
                return Ok(0);
            }
        }
        self.heard.read(buffer)
    }
}

impl<S: Read + Write> Write for WaitingWeb<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.extend_from_slice(bytes);
        let mut messages = Vec::new();
        seal(&mut self.outbox, &mut messages);
        self.stream.write_all(&messages)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_messages_and_messages_bodies() {
        let mut outbox = vec![0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9, 1];
        let mut messages = Vec::new();
        seal(&mut outbox, &mut messages);
        assert_eq!(outbox, [0, 0, 0, 9, 1], "the rest of it is still to come");
        let (header, start) = Header::decode(&messages).unwrap().unwrap();
        let mut payload = messages[start..start + 2].to_vec();
        Mask::new(header.mask.unwrap()).apply(&mut payload);
        assert_eq!(payload, [7, 8]);
        let said = [0x89, 1, 5, 0x82, 2, 7, 8, 0x82, 0, 0x88, 0];
        let (body, rest) = split(&said).unwrap().unwrap();
        assert_eq!(body, [7, 8]);
        let (body, rest) = split(rest).unwrap().unwrap();
        assert!(body.is_empty());
        assert_eq!(split(rest), Err(CloseCause::End));
        assert_eq!(split(&said[..6]), Ok(None));
        assert!(split(&[0x82, 0x81, 0, 0, 0, 0, 0]).is_err(), "a mask of a server");
    }

    #[test]
    fn an_upgrade_that_is_refused_says_how() {
        assert_eq!(
            upgraded(b"HTTP/1.1 101 Switching Protocols\r\n\r\nmore"),
            Ok(Some(&b"more"[..]))
        );
        assert_eq!(upgraded(b"HTTP/1.1 101 Switching Protocols\r\n\r"), Ok(None));
        let refused = upgraded(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "no WebSocket: HTTP/1.1 503 Service Unavailable");
    }
}
