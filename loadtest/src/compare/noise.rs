//! How well a report knows its own figures.

use serde_json::Value as Json;

/// Fewer values say nothing of how they vary.
const VALUES_MIN: usize = 3;

/// How a figure that was measured several times is spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    /// The standard error of the mean, as a share of it.
    pub(super) error: f64,
}

impl Spread {
    pub(super) fn of(values: &[f64]) -> Option<Spread> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() < VALUES_MIN || mean <= 0.0 {
            return None;
        }
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (count - 1.0)).sqrt();
        Some(Spread { error: deviation / mean / count.sqrt() })
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(&middle), 1) => middle,
        (Some(&above), _) => f64::midpoint(sorted[sorted.len() / 2 - 1], above),
    }
}

/// By the seconds of the measured window, if they have this figure.
pub(super) fn of_seconds(report: &Json, figure: &str) -> Option<Spread> {
    let points = report["series"]["points"].as_array()?;
    let measured = points.iter().filter(|point| is_measured(point));
    let values: Vec<_> = measured.filter_map(|point| in_second(point, figure)).collect();
    Spread::of(&values)
}

/// Whole intervals within the window: the first and the last one may be cut short.
fn is_measured(point: &Json) -> bool {
    let doing = point["doing"].as_str().unwrap_or_default();
    let interval_s = point["interval_s"].as_f64().unwrap_or_default();
    interval_s >= 0.75 && (doing == "measuring" || doing == "holding" || doing.starts_with("calm"))
}

fn in_second(point: &Json, figure: &str) -> Option<f64> {
    // The figures of a report within a report have its name in front.
    let figure = figure.strip_prefix("best.").unwrap_or(figure);
    let (section, rest) = figure.split_once('.')?;
    match section {
        "rates" => point["rates"][rest.strip_suffix("_per_s")?].as_f64(),
        "latency" => {
            let (name, field) = rest.split_once('.')?;
            // Seconds have two percentiles: the nearest stands for the others.
            let field = if ["p50_us", "p90_us"].contains(&field) { "p50_us" } else { "p99_us" };
            point["latency"][name][field].as_f64()
        }
        "server" => {
            let cpu_us = point["server"]["cpu_share"].as_f64()? * 1e6;
            let by = match rest {
                "cpu_us_per_message" => "acknowledged",
                "cpu_us_per_delivery" | "deliveries_per_cpu_s" => "delivered",
                "idle_cpu_share" => return Some(cpu_us),
                _ => return None,
            };
            let rate = point["rates"][by].as_f64().filter(|&rate| rate > 0.0)?;
            Some(cpu_us / rate)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_error_of_a_mean_falls_with_the_root_of_the_values() {
        let waves =
            |count: usize| (0..count).map(|number| 10.0 + (number % 2) as f64).collect::<Vec<_>>();
        let (few, many) = (Spread::of(&waves(16)).unwrap(), Spread::of(&waves(1600)).unwrap());
        assert!((9.0..11.0).contains(&(few.error / many.error)), "{few:?} {many:?}");
        assert_eq!(Spread::of(&[5.0; 9]), Some(Spread { error: 0.0 }));
        assert_eq!((Spread::of(&[1.0, 2.0]), Spread::of(&[0.0; 9])), (None, None));
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn figures_are_found_in_the_seconds_of_the_window_alone() {
        let point = |doing: &str| {
            json!({
                "doing": doing, "interval_s": 1.0, "server": { "cpu_share": 0.5 },
                "rates": { "acknowledged": 100.0, "delivered": 200.0 },
                "latency": { "deliver": { "p50_us": 1.0, "p99_us": 2.0 } },
            })
        };
        let point = |doing| point(doing);
        for (figure, expected) in [
            ("rates.acknowledged_per_s", 100.0),
            ("latency.deliver.p999_us", 2.0),
            ("best.latency.deliver.p90_us", 1.0),
            ("server.cpu_us_per_message", 5000.0),
            ("server.cpu_us_per_delivery", 2500.0),
        ] {
            assert_eq!(in_second(&point("measuring"), figure), Some(expected), "{figure}");
        }
        assert_eq!(in_second(&point("measuring"), "totals.sent"), None);
        assert!(is_measured(&point("measuring")) && !is_measured(&point("warming up")));
    }
}
