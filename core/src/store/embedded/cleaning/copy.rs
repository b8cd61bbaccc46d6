//! Copying what is alive, and letting the copy take the place of what it was copied from.

use std::io;

use super::super::Shared;
use super::super::disk::read_exact_at;
use super::super::segment::Span;
use super::super::segment::files::Location;
use super::chunk::ChunkHead;
use super::pace::Pace;
use super::pieces::{damaged, records_of};
use super::survey::Survey;
use super::writer::{CleanedWriter, Row, Written};

/// Writes a cleaned file and puts it in the place of the files of its row. Returns its size. After an
/// error everything is as it was, or as it should be.
pub(super) fn copy(
    shared: &Shared,
    pace: &Pace<'_>,
    row: &Row,
    survey: &Survey,
    old: Vec<Span>,
) -> io::Result<u64> {
    shared.segments.rewrites().begin();
    let written = write(shared, pace, row, survey);
    let name = match &written {
        Ok(written) => written.name.clone(),
        Err(_) => Written::unfinished_name(row.span),
    };
    let done = written.and_then(|written| {
        let bytes = written.bytes;
        install(shared, pace, written)?;
        Ok(bytes)
    });
    shared.segments.rewrites().end();
    if done.is_err() {
        remove_unfinished(shared, &name);
        return done;
    }
    for span in old.into_iter().filter(|span| *span != row.span) {
        shared.disk.remove(&span.name())?;
    }
    done
}

fn write(shared: &Shared, pace: &Pace<'_>, row: &Row, survey: &Survey) -> io::Result<Written> {
    let mut writer = CleanedWriter::create(&*shared.disk, *row)?;
    let mut records = Vec::new();
    for chunk in &survey.chunks {
        pace.spend(2 * chunk.bytes())?;
        read(shared, chunk, &mut records)?;
        writer.chunk(&shared.identity, chunk, &records)?;
    }
    writer.finish(&shared.identity)
}

/// Reads the records of a chunk from where they are now. Fails with the kind `InvalidData` if one is
/// damaged: its file stays as it is, since a disk may be able to read another time what it can't now.
fn read(shared: &Shared, chunk: &ChunkHead, records: &mut Vec<u8>) -> io::Result<()> {
    records.resize(chunk.payload_bytes as usize, 0);
    let (file, at) = shared.segments.resolve(chunk.place)?.ok_or_else(damaged)?;
    read_exact_at(&*file, records, at).map_err(truncated)?;
    if are_whole(shared, chunk, records) {
        return Ok(());
    }
    // It may have been read while it was overwritten.
    let _nobody = shared.segments.rewrites();
    read_exact_at(&*file, records, at).map_err(truncated)?;
    if are_whole(shared, chunk, records) { Ok(()) } else { Err(damaged()) }
}

fn are_whole(shared: &Shared, chunk: &ChunkHead, records: &[u8]) -> bool {
    let mark = shared.identity.mark(chunk.place.segment);
    records_of(&shared.identity, chunk.place, records)
        .all(|record| record.is_ok_and(|(_, head, body)| head.owns(mark, body)))
}

fn truncated(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { damaged() } else { error }
}

/// Gives the file its name. From then on it is read.
fn install(shared: &Shared, pace: &Pace<'_>, written: Written) -> io::Result<()> {
    // Who goes through the files by their names goes through all of them first.
    let _no_one = loop {
        match shared.segments.try_take_over() {
            Some(guard) => break guard,
            None => pace.spend(0)?,
        }
    };
    let (span, generation) = (written.file.span(), written.file.cleaned().generation);
    let mut rewrites = shared.segments.rewrites();
    let late = rewrites.take_late();
    for place in late.into_iter().filter(|place| written.file.span().holds(place.segment)) {
        write_again(shared, &written, place)?;
    }
    shared.disk.rename(&written.name, &written.file.span().name())?;
    // Whatever becomes of the name: from now on both are the same, and who changes a record, changes it
    // here, after it has made sure of the name.
    shared.segments.replace(written.file);
    rewrites.renamed();
    rewrites.settle(&*shared.disk)?;
    drop(rewrites);
    shared.extent.cleaned(span, generation, shared.life);
    Ok(())
}

/// A record was erased after it was copied.
fn write_again(shared: &Shared, written: &Written, place: Location) -> io::Result<()> {
    let Some(to) = written.file.resolve(place)? else { return Ok(()) };
    let Some((file, from)) = shared.segments.resolve(place)? else { return Ok(()) };
    let bytes = written.file.bytes_from(place)?;
    let mut record = vec![0; bytes];
    read_exact_at(&*file, &mut record, from)?;
    written.file.file.write_at(&record, to)?;
    written.file.file.sync()
}

fn remove_unfinished(shared: &Shared, name: &str) {
    match shared.disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, name, "can't remove an unfinished file");
        }
        _ => {}
    }
}
