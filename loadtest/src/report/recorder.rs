//! The coordinator's look at the run, once a second.

use std::collections::BTreeMap;

use crate::process;
use crate::report::interval::{Interval, SECOND_NS};
use crate::report::kernel::{self, KernelMemory};
use crate::report::{IntervalLatency, Point, Reasons, Series, ServerPoint};

/// After the end of a second, until all threads have handed over their accounts: they look at the
/// clock every 10 ms or so.
const LAG_NS: u64 = 60_000_000;

/// The same if they are in other processes, which are asked every 50 ms, and may be far away.
const LAG_ELSEWHERE_NS: u64 = 250_000_000;

/// How far a run has come: counts since its start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing<'a> {
    pub(crate) doing: &'a str,
    pub(crate) connections: u64,
    pub(crate) errors: u64,
    /// What becomes rates, by name.
    pub(crate) counts: &'a [(&'static str, u64)],
}

/// What one second showed, for who looks on.
#[derive(Debug)]
pub struct Second<'a> {
    /// Its figures.
    pub point: &'a Point,
    /// Connections that ended within it, not by the harness, by reason.
    pub closes: &'a Reasons,
    /// Faults that were found within it, by kind.
    pub errors: &'a Reasons,
}

/// Turns standings into the series.
#[derive(Debug)]
pub(crate) struct Recorder {
    server: Option<u32>,
    page_bytes: Option<u64>,
    lag_ns: u64,
    next_ns: u64,
    before_ns: u64,
    errors_before: u64,
    counts_before: BTreeMap<&'static str, u64>,
    cpu_us_before: Option<u64>,
    series: Series,
}

impl Recorder {
    /// From this moment on, with a look at the server's process.
    pub(crate) fn new(now_ns: u64, server: Option<u32>) -> Recorder {
        let usage = server.and_then(|pid| process::usage(pid).ok());
        Recorder {
            server,
            page_bytes: kernel::page_bytes(),
            lag_ns: LAG_NS,
            next_ns: next_look_ns(now_ns, LAG_NS),
            before_ns: now_ns,
            errors_before: 0,
            counts_before: BTreeMap::new(),
            cpu_us_before: usage.map(|usage| usage.cpu_us),
            series: Series::default(),
        }
    }

    /// Waits longer for the accounts of threads that are in other processes, if there are any.
    pub(crate) fn waiting_elsewhere(self, are_elsewhere: bool) -> Recorder {
        let lag_ns = if are_elsewhere { LAG_ELSEWHERE_NS } else { LAG_NS };
        Recorder { lag_ns, next_ns: next_look_ns(self.before_ns, lag_ns), ..self }
    }

    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }

    /// Takes in what has happened since the last time, and tells it.
    pub(crate) fn look(
        &mut self,
        now_ns: u64,
        standing: &Standing<'_>,
        interval: &Interval,
        tell: &mut dyn FnMut(&Second<'_>),
    ) {
        let interval_s = now_ns.saturating_sub(self.before_ns) as f64 / 1e9;
        (self.before_ns, self.next_ns) = (now_ns, next_look_ns(now_ns, self.lag_ns));
        let point = Point {
            at_s: now_ns as f64 / 1e9,
            interval_s,
            doing: standing.doing.to_owned(),
            connections: standing.connections,
            errors: standing.errors.saturating_sub(self.errors_before),
            closes: interval.closes.total(),
            rates: self.rates(standing.counts, interval_s),
            latency: latencies(interval),
            server: self.server_point(interval_s),
            kernel: self.page_bytes.and_then(KernelMemory::now),
        };
        self.errors_before = standing.errors;
        tell(&Second { point: &point, closes: &interval.closes, errors: &interval.errors });
        self.series.push(point);
    }

    /// The whole series.
    pub(crate) fn finish(mut self) -> Series {
        self.series.finish();
        self.series
    }

    fn rates(
        &mut self,
        counts: &[(&'static str, u64)],
        interval_s: f64,
    ) -> BTreeMap<&'static str, f64> {
        let rate = |&(name, count): &(&'static str, u64)| {
            let before = self.counts_before.insert(name, count).unwrap_or(0);
            (name, count.saturating_sub(before) as f64 / interval_s.max(1e-9))
        };
        counts.iter().map(rate).collect()
    }

    /// A server that is gone, or was started anew, has no share for this interval.
    fn server_point(&mut self, interval_s: f64) -> Option<ServerPoint> {
        let usage = self.server.and_then(|pid| process::usage(pid).ok());
        let before_us = std::mem::replace(&mut self.cpu_us_before, usage.map(|usage| usage.cpu_us));
        let (usage, before_us) = usage.zip(before_us)?;
        Some(ServerPoint {
            cpu_share: usage.cpu_us.saturating_sub(before_us) as f64 / 1e6 / interval_s.max(1e-9),
            resident_bytes: usage.resident_bytes,
        })
    }
}

fn next_look_ns(now_ns: u64, lag_ns: u64) -> u64 {
    (now_ns.saturating_sub(lag_ns) / SECOND_NS + 1) * SECOND_NS + lag_ns
}

fn latencies(interval: &Interval) -> BTreeMap<&'static str, IntervalLatency> {
    let kinds = [
        ("acknowledge", &interval.acknowledge),
        ("answer", &interval.answer),
        ("deliver", &interval.deliver),
        ("arrive", &interval.arrive),
        ("heartbeat", &interval.heartbeat),
    ];
    let figures = kinds.map(|(name, latencies)| Some((name, IntervalLatency::of(latencies)?)));
    figures.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_shortly_after_the_end_of_each_second() {
        for lag_ns in [LAG_NS, LAG_ELSEWHERE_NS] {
            let second = SECOND_NS + lag_ns;
            assert_eq!(next_look_ns(0, lag_ns), second);
            assert_eq!(next_look_ns(second - 1, lag_ns), second);
            assert_eq!(next_look_ns(second, lag_ns), second + SECOND_NS);
            assert_eq!(next_look_ns(second + 5 * SECOND_NS + 1, lag_ns), second + 6 * SECOND_NS);
        }
        let recorder = Recorder::new(0, None).waiting_elsewhere(true);
        assert!(!recorder.is_due(SECOND_NS + LAG_NS));
        assert!(recorder.is_due(SECOND_NS + LAG_ELSEWHERE_NS));
    }

    #[test]
    fn counts_since_the_start_become_rates_of_the_interval() {
        let mut recorder = Recorder::new(0, Some(std::process::id()));
        let mut interval = Interval::default();
        let standing =
            |errors, counts| Standing { doing: "measuring", connections: 2, errors, counts };
        interval.arrive.record(5_000_000);
        interval.closes.add("gone");
        recorder.look(SECOND_NS, &standing(3, &[("sent", 10)]), &interval, &mut |second| {
            let point = second.point;
            assert_eq!((point.errors, point.closes, point.rates["sent"]), (3, 1, 10.0));
            assert_eq!(point.latency.keys().collect::<Vec<_>>(), [&"arrive"]);
            assert!(point.server.unwrap().resident_bytes > 0);
            assert_eq!(second.closes.total(), 1);
        });
        let empty = Interval::default();
        recorder.look(3 * SECOND_NS, &standing(3, &[("sent", 50)]), &empty, &mut |second| {
            let point = second.point;
            assert_eq!((point.errors, point.closes, point.rates["sent"]), (0, 0, 20.0));
        });
        assert_eq!(recorder.finish().points.len(), 2);
    }
}
