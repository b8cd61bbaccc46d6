//! What of the files of a store is durable, while others write.

use std::collections::BTreeMap;
use std::io;

use super::super::Shared;
use super::super::config::OpenError;
use super::super::disk::read_all;
use super::super::segment::files::SegmentFile;
use super::super::segment::{SEGMENT_HEAD_BYTES, SegmentFiles, SegmentHead, Span};

/// The durable part of a file of segments.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct DurablePart {
    pub span: Span,
    /// Where it ends; `None` if that is the end of the file.
    pub end: Option<u64>,
    pub bytes: u64,
    /// It was sealed when that was found out.
    pub is_sealed: bool,
}

/// The files that hold something durable at this moment. Whoever asks holds their names.
pub(in super::super) fn durable_parts(shared: &Shared) -> Result<Vec<DurablePart>, OpenError> {
    // First: what is sealed then has come to its end.
    let newest_sealed = shared.extent.newest_sealed();
    let in_memory = shared.index.ends_in_memory();
    let active = in_memory.last().copied().filter(|(active, _)| *active > 0);
    let names = shared.disk.names().map_err(OpenError::io("can't list", shared.disk.path()))?;
    let files = SegmentFiles::of_names(names.iter().map(String::as_str)).kept;
    let indexed = shared.index.runs().last().map_or(0, |run| run.segments().1);
    // Of files that are not indexed yet, some may have nothing in them any more that would be in memory.
    let in_memory = in_memory.into_iter().filter(|(_, end)| *end > 0);
    let known = in_memory.clone().map(|(segment, _)| segment).fold(indexed, u32::max);
    let files = files.into_iter().filter(|span| span.last <= known);
    let files = files.filter(|span| !shared.passed_over.contains(&span.first));
    let mut ends: BTreeMap<u32, (Span, Option<u64>)> =
        files.map(|span| (span.first, (span, None))).collect();
    ends.extend(in_memory.map(|(number, end)| {
        let span = shared.segments.span_of(number);
        // A cleaned file has another end, and is whole.
        let is_cleaned = matches!(shared.segments.open(number), Ok(SegmentFile::Cleaned(_)));
        (span.first, (span, (!is_cleaned).then_some(end)))
    }));
    // What was begun after the list of those in memory was made is left out.
    if let Some((active, _)) = active {
        ends.retain(|number, _| *number <= active);
    }
    let part = |(span, end): (Span, Option<u64>)| {
        let io = OpenError::io("can't read", shared.disk.path().join(span.name()));
        let file = shared.segments.file(span.first).map_err(&io)?;
        let bytes = file.bytes().map_err(&io)?;
        let (bytes, is_sealed) =
            (end.map_or(bytes, |end| end.min(bytes)), span.last <= newest_sealed);
        Ok(DurablePart { span, end, bytes, is_sealed })
    };
    ends.into_values().map(part).collect()
}

/// The durable part of a file.
pub(in super::super) fn read_part(shared: &Shared, part: &DurablePart) -> io::Result<Vec<u8>> {
    let mut content = read_all(&*shared.segments.file(part.span.first)?)?;
    if let Some(end) = part.end.and_then(|end| usize::try_from(end).ok()) {
        content.truncate(end);
    }
    Ok(content)
}

/// The batch that each file begins with, where its header says so.
pub(in super::super) fn first_batches(
    shared: &Shared,
    parts: &[DurablePart],
) -> Result<Vec<Option<u64>>, OpenError> {
    let io = |span: Span| OpenError::io("can't read", shared.disk.path().join(span.name()));
    let first = |part: &DurablePart| first_batch(shared, part.span).map_err(io(part.span));
    parts.iter().map(first).collect()
}

fn first_batch(shared: &Shared, span: Span) -> io::Result<Option<u64>> {
    let mut head = vec![0; SEGMENT_HEAD_BYTES];
    let read = shared.segments.file(span.first)?.read_at(&mut head, 0)?;
    let head = SegmentHead::decode(&shared.identity, span, &head[..read]).ok().flatten();
    Ok(head.map(|head| head.first_batch))
}
