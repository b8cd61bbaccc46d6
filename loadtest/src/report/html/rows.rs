//! Lists that are drawn: a storm round by round, a search by the rates of its windows.

use serde_json::Value;

use crate::report::html::markup::Markup;
use crate::report::html::plot::{Division, Line, Plot};
use crate::report::quantity::Unit;

/// Figures of the rows of a list that are drawn together: the title, their unit, and their ways in a
/// row with their names.
type Together = (&'static str, Unit, &'static [(&'static str, &'static str)]);

const OF_ROUNDS: [Together; 4] = [
    (
        "Until so many were back",
        Unit::Seconds,
        &[("back_50_s", "50 %"), ("back_99_s", "99 %"), ("back_100_s", "all")],
    ),
    (
        "Deliveries to the established",
        Unit::Microseconds,
        &[
            ("established.deliver.p50_us", "p50 in the storm"),
            ("established.deliver.p99_us", "p99 in the storm"),
            ("established_calm.deliver.p99_us", "p99 in calm"),
        ],
    ),
    ("Attempts beyond the first ones", Unit::Whole, &[("attempts_repeated", "repeated")]),
    (
        "Memory of the server",
        Unit::Bytes,
        &[("resident_bytes_back", "when all were back"), ("resident_bytes_calm", "after the calm")],
    ),
];

const OF_STEPS: [Together; 2] = [
    (
        "99th percentiles",
        Unit::Microseconds,
        &[
            ("latency.acknowledge.p99_us", "acknowledge"),
            ("latency.deliver.p99_us", "deliver"),
            ("latency.lateness.p99_us", "lateness of the harness"),
        ],
    ),
    (
        "Processors that are busy",
        Unit::Processors,
        &[("server_cpu_share", "server"), ("harness_cpu_share", "harness")],
    ),
];

/// A storm round by round.
pub(super) fn of_rounds(page: &mut Markup, rounds: &Value) {
    put(page, "Storms, round by round", rounds, ("round", Unit::Whole), &OF_ROUNDS);
}

/// The windows of a search by their rates.
pub(super) fn of_steps(page: &mut Markup, steps: &Value) {
    put(page, "Rates that were tried", steps, ("rate_per_s", Unit::PerSecond), &OF_STEPS);
}

fn put(
    page: &mut Markup,
    heading: &str,
    rows: &Value,
    (by, across): (&str, Unit),
    plots: &[Together],
) {
    let rows = rows.as_array().into_iter().flatten();
    let mut rows: Vec<_> = rows.filter_map(|row| Some((row[by].as_f64()?, row))).collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    page.leaf("h2", heading);
    let line = |&(path, name): &(&str, &str)| {
        let at = |&(at, row): &(f64, &Value)| {
            let value = path.split('.').fold(row, |value, field| &value[field]);
            (at, value.as_f64().unwrap_or(f64::NAN))
        };
        Line { name: name.to_owned(), points: rows.iter().map(at).collect() }
    };
    page.element("div", &[("class", "plots")], |page| {
        for &(title, unit, figures) in plots {
            let is_latency = unit == Unit::Microseconds;
            let division = if is_latency { Division::Logarithmic } else { Division::Linear };
            Plot {
                title: title.to_owned(),
                across: (Division::Linear, across),
                up: (division, unit),
                lines: figures.iter().map(line).collect(),
                filled: false,
                bands: Vec::new(),
            }
            .draw(page);
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn storms_have_plots_of_their_own() {
        let round = |round: u32| {
            json!({
                "round": round, "back_50_s": 0.5, "back_99_s": 0.9, "back_100_s": 1.5,
                "attempts_repeated": 3, "resident_bytes_back": null, "resident_bytes_calm": null,
                "established": { "deliver": { "p50_us": 10.0, "p99_us": 20.0 } },
                "established_calm": { "deliver": { "p99_us": 5.0 } },
            })
        };
        let mut page = Markup::default();
        of_rounds(&mut page, &json!([round(1), round(2), round(3)]));
        let page = page.finish();
        // Nothing is known of the server's memory.
        assert_eq!((page.matches("<svg").count(), page.matches("<path").count()), (3, 7), "{page}");
        for words in ["Until so many were back", "p99 in the storm", "Attempts beyond"] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn the_windows_of_a_search_stand_in_the_order_of_their_rates() {
        let step = |rate: u32, p99_us: f64| {
            json!({
                "rate_per_s": rate, "server_cpu_share": null, "harness_cpu_share": 0.1,
                "latency": { "acknowledge": { "p99_us": p99_us }, "deliver": {}, "lateness": {} },
            })
        };
        let mut page = Markup::default();
        of_steps(&mut page, &json!([step(100, 10.0), step(400, 40.0), step(200, 20.0), {}]));
        let page = page.finish();
        assert_eq!((page.matches("<svg").count(), page.matches("<path").count()), (2, 2), "{page}");
        let path = page.split("<path d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let across =
            path.split(['M', 'L']).filter_map(|point| point.split(' ').next()?.parse().ok());
        assert!(across.collect::<Vec<f64>>().is_sorted(), "{path}");
    }
}
