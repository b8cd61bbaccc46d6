//! One TLS connection (1.3 or 1.2) over rustls' unbuffered interface.
//!
//! rustls keeps the keys and the state; the bytes live in scratch buffers of the shard, except
//! for a record that has not arrived whole, and for output that the socket did not take. So an
//! idle connection holds no buffer: 3.2 KB, where rustls' own buffers would make it 7.4 KB, and
//! 19.7 KB for ever after one large record.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError};
use rustls::{ServerConfig, unbuffered::UnbufferedStatus};

use super::buffers::Buffers;
use super::{End, Input, LastWord};
use crate::limits::TLS_INPUT_BYTES;

/// See the module.
pub(crate) struct TlsStream {
    session: UnbufferedServerConnection,
    /// The beginning of a record.
    input: Box<[u8]>,
    /// Records that must still be written, from `output_written` on.
    output: Vec<u8>,
    output_written: u32,
    /// Nothing more is to be encrypted: all was said, or TLS has failed.
    closed: bool,
}

// A million of them make a gigabyte; 1,088 bytes are rustls' own.
const _: () = assert!(size_of::<TlsStream>() <= 1136);

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("input", &self.input.len()).finish_non_exhaustive()
    }
}

impl TlsStream {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<TlsStream> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let (input, output) = (Box::default(), Vec::new());
        Ok(TlsStream { session, input, output, output_written: 0, closed: false })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Behind the beginning of a record that came before.
    pub(super) fn room<'b>(&self, buffers: &'b mut Buffers) -> &'b mut [u8] {
        let (held, room) = buffers.records.split_at_mut(self.input.len());
        held.copy_from_slice(&self.input);
        room
    }

    pub(super) fn receive(
        &mut self,
        count: usize,
        buffers: &mut Buffers,
    ) -> Result<Input, rustls::Error> {
        let mut bytes = BytesMut::new();
        let records = &mut buffers.records[..self.input.len() + count];
        let ended = self.take_records(records, &mut bytes)?;
        Ok(Input { bytes, end: ended.then_some(End::Said), ..Input::default() })
    }

    /// What TLS has ready, or one record of what `fill` puts into it, [`TLS_RECORD_BYTES`](crate::limits::TLS_RECORD_BYTES) at most.
    pub(super) fn output<'b>(
        &'b mut self,
        fill: impl FnOnce(&mut Vec<u8>),
        buffers: &'b mut Buffers,
        slices: &mut [IoSlice<'b>],
    ) -> io::Result<usize> {
        let Some(slice) = slices.first_mut() else { return Ok(0) };
        if self.has_output() {
            *slice = IoSlice::new(&self.output[self.output_written as usize..]);
            return Ok(1);
        }
        if self.is_handshaking() {
            return Ok(0);
        }
        let Buffers { plain, sealed, .. } = buffers;
        plain.clear();
        fill(plain);
        if plain.is_empty() {
            return Ok(0);
        }
        sealed.length = self.encrypt(plain, &mut sealed.room)?;
        *slice = IoSlice::new(&sealed.room[..sealed.length]);
        Ok(1)
    }

    /// What the socket does not take of a record stays with the connection: less than 17 KiB.
    pub(super) fn written(&mut self, count: usize, buffers: &mut Buffers) {
        if self.has_output() {
            return self.output_written(count);
        }
        let length = std::mem::take(&mut buffers.sealed.length);
        self.output.extend_from_slice(&buffers.sealed.room[count..length]);
    }

    /// Takes records, those that came before included, and appends what they say to `plain`.
    /// True if the peer says that nothing more follows. After an error there may be an alert in
    /// the output.
    fn take_records(
        &mut self,
        records: &mut [u8],
        plain: &mut BytesMut,
    ) -> Result<bool, rustls::Error> {
        let mut start = 0;
        let mut ended = false;
        loop {
            let step = self.step(&mut records[start..], plain);
            match step {
                Ok((discard, Step::Again)) => start += discard,
                Ok((discard, Step::PeerClosed)) => {
                    start += discard;
                    ended = true;
                }
                Ok((discard, Step::Blocked)) => {
                    start += discard;
                    break;
                }
                Err(error) => {
                    self.encode_alert();
                    return Err(error);
                }
            }
        }
        let rest = &records[start..];
        if rest.len() == records.len() && rest.len() >= TLS_INPUT_BYTES {
            return Err(rustls::Error::General("a record that never ends".into()));
        }
        self.input = rest.into();
        Ok(ended)
    }

    fn step(
        &mut self,
        records: &mut [u8],
        plain: &mut BytesMut,
    ) -> Result<(usize, Step), rustls::Error> {
        let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(records);
        let step = match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(&mut self.output, |room| match data.encode(room) {
                    Err(EncodeError::InsufficientSize(size)) => Err(Some(size)),
                    Err(EncodeError::AlreadyEncoded) => Err(None),
                    Ok(count) => Ok(count),
                })?;
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                // It is in our output, which is written in order.
                data.done();
                Step::Again
            }
            ConnectionState::PeerClosed => Step::PeerClosed,
            ConnectionState::BlockedHandshake
            | ConnectionState::WriteTraffic(_)
            | ConnectionState::Closed => Step::Blocked,
            // Early data is not offered, since it can be replayed.
            _ => return Err(rustls::Error::General("an unexpected state".into())),
        };
        Ok((discard, step))
    }

    /// After an error rustls may have an alert to send. It is asked for that alone: rustls keeps
    /// positions in the records that it has seen, and would look there again.
    fn encode_alert(&mut self) {
        self.closed = true;
        let mut nothing = BytesMut::new();
        while self.session.wants_write() && self.step(&mut [], &mut nothing).is_ok() {}
    }

    /// Encrypts plain bytes into `records`; returns the length.
    fn encrypt(&mut self, plain: &[u8], records: &mut [u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        // Records that are incomplete are shown again, since rustls may refer to their position.
        let status = self.session.process_tls_records(&mut self.input);
        match status.state.map_err(io::Error::other)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                traffic.encrypt(plain, records).map_err(io::Error::other)
            }
            state => Err(io::Error::other(format!("no traffic may be written in {state:?}"))),
        }
    }

    /// One more word says that the stream was not cut off.
    pub(super) fn close(&mut self) -> LastWord {
        if std::mem::replace(&mut self.closed, true) {
            return LastWord::Said;
        }
        let status = self.session.process_tls_records(&mut self.input);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return LastWord::Said;
        };
        let queued = append(&mut self.output, |room| match traffic.queue_close_notify(room) {
            Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
            Err(EncryptError::EncryptExhausted) => Err(None),
            Ok(count) => Ok(count),
        });
        if queued.is_ok() { LastWord::Queued } else { LastWord::Said }
    }

    /// Whether nothing more can be said.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something must be written before anything is encrypted.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.output.capacity()
    }

    pub(super) fn input_bytes(&self) -> usize {
        self.input.len()
    }

    fn output_written(&mut self, count: usize) {
        let written = self.output_written as usize + count;
        if written == self.output.len() {
            (self.output, self.output_written) = (Vec::new(), 0);
        } else {
            self.output_written = u32::try_from(written).expect("output is a few records long");
        }
    }
}

/// What to do after a step of rustls.
enum Step {
    Again,
    PeerClosed,
    Blocked,
}

/// Appends what `encode` writes. It is asked with no room first, and says how much it needs.
fn append(
    output: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Result<(), rustls::Error> {
    let start = output.len();
    let mut encoded = encode(&mut []);
    if let Err(Some(InsufficientSizeError { required_size })) = encoded {
        output.resize(start + required_size, 0);
        encoded = encode(&mut output[start..]);
    }
    output.truncate(start + *encoded.as_ref().unwrap_or(&0));
    let failed = |_| rustls::Error::General("a record could not be encoded".into());
    encoded.map(|_| ()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::peer::{server_config, tls_client};
    use super::*;
    use crate::limits::TLS_OUTPUT_BYTES;

    fn stream() -> TlsStream {
        TlsStream::new(Arc::clone(server_config())).unwrap()
    }

    /// Reads bytes as the shard does; they fit into its buffer.
    fn read(
        stream: &mut TlsStream,
        bytes: &[u8],
        buffers: &mut Buffers,
        plain: &mut BytesMut,
    ) -> Result<(), rustls::Error> {
        stream.room(buffers)[..bytes.len()].copy_from_slice(bytes);
        let input = stream.receive(bytes.len(), buffers)?;
        plain.extend_from_slice(&input.bytes);
        Ok(())
    }

    fn take_output(stream: &mut TlsStream) -> Vec<u8> {
        let output = stream.output[stream.output_written as usize..].to_vec();
        stream.output_written(output.len());
        output
    }

    /// A handshake message that claims 16 MiB: rustls has looked at nine bytes when it refuses it.
    #[test]
    fn an_error_in_mid_message_is_no_panic() {
        let mut stream = stream();
        let mut records = [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
        let mut plain = BytesMut::new();
        assert!(stream.take_records(&mut records, &mut plain).is_err());
        // Nor later, when the connection is closed like any other.
        assert!(stream.encrypt(b"x", &mut [0; 100]).is_err());
        assert_eq!(stream.close(), LastWord::Said);
    }

    /// What happens to a byte of the client on its way: which one, and which bit is turned.
    type Fault = Option<(usize, u8)>;

    /// A conversation over records of any size, cut anywhere, perhaps with a fault. What the
    /// client said arrives, or an error; nothing panics, whatever is asked of the session then.
    fn converse(
        tls12: bool,
        fragment_bytes: Option<usize>,
        cuts: &[usize],
        fault: Fault,
    ) -> Result<BytesMut, rustls::Error> {
        let mut client = tls_client(tls12, fragment_bytes);
        let (mut stream, mut buffers) = (stream(), Buffers::new());
        let (mut plain, mut sent) = (BytesMut::new(), 0);
        let mut cuts = cuts.iter().cycle();
        for round in 0..8 {
            client.writer().write_all(&[round; 50]).unwrap();
            let mut records = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut records).unwrap();
            }
            if let Some((at, bit)) = fault
                && (sent..sent + records.len()).contains(&at)
            {
                records[at - sent] ^= bit;
            }
            sent += records.len();
            let mut left = &records[..];
            while !left.is_empty() {
                let (piece, rest) = left.split_at((*cuts.next().unwrap()).clamp(1, left.len()));
                left = rest;
                let received = read(&mut stream, piece, &mut buffers, &mut plain);
                if received.is_ok() && !stream.is_handshaking() && !stream.has_output() {
                    // In mid-record too; the records that are held stay what they are.
                    let mut output = vec![0; TLS_OUTPUT_BYTES];
                    let length = stream.encrypt(b"an answer", &mut output).unwrap();
                    stream.output.extend_from_slice(&output[..length]);
                }
                if let Err(error) = received {
                    assert!(stream.encrypt(b"x", &mut [0; 100]).is_err());
                    assert_eq!(stream.close(), LastWord::Said);
                    return Err(error);
                }
                let output = take_output(&mut stream);
                client.read_tls(&mut &output[..]).unwrap();
                if client.process_new_packets().is_err() {
                    // It was the first to see the fault, in what the server made of it.
                    return Ok(plain);
                }
            }
        }
        stream.close();
        Ok(plain)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_records_in_any_pieces_are_understood(
            tls12: bool,
            fragment_bytes in proptest::option::of(32..400usize),
            cuts in proptest::collection::vec(1..700usize, 1..10),
        ) {
            let plain = converse(tls12, fragment_bytes, &cuts, None).unwrap();
            let said: Vec<u8> = (0..8).flat_map(|round| [round; 50]).collect();
            prop_assert_eq!(&plain[..], &said[..]);
        }

        #[test]
        fn a_fault_is_an_error_and_no_panic(
            tls12: bool,
            fragment_bytes in proptest::option::of(32..400usize),
            cuts in proptest::collection::vec(1..700usize, 1..10),
            at in 0..1500usize,
            bit in 0..8u8,
        ) {
            let fault = Some((at, 1 << bit));
            // A fault in a place without meaning (a random number, say) shows later or never.
            if let Ok(plain) = converse(tls12, fragment_bytes, &cuts, fault) {
                let said: Vec<u8> = (0..8).flat_map(|round| [round; 50]).collect();
                prop_assert!(said.starts_with(&plain));
            }
        }
    }
}
