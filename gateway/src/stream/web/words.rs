//! What the stream itself has to say, between two frames.
//!
//! A ping may be answered by the pong for a later one, so no more than one waits: who sends pings and reads
//! nothing makes the stream hold 127 bytes.

use dunlin_protocol::websocket::close_code::CloseCode;
use dunlin_protocol::websocket::{Header, Opcode};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Words(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// Comes before anything else: the rest of what was begun.
    first: Vec<u8>,
    /// Comes when no frame is begun.
    pong: Vec<u8>,
}

impl Words {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The memory that they take.
    pub(super) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| {
            waiting.first.capacity() + waiting.pong.capacity() + size_of::<Waiting>()
        })
    }

    /// What comes before anything else.
    pub(super) fn first(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.first)
    }

    /// What comes when no frame is begun.
    pub(super) fn pong_waiting(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.pong)
    }

    /// Says something before anything else, while no frame is begun or by what begins one.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_default().first.extend_from_slice(bytes);
    }

    /// Answers a ping, instead of earlier ones.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        let waiting = self.0.get_or_insert_default();
        waiting.pong.clear();
        append(&mut waiting.pong, Opcode::Pong, payload);
    }

    /// The last word: everything else was said.
    pub(super) fn close(&mut self, code: Option<CloseCode>) {
        let waiting = self.0.get_or_insert_default();
        let payload = code.map(CloseCode::to_be_bytes);
        append(&mut waiting.first, Opcode::Close, payload.as_ref().map_or(&[], |it| &it[..]));
    }

    /// So much of what comes first was written.
    pub(super) fn first_written(&mut self, count: usize) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.first.drain(..count);
        self.forget_if_said();
    }

    /// So much of the pong was written: the rest comes before anything else.
    pub(super) fn pong_written(&mut self, count: usize) {
        let Some(waiting) = &mut self.0 else { return };
        if count > 0 {
            waiting.first.extend(waiting.pong.drain(..).skip(count));
        }
        self.forget_if_said();
    }

    fn forget_if_said(&mut self) {
        if self.first().is_empty() && self.pong_waiting().is_empty() {
            self.0 = None;
        }
    }
}

fn append(bytes: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload_bytes = payload.len() as u64;
    let header = Header { is_final: true, opcode, mask: None, payload_bytes };
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(payload);
}
