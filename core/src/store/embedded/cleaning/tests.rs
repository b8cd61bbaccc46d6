use std::path::Path;

use bytes::Bytes;
use dunlin_protocol::{LogId, UserId};

use super::super::disk::{Disk, Folder};
use super::super::identity::Identity;
use super::super::segment::Span;
use super::super::segment::files::Location;
use super::super::segment::record::{LogState, NewRecord, RecordHead, decode_body};
use super::chunk::ChunkHead;
use super::file::{CleanedFile, open_if_cleaned};
use super::scan::scan_cleaned;
use super::writer::{CleanedWriter, Row};
use crate::random::SystemSource;

/// A record that was kept.
struct Kept {
    place: Location,
    log: LogId,
    seq: u64,
    body: Bytes,
}

/// A cleaned file of segments 2 to 4, of which 3 is dead, and what was kept.
fn sample(path: &Path) -> (Folder, Identity, Span, Vec<Kept>) {
    let folder = Folder::open(path).unwrap();
    let identity = Identity::random(&SystemSource::new());
    let span = Span { first: 2, last: 4 };
    let row =
        Row { span, first_batch: 10, next_batch: 40, cleaned_through: 60, generation: 1, life: 7 };
    let mut writer = CleanedWriter::create(&folder, row).unwrap();
    let mut kept = Vec::new();
    // What follows each other: (segment, offset, batch, records).
    for (segment, offset, batch, records) in [(2, 5000, 10, 2), (2, 9000, 11, 1), (4, 4136, 33, 3)]
    {
        let mut payload = Vec::new();
        for number in 0..records {
            let place = Location { segment, offset: offset + payload.len() as u32 };
            let log = LogId::account(UserId::new(u64::from(segment)).unwrap());
            let seq = batch * 10 + number;
            let body = Bytes::from(format!("body {seq}"));
            encode(&identity, segment, (log, seq, &body), &mut payload);
            kept.push(Kept { place, log, seq, body });
        }
        let place = Location { segment, offset };
        let records = records as u32;
        let head = ChunkHead { place, batch, payload_bytes: payload.len() as u32, records };
        writer.chunk(&identity, &head, &payload).unwrap();
    }
    let written = writer.finish(&identity).unwrap();
    folder.rename(&written.name, &span.name()).unwrap();
    (folder, identity, span, kept)
}

fn open(folder: &Folder, identity: &Identity, span: Span) -> std::io::Result<CleanedFile> {
    let file = folder.open(&span.name())?;
    Ok(open_if_cleaned(identity, &file, span)?.expect("a row is cleaned"))
}

/// Whether a record can be read; it is the right one then.
fn reads(file: &CleanedFile, identity: &Identity, kept: &Kept) -> bool {
    let Ok(Some(at)) = file.resolve(kept.place) else { return false };
    let mut bytes = vec![0; 300];
    let read = file.file.read_at(&mut bytes, at).unwrap();
    let mark = identity.mark(kept.place.segment);
    let Some(head) = RecordHead::decode(mark, &bytes[..read]) else { return false };
    let Some(body) = decode_body(mark, &head, &bytes[..read]) else { return false };
    assert_eq!((head.log, head.state.seq, body), (kept.log, kept.seq, kept.body.clone()));
    true
}

#[test]
fn what_was_kept_is_found_where_it_was_and_the_rest_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, identity, span, kept) = sample(folder.path());
    let file = open(&folder, &identity, span).unwrap();
    assert!(kept.iter().all(|kept| reads(&file, &identity, kept)));
    let gone = |segment, offset| file.resolve(Location { segment, offset }).unwrap().is_none();
    assert!(gone(2, 4136) && gone(2, 8999) && gone(3, 5000) && gone(4, 4135) && gone(4, 99_999));
    assert_eq!(file.cleaned().cleaned_through, 60);

    let scans = scan_cleaned(&identity, &file).unwrap();
    assert!(scans.iter().all(|scan| scan.damage.is_empty() && !scan.history_lost));
    let found: Vec<_> = scans.iter().map(|scan| (scan.index.segment, scan.batches)).collect();
    assert_eq!(found, [(2, 2), (4, 1)]);
    assert_eq!(scans[1].index.next_batch, 40);

    // From any place on, the feed finds the next chunk.
    let next = |segment, offset| file.chunk_from(Location { segment, offset }).unwrap();
    assert_eq!(next(2, 0).unwrap().place, Location { segment: 2, offset: 5000 });
    assert_eq!(next(2, 5001).unwrap().place, Location { segment: 2, offset: 5000 });
    assert_eq!(next(3, 0).unwrap().place, Location { segment: 4, offset: 4136 });
    assert_eq!(next(4, 99_999), None);
}

#[test]
fn no_flipped_bit_of_a_cleaned_file_goes_unseen() {
    let path = tempfile::tempdir().unwrap();
    let (folder, identity, span, kept) = sample(path.path());
    let name = path.path().join(span.name());
    let good = std::fs::read(&name).unwrap();
    // Of the many zeros in the headers and in the guide, some.
    let matters = |place: &usize| {
        let inside = place % 4096;
        !(700..=4070).contains(&inside) || inside.is_multiple_of(61)
    };
    for place in (0..good.len()).filter(matters) {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        std::fs::write(&name, &bytes).unwrap();
        let file = open(&folder, &identity, span).unwrap();
        let scans = scan_cleaned(&identity, &file).unwrap();
        assert!(scans.iter().any(|scan| !scan.damage.is_empty()), "byte {place}");
        // One byte takes one record at most, and it is known which, or that history was lost.
        let read = kept.iter().filter(|kept| reads(&file, &identity, kept)).count();
        assert!(read + 1 >= kept.len(), "byte {place}: {read} records");
        let in_records = (4096..file.cleaned().guide_at as usize).contains(&place);
        assert!(in_records || read == kept.len(), "byte {place}: {read} records");
        let known: usize = scans.iter().map(|scan| scan.index.entries as usize).sum();
        let lost = scans.iter().any(|scan| scan.history_lost);
        assert!(known == kept.len() || lost, "byte {place}: {known} records");
    }
}

#[test]
fn no_cut_of_a_cleaned_file_goes_unseen() {
    let path = tempfile::tempdir().unwrap();
    let (folder, identity, span, kept) = sample(path.path());
    let name = path.path().join(span.name());
    let good = std::fs::read(&name).unwrap();
    for length in (0..good.len()).filter(|length| length % 4096 < 700 || length % 61 == 0) {
        std::fs::write(&name, &good[..length]).unwrap();
        let file = open(&folder, &identity, span).unwrap();
        let scans = scan_cleaned(&identity, &file).unwrap();
        assert!(scans.iter().any(|scan| !scan.damage.is_empty()), "{length} bytes");
        let read = kept.iter().filter(|kept| reads(&file, &identity, kept)).count();
        let lost = scans.iter().any(|scan| scan.history_lost);
        assert!(read == kept.len() || lost, "{length} bytes: {read} records");
    }
}

#[test]
fn a_row_without_any_header_is_read_by_its_chunks() {
    let path = tempfile::tempdir().unwrap();
    let (folder, identity, span, kept) = sample(path.path());
    let name = path.path().join(span.name());
    let mut bytes = std::fs::read(&name).unwrap();
    let length = bytes.len();
    bytes[..4096].fill(7);
    bytes[length - 4096..].fill(7);
    std::fs::write(&name, &bytes).unwrap();
    let file = open(&folder, &identity, span).unwrap();
    assert!(kept.iter().all(|kept| reads(&file, &identity, kept)));
    let scans = scan_cleaned(&identity, &file).unwrap();
    // What may have been cut off can't be told.
    assert!(!scans[0].damage.is_empty() && scans[0].history_lost);
}

fn encode(identity: &Identity, segment: u32, entry: (LogId, u64, &Bytes), payload: &mut Vec<u8>) {
    let (log, seq, body) = entry;
    let state = LogState { seq, ..LogState::default() };
    NewRecord::entry(log, state, None, body).encode(identity.mark(segment), payload);
}
