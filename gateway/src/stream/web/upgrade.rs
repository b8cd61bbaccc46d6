//! The request that makes a WebSocket of an HTTP connection, and what is answered to it.
//!
//! Whatever else is asked here by HTTP gets one line that says what this is. The path means nothing: behind a
//! proxy it may be any. The subprotocol has to be named, so that nobody comes in who takes this for something
//! else, and another one can be spoken at the same address one day.

use bytes::BytesMut;
use dunlin_protocol::websocket::{self, KEY_LENGTH, SUBPROTOCOL, VERSION};
use dunlin_protocol::wire::CloseReason;
use httparse::Status;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::error::WebError;
use super::origins::Origins;
use crate::limits::{OVERLOADED_DELAY_MS, UPGRADE_BYTES_MAX, UPGRADE_HEADERS_MAX};

/// Where the head of a request ends.
const END: &[u8] = b"\r\n\r\n";

const WHAT_THIS_IS: &str =
    "This is Dunlin, an instant-messaging server: connect by WebSocket, with the subprotocol";

/// A request that came whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Vec<u8>,
    /// What came behind it.
    pub(super) behind: BytesMut,
}

/// Why there will be no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request has too many bytes or headers")]
    TooLarge,
    #[error("it is no HTTP request")]
    NotHttp,
    #[error("it is another HTTP request")]
    OtherRequest,
    #[error("it is another version of WebSocket")]
    Version,
    #[error("the key is none, or not the only one")]
    Key,
    #[error("it does not name the subprotocol {SUBPROTOCOL}")]
    Subprotocol,
    #[error("pages of this origin may not come in")]
    Origin,
}

impl Refusal {
    /// As HTTP says it. The connection ends with it.
    pub(super) fn response(self) -> Vec<u8> {
        let upgrade = "Upgrade: websocket\r\n";
        let version = format!("{upgrade}Sec-WebSocket-Version: {VERSION}\r\n");
        match self {
            Refusal::TooLarge => {
                response("431 Request Header Fields Too Large", "", "Too many bytes or headers")
            }
            Refusal::NotHttp => response("400 Bad Request", "", "This is no HTTP request"),
            Refusal::OtherRequest => {
                let line = format!("{WHAT_THIS_IS} {SUBPROTOCOL}");
                response("426 Upgrade Required", upgrade, &line)
            }
            Refusal::Version => response("426 Upgrade Required", &version, "Another version"),
            Refusal::Key => response("400 Bad Request", "", "Sec-WebSocket-Key is not good"),
            Refusal::Subprotocol => {
                let line = format!("Name {SUBPROTOCOL} in Sec-WebSocket-Protocol");
                response("400 Bad Request", "", &line)
            }
            Refusal::Origin => {
                response("403 Forbidden", "", "Pages of this origin may not come in")
            }
        }
    }
}

fn response(status: &str, headers: &str, line: &str) -> Vec<u8> {
    let connection = if headers.is_empty() { "close" } else { "Upgrade, close" };
    let length = line.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nConnection: {connection}\r\n{headers}\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{line}\n"
    )
    .into_bytes()
}

/// What is answered to who may not come in, or has to go before it has come in; `None` if there is nothing to say.
pub(super) fn parting(reason: CloseReason) -> Option<Vec<u8>> {
    match reason {
        CloseReason::HandshakeTimeout | CloseReason::FrameTimeout => {
            Some(response("408 Request Timeout", "", "The request did not come in time"))
        }
        CloseReason::Overloaded | CloseReason::ServerDraining => Some(farewell()),
        CloseReason::Unspecified
        | CloseReason::PeerClosed
        | CloseReason::ServerError
        | CloseReason::ProtocolViolation
        | CloseReason::MalformedFrame
        | CloseReason::FrameTooLarge
        | CloseReason::PeerReset
        | CloseReason::IdleTimeout
        | CloseReason::LoginTimeout
        | CloseReason::WriteTimeout
        | CloseReason::SlowConsumer
        | CloseReason::TlsError
        | CloseReason::UnsupportedVersion
        | CloseReason::LoginFailed
        | CloseReason::Replaced
        | CloseReason::LoggedOut
        | CloseReason::AccountDisabled
        | CloseReason::RateLimited
        | CloseReason::Reconnected
        | CloseReason::UpgradeRefused => None,
    }
}

/// What is answered to who may not come in now.
pub(in crate::stream) fn farewell() -> Vec<u8> {
    let retry = format!("Retry-After: {}\r\n", OVERLOADED_DELAY_MS.div_ceil(1000));
    response("503 Service Unavailable", &retry, "There is no room now")
}

/// The request, if all of it is there. So many bytes were looked at before.
pub(super) fn whole(bytes: &[u8], seen: usize) -> Result<Option<Request>, WebError> {
    if bytes.first().is_some_and(|first| !first.is_ascii_uppercase()) {
        return Err(Refusal::NotHttp.into());
    }
    let from = seen.saturating_sub(END.len() - 1);
    let end = bytes[from..].windows(END.len()).position(|window| window == END);
    let length = end.map_or(bytes.len(), |end| from + end + END.len());
    if length > UPGRADE_BYTES_MAX {
        return Err(Refusal::TooLarge.into());
    }
    let split = |_| Request { head: bytes[..length].to_vec(), behind: bytes[length..].into() };
    Ok(end.map(split))
}

/// The answer to a request that is good.
pub(super) fn answer(head: &[u8], origins: &Origins) -> Result<Vec<u8>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; UPGRADE_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge),
        Ok(Status::Partial) | Err(_) => return Err(Refusal::NotHttp),
    }
    let asked = Asked(request.headers);
    let asks = asked.names("Upgrade", "websocket") && asked.names("Connection", "upgrade");
    let has_body = asked.only("Transfer-Encoding") != Only::None
        || !matches!(asked.only("Content-Length"), Only::None | Only::One(b"0"));
    if asked.only("Host").one().is_none() {
        return Err(Refusal::NotHttp);
    }
    if request.method != Some("GET") || request.version != Some(1) || !asks || has_body {
        return Err(Refusal::OtherRequest);
    }
    if asked.only("Sec-WebSocket-Version") != Only::One(VERSION.as_bytes()) {
        return Err(Refusal::Version);
    }
    let key = asked.only("Sec-WebSocket-Key").one().filter(|key| is_key(key));
    let key = key.ok_or(Refusal::Key)?;
    let may_come = match asked.only("Origin") {
        Only::None => origins.allow(None),
        Only::One(origin) => origins.allow(Some(origin)),
        Only::More => false,
    };
    if !may_come {
        return Err(Refusal::Origin);
    }
    if !asked.names("Sec-WebSocket-Protocol", SUBPROTOCOL) {
        return Err(Refusal::Subprotocol);
    }
    Ok(switching(key))
}

fn switching(key: &[u8]) -> Vec<u8> {
    let accept = websocket::accept(key, |bytes| {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        hash.as_ref().try_into().expect("SHA-1 has 20 bytes")
    });
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    .into_bytes()
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_of_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == KEY_LENGTH
        && key.ends_with(b"==")
        && key[..KEY_LENGTH - 2].iter().all(is_of_base64)
}

/// The headers of a request.
struct Asked<'a>(&'a [httparse::Header<'a>]);

/// The value of a header that may be there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only<'a> {
    None,
    One(&'a [u8]),
    More,
}

impl<'a> Only<'a> {
    fn one(self) -> Option<&'a [u8]> {
        match self {
            Only::One(value) => Some(value),
            Only::None | Only::More => None,
        }
    }
}

impl<'a> Asked<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let of_name = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|header| header.value)
    }

    fn only(&self, name: &str) -> Only<'a> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Only::None,
            (Some(value), None) => Only::One(value.trim_ascii()),
            (Some(_), Some(_)) => Only::More,
        }
    }

    /// Whether a word is in a list that may be spread over several headers.
    fn names(&self, name: &str, word: &str) -> bool {
        let words = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.map(<[u8]>::trim_ascii).any(|it| it.eq_ignore_ascii_case(word.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// A good request, with one header changed, or left out if it is empty.
    fn request(changed: &str, line: &str) -> Vec<u8> {
        let mut text = String::from("GET /chat HTTP/1.1\r\n");
        let key = format!("Sec-WebSocket-Key: {KEY}");
        let headers = [
            "Host: chat.example",
            "Upgrade: WebSocket",
            "Connection: keep-alive, Upgrade",
            &key,
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: other, dunlin.v1",
            "Origin: https://chat.example",
            "User-Agent: a test",
        ];
        for header in headers {
            let line = if header.starts_with(&format!("{changed}:")) { line } else { header };
            if !line.is_empty() {
                text.push_str(&format!("{line}\r\n"));
            }
        }
        (text + "\r\n").into_bytes()
    }

    fn answered(head: &[u8]) -> Result<String, Refusal> {
        let answered = answer(head, &Origins::new(&["https://chat.example".into()]));
        answered.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_good_request_is_answered_as_the_standard_shows_it() {
        let answer = answered(&request("", "")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: dunlin.v1\r\n"));
        assert!(answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_request_that_lacks_something_is_refused_for_it() {
        let other = Refusal::OtherRequest;
        let wrong = [
            ("Upgrade", "", other),
            ("Upgrade", "Upgrade: h2c", other),
            ("Connection", "", other),
            ("Connection", "Connection: keep-alive", other),
            ("User-Agent", "Content-Length: 5", other),
            ("User-Agent", "Transfer-Encoding: chunked", other),
            ("Sec-WebSocket-Version", "", Refusal::Version),
            ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", Refusal::Version),
            ("Sec-WebSocket-Key", "", Refusal::Key),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Key: short==", Refusal::Key),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==", Refusal::Key),
            ("User-Agent", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", Refusal::Key),
            ("Sec-WebSocket-Protocol", "", Refusal::Subprotocol),
            ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: dunlin", Refusal::Subprotocol),
            ("Origin", "Origin: https://evil.example", Refusal::Origin),
            ("User-Agent", "Origin: https://chat.example", Refusal::Origin),
            ("Host", "", Refusal::NotHttp),
            ("Host", "no header", Refusal::NotHttp),
        ];
        for (header, line, refusal) in wrong {
            assert_eq!(answered(&request(header, line)), Err(refusal), "{line:?} for {header}");
        }
        assert!(answered(&request("Origin", "")).is_ok(), "what is no browser");
        for head in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        ] {
            assert_eq!(answered(head.as_bytes()), Err(other), "{head}");
        }
        let many = "A: b\r\n".repeat(UPGRADE_HEADERS_MAX + 1);
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
        assert_eq!(answered(many.as_bytes()), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_request_is_whole_where_its_head_ends() {
        let head = request("", "");
        for cut in 0..=head.len() {
            let mut bytes = head[..cut].to_vec();
            let first = whole(&bytes, 0).unwrap();
            assert_eq!(first.is_some(), cut == head.len());
            bytes.extend_from_slice(&head[cut..]);
            bytes.extend_from_slice(b"behind");
            let Some(request) = whole(&bytes, cut.min(head.len() - 1)).unwrap() else {
                panic!("it is whole, cut at {cut}");
            };
            assert_eq!((&request.head, &request.behind[..]), (&head, &b"behind"[..]));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_before_it_is_long() {
        let refused = |bytes: &[u8]| whole(bytes, 0).unwrap_err().to_string();
        assert_eq!(refused(b"\x16\x03\x01"), "no upgrade: it is no HTTP request");
        let endless = vec![b'A'; UPGRADE_BYTES_MAX + 1];
        assert_eq!(refused(&endless), "no upgrade: the request has too many bytes or headers");
        assert!(whole(&endless[1..], 0).unwrap().is_none());
    }
}
