//! The buffers that all streams of a shard share: what a stream is in the middle of is its own, and
//! is copied there.

use super::read_buffer::ReadBuffer;
use super::web::Heads;
use crate::limits::{TLS_INPUT_BYTES, TLS_OUTPUT_BYTES, TLS_RECORD_BYTES};

/// See the module.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// What is read and needs no decoding.
    pub(super) input: ReadBuffer,
    /// What is read and is decrypted in its place.
    pub(super) records: Box<[u8]>,
    /// Bytes of frames, to be encrypted.
    pub(super) plain: Vec<u8>,
    /// The record that was made of them, to be written.
    pub(super) sealed: Sealed,
    /// Headers of the messages that are written in one call.
    pub(super) heads: Heads,
}

/// One record.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) room: Box<[u8]>,
    /// 0 if there is none.
    pub(super) length: usize,
}

impl Buffers {
    pub(crate) fn new() -> Buffers {
        Buffers {
            input: ReadBuffer::new(),
            records: vec![0; TLS_INPUT_BYTES].into(),
            plain: Vec::with_capacity(TLS_RECORD_BYTES),
            sealed: Sealed { room: vec![0; TLS_OUTPUT_BYTES].into(), length: 0 },
            heads: Heads::new(),
        }
    }

    /// Whether what is taken of the scratch buffer has to be copied.
    pub(crate) fn scratch_is_held(&self) -> bool {
        self.input.is_held()
    }

    /// Gives back what nobody uses.
    pub(crate) fn tidy(&mut self) {
        self.input.tidy();
    }

    /// Room for bytes that are read to be thrown away.
    pub(crate) fn waste(&mut self) -> &mut [u8] {
        self.input.room()
    }
}
