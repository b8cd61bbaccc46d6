//! The header of the PROXY protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most bytes of a header that are waited for. Version 1 has at most 107; version 2 may have notes about the
/// connection behind its addresses, of which the largest that are in use (certificates of clients apart) have some hundred.
pub(crate) const HEADER_BYTES_MAX: usize = 2048;

const LINE_BYTES_MAX: usize = 107;
const LINE_BEGIN: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of the rest.
const FIXED_BYTES: usize = 16;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// How many bytes it has.
    pub(crate) bytes: usize,
    /// From where the connection comes; `None` if it is the proxy's own, or if it does not know.
    pub(crate) from: Option<IpAddr>,
}

/// These bytes are no header, and do not begin one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol")]
pub(crate) struct NoHeader;

/// The header at the beginning of `input`; `None` if some of it is missing.
pub(crate) fn parse(input: &[u8]) -> Result<Option<Header>, NoHeader> {
    if begins(input, SIGNATURE) {
        parse_bytes(input)
    } else if begins(input, LINE_BEGIN) {
        parse_line(input)
    } else {
        Err(NoHeader)
    }
}

/// As far as both are there.
fn begins(input: &[u8], with: &[u8]) -> bool {
    input.iter().zip(with).all(|(one, other)| one == other)
}

fn parse_line(input: &[u8]) -> Result<Option<Header>, NoHeader> {
    let within = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NoHeader) };
    };
    let line = std::str::from_utf8(&input[LINE_BEGIN.len()..end]).map_err(|_| NoHeader)?;
    Ok(Some(Header { bytes: end + 2, from: from_line(line)? }))
}

/// What follows `PROXY `: family, both addresses, both ports.
fn from_line(line: &str) -> Result<Option<IpAddr>, NoHeader> {
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let mut address = || words.next()?.parse::<IpAddr>().ok();
    let (from, to) = (address().ok_or(NoHeader)?, address().ok_or(NoHeader)?);
    let is_right = match family {
        Some("TCP4") => from.is_ipv4() && to.is_ipv4(),
        Some("TCP6") => from.is_ipv6() && to.is_ipv6(),
        Some(_) | None => false,
    };
    let ports = words.all(|port| port.parse::<u16>().is_ok());
    if is_right && ports { Ok(Some(from)) } else { Err(NoHeader) }
}

fn parse_bytes(input: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some(fixed) = input.get(SIGNATURE.len()..FIXED_BYTES) else { return Ok(None) };
    let &[command, family, high, low] = fixed else { return Err(NoHeader) };
    let bytes = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes > HEADER_BYTES_MAX {
        return Err(NoHeader);
    }
    let Some(rest) = input.get(FIXED_BYTES..bytes) else { return Ok(None) };
    let from = match (command, family) {
        // The proxy asks whether somebody is here; or it has a client that has no such address.
        (0x20, _) | (0x21, 0x00 | 0x31) => None,
        (0x21, 0x11) => Some(from_bytes::<4, 12>(rest, |it| Ipv4Addr::from(it).into())?),
        (0x21, 0x21) => Some(from_bytes::<16, 36>(rest, |it| Ipv6Addr::from(it).into())?),
        _ => return Err(NoHeader),
    };
    Ok(Some(Header { bytes, from }))
}

/// The first of two addresses, where there are as many bytes as both have with their ports.
fn from_bytes<const ONE: usize, const ALL: usize>(
    bytes: &[u8],
    address: impl Fn([u8; ONE]) -> IpAddr,
) -> Result<IpAddr, NoHeader> {
    let all = bytes.first_chunk::<ALL>().ok_or(NoHeader)?;
    all.first_chunk::<ONE>().map(|one| address(*one)).ok_or(NoHeader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        bytes_of(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0x1c, 0xf2])
    }

    fn v6(notes: &[u8]) -> Vec<u8> {
        let from = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        let rest = [&from[..], &[0; 16], &[0x1f, 0x90, 0x1c, 0xf2], notes].concat();
        bytes_of(0x21, 0x21, &rest)
    }

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        vec![
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 8080 7410\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff:: ee:: 1 2\r\n".to_vec(), None),
            (v4(), Some("192.0.2.7")),
            (v6(&[]), Some("2001:db8::7")),
            (v6(&[4, 0, 3, 1, 2, 3]), Some("2001:db8::7")),
            (bytes_of(0x20, 0x00, &[]), None),
            (bytes_of(0x20, 0x11, &[0; 12]), None),
            (bytes_of(0x21, 0x00, &[1, 2, 3]), None),
            (bytes_of(0x21, 0x31, &[0; 216]), None),
        ]
    }

    #[test]
    fn each_kind_is_read_at_every_cut_and_nothing_behind_it() {
        for (bytes, from) in good() {
            let from = from.map(|text| text.parse().unwrap());
            let header = Header { bytes: bytes.len(), from };
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
            }
            assert_eq!(parse(&bytes), Ok(Some(header)), "{bytes:?}");
            let more = [&bytes[..], &[0xff, 0, 13, 10]].concat();
            assert_eq!(parse(&more), Ok(Some(header)), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_no_header() {
        let long = [b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[0, 0, 0, 2, 8, 1],
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.777 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 x\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY \xff\xff\r\n",
            &long,
            &bytes_of(0x21, 0x11, &[0; 11]),
            &bytes_of(0x21, 0x21, &[0; 35]),
            &bytes_of(0x21, 0x12, &[0; 12]),
            &bytes_of(0x22, 0x11, &[0; 12]),
            &bytes_of(0x11, 0x11, &[0; 12]),
            &bytes_of(0x21, 0x11, &[0; HEADER_BYTES_MAX]),
        ] {
            assert_eq!(parse(bytes), Err(NoHeader), "{bytes:?}");
        }
    }

    proptest! {
        /// Nothing panics, and nothing is waited for that can't come.
        #[test]
        fn any_bytes_are_a_header_or_none(
            begin in 0..3_usize,
            rest in proptest::collection::vec(any::<u8>(), 0..HEADER_BYTES_MAX + 1),
        ) {
            let begin: &[u8] = [&b""[..], LINE_BEGIN, &SIGNATURE[..]][begin];
            let bytes = [begin, &rest].concat();
            match parse(&bytes) {
                Ok(Some(header)) => prop_assert!(header.bytes <= bytes.len()),
                Ok(None) => prop_assert!(bytes.len() < HEADER_BYTES_MAX),
                Err(NoHeader) => {}
            }
        }
    }
}
