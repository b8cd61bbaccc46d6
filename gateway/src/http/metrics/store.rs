//! Entries, batches, the disk.

use dunlin_http::metrics::{Metrics, Unit};

use super::spread;
use crate::status::disk::Disk;
use crate::status::report::Store;

pub(super) fn add(metrics: &mut Metrics, store: &Store) {
    add_written(metrics, store);
    add_batches(metrics, store);
    add_index(metrics, store);
    add_damage(metrics, store);
    add_cleaning(metrics, store);
    let consumers = store.consumers.iter().flatten();
    let mut behind = metrics.gauge(
        "dunlin_feed_behind",
        Some(Unit::Bytes),
        "About how much is kept for a consumer of the feed",
    );
    for consumer in consumers {
        behind =
            behind.labelled([("consumer", consumer.name.clone())], consumer.behind_bytes as f64);
    }
}

fn add_written(metrics: &mut Metrics, store: &Store) {
    metrics
        .counter("dunlin_store_entries", None, "Entries that became durable")
        .value(store.entries);
    metrics
        .counter("dunlin_store_registers", None, "Registers that were set or removed durably")
        .value(store.registers);
    metrics
        .counter("dunlin_store_refused", None, "Writes that were duplicates or conflicts")
        .value(store.refused);
    metrics
        .counter("dunlin_store_written", Some(Unit::Bytes), "Bytes of durable batches")
        .value(store.bytes);
    metrics
        .gauge("dunlin_store_queued", None, "Requests of writes that wait for the commit lane")
        .number(store.queued);
}

fn add_batches(metrics: &mut Metrics, store: &Store) {
    metrics
        .histogram(
            "dunlin_fsync",
            Some(Unit::Seconds),
            "How long the commit lane waits for an fsync",
        )
        .values(spread::seconds(&store.fsync_us));
    metrics
        .histogram(
            "dunlin_store_batch_records",
            None,
            "Entries and registers that became durable together",
        )
        .values(spread::counts(&store.batch_records));
    metrics
        .histogram("dunlin_store_batch", Some(Unit::Bytes), "Bytes that became durable together")
        .values(spread::bytes(&store.batch_bytes));
    metrics
        .counter("dunlin_store_failed_batches", None, "Batches that could not be written")
        .value(store.failed_batches);
    metrics
        .gauge("dunlin_store_failing", None, "1 if the last batch could not be written")
        .number(store.failing.into());
}

fn add_index(metrics: &mut Metrics, store: &Store) {
    metrics
        .counter(
            "dunlin_index_written",
            Some(Unit::Bytes),
            "Bytes of index files that were written",
        )
        .value(store.index_bytes);
    metrics
        .gauge("dunlin_index_filters", Some(Unit::Bytes), "Filters of the index in memory")
        .number(store.filter_bytes);
    metrics
        .gauge(
            "dunlin_index_filters_all",
            Some(Unit::Bytes),
            "Filters of the index, those in files too",
        )
        .number(store.filter_bytes_total);
    metrics
        .gauge(
            "dunlin_index_unfiled",
            Some(Unit::Bytes),
            "Memory, about, of the index of what has no index file yet",
        )
        .number(store.unfiled_index_bytes);
}

fn add_damage(metrics: &mut Metrics, store: &Store) {
    metrics
        .counter("dunlin_store_damaged_reads", None, "Reads that met a damaged entry")
        .value(store.damaged_reads);
    metrics
        .gauge(
            "dunlin_store_damage",
            None,
            "Places of damage that were told at a start and that nobody has acknowledged",
        )
        .number(store.damage_told);
}

fn add_cleaning(metrics: &mut Metrics, store: &Store) {
    metrics
        .counter("dunlin_cleaned_files", None, "Files of segments that were made by cleaning")
        .value(store.cleaned_files);
    metrics
        .counter("dunlin_cleaning_written", Some(Unit::Bytes), "Bytes that cleaning has written")
        .value(store.cleaning_written_bytes);
    metrics
        .counter("dunlin_cleaning_freed", Some(Unit::Bytes), "Bytes that cleaning has given back")
        .value(store.cleaning_freed_bytes);
}

/// The disk of the data folder. Its watermarks belong here.
pub(super) fn add_disk(metrics: &mut Metrics, disk: &Disk) {
    let Disk { folder: _, store_bytes, segments, free_bytes, total_bytes } = disk;
    if let Some(bytes) = store_bytes {
        metrics
            .gauge("dunlin_disk_store", Some(Unit::Bytes), "What the store takes of the disk")
            .number(*bytes);
    }
    if let Some(segments) = segments {
        metrics.gauge("dunlin_disk_segments", None, "Files that hold entries").number(*segments);
    }
    if let Some(bytes) = free_bytes {
        metrics
            .gauge("dunlin_disk_free", Some(Unit::Bytes), "What the server may still write")
            .number(*bytes);
    }
    if let Some(bytes) = total_bytes {
        metrics
            .gauge("dunlin_disk_size", Some(Unit::Bytes), "The size of the file system")
            .number(*bytes);
    }
}
