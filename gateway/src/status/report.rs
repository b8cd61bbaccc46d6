//! The snapshot as it is told: names and units that stay as they are, since programs read them.

use std::collections::BTreeMap;

use dunlin_core::rates::{Budgets, Kind};
use dunlin_core::statistics::{EngineStatistics, Histogram};
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::memory::{Memory, Queues};
pub(crate) use super::process::Process;
use crate::log::names::{code_name, reason_name};
use crate::node::keeper::Standing;
use crate::shard::control::Node;
use crate::shard::counters::Counted;

/// Everything. Counts are since the start of the server; what a number is of now says so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Name and version.
    pub(crate) server: String,
    /// What it was built from; empty if nobody knows.
    pub(crate) commit: String,
    pub(crate) pid: u32,
    /// Unix time of the snapshot.
    pub(crate) time_ms: u64,
    pub(crate) uptime_ms: u64,
    /// Unix time of the start. (A difference of two clocks would be another one at each look.)
    pub(crate) started_ms: u64,
    pub(crate) shards: u64,
    pub(crate) connections: Connections,
    pub(crate) traffic: Traffic,
    pub(crate) memory: Memory,
    pub(crate) queues: Queues,
    pub(crate) engine: Engine,
    /// None if it is kept elsewhere.
    pub(crate) store: Option<Store>,
    pub(crate) disk: Disk,
    pub(crate) log: Log,
    pub(crate) process: Process,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// Now.
    pub(crate) open: u64,
    /// Of them in a handshake of TLS, now.
    pub(crate) handshaking: u64,
    /// Of them those on which nobody has logged in, now.
    pub(crate) strangers: u64,
    /// As many as there may be.
    pub(crate) open_max: u64,
    /// Now, by the entrance where they came in; not those of which all was said.
    pub(crate) by_entrance: BTreeMap<String, u64>,
    pub(crate) accepted: u64,
    /// Turned away when they came.
    pub(crate) refused: u64,
    /// The same by the setting that it comes from.
    pub(crate) refused_by: BTreeMap<String, u64>,
    /// Handshakes of TLS that ended well, and those that did not.
    pub(crate) handshakes_done: u64,
    pub(crate) handshakes_failed: u64,
    /// How often accepting paused for want of descriptors or memory.
    pub(crate) accept_pauses: u64,
    /// By the reason, as docs/protocol.md names it.
    pub(crate) closed: BTreeMap<String, u64>,
    /// How often there was no more of a budget, by what it is a budget of.
    pub(crate) overdrawn: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) bytes_out: u64,
    /// Bytes that wait for slow readers now.
    pub(crate) outbox_bytes: u64,
    /// Bytes of one connection when they begin to be written.
    pub(crate) outbox_flush_bytes: Moments,
    /// Ticks of the shards.
    pub(crate) tick_us: Moments,
    /// From the tick that reads a message to the end of the one that writes its acknowledgement, and each
    /// of its pushes on this node.
    pub(crate) acknowledged_us: Moments,
    pub(crate) pushed_us: Moments,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Engine {
    pub(crate) workers: u64,
    /// Now.
    pub(crate) sessions: u64,
    /// In memory now.
    pub(crate) conversations: u64,
    /// Requests that were taken.
    pub(crate) requests: u64,
    /// The same by kind.
    pub(crate) requests_by: BTreeMap<String, u64>,
    pub(crate) appends: u64,
    pub(crate) append_batches: u64,
    pub(crate) pushes: u64,
    pub(crate) signals: u64,
    pub(crate) forwarded: u64,
    pub(crate) forwards_late: u64,
    pub(crate) envelopes_sent: u64,
    pub(crate) envelopes_received: u64,
    pub(crate) envelope_gaps: u64,
    /// Conversations of which a client had more than the store has.
    pub(crate) clients_ahead: u64,
    /// How often the clock of the machine was set.
    pub(crate) clock_jumps: u64,
    /// Responses that were deflated, their bytes before, and how many were saved.
    pub(crate) deflated: u64,
    pub(crate) deflated_bytes: u64,
    pub(crate) deflated_saved_bytes: u64,
    /// By the code, as docs/protocol.md names it.
    pub(crate) errors: BTreeMap<String, u64>,
    /// At the door, now.
    pub(crate) calls_waiting: u64,
    /// Batches of requests that no worker has taken yet, now.
    pub(crate) requests_queued: u64,
    /// Answers and messages of workers that wait, now.
    pub(crate) messages_queued: u64,
    /// Requests to the store that are not answered, now.
    pub(crate) store_outstanding: u64,
    pub(crate) store_overdue: u64,
    pub(crate) expirations: u64,
    /// Ticks of the workers.
    pub(crate) tick_us: Moments,
    /// From a request to the store to the worker that takes the answer.
    pub(crate) store_round_us: Moments,
    /// Entries that are appended together.
    pub(crate) batch_entries: Moments,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Store {
    pub(crate) entries: u64,
    pub(crate) registers: u64,
    pub(crate) batches: u64,
    /// Appends that were answered as duplicate or conflict.
    pub(crate) refused: u64,
    pub(crate) failed_batches: u64,
    /// Whether the last batch could not be written.
    pub(crate) failing: bool,
    /// Of durable batches.
    pub(crate) bytes: u64,
    /// Of index files.
    pub(crate) index_bytes: u64,
    /// Filters of the index in memory, now.
    pub(crate) filter_bytes: u64,
    /// All of them: the rest is read from files.
    pub(crate) filter_bytes_total: u64,
    /// Requests of appends that wait, now.
    pub(crate) queued: u64,
    pub(crate) fsyncs: u64,
    pub(crate) fsync_us: Moments,
    /// Entries and registers of a batch that became durable, and its bytes.
    pub(crate) batch_records: Moments,
    pub(crate) batch_bytes: Moments,
    /// Memory, about, of the index of what has no index file yet.
    pub(crate) unfiled_index_bytes: u64,
    /// Places that were found damaged when the store was opened.
    pub(crate) damage_at_start: u64,
    /// Places of damage that were told at a start, and that nobody has acknowledged.
    pub(crate) damage_told: u64,
    /// Entries were lost before the start, and the epoch is a new one.
    pub(crate) history_lost_at_start: bool,
    /// Reads that met a damaged entry.
    pub(crate) damaged_reads: u64,
    /// Files of segments that were made by cleaning, bytes written for it, and bytes given back.
    pub(crate) cleaned_files: u64,
    pub(crate) cleaning_written_bytes: u64,
    pub(crate) cleaning_freed_bytes: u64,
    /// Who reads the feed; null if that can't be read.
    pub(crate) consumers: Option<Vec<FeedConsumer>>,
}

/// A reader of the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeedConsumer {
    pub(crate) name: String,
    /// About how many bytes are kept for it.
    pub(crate) behind_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) lines_written: u64,
    /// There was no room: nobody read those before them.
    pub(crate) lines_dropped: u64,
    /// Beyond the limit of their kind.
    pub(crate) lines_left_out: u64,
    /// Standard error refused them.
    pub(crate) lines_failed: u64,
    pub(crate) writes_failed: u64,
    /// Now, and at most.
    pub(crate) queued_bytes: u64,
    pub(crate) queued_bytes_max: u64,
}

/// How large the values of something were. The quantiles are at most an eighth too large.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) max: u64,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    /// The highest value of each bucket that is not empty, and how many are in it.
    pub(crate) buckets: Vec<(u64, u64)>,
}

impl Moments {
    fn of(histogram: &Histogram) -> Moments {
        let buckets = histogram.buckets().collect();
        Moments::of_buckets(buckets, histogram.sum(), histogram.max())
    }

    /// What came after `earlier` was told, of which the exact maximum is not known.
    pub(super) fn since(&self, earlier: &Moments) -> Moments {
        let before: BTreeMap<u64, u64> = earlier.buckets.iter().copied().collect();
        let left = |(highest, count): &(u64, u64)| {
            let more = count.saturating_sub(before.get(highest).copied().unwrap_or(0));
            (more > 0).then_some((*highest, more))
        };
        let buckets: Vec<_> = self.buckets.iter().filter_map(left).collect();
        let max = buckets.last().map_or(0, |(highest, _)| (*highest).min(self.max));
        Moments::of_buckets(buckets, self.sum.saturating_sub(earlier.sum), max)
    }

    fn of_buckets(buckets: Vec<(u64, u64)>, sum: u64, max: u64) -> Moments {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let quantile = |part| quantile(&buckets, count, max, part);
        let (p50, p90) = (quantile(0.5), quantile(0.9));
        let (p99, p999) = (quantile(0.99), quantile(0.999));
        Moments { count, sum, max, p50, p90, p99, p999, buckets }
    }
}

fn quantile(buckets: &[(u64, u64)], count: u64, max: u64, part: f64) -> Option<u64> {
    let rank = ((count as f64 * part).ceil() as u64).max(1);
    let mut reached = 0;
    let bucket = buckets.iter().find(|(_, in_bucket)| {
        reached += in_bucket;
        reached >= rank
    });
    bucket.map(|(highest, _)| (*highest).min(max))
}

/// Counts by a name that the code has.
fn named(counts: impl IntoIterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

impl Connections {
    pub(super) fn of(node: &Node) -> Connections {
        let counted = node.counters.snapshot();
        let name = |reason| reason_name(reason).to_owned();
        Connections {
            open: node.admission.connections() as u64,
            handshaking: node.admission.handshakes() as u64,
            strangers: node.admission.strangers() as u64,
            open_max: node.connections_max() as u64,
            by_entrance: named(counted.by_entrance.iter().copied()),
            accepted: counted.accepted,
            refused: counted.refused.iter().map(|(_, count)| count).sum(),
            refused_by: named(counted.refused.iter().copied()),
            handshakes_done: counted.handshakes_done,
            handshakes_failed: counted.handshakes_failed,
            accept_pauses: counted.accept_pauses,
            closed: counted.closed.into_iter().map(|(of, count)| (name(of), count)).collect(),
            overdrawn: overdrawn(&node.budgets),
        }
    }
}

fn overdrawn(budgets: &Budgets) -> BTreeMap<String, u64> {
    let counts = Kind::ALL.into_iter().map(|kind| (kind, budgets.overdrawn(kind)));
    let some = counts.filter(|(_, count)| *count > 0);
    some.map(|(kind, count)| (kind.name().to_owned(), count)).collect()
}

impl Traffic {
    pub(super) fn of(counted: &Counted) -> Traffic {
        Traffic {
            frames_in: counted.frames_in,
            bytes_in: counted.bytes_in,
            frames_out: counted.frames_out,
            bytes_out: counted.bytes_out,
            outbox_bytes: counted.outbox_bytes,
            outbox_flush_bytes: Moments::of(&counted.outbox_flush_bytes),
            tick_us: Moments::of(&counted.tick_us),
            acknowledged_us: Moments::of(&counted.acknowledged_us),
            pushed_us: Moments::of(&counted.pushed_us),
        }
    }
}

impl Engine {
    pub(super) fn of(statistics: &EngineStatistics) -> Engine {
        let total = statistics.total();
        let name = |code| code_name(code).to_owned();
        let errors = total.errors.all().into_iter();
        Engine {
            workers: statistics.workers.len() as u64,
            sessions: total.sessions,
            conversations: total.conversations,
            requests: total.commands,
            requests_by: named(total.requests.all().map(|(kind, count)| (kind.name(), count))),
            appends: total.appends,
            append_batches: total.append_batches,
            pushes: total.pushes,
            signals: total.signals,
            forwarded: total.forwarded,
            forwards_late: total.forwards_late,
            envelopes_sent: total.envelopes_sent,
            envelopes_received: total.envelopes_received,
            envelope_gaps: total.gaps,
            clients_ahead: total.clients_ahead,
            clock_jumps: total.clock_jumps,
            deflated: total.deflated,
            deflated_bytes: total.deflated_bytes,
            deflated_saved_bytes: total.deflated_saved_bytes,
            errors: errors.map(|(code, count)| (name(code), count)).collect(),
            calls_waiting: statistics.calls_waiting,
            requests_queued: total.commands_queued,
            messages_queued: total.messages_queued,
            store_outstanding: total.store_outstanding,
            store_overdue: total.store_overdue,
            expirations: total.expirations,
            tick_us: Moments::of(&total.tick_us),
            store_round_us: Moments::of(&total.store_round_us),
            batch_entries: Moments::of(&total.batch_entries),
        }
    }
}

impl Store {
    pub(super) fn of(standing: &Standing) -> Store {
        let Standing { counted, damage_at_start, history_lost_at_start, consumers, damage_told } =
            standing;
        let consumer = |(name, behind_bytes): &(String, u64)| FeedConsumer {
            name: name.clone(),
            behind_bytes: *behind_bytes,
        };
        Store {
            entries: counted.appends,
            registers: counted.registers,
            batches: counted.batches,
            refused: counted.refused,
            failed_batches: counted.failures,
            failing: counted.failing_since.is_some(),
            bytes: counted.bytes,
            index_bytes: counted.index_bytes,
            filter_bytes: counted.filter_bytes,
            filter_bytes_total: counted.filter_bytes_total,
            queued: counted.queued,
            fsyncs: counted.fsyncs,
            fsync_us: Moments::of(&counted.fsync_us),
            batch_records: Moments::of(&counted.batch_records),
            batch_bytes: Moments::of(&counted.batch_bytes),
            unfiled_index_bytes: counted.unfiled_index_bytes,
            damage_at_start: *damage_at_start as u64,
            damage_told: *damage_told as u64,
            history_lost_at_start: *history_lost_at_start,
            damaged_reads: counted.damaged_reads,
            cleaned_files: counted.cleaned_files,
            cleaning_written_bytes: counted.cleaning_written_bytes,
            cleaning_freed_bytes: counted.cleaning_freed_bytes,
            consumers: consumers.as_ref().map(|all| all.iter().map(consumer).collect()),
        }
    }
}

impl Log {
    pub(super) fn of(counted: crate::log::Counters) -> Log {
        Log {
            lines_written: counted.lines_written,
            lines_dropped: counted.lines_dropped,
            lines_left_out: counted.lines_left_out,
            lines_failed: counted.lines_failed,
            writes_failed: counted.writes_failed,
            queued_bytes: counted.bytes_queued,
            queued_bytes_max: crate::log::QUEUE_BYTES_MAX as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_between_two_snapshots_are_those_of_what_came_between() {
        let (mut all, mut late) = (Histogram::default(), Histogram::default());
        (0..1000).for_each(|value| all.record(value));
        let before = Moments::of(&all);
        assert_eq!(before.p50, all.quantile(0.5));
        assert_eq!(before.p999, all.quantile(0.999));
        assert_eq!(before.since(&before).p50, None);
        for value in 5000..6000 {
            all.record(value);
            late.record(value);
        }
        let between = Moments::of(&all).since(&before);
        assert_eq!((between.count, between.sum), (1000, late.sum()));
        assert_eq!((between.p50, between.max), (late.quantile(0.5), late.max()));
    }
}
