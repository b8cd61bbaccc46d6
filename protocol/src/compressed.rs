//! Responses in fewer bytes: `Compressed` stands for a whole encoded frame.
//!
//! Only what has no secret in it is deflated: the length of what was compressed tells something of
//! its content, and whoever can put text beside a secret could find the secret out by it.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::frame::{self, EncodedFrame, FrameError};
use crate::limits::{DEFLATE_BYTES_MIN, FRAME_BYTES_MAX};
use crate::wire::{Compressed, Frame, frame::Body};

/// The fastest level: of a sync of 5,000 conversations it leaves 57 % in 1.2 ms, where the usual one (6)
/// leaves 48 % in 22 ms (docs/benchmarks/diary.md).
const LEVEL: u32 = 1;

/// Deflates frames, one after another. Its tables are large, so they are made with the first frame
/// and kept.
#[derive(Debug, Default)]
pub struct Deflater {
    tables: Option<Box<Compress>>,
    output: Vec<u8>,
}

impl Deflater {
    /// Nothing is made yet.
    pub const fn new() -> Deflater {
        Deflater { tables: None, output: Vec::new() }
    }

    /// The same response as `Compressed`, if that is worth it: if it has more than
    /// [`DEFLATE_BYTES_MIN`] and an eighth of it is saved at least.
    pub fn deflate(&mut self, request_id: u64, response: &EncodedFrame) -> Option<EncodedFrame> {
        let body = response.body();
        if body.len() <= DEFLATE_BYTES_MIN {
            return None;
        }
        let tables = self
            .tables
            .get_or_insert_with(|| Box::new(Compress::new(Compression::new(LEVEL), false)));
        tables.reset();
        // What does not fit is not worth it.
        self.output.resize(body.len() - body.len() / 8, 0);
        let status = tables.compress(&body, &mut self.output, FlushCompress::Finish);
        let is_whole = matches!(status, Ok(Status::StreamEnd));
        let deflated = &self.output[..tables.total_out() as usize];
        let compressed = is_whole.then(|| {
            let bytes = u32::try_from(body.len()).expect("a response is below 4 GiB");
            let deflated = Bytes::copy_from_slice(deflated);
            let body = Body::Compressed(Compressed { deflated, bytes });
            EncodedFrame::response(request_id, body)
        });
        compressed.filter(|compressed| compressed.body().len() <= body.len() - body.len() / 8)
    }
}

/// The frame that a `Compressed` of this request stands for.
pub fn inflate(request_id: u64, compressed: &Compressed) -> Result<Frame, FrameError> {
    if compressed.bytes > FRAME_BYTES_MAX {
        let bytes_max = FRAME_BYTES_MAX;
        return Err(FrameError::TooLarge { bytes: compressed.bytes, bytes_max });
    }
    let malformed = |reason: &str| FrameError::Malformed {
        bytes: compressed.deflated.len(),
        reason: reason.to_owned(),
    };
    let mut body = vec![0; compressed.bytes as usize];
    let mut tables = Decompress::new(false);
    let status = tables.decompress(&compressed.deflated, &mut body, FlushDecompress::Finish);
    if !matches!(status, Ok(Status::StreamEnd)) {
        return Err(malformed("it is no deflated frame of this length"));
    }
    if tables.total_out() != body.len() as u64
        || tables.total_in() != compressed.deflated.len() as u64
    {
        return Err(malformed("there is more or less of it than it says"));
    }
    let frame = frame::decode(body.into())?;
    match &frame.body {
        Some(Body::Compressed(_)) => Err(malformed("it is compressed twice")),
        _ if frame.request_id != request_id => Err(malformed("it answers another request")),
        _ => Ok(frame),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::{Entry, HistoryPage, Message as Text, entry};

    fn page(entries: u64) -> Frame {
        let entry = |seq| {
            let content = Bytes::from(format!("message {seq} of somebody to somebody else"));
            let text = Text { content, ..Text::default() };
            Entry { seq, body: Some(entry::Body::Message(text)), ..Entry::default() }
        };
        let entries = (1..=entries).map(entry).collect();
        let page = HistoryPage { entries, ..HistoryPage::default() };
        Frame { request_id: 7, body: Some(Body::HistoryPage(page)) }
    }

    fn compressed(frame: &EncodedFrame) -> Compressed {
        match frame::decode(frame.body()).unwrap().body {
            Some(Body::Compressed(compressed)) => compressed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_deflated_is_inflated_again_and_again() {
        let mut deflater = Deflater::new();
        for entries in [100, 30, 1000] {
            let frame = page(entries);
            let whole = EncodedFrame::new(&frame);
            let smaller = deflater.deflate(7, &whole).expect("it is worth it");
            assert!(smaller.wire().len() < whole.wire().len() / 2);
            assert_eq!(inflate(7, &compressed(&smaller)), Ok(frame));
        }
    }

    #[test]
    fn what_is_small_or_saves_little_goes_as_it_is() {
        let mut deflater = Deflater::new();
        assert_eq!(deflater.deflate(7, &EncodedFrame::new(&page(2))), None);
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let content: Bytes = noise.take(10_000).collect();
        let entry = Entry {
            body: Some(entry::Body::Message(Text { content, ..Text::default() })),
            ..Entry::default()
        };
        let page = HistoryPage { entries: vec![entry], ..HistoryPage::default() };
        let whole = EncodedFrame::response(7, Body::HistoryPage(page));
        assert_eq!(deflater.deflate(7, &whole), None);
    }

    #[test]
    fn what_is_no_deflated_frame_is_refused() {
        let mut deflater = Deflater::new();
        let whole = EncodedFrame::new(&page(100));
        let good = compressed(&deflater.deflate(7, &whole).unwrap());
        let bytes = good.bytes;
        for bytes in [0, 1, bytes - 1, bytes + 1, FRAME_BYTES_MAX] {
            assert!(inflate(7, &Compressed { bytes, ..good.clone() }).is_err(), "{bytes}");
        }
        let bomb = Compressed { bytes: FRAME_BYTES_MAX + 1, ..good.clone() };
        assert!(matches!(inflate(7, &bomb), Err(FrameError::TooLarge { .. })));
        for cut in 0..good.deflated.len() {
            let deflated = good.deflated.slice(..cut);
            assert!(inflate(7, &Compressed { deflated, bytes }).is_err(), "{cut}");
        }
        let longer: Bytes = [&good.deflated[..], b"x"].concat().into();
        assert!(inflate(7, &Compressed { deflated: longer, bytes }).is_err());
        assert!(inflate(8, &good).is_err(), "of another request");
    }

    #[test]
    fn one_within_another_is_refused() {
        let inner = Frame { request_id: 7, body: Some(Body::Compressed(Compressed::default())) };
        let inner = inner.encode_to_vec();
        let mut tables = Compress::new(Compression::new(LEVEL), false);
        let mut deflated = Vec::with_capacity(100);
        tables.compress_vec(&inner, &mut deflated, FlushCompress::Finish).unwrap();
        let twice = Compressed { deflated: deflated.into(), bytes: inner.len() as u32 };
        assert!(matches!(inflate(7, &twice), Err(FrameError::Malformed { .. })));
    }
}
