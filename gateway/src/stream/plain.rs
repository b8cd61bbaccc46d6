//! Frames on a bare socket: what is read are frames, and frames are written as they wait.

use std::io::IoSlice;

use super::Input;
use super::buffers::Buffers;
use super::outbox::Outbox;

/// See the module. It keeps nothing.
#[derive(Debug)]
pub(crate) struct PlainStream;

impl PlainStream {
    pub(super) fn room<'b>(&self, buffers: &'b mut Buffers) -> &'b mut [u8] {
        buffers.input.room()
    }

    pub(super) fn receive(&self, count: usize, buffers: &mut Buffers) -> Input {
        Input::of_scratch(buffers.input.take(count))
    }

    /// As many frames as one call takes.
    pub(super) fn output<'b>(
        &self,
        outbox: Option<&'b mut Outbox>,
        slices: &mut [IoSlice<'b>],
    ) -> usize {
        outbox.map_or(0, |outbox| outbox.slices(slices))
    }

    pub(super) fn written(&self, count: usize, outbox: Option<&mut Outbox>) {
        if let Some(outbox) = outbox {
            outbox.written(count);
        }
    }
}
