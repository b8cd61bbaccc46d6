//! The lines of a frame.

use crate::report::quantity::Unit;
use crate::report::{IntervalLatency, Point, Reasons};

/// Reasons that are named; the most frequent ones.
const REASONS_SHOWN: usize = 4;

/// Letters of a reason that are shown.
const REASON_LETTERS_MAX: usize = 60;

/// What is to be seen of a second, and of the faults and closes since the start.
pub(super) fn lines(title: &str, point: &Point, errors: &Reasons, closes: &Reasons) -> Vec<String> {
    let mut lines = vec![
        line(title, &format!("{}, {:.0} s", point.doing, point.at_s)),
        line("connections", &Unit::Plain.format(point.connections as f64)),
        line("per second", &rates(point)),
    ];
    lines.extend(point.latency.iter().map(|(name, latency)| line(name, &percentiles(latency))));
    if let Some(server) = point.server {
        let processors = Unit::Processors.format(server.cpu_share);
        let resident = Unit::Bytes.format(server.resident_bytes as f64);
        lines.push(line("server", &format!("{processors} processors, {resident} resident")));
    }
    if let Some(kernel) = point.kernel {
        let slab = Unit::Bytes.format(kernel.slab_bytes as f64);
        let buffers = Unit::Bytes.format(kernel.tcp_bytes as f64);
        lines.push(line("kernel", &format!("{slab} of objects, {buffers} in TCP buffers")));
    }
    lines.push(line("errors", &reasons(errors)));
    lines.push(line("closes", &reasons(closes)));
    lines
}

fn line(name: &str, text: &str) -> String {
    format!("{name:<12} {text}")
}

fn rates(point: &Point) -> String {
    let rate = |(name, rate): (&&str, &f64)| format!("{} {name}", Unit::Plain.format(rate.round()));
    point.rates.iter().map(rate).collect::<Vec<_>>().join(", ")
}

fn percentiles(latency: &IntervalLatency) -> String {
    let text = |us| Unit::Microseconds.format(us);
    format!("p50 {:>8}  p99 {:>8}", text(latency.p50_us), text(latency.p99_us))
}

/// How many there are, and of the most frequent reasons how many of each.
fn reasons(reasons: &Reasons) -> String {
    let mut counts: Vec<_> = reasons.iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let named = counts.iter().take(REASONS_SHOWN).map(|(reason, count)| {
        let reason: String = reason.chars().take(REASON_LETTERS_MAX).collect();
        format!("{count} {reason}")
    });
    let mut text = vec![reasons.total().to_string()];
    text.extend(named);
    if counts.len() > REASONS_SHOWN {
        text.push("...".to_owned());
    }
    text.join("; ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::ServerPoint;

    #[test]
    fn a_frame_shows_what_there_is() {
        let latency = IntervalLatency { count: 9, p50_us: 3_900.0, p99_us: 47_284.0 };
        let point = Point {
            at_s: 12.06,
            doing: "measuring".to_owned(),
            connections: 1_000_000,
            rates: BTreeMap::from([("sent", 1999.6)]),
            latency: BTreeMap::from([("acknowledge", latency)]),
            server: Some(ServerPoint { cpu_share: 0.5, resident_bytes: 640_000_000 }),
            ..Point::default()
        };
        let mut closes = Reasons::default();
        for (reason, count) in [("a", 1), ("b", 7), ("c", 2), ("d", 3), ("e", 4)] {
            (0..count).for_each(|_| closes.add(reason));
        }
        let frame = lines("chat", &point, &Reasons::default(), &closes);
        assert_eq!(
            frame,
            [
                "chat         measuring, 12 s",
                "connections  1,000,000",
                "per second   2,000 sent",
                "acknowledge  p50   3.9 ms  p99  47.3 ms",
                "server       0.5 processors, 640 MB resident",
                "errors       0",
                "closes       17; 7 b; 4 e; 3 d; 2 c; ...",
            ]
        );
    }
}
