//! Bytes out: what is queued, at the end of the tick, in as few calls as possible.

use std::io::{self, ErrorKind, IoSlice, Write};

use dunlin_protocol::wire::CloseReason;
use mio::{Interest, Token};

use super::Shard;
use super::connection::{Slot, Stage};
use crate::limits::{
    SLICES_PER_WRITE, TLS_INPUT_BYTES, TLS_OUTPUT_BYTES, TLS_RECORD_BYTES, WRITE_BYTES_PER_TICK,
};
use crate::stream::tls::TlsStream;

/// Scratch buffers for TLS that all connections of a shard share.
#[derive(Debug)]
pub(super) struct WriteBuffers {
    pub(super) tls_input: Box<[u8]>,
    plain: Vec<u8>,
    tls_output: Box<[u8]>,
}

impl WriteBuffers {
    pub(super) fn new() -> WriteBuffers {
        WriteBuffers {
            tls_input: vec![0; TLS_INPUT_BYTES].into(),
            plain: Vec::with_capacity(TLS_RECORD_BYTES),
            tls_output: vec![0; TLS_OUTPUT_BYTES].into(),
        }
    }
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more now.
    Blocked,
    /// The budget of this tick is spent.
    Budget,
}

impl Shard {
    /// Writes to all connections that have something queued.
    pub(super) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let key = key as usize;
            if let Some(slot) = self.slots.get_mut(key) {
                slot.flags.dirty = false;
                self.flush(key);
            }
        }
        // What became dirty meanwhile is for the next tick, which comes at once.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, key: usize) {
        if std::mem::take(&mut self.slots[key].flags.write_blocked) {
            self.mark_dirty(key);
        }
    }

    fn flush(&mut self, key: usize) {
        if self.slots[key].flags.write_blocked {
            return;
        }
        let before = self.slots[key].outbox_bytes();
        let flushed = self.write_out(key);
        let slot = &mut self.slots[key];
        self.outbox_difference += slot.outbox_bytes().cast_signed() - before.cast_signed();
        match flushed {
            Ok(Flushed::All) => self.flushed(key),
            Ok(Flushed::Blocked) => self.write_blocked(key),
            Ok(Flushed::Budget) => self.mark_dirty(key),
            Err(_) => {
                let reason = match slot.stage {
                    Stage::Open => CloseReason::PeerReset,
                    Stage::Closing(reason) | Stage::Lingering(reason) => reason,
                };
                self.end(key, reason);
            }
        }
    }

    fn write_out(&mut self, key: usize) -> io::Result<Flushed> {
        let now = self.now();
        let slot = &mut self.slots[key];
        let mut written = 0;
        while written < WRITE_BYTES_PER_TICK {
            let step = match slot.tls {
                None => write_plain(slot),
                Some(tls) => write_tls(slot, &mut self.tls[tls.index()], &mut self.write_buffers),
            };
            match step {
                Ok(0) => return Ok(Flushed::All),
                Ok(count) => {
                    slot.progress = now;
                    written += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::Budget)
    }

    /// Nothing is left to write: give the memory back, go on reading if that had to wait.
    fn flushed(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        slot.outbox = None;
        if slot.flags.write_armed {
            self.want_writable(key, false);
        }
        match self.slots[key].stage {
            Stage::Open => self.resume(key),
            Stage::Closing(reason) => self.say_goodbye(key, reason),
            Stage::Lingering(_) => {}
        }
    }

    fn write_blocked(&mut self, key: usize) {
        let now = self.now();
        let slot = &mut self.slots[key];
        slot.flags.write_blocked = true;
        slot.progress = now;
        if !slot.flags.write_armed {
            self.want_writable(key, true);
        }
        self.arm(key);
        self.resume(key);
    }

    /// Reads on, if that had to wait and need not any more.
    fn resume(&mut self, key: usize) {
        let outstanding_max = self.node.context.requests_outstanding_max;
        let slot = &self.slots[key];
        if slot.flags.paused && !slot.must_wait(outstanding_max, self.outbox_limits.soft) {
            self.queue_read(key);
        }
    }

    /// Everything is written: over TLS, one more word says that it was not cut off.
    fn say_goodbye(&mut self, key: usize, reason: CloseReason) {
        if self.tls_of(key).is_some_and(TlsStream::close) {
            self.mark_dirty(key);
            return;
        }
        self.linger(key, reason);
    }

    fn want_writable(&mut self, key: usize, wanted: bool) {
        let slot = &mut self.slots[key];
        slot.flags.write_armed = wanted;
        let interest =
            if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if let Err(error) = self.poll.registry().reregister(&mut slot.socket, Token(key), interest)
        {
            tracing::error!(%error, "epoll refuses a socket");
            self.end(key, CloseReason::ServerError);
        }
    }
}

impl Slot {
    fn outbox_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.bytes())
    }
}

/// Writes as many frames as one call takes. 0 if there are none.
fn write_plain(slot: &mut Slot) -> io::Result<usize> {
    let Some(outbox) = &mut slot.outbox else { return Ok(0) };
    if outbox.is_empty() {
        return Ok(0);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let count = outbox.slices(&mut slices);
    let written = slot.socket.write_vectored(&slices[..count])?;
    if written == 0 {
        return Err(ErrorKind::WriteZero.into());
    }
    outbox.written(written);
    Ok(written)
}

/// Writes what TLS has ready, or encrypts and writes one record. 0 if there is nothing. What the
/// socket does not take of a record stays with the connection: less than 17 KiB.
fn write_tls(
    slot: &mut Slot,
    tls: &mut TlsStream,
    buffers: &mut WriteBuffers,
) -> io::Result<usize> {
    if tls.has_output() {
        let written = slot.socket.write(tls.output())?;
        tls.written(written);
        return Ok(written);
    }
    let Some(outbox) = &mut slot.outbox else { return Ok(0) };
    if outbox.is_empty() || tls.is_handshaking() {
        return Ok(0);
    }
    buffers.plain.clear();
    outbox.take_into(&mut buffers.plain, TLS_RECORD_BYTES);
    let record = tls.encrypt(&buffers.plain, &mut buffers.tls_output)?;
    let record = &buffers.tls_output[..record];
    match slot.socket.write(record) {
        Ok(written) => {
            tls.keep_output(&record[written..]);
            Ok(written.max(1))
        }
        Err(error) => {
            tls.keep_output(record);
            Err(error)
        }
    }
}
