//! What a run showed second by second, in bounded memory however long it takes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::KernelMemory;
use crate::report::interval::Brief;

/// Points that are kept: ten minutes of seconds. With more, neighbours are put together and the
/// interval doubles. Even, so that no point is left over.
const POINTS_MAX: usize = 600;

/// A point that is this close to the interval counts as a whole one: looks come a little early or
/// late.
const INTERVAL_TOLERANCE: f64 = 0.75;

/// The time series of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Seconds that a point is about.
    pub interval_s: f64,
    /// The points in order of time.
    pub points: Vec<Point>,
    /// A point that is not long enough yet.
    #[serde(skip)]
    pending: Option<Point>,
}

impl Default for Series {
    fn default() -> Series {
        Series { interval_s: 1.0, points: Vec::new(), pending: None }
    }
}

/// An interval, and how things stood at its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Point {
    /// Its end, in seconds on the clock of the run.
    pub at_s: f64,
    /// Its length in seconds.
    pub interval_s: f64,
    /// What the run was doing at its end.
    pub doing: String,
    /// Connections of users who were logged in and synced.
    pub connections: u64,
    /// Faults that were found within it.
    pub errors: u64,
    /// Connections that ended within it, not by the harness.
    pub closes: u64,
    /// What happened how often per second, by name.
    pub rates: BTreeMap<&'static str, f64>,
    /// Latencies of what ended within it, by name; those that were measured.
    pub latency: BTreeMap<&'static str, IntervalLatency>,
    /// The server's process, if it is on this machine.
    pub server: Option<ServerPoint>,
    /// The kernel of the harness's machine.
    pub kernel: Option<KernelMemory>,
}

/// Latencies of an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct IntervalLatency {
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// The server's process in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ServerPoint {
    /// Processors that it kept busy.
    pub cpu_share: f64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

impl Series {
    /// Adds what a second showed.
    pub fn push(&mut self, point: Point) {
        let point = match self.pending.take() {
            Some(before) => before.followed_by(point),
            None => point,
        };
        if self.points.len() >= POINTS_MAX {
            self.thin_out();
        }
        if point.interval_s < self.interval_s * INTERVAL_TOLERANCE {
            self.pending = Some(point);
        } else {
            self.points.push(point);
        }
    }

    /// Adds the last second, however short it was.
    pub fn finish(&mut self) {
        self.points.extend(self.pending.take());
    }

    fn thin_out(&mut self) {
        self.interval_s *= 2.0;
        let mut points = std::mem::take(&mut self.points).into_iter();
        while let Some(point) = points.next() {
            self.points.push(match points.next() {
                Some(next) => point.followed_by(next),
                None => point,
            });
        }
    }
}

impl Point {
    /// Both intervals as one. Rates and shares are means; of the 99th percentiles the higher one
    /// stays, so that a stall of one second is seen in the report of a day.
    fn followed_by(self, next: Point) -> Point {
        let interval_s = self.interval_s + next.interval_s;
        let mean = |one: f64, other: f64| {
            (one * self.interval_s + other * next.interval_s) / interval_s.max(1e-9)
        };
        let names = self.rates.keys().chain(next.rates.keys()).copied();
        let rate = |of: &Point, name| of.rates.get(name).copied().unwrap_or_default();
        let rates = names.map(|name| (name, mean(rate(&self, name), rate(&next, name)))).collect();
        let mut latency = self.latency.clone();
        for (name, of_next) in &next.latency {
            let both = latency.entry(name).or_default();
            *both = both.with(*of_next);
        }
        let server = match (self.server, next.server) {
            (Some(one), Some(other)) => Some(ServerPoint {
                cpu_share: mean(one.cpu_share, other.cpu_share),
                resident_bytes: other.resident_bytes,
            }),
            (one, other) => other.or(one),
        };
        Point {
            interval_s,
            errors: self.errors + next.errors,
            closes: self.closes + next.closes,
            rates,
            latency,
            server,
            kernel: next.kernel.or(self.kernel),
            ..next
        }
    }
}

impl IntervalLatency {
    /// The figures of an interval; `None` if nothing ended in it.
    pub(crate) fn of(latencies: &Brief) -> Option<IntervalLatency> {
        (latencies.count() > 0).then(|| IntervalLatency {
            count: latencies.count(),
            p50_us: latencies.quantile_us(0.5),
            p99_us: latencies.quantile_us(0.99),
        })
    }

    fn with(self, other: IntervalLatency) -> IntervalLatency {
        let (one_count, other_count) = (self.count as f64, other.count as f64);
        let sum = self.p50_us * one_count + other.p50_us * other_count;
        IntervalLatency {
            count: self.count + other.count,
            p50_us: sum / (one_count + other_count).max(1.0),
            p99_us: self.p99_us.max(other.p99_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at_s: u32) -> Point {
        let latency = IntervalLatency { count: 10, p50_us: 5.0, p99_us: f64::from(at_s) };
        Point {
            at_s: f64::from(at_s),
            interval_s: 1.0,
            connections: u64::from(at_s),
            errors: 1,
            rates: BTreeMap::from([("sent", 7.0)]),
            latency: BTreeMap::from([("acknowledge", latency)]),
            server: Some(ServerPoint { cpu_share: 0.5, resident_bytes: u64::from(at_s) }),
            ..Point::default()
        }
    }

    #[test]
    fn a_long_run_keeps_few_points_that_still_tell_of_every_second() {
        let seconds = 10_000;
        let mut series = Series::default();
        for at_s in 1..=seconds {
            series.push(second(at_s));
            assert!(series.points.len() <= POINTS_MAX);
        }
        series.finish();
        assert!(series.points.len() > POINTS_MAX / 2);
        assert_eq!(series.interval_s, 32.0);
        let last = series.points.last().unwrap();
        assert_eq!((last.at_s, last.connections), (10_000.0, 10_000));
        let count = |of: fn(&Point) -> u64| series.points.iter().map(of).sum::<u64>();
        assert_eq!(count(|point| point.errors), u64::from(seconds));
        assert_eq!(count(|point| point.latency["acknowledge"].count), 10 * u64::from(seconds));
        for point in &series.points {
            assert!((point.rates["sent"] - 7.0).abs() < 1e-9);
            assert_eq!(point.latency["acknowledge"].p99_us, point.at_s);
            assert!((point.server.unwrap().cpu_share - 0.5).abs() < 1e-9);
        }
        let length_s: f64 = series.points.iter().map(|point| point.interval_s).sum();
        assert_eq!(length_s, f64::from(seconds));
    }

    #[test]
    fn what_only_one_of_two_intervals_has_is_kept() {
        let mut empty = second(1);
        (empty.latency, empty.server, empty.rates) = Default::default();
        let both = empty.followed_by(second(2));
        assert_eq!(both.rates["sent"], 3.5);
        assert_eq!(both.latency["acknowledge"].count, 10);
        assert_eq!(both.server.unwrap().resident_bytes, 2);
    }

    #[test]
    fn a_last_second_that_was_cut_short_is_a_point() {
        let mut series = Series::default();
        series.push(Point { interval_s: 0.3, ..second(1) });
        assert!(series.points.is_empty());
        series.finish();
        assert_eq!(series.points.len(), 1);
    }
}
