//! All measures of a node, by their names. What `dunlin status` tells and what is told here is one snapshot.
//!
//! Every label has a bound: names that the code has (kinds, reasons, codes, entrances), and consumers of
//! the feed, of which there are a thousand at most. No label names a user, an address or a conversation.
//! Labels that the code knows are told with 0 before anything happens, since a rate begins with a number.
//!
//! - `connections`: who is connected, who comes and goes; `messages`: what they ask, and how long it takes
//! - `rates`: who asks too much
//! - `waiting`: queues and budgets with their bounds; `store`: entries, batches, the disk
//! - `process`: version, memory, processor, log
//! - `spread`: from our histograms to those of scrapers

mod connections;
mod messages;
mod process;
mod rates;
mod spread;
mod store;
mod waiting;

use dunlin_http::metrics::Metrics;

use crate::status::Status;

/// The measures of a snapshot.
pub(crate) fn of(status: &Status) -> Metrics {
    let mut metrics = Metrics::new();
    process::add(&mut metrics, status);
    connections::add(&mut metrics, status);
    messages::add(&mut metrics, status);
    rates::add(&mut metrics, &status.connections.overdrawn);
    waiting::add(&mut metrics, status);
    if let Some(of_store) = &status.store {
        store::add(&mut metrics, of_store);
    }
    store::add_disk(&mut metrics, &status.disk);
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::{FeedConsumer, Store};

    const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");

    /// One that has something of everything.
    fn full() -> Status {
        let consumer = FeedConsumer { name: "search".into(), behind_bytes: 5 };
        let store = Store { consumers: Some(vec![consumer]), ..Store::default() };
        let mut status = Status { store: Some(store), ..Status::default() };
        let disk = &mut status.disk;
        (disk.store_bytes, disk.segments) = (Some(1), Some(1));
        (disk.free_bytes, disk.total_bytes) = (Some(1), Some(2));
        let process = &mut status.process;
        (process.resident_bytes, process.anonymous_bytes) = (Some(2), Some(1));
        process.threads = Some(1);
        status.connections.by_entrance.insert("tcp".into(), 1);
        status.connections.refused_by.insert("limits.connections_max".into(), 1);
        status.engine.requests_by.insert("send".into(), 1);
        status
    }

    /// The lines of the document's tables, as they have to be.
    fn rows(metrics: &Metrics) -> Vec<String> {
        let families = metrics.families().iter();
        families
            .map(|family| {
                let labels = family.labels().next().expect("it has a number");
                let labels: Vec<String> =
                    labels.iter().map(|(name, _)| format!("`{name}`")).collect();
                let kind = match family.kind() {
                    dunlin_http::metrics::Kind::Counter => "counter",
                    dunlin_http::metrics::Kind::Gauge => "gauge",
                    dunlin_http::metrics::Kind::Histogram => "histogram",
                };
                let (name, help) = (family.full_name(), family.help());
                format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
            })
            .collect()
    }

    #[test]
    fn the_document_has_every_measure_and_no_other() {
        let mut expected = rows(&of(&full()));
        let mut documented: Vec<&str> =
            DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
        expected.sort_unstable();
        documented.sort_unstable();
        if documented != expected {
            let lines = expected.join("\n");
            panic!("docs/metrics.md has to have these lines, and no others:\n{lines}");
        }
    }

    #[test]
    fn names_and_labels_are_those_of_prometheus() {
        for family in of(&full()).families() {
            let name = family.full_name();
            assert!(name.starts_with("dunlin_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!name.ends_with("_total"), "{name}: that is put behind it");
            assert!(!family.help().ends_with('.') && !family.help().contains('|'), "{name}");
            let names = |labels: &dunlin_http::metrics::Labels| -> Vec<&str> {
                labels.iter().map(|(name, _)| *name).collect()
            };
            let mut all = family.labels().map(names);
            let first = all.next().expect("it has a number");
            assert!(all.all(|labels| labels == first), "{name}");
        }
    }

    #[test]
    fn no_number_is_told_twice() {
        for family in of(&full()).families() {
            let mut labels: Vec<_> = family.labels().collect();
            let all = labels.len();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), all, "{}", family.full_name());
        }
    }
}
