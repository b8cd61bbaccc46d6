//! The other end of a stream, for tests: of every kind, without a socket.

use std::io::{IoSlice, Read, Write};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, SignatureScheme,
};

use super::buffers::Buffers;
use super::entrance::Entrance;
use super::outbox::Outbox;
use super::{Input, Stream, StreamError, StreamKey, Streams};
use crate::node::data::DataFolder;
use crate::tls::{Certificate, ticketer};

/// What is spoken on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    Tls13,
    Tls12,
}

impl Speech {
    pub(crate) const ALL: [Speech; 3] = [Speech::Plain, Speech::Tls13, Speech::Tls12];

    pub(crate) fn entrance(self) -> Entrance {
        match self {
            Speech::Plain => Entrance::Tcp,
            Speech::Tls13 | Speech::Tls12 => Entrance::Tls,
        }
    }

    /// Whether it is said by bytes that nothing more follows.
    pub(crate) fn has_a_last_word(self) -> bool {
        match self {
            Speech::Plain => false,
            Speech::Tls13 | Speech::Tls12 => true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Peer {
    Plain,
    Tls(Box<ClientConnection>),
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
        }
    }

    /// Says something; what is to be written for it.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Peer::Plain => bytes.to_vec(),
            Peer::Tls(tls) => {
                let mut rest = bytes;
                let mut raw = Vec::new();
                while !rest.is_empty() {
                    let taken = tls.writer().write(rest).unwrap();
                    rest = &rest[taken..];
                    write_tls(tls, &mut raw);
                }
                raw
            }
        }
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
        }
    }

    /// What it has to write by itself.
    pub(crate) fn answer(&mut self) -> Vec<u8> {
        let mut raw = Vec::new();
        match self {
            Peer::Plain => {}
            Peer::Tls(tls) => write_tls(tls, &mut raw),
        }
        raw
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
        let key = streams.open(speech.entrance(), Some(server_config())).unwrap();
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
    pub(crate) fn hear(&mut self, mut raw: &[u8]) -> Result<Input, StreamError> {
        let mut all = Input { bytes: BytesMut::new(), ended: false };
        while !raw.is_empty() {
            let Side { streams, key, buffers } = self;
            let mut stream = streams.of(*key);
            let room = stream.room(buffers);
            let count = room.len().min(raw.len());
            room[..count].copy_from_slice(&raw[..count]);
            raw = &raw[count..];
            let input = stream.receive(count, buffers)?;
            all.bytes.extend_from_slice(&input.bytes);
            all.ended |= input.ended;
        }
        Ok(all)
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

/// One for all tests: to make keys takes longer than most of them.
pub(crate) fn server_config() -> &'static Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
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
