//! A snapshot as a page for people.

use std::io::{self, Write};

use super::change::Change;
use super::disk::Disk;
use super::memory::{Bounded, Memory};
use super::report::{Log, Moments, Status, Store};

/// Less free space than this part of the disk deserves a word.
const FREE_PART_LOW: f64 = 0.1;

/// Writes a page: what is now, what happened lately, what is wrong.
pub(crate) fn write_page(out: &mut dyn Write, status: &Status, change: &Change) -> io::Result<()> {
    let Status { server, commit, pid, uptime_ms, shards, engine, connections, .. } = status;
    let up = duration(*uptime_ms);
    let server = if commit.is_empty() { server.clone() } else { format!("{server} ({commit})") };
    writeln!(out, "{server}, pid {pid}, up {up}, {shards} shards, {} workers", engine.workers)?;
    writeln!(out)?;
    row(
        out,
        "connections",
        format_args!("{} open", connections.open),
        &[
            (connections.handshaking, "in handshake"),
            (engine.sessions, "sessions"),
            (connections.accepted, "accepted"),
            (connections.refused, "refused"),
        ],
    )?;
    row(
        out,
        "queues",
        format_args!("{} requests", engine.requests_queued),
        &[
            (engine.messages_queued, "messages"),
            (engine.store_outstanding, "at the store"),
            (engine.calls_waiting, "calls at the door"),
        ],
    )?;
    write_memory(out, &status.memory)?;
    row(out, "in memory", format_args!("{} conversations", engine.conversations), &[])?;
    if let Some(store) = &status.store {
        write_store(out, store)?;
    }
    write_disk(out, &status.disk)?;
    write_log(out, &status.log)?;
    counts(out, "closed", connections.closed.iter())?;
    counts(out, "overdrawn", connections.overdrawn.iter())?;
    counts(out, "errors", engine.errors.iter())?;
    writeln!(out)?;
    write_rates(out, change)?;
    writeln!(out)?;
    write_moments(out, change)?;
    write_warnings(out, status)
}

fn row(
    out: &mut dyn Write,
    name: &str,
    first: std::fmt::Arguments<'_>,
    others: &[(u64, &str)],
) -> io::Result<()> {
    write!(out, "{name:<12} {first}")?;
    others.iter().try_for_each(|(number, of)| write!(out, ", {number} {of}"))?;
    writeln!(out)
}

fn write_memory(out: &mut dyn Write, memory: &Memory) -> io::Result<()> {
    let told = memory.rows().map(|(name, Bounded { bytes: held, bytes_max })| {
        format!("{name} {} of {}", bytes(held), bytes(bytes_max))
    });
    writeln!(out, "{:<12} {}", "waiting", told.join(", "))
}

fn write_store(out: &mut dyn Write, store: &Store) -> io::Result<()> {
    let Store { entries, registers, batches, bytes: written, queued, .. } = store;
    let written = bytes(*written);
    writeln!(
        out,
        "{:<12} {entries} entries and {registers} registers in {batches} batches, {written} since the \
         start, {queued} queued",
        "store"
    )?;
    if store.cleaned_files > 0 {
        let (made, freed) =
            (bytes(store.cleaning_written_bytes), bytes(store.cleaning_freed_bytes));
        writeln!(out, "{:<12} {freed} freed by writing {made}", "cleaning")?;
    }
    for consumer in store.consumers.iter().flatten() {
        let behind = bytes(consumer.behind_bytes);
        writeln!(out, "{:<12} {}, {behind} kept for it", "consumer", consumer.name)?;
    }
    Ok(())
}

fn write_disk(out: &mut dyn Write, disk: &Disk) -> io::Result<()> {
    let unknown = || "?".to_owned();
    let told = |number: Option<u64>| number.map_or_else(unknown, bytes);
    writeln!(
        out,
        "{:<12} {} in {} segments, {} free of {}",
        "disk",
        told(disk.store_bytes),
        disk.segments.map_or_else(unknown, |segments| segments.to_string()),
        told(disk.free_bytes),
        told(disk.total_bytes)
    )
}

fn write_log(out: &mut dyn Write, log: &Log) -> io::Result<()> {
    row(
        out,
        "log",
        format_args!("{} lines", log.lines_written),
        &[
            (log.lines_left_out, "left out"),
            (log.lines_dropped, "dropped"),
            (log.lines_failed, "failed"),
        ],
    )
}

/// The most frequent first.
fn counts<'a>(
    out: &mut dyn Write,
    name: &str,
    counts: impl Iterator<Item = (&'a String, &'a u64)>,
) -> io::Result<()> {
    let mut counts: Vec<_> = counts.collect();
    if counts.is_empty() {
        return Ok(());
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let counts: Vec<String> = counts.iter().map(|(of, count)| format!("{of} {count}")).collect();
    writeln!(out, "{name:<12} {}", counts.join(", "))
}

fn write_rates(out: &mut dyn Write, change: &Change) -> io::Result<()> {
    writeln!(out, "a second, over {}", duration(change.over_ms))?;
    for (name, rates) in [
        ("requests", vec![(change.requests_per_s, "taken"), (change.errors_per_s, "refused")]),
        (
            "entries",
            vec![
                (change.appends_per_s, "appended"),
                (change.pushes_per_s, "pushed"),
                (change.signals_per_s, "signals"),
                (change.fsyncs_per_s, "fsyncs"),
            ],
        ),
        ("frames", vec![(change.frames_in_per_s, "in"), (change.frames_out_per_s, "out")]),
    ] {
        let rates: Vec<String> =
            rates.into_iter().map(|(rate, of)| format!("{} {of}", number(rate))).collect();
        writeln!(out, "{name:<12} {}", rates.join(", "))?;
    }
    let (came, went) = (change.bytes_in_per_s as u64, change.bytes_out_per_s as u64);
    writeln!(out, "{:<12} {} in, {} out", "bytes", bytes(came), bytes(went))
}

fn write_moments(out: &mut dyn Write, change: &Change) -> io::Result<()> {
    writeln!(
        out,
        "{:<22} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "", "count", "p50", "p90", "p99", "max"
    )?;
    let micros: fn(u64) -> String = |value| format!("{value} us");
    let plain: fn(u64) -> String = |value| value.to_string();
    let rows = [
        ("tick of a shard", Some(&change.shard_tick_us), micros),
        ("tick of a worker", Some(&change.worker_tick_us), micros),
        ("round to the store", Some(&change.store_round_us), micros),
        ("fsync", change.fsync_us.as_ref(), micros),
        ("entries of a batch", Some(&change.batch_entries), plain),
        ("outbox when written", Some(&change.outbox_flush_bytes), bytes),
    ];
    for (name, moments, told) in rows {
        let Some(Moments { count, p50, p90, p99, max, .. }) = moments else { continue };
        let told = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), told);
        let max = told(p50.map(|_| *max));
        let (p50, p90, p99) = (told(*p50), told(*p90), told(*p99));
        writeln!(out, "{name:<22} {count:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10}")?;
    }
    Ok(())
}

/// What was damaged at a start, until somebody has acknowledged it.
fn damage_warning(store: &Store) -> Option<String> {
    let see = "see `dunlin verify`";
    match store.damage_told {
        0 => None,
        // (Where only `EXTENT` is damaged, nothing is lost, but nobody can tell.)
        _ if store.history_lost_at_start => {
            Some(format!("entries may have been lost before the start; {see}"))
        }
        _ if store.damage_at_start > 0 => {
            Some(format!("{} places were damaged at the start; {see}", store.damage_at_start))
        }
        told => Some(format!("{told} places were damaged at an earlier start; {see}")),
    }
}

/// What an operator should look at, each in a line of its own.
fn write_warnings(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let mut warnings = Vec::new();
    if let Some(store) = &status.store {
        warnings.extend(damage_warning(store));
        if store.damaged_reads > 0 {
            let reads = store.damaged_reads;
            warnings.push(format!("{reads} reads met a damaged entry; see `dunlin verify`"));
        }
        if store.failed_batches > 0 {
            let batches = store.failed_batches;
            warnings.push(format!("{batches} batches could not be written; the log says why"));
        }
        if store.filter_bytes < store.filter_bytes_total {
            let (held, all) = (bytes(store.filter_bytes), bytes(store.filter_bytes_total));
            warnings.push(format!(
                "only {held} of {all} of the index's filters are in memory, so new messages are looked for \
                 in files; raise store.filter_bytes_max"
            ));
        }
    }
    if status.engine.clients_ahead > 0 {
        let conversations = status.engine.clients_ahead;
        warnings.push(format!(
            "clients had more of {conversations} conversations than the store; if an older copy of \
             the data was put back, see `dunlin new-epoch`"
        ));
    }
    if status.engine.clock_jumps > 0 {
        let jumps = status.engine.clock_jumps;
        warnings.push(format!("the clock was set {jumps} times; is a time server asked?"));
    }
    let lost = status.log.lines_dropped + status.log.lines_failed;
    if lost > 0 {
        warnings.push(format!("{lost} lines of the log are lost; is standard error read?"));
    }
    if let (Some(free), Some(total)) = (status.disk.free_bytes, status.disk.total_bytes)
        && (free as f64) < total as f64 * FREE_PART_LOW
    {
        warnings.push(format!("the disk is nearly full: {} are free", bytes(free)));
    }
    if status.connections.accept_pauses > 0 {
        let pauses = status.connections.accept_pauses;
        warnings.push(format!("accepting paused {pauses} times for want of descriptors or memory"));
    }
    if !warnings.is_empty() {
        writeln!(out)?;
    }
    warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))
}

pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = count as f64;
    let mut unit = "B";
    for larger in units {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, larger);
    }
    if unit == "B" { format!("{count} B") } else { format!("{scaled:.1} {unit}") }
}

fn number(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}.{} s", rest, milliseconds % 1000 / 100),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_read_them() {
        let told: Vec<_> = [0, 1023, 1024, 1_600_000, 5 << 30].into_iter().map(bytes).collect();
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
        let told: Vec<_> =
            [1_040, 61_000, 3_660_000, 90_000_000].into_iter().map(duration).collect();
        assert_eq!(told, ["1.0 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([0.0, 0.25, 9.96, 1234.6].map(number), ["0", "0.2", "10.0", "1235"]);
    }
}
