//! The scratch buffer that all connections of a shard read into.
//!
//! Frames are taken from it without a copy: they share its memory, and when its room is used up
//! another buffer is begun. All of it is kept initialised, so that no `unsafe` is needed; what is
//! zeroed is only what was taken before, a small part of the cost of reading it.

use bytes::BytesMut;

use crate::limits::{READ_BUFFER_BYTES, READ_BYTES_MIN};

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    room: BytesMut,
}

impl ReadBuffer {
    pub(crate) fn new() -> ReadBuffer {
        ReadBuffer { room: BytesMut::zeroed(READ_BUFFER_BYTES) }
    }

    /// Where to read into; never less than [`READ_BYTES_MIN`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.room.len() < READ_BYTES_MIN {
            // The old memory is reused if no frame refers to it any more.
            self.room.clear();
            self.room.reserve(READ_BUFFER_BYTES);
            self.room.resize(READ_BUFFER_BYTES, 0);
        }
        &mut self.room
    }

    /// Takes what was read.
    pub(crate) fn take(&mut self, bytes: usize) -> BytesMut {
        self.room.split_to(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room_and_taken_bytes_stay() {
        let mut buffer = ReadBuffer::new();
        let mut taken = Vec::new();
        for round in 0..100u8 {
            let room = buffer.room();
            assert!(room.len() >= READ_BYTES_MIN);
            room[..5000].fill(round);
            taken.push(buffer.take(5000).freeze());
        }
        for (round, bytes) in taken.iter().enumerate() {
            assert!(bytes.iter().all(|&byte| usize::from(byte) == round));
        }
    }
}
