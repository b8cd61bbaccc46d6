//! A WebSocket over TLS: one within the other.

use std::io::{self, IoSlice};
use std::sync::Arc;

use dunlin_protocol::wire::CloseReason;
use rustls::ServerConfig;

use super::WebStream;
use crate::limits::TLS_RECORD_BYTES;
use crate::stream::buffers::Buffers;
use crate::stream::outbox::Outbox;
use crate::stream::tls::TlsStream;
use crate::stream::{Input, LastWord, Terms};

/// See the module.
#[derive(Debug)]
pub(crate) struct SecureWebStream {
    tls: TlsStream,
    web: WebStream,
}

impl SecureWebStream {
    pub(in crate::stream) fn new(config: Arc<ServerConfig>) -> io::Result<SecureWebStream> {
        Ok(SecureWebStream { tls: TlsStream::new(config)?, web: WebStream::new() })
    }

    pub(in crate::stream) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(in crate::stream) fn room<'b>(&self, buffers: &'b mut Buffers) -> &'b mut [u8] {
        self.tls.room(buffers)
    }

    pub(in crate::stream) fn receive(
        &mut self,
        count: usize,
        buffers: &mut Buffers,
        terms: &Terms<'_>,
    ) -> Input {
        match self.tls.receive(count, buffers) {
            Ok(input) => self.web.take(input, terms),
            Err(error) => Input::broken(error.into()),
        }
    }

    pub(in crate::stream) fn output<'b>(
        &'b mut self,
        outbox: Option<&'b mut Outbox>,
        buffers: &'b mut Buffers,
        slices: &mut [IoSlice<'b>],
    ) -> io::Result<usize> {
        let SecureWebStream { tls, web } = self;
        let fill = |plain: &mut Vec<u8>| web.take_into(outbox, plain, TLS_RECORD_BYTES);
        tls.output(fill, buffers, slices)
    }

    pub(in crate::stream) fn written(&mut self, count: usize, buffers: &mut Buffers) {
        self.tls.written(count, buffers);
    }

    pub(in crate::stream) fn has_output(&self) -> bool {
        self.tls.has_output() || self.web.has_output()
    }

    pub(in crate::stream) fn output_bytes(&self) -> usize {
        self.tls.output_bytes() + self.web.output_bytes()
    }

    pub(in crate::stream) fn input_bytes(&self) -> usize {
        self.tls.input_bytes() + self.web.input_bytes()
    }

    pub(in crate::stream) fn owes_last_word(&self) -> bool {
        self.web.owes_last_word()
    }

    /// Two words, the inner one first; neither where TLS has failed.
    pub(in crate::stream) fn close(&mut self, reason: CloseReason) -> LastWord {
        if self.tls.is_closed() {
            return LastWord::Said;
        }
        match self.web.close(reason) {
            LastWord::Queued => LastWord::Queued,
            LastWord::Said => self.tls.close(),
        }
    }
}
