//! The scratch buffer that all connections of a shard read into.
//!
//! Frames are taken from it without a copy: they share its memory, and when its room is used up
//! another buffer is begun. All of it is kept initialised, so that no `unsafe` is needed; what is
//! zeroed is only what was taken before, a small part of the cost of reading it.
//!
//! A frame keeps all of a buffer in memory, and may be a small part of it. So those that were used up are
//! counted until nothing refers to them any more, and beyond so many [frames have to be
//! copied](ReadBuffer::is_held).

use bytes::BytesMut;

use crate::limits::{READ_BUFFER_BYTES, READ_BUFFERS_HELD_MAX, READ_BYTES_MIN};

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    room: BytesMut,
    /// What is left of those that were used up, which frames may refer to still.
    used_up: Vec<BytesMut>,
}

impl ReadBuffer {
    pub(crate) fn new() -> ReadBuffer {
        ReadBuffer { room: BytesMut::zeroed(READ_BUFFER_BYTES), used_up: Vec::new() }
    }

    /// Where to read into; never less than [`READ_BYTES_MIN`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.room.len() < READ_BYTES_MIN {
            self.begin_another();
        }
        &mut self.room
    }

    /// Takes what was read.
    pub(crate) fn take(&mut self, bytes: usize) -> BytesMut {
        self.room.split_to(bytes)
    }

    /// Whether frames hold as many buffers as they may: those that are taken now have to be copied.
    pub(crate) fn is_held(&self) -> bool {
        self.used_up.len() >= READ_BUFFERS_HELD_MAX
    }

    /// Gives back what nobody refers to any more.
    pub(crate) fn tidy(&mut self) {
        self.used_up.retain_mut(|used_up| !is_free(used_up));
    }

    /// Memory that is reused if nothing refers to it any more, or new one.
    fn begin_another(&mut self) {
        if !is_free(&mut self.room) {
            let free = self.used_up.iter_mut().position(is_free);
            let next = free.map(|index| self.used_up.swap_remove(index));
            let used_up = std::mem::replace(&mut self.room, next.unwrap_or_default());
            // While frames are copied, nothing is left that could refer to the newest one.
            if !self.is_held() {
                self.used_up.push(used_up);
            }
            self.room.reserve(READ_BUFFER_BYTES);
        }
        self.room.resize(READ_BUFFER_BYTES, 0);
    }
}

/// Whether nothing refers to the memory of a buffer: then all of it can be used again.
fn is_free(buffer: &mut BytesMut) -> bool {
    buffer.clear();
    buffer.try_reclaim(READ_BUFFER_BYTES)
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

    /// Reads as many bytes as a buffer has, in pieces; what was taken.
    fn use_up(buffer: &mut ReadBuffer) -> Vec<bytes::Bytes> {
        let pieces = READ_BUFFER_BYTES / READ_BYTES_MIN;
        let mut piece = |_| {
            buffer.room();
            buffer.take(READ_BYTES_MIN).freeze()
        };
        (0..pieces).map(&mut piece).collect()
    }

    #[test]
    fn a_frame_holds_its_buffer_until_it_is_gone() {
        let mut buffer = ReadBuffer::new();
        let mut held = Vec::new();
        while !buffer.is_held() {
            // One small piece of each.
            held.push(use_up(&mut buffer).remove(0));
            assert!(held.len() <= 2 * READ_BUFFERS_HELD_MAX, "they are counted");
        }
        buffer.tidy();
        assert!(buffer.is_held(), "all are referred to");
        held.truncate(2);
        buffer.tidy();
        assert!(!buffer.is_held());
        assert!((1..=3).contains(&buffer.used_up.len()), "{}", buffer.used_up.len());
    }

    #[test]
    fn what_is_free_is_used_again() {
        let mut buffer = ReadBuffer::new();
        let memory = |buffer: &mut ReadBuffer| buffer.room().as_ptr() as usize / READ_BUFFER_BYTES;
        let first = memory(&mut buffer);
        for _ in 0..100 {
            drop(use_up(&mut buffer));
        }
        assert!(buffer.used_up.is_empty());
        assert!(memory(&mut buffer).abs_diff(first) <= 1, "it is the same memory");
    }
}
