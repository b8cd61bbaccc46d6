//! Frames of the outbox as messages: each has a header in the place of its prefix, and its body is not copied.
//!
//! A frame that was begun has its prefix counted as written, and what the socket did not take of its header is
//! the first of the [`Words`]. So a frame of which the outbox says that it is begun has no header any more.

use std::io::IoSlice;

use bytes::Bytes;
use dunlin_protocol::limits::FRAME_PREFIX_BYTES;
use dunlin_protocol::websocket::Header;
use dunlin_protocol::websocket::header::{EncodedHeader, SERVER_HEADER_BYTES_MAX};

use super::words::Words;
use crate::limits::SLICES_PER_WRITE;
use crate::stream::outbox::Outbox;

/// The headers of what is written in one call, and how long the bodies are. Shared by all streams of a shard.
#[derive(Debug)]
pub(crate) struct Heads(Vec<(EncodedHeader, usize)>);

/// A message takes two slices.
const HEADS_MAX: usize = SLICES_PER_WRITE / 2;

impl Heads {
    pub(crate) fn new() -> Heads {
        Heads(Vec::with_capacity(HEADS_MAX))
    }
}

/// Slices, filled one by one; an empty one is left out.
struct Filling<'s, 'b> {
    slices: &'s mut [IoSlice<'b>],
    count: usize,
}

impl<'b> Filling<'_, 'b> {
    fn add(&mut self, bytes: &'b [u8]) {
        if !bytes.is_empty()
            && let Some(slice) = self.slices.get_mut(self.count)
        {
            *slice = IoSlice::new(bytes);
            self.count += 1;
        }
    }
}

/// Those that wait, without one that was begun.
fn whole_frames(outbox: Option<&Outbox>) -> impl Iterator<Item = &Bytes> {
    outbox.into_iter().flat_map(|outbox| outbox.waiting().skip(usize::from(outbox.is_begun())))
}

fn head_of(frame: &Bytes) -> (EncodedHeader, usize) {
    let body_bytes = frame.len() - FRAME_PREFIX_BYTES;
    (Header::of_message(body_bytes).encode(), body_bytes)
}

/// What is left of a frame that was begun.
fn rest_of_begun(outbox: Option<&Outbox>) -> &[u8] {
    let begun = outbox.filter(|outbox| outbox.is_begun());
    begun.and_then(|outbox| outbox.waiting().next()).map_or(&[], |rest| rest)
}

/// Fills `slices` with what is to be written next; how many were filled.
pub(super) fn slices<'b>(
    words: &'b Words,
    outbox: Option<&'b Outbox>,
    heads: &'b mut Heads,
    slices: &mut [IoSlice<'b>],
) -> usize {
    let mut filling = Filling { slices, count: 0 };
    filling.add(words.first());
    filling.add(rest_of_begun(outbox));
    filling.add(words.pong_waiting());
    let messages_max = (filling.slices.len() - filling.count) / 2;
    heads.0.clear();
    heads.0.extend(whole_frames(outbox).take(messages_max).map(head_of));
    for ((header, _), frame) in heads.0.iter().zip(whole_frames(outbox)) {
        filling.add(header);
        filling.add(&frame[FRAME_PREFIX_BYTES..]);
    }
    filling.count
}

/// So much of the [`slices`] was written.
pub(super) fn written(
    words: &mut Words,
    outbox: Option<&mut Outbox>,
    heads: &mut Heads,
    count: usize,
) {
    let mut left = count;
    let mut take = |bytes: usize| {
        let taken = bytes.min(left);
        left -= taken;
        taken
    };
    let first = take(words.first().len());
    let mut frame_bytes = take(rest_of_begun(outbox.as_deref()).len());
    let pong = take(words.pong_waiting().len());
    let mut begun_header: &[u8] = &[];
    for (header, body_bytes) in &heads.0 {
        let of_header = take(header.len());
        if of_header == 0 {
            break;
        }
        frame_bytes += FRAME_PREFIX_BYTES + take(*body_bytes);
        if of_header < header.len() {
            begun_header = &header[of_header..];
            break;
        }
    }
    words.first_written(first);
    words.pong_written(pong);
    if !begun_header.is_empty() {
        words.say(begun_header);
    }
    heads.0.clear();
    if let Some(outbox) = outbox
        && frame_bytes > 0
    {
        outbox.written(frame_bytes);
    }
}

/// Appends what is to be written next to `plain`, `bytes_max` at most, and takes it as written: for TLS, which
/// keeps the rest of a record by itself.
pub(super) fn take_into(
    words: &mut Words,
    outbox: Option<&mut Outbox>,
    plain: &mut Vec<u8>,
    bytes_max: usize,
) {
    let append = |plain: &mut Vec<u8>, bytes: &[u8]| {
        let count = bytes.len().min(bytes_max - plain.len());
        plain.extend_from_slice(&bytes[..count]);
        count
    };
    let first = append(plain, words.first());
    let rest = rest_of_begun(outbox.as_deref());
    let mut frame_bytes = append(plain, rest);
    let is_between = frame_bytes == rest.len();
    let pong = if is_between { append(plain, words.pong_waiting()) } else { 0 };
    for frame in whole_frames(outbox.as_deref()).take_while(|_| is_between) {
        if bytes_max - plain.len() < SERVER_HEADER_BYTES_MAX {
            break;
        }
        plain.extend_from_slice(&head_of(frame).0);
        frame_bytes += FRAME_PREFIX_BYTES + append(plain, &frame[FRAME_PREFIX_BYTES..]);
    }
    words.first_written(first);
    words.pong_written(pong);
    if let Some(outbox) = outbox
        && frame_bytes > 0
    {
        outbox.written(frame_bytes);
    }
}
