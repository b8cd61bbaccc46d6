//! Pages of entries.

use bytes::Bytes;
use dunlin_protocol::LogId;

use crate::store::{Page, Range, StoreError, StoredEntry};

use super::super::segment::files::Location;
use super::super::segment::record::RecordKind;
use super::super::{Shared, moment};
use super::unreadable;
use super::window::{Look, Window};

/// Places that are looked up at a time: pages are mostly smaller.
const PLACES_MAX: u64 = 128;

/// Reads a page.
pub(super) fn read_page(shared: &Shared, range: &Range) -> Result<Page, StoreError> {
    loop {
        // What was there when it began may expire before it is read; then the range begins later.
        if let Some(page) = try_page(shared, range)? {
            return Ok(page);
        }
    }
}

/// `None` if the log was truncated meanwhile.
fn try_page(shared: &Shared, range: &Range) -> Result<Option<Page>, StoreError> {
    let head = shared.index.head(range.log)?;
    let (mut from, mut to) = (range.from.max(1).max(head.expired_below), range.to.min(head.seq));
    if let Some(since) = range.since {
        let place = moment::place_of(shared, &since)?;
        if from <= to {
            from = from.max(shared.index.first_since(range.log, place)?);
        }
    }
    let mut page = Page { head, ..Page::default() };
    let mut window = Window::default();
    let mut bytes_left = range.bytes_max;
    while from <= to {
        let wanted = (range.entries_max - page.entries.len()) as u64;
        let chunk = (to - from + 1).min(PLACES_MAX).min(wanted);
        if chunk == 0 {
            page.more = true;
            return Ok(Some(page));
        }
        let low = if range.backwards { to + 1 - chunk } else { from };
        let places = shared.index.places(range.log, low, low + chunk - 1)?;
        for step in 0..chunk {
            let seq = if range.backwards { to - step } else { from + step };
            let place = places[(seq - low) as usize];
            let entry = match read_entry(shared, range.log, seq, place, &mut window) {
                Err(StoreError::Corrupt { .. }) if expired(shared, range.log, seq)? => {
                    return Ok(None);
                }
                // Entries before a damaged one are good: they are a page of their own.
                Err(StoreError::Corrupt { .. }) if !page.entries.is_empty() => {
                    page.more = true;
                    return Ok(Some(page));
                }
                entry => entry?,
            };
            if entry.body.len() > bytes_left && !page.entries.is_empty() {
                page.more = true;
                return Ok(Some(page));
            }
            bytes_left = bytes_left.saturating_sub(entry.body.len());
            page.entries.push(entry);
        }
        if range.backwards { to -= chunk } else { from += chunk }
    }
    Ok(Some(page))
}

fn expired(shared: &Shared, log: LogId, seq: u64) -> Result<bool, StoreError> {
    Ok(seq < shared.index.head(log)?.expired_below)
}

/// Reads one entry, and makes sure that it is the one that was asked for.
fn read_entry(
    shared: &Shared,
    log: LogId,
    seq: u64,
    place: Option<Location>,
    window: &mut Window,
) -> Result<StoredEntry, StoreError> {
    let corrupt = StoreError::Corrupt { log, seq };
    let Some(place) = place else { return Err(corrupt) };
    match window.read(shared, place).map_err(|error| unreadable(&error))? {
        Look::Record(head, body)
            if head.kind == RecordKind::Entry && head.log == log && head.state.seq == seq =>
        {
            let erased = head.is_erased();
            let body = if erased { Bytes::new() } else { body };
            Ok(StoredEntry { seq, meta: head.state.meta, erased, body })
        }
        Look::Cleaned => Err(corrupt),
        Look::Record(..) | Look::Damaged => {
            shared.counters.damaged_reads.add(1);
            tracing::error!(%log, seq, segment = place.segment, offset = place.offset, "an entry is damaged");
            Err(corrupt)
        }
    }
}
