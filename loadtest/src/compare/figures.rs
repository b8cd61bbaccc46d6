//! The figures of a report that can be compared, and which way they are good.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::noise::{self, Spread};

/// Sections without figures: what was asked for, what is drawn, and what is only named.
const NO_FIGURES: [&str; 12] = [
    "run",
    "thresholds",
    "scenario",
    "search",
    "settings",
    "series",
    "distributions",
    "samples",
    "examples",
    "generators",
    "plan",
    "pid",
];

/// Sections of counts by reasons, which are added up: the reasons of two runs are seldom the same.
const TROUBLE: [&str; 6] = ["closes", "counts", "retried", "failed", "closed", "machine"];

/// Other counts of trouble.
const TROUBLES: [&str; 10] = [
    "postponed",
    "arrivals_postponed",
    "signals_missing",
    "connections_lost",
    "gaps_repaired",
    "unsent_at_end",
    "heartbeats_overdue",
    "attempts_repeated",
    "resent",
    "errors",
];

/// Sections about the harness itself, which is not what is compared.
const OF_HARNESS: [&str; 3] = ["lateness", "heartbeat_lateness", "harness"];

/// Percentiles that a run is long enough for. The highest latency is that of one message.
const PERCENTILES: [&str; 4] = ["p50_us", "p90_us", "p99_us", "p999_us"];

/// Which way a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Lower,
    Higher,
    /// A count that should be 0.
    Trouble,
    /// It follows from the load, or from chance.
    None,
}

/// A figure of one report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) value: f64,
    pub(super) direction: Direction,
    /// How well it is known, if that is known.
    spread: Option<Spread>,
}

impl Value {
    /// The standard error of the ratio to another report's, as a share; `None` if not both know theirs.
    pub(super) fn noise(&self, other: &Value) -> Option<f64> {
        Some(self.spread?.error.hypot(other.spread?.error))
    }
}

/// All figures of a report by their ways in it.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, Value>);

impl Figures {
    pub(super) fn of(report: &Json) -> Figures {
        let mut figures = Figures::default();
        if let Some(fields) = report.as_object() {
            figures.add(report, "", fields);
        }
        figures
    }

    /// Those that both have, and of which there is anything.
    pub(super) fn both(&self, other: &Figures) -> impl Iterator<Item = (String, Value, Value)> {
        let both =
            self.0.iter().filter_map(|(name, &a)| Some((name.clone(), a, *other.0.get(name)?)));
        both.filter(|(_, a, b)| a.value != 0.0 || b.value != 0.0 || a.direction != Direction::None)
    }

    fn add(&mut self, report: &Json, path: &str, fields: &Map<String, Json>) {
        // Nothing is quick if nothing happened.
        if fields.get("count").and_then(Json::as_u64) == Some(0) {
            return;
        }
        for (name, value) in fields.iter().filter(|(name, _)| !NO_FIGURES.contains(&name.as_str()))
        {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Json::Number(number) => {
                    if let Some(value) = number.as_f64() {
                        let spread = noise::of_seconds(report, &path);
                        let direction = direction(&path);
                        self.0.insert(path, Value { value, direction, spread });
                    }
                }
                Json::Object(counts) if is_trouble(name, counts) => {
                    let value = counts.values().filter_map(Json::as_f64).sum();
                    let direction = Direction::Trouble;
                    self.0.insert(path, Value { value, direction, spread: None });
                }
                // The report of the best window of a search has seconds of its own.
                Json::Object(fields) if fields.contains_key("schema") => {
                    self.add(value, &path, fields);
                }
                Json::Object(fields) => self.add(report, &path, fields),
                Json::Array(rows) => self.add_rows(&path, rows),
                Json::Null | Json::Bool(_) | Json::String(_) => {}
            }
        }
    }

    /// Rounds of a storm, or repetitions of a benchmark: the medians, and how much they vary.
    fn add_rows(&mut self, path: &str, rows: &[Json]) {
        // Windows of a search are at rates of their own.
        if rows.iter().any(|row| row.get("judgement").is_some()) {
            return;
        }
        let mut columns: BTreeMap<String, (Direction, Vec<f64>)> = BTreeMap::new();
        for fields in rows.iter().filter_map(Json::as_object) {
            let mut row = Figures::default();
            row.add(&Json::Null, path, fields);
            for (name, value) in row.0 {
                let column = columns.entry(name).or_insert((value.direction, Vec::new()));
                column.1.push(value.value);
            }
        }
        for (name, (direction, values)) in columns {
            let value = noise::median(&values);
            self.0.insert(name, Value { value, direction, spread: Spread::of(&values) });
        }
    }
}

fn is_trouble(name: &str, counts: &Map<String, Json>) -> bool {
    TROUBLE.contains(&name) && counts.values().all(Json::is_number)
}

/// By the unit, which the name of a field ends with.
fn direction(figure: &str) -> Direction {
    let mut names = figure.split('.');
    if names.any(|name| OF_HARNESS.contains(&name)) {
        return Direction::None;
    }
    let field = figure.rsplit('.').next().unwrap_or(figure);
    match field {
        "window_s" | "hold_s" | "begun_at_s" | "round" | "cpu_us" | "harness_cpu_us" => {
            Direction::None
        }
        "rate_per_s" | "sent_per_s" | "lowest_unmet_per_s" => Direction::None,
        // What stood there before anything was measured.
        "resident_bytes_before" | "resident_bytes_empty" => Direction::None,
        _ if TROUBLES.contains(&field) => Direction::Trouble,
        _ if field.ends_with("_per_s") || field.ends_with("_per_cpu_s") => Direction::Higher,
        _ if field.contains("cpu_us_per_") || field == "idle_cpu_share" => Direction::Lower,
        _ if field.contains("_bytes") => Direction::Lower,
        _ if PERCENTILES.contains(&field) || field.ends_with("_s") => Direction::Lower,
        _ => Direction::None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_good_in_the_direction_of_their_units() {
        for (field, expected) in [
            ("p99_us", Direction::Lower),
            ("max_us", Direction::None),
            ("acknowledged_per_s", Direction::Higher),
            ("sent_per_s", Direction::None),
            ("deliveries_per_cpu_s", Direction::Higher),
            ("cpu_us_per_message", Direction::Lower),
            ("resident_bytes_per_connection", Direction::Lower),
            ("back_100_s", Direction::Lower),
            ("resident_bytes_before", Direction::None),
            ("connections_lost", Direction::Trouble),
            ("sent", Direction::None),
            ("window_s", Direction::None),
            ("latency.lateness.p99_us", Direction::None),
            ("harness.resident_bytes_per_connection", Direction::None),
        ] {
            assert_eq!(direction(field), expected, "{field}");
        }
    }

    #[test]
    fn rounds_are_compared_by_their_medians_and_reasons_by_their_sum() {
        let rounds: Vec<_> =
            [3.0, 1.0, 2.0].map(|back| json!({ "round": 1, "back_100_s": back })).into();
        let figures = Figures::of(&json!({
            "scenario": { "users": 5 },
            "disturbance": { "storm": { "rounds": rounds, "settings": { "calm_s": 5 } } },
            "closes": { "one": 2, "other": 3 },
            "steps": [{ "judgement": "met", "rate_per_s": 5 }],
            "latency": { "deliver": { "count": 0, "p99_us": 0.0 } },
        }));
        let back = &figures.0["disturbance.storm.rounds.back_100_s"];
        assert_eq!((back.value, back.direction), (2.0, Direction::Lower));
        assert!(back.spread.is_some());
        assert_eq!(figures.0["closes"].value, 5.0);
        assert_eq!(figures.0.len(), 3, "{figures:?}");
    }
}
