//! Which figures of a report are drawn together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::report::html::markup::Markup;
use crate::report::html::plot::{Band, Division, Line, Plot};
use crate::report::quantity::{self, Unit};

/// Fields of a point that say when it was.
const TIMES: [&str; 2] = ["at_s", "interval_s"];

/// A drawing of the series: what stands under one name in the points, in one unit.
type Group = (String, Unit);

/// The way to a figure in a point; the last part is the field.
type Path = Vec<String>;

/// Everything that the points of a series have, by group, over time.
pub(super) fn of_series(page: &mut Markup, report: &Value) {
    let series = &report["series"];
    let Some(points) = series["points"].as_array().filter(|points| !points.is_empty()) else {
        return;
    };
    page.leaf("h2", "Over time");
    let mut bands = idle_bands(points);
    bands.extend(storm_bands(&report["disturbance"]["storm"]["rounds"]));
    if let Some(interval_s) = series["interval_s"].as_f64() {
        let interval = Unit::Seconds.format(interval_s);
        let has = |class| bands.iter().any(|band: &Band| band.class == class);
        let note = format!(
            "Each point is about {interval}, on the clock of the run.{}{}",
            if has(IDLE) { " Grey: outside of the measured window." } else { "" },
            if has(STORM) { " Red: a storm, until all are back." } else { "" },
        );
        page.element("p", &[("class", "note")], |page| page.text(&note));
    }
    let mut groups: BTreeMap<Group, BTreeSet<Path>> = BTreeMap::new();
    for point in points {
        find(point, &mut Vec::new(), &mut groups);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|((name, unit), _)| (rank(name), *unit));
    page.element("div", &[("class", "plots")], |page| {
        for ((name, unit), paths) in groups {
            // How many latencies there are is in the rates already.
            if name == "latency" && unit == Unit::Plain {
                continue;
            }
            let division = if name == "latency" { Division::Logarithmic } else { Division::Linear };
            Plot {
                title: title(&name, unit),
                across: (Division::Linear, Unit::Seconds),
                up: (division, unit),
                lines: paths.iter().map(|path| line(points, path)).collect(),
                filled: false,
                bands: bands.clone(),
            }
            .draw(page);
        }
    });
}

/// What a run does before and after its window.
const IDLE_DOINGS: [&str; 5] = ["connecting", "warming up", "draining", "auditing", "ending"];

// Classes of bands in the style.
const IDLE: &str = "idle";
const STORM: &str = "storm";

/// When a run was not measuring, as far as the points tell.
fn idle_bands(points: &[Value]) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    let mut from = 0.0;
    for point in points {
        let to = number(point, "at_s");
        let is_idle = point["doing"].as_str().is_some_and(|doing| IDLE_DOINGS.contains(&doing));
        if is_idle && to.is_finite() {
            match bands.last_mut() {
                Some(last) if last.to == from => last.to = to,
                Some(_) | None => bands.push(Band { from, to, class: IDLE }),
            }
        }
        from = if to.is_finite() { to } else { from };
    }
    bands
}

/// From the beginning of each round until all were back, or to its beginning alone if they never were.
fn storm_bands(rounds: &Value) -> Vec<Band> {
    let band = |round: &Value| {
        let from = round["begun_at_s"].as_f64()?;
        let to = from + round["back_100_s"].as_f64().unwrap_or(0.0);
        Some(Band { from, to, class: STORM })
    };
    rows(rounds).filter_map(band).collect()
}

/// What matters most comes first; what nobody knows comes last.
fn rank(group: &str) -> usize {
    let known = ["latency", "rates", "connections", "trouble", "server", "kernel"];
    known.iter().position(|&name| name == group).unwrap_or(known.len())
}

fn title(group: &str, unit: Unit) -> String {
    match (group, unit) {
        ("latency", _) => "Latency".to_owned(),
        ("rates", _) => "Rates".to_owned(),
        ("connections", _) => "Connections".to_owned(),
        ("trouble", _) => "Errors and closes".to_owned(),
        ("server", Unit::Bytes) => "Memory of the server".to_owned(),
        ("server", Unit::Processors) => "Processors that the server keeps busy".to_owned(),
        ("kernel", _) => "Memory of the kernel of the harness's machine".to_owned(),
        (other, _) => quantity::name(other),
    }
}

/// Collects the numbers of a point, down to the third level.
fn find(value: &Value, path: &mut Path, groups: &mut BTreeMap<Group, BTreeSet<Path>>) {
    let Some(fields) = value.as_object() else {
        return;
    };
    for (field, value) in fields {
        path.push(field.clone());
        if value.is_number() && !TIMES.contains(&field.as_str()) {
            groups.entry(group(path, field)).or_default().insert(path.clone());
        } else if path.len() < 3 {
            find(value, path, groups);
        }
        path.pop();
    }
}

fn group(path: &[String], field: &str) -> Group {
    let top = path.first().map_or("", String::as_str);
    let unit = match top {
        "rates" => Unit::PerSecond,
        "errors" | "closes" | "connections" => Unit::Whole,
        _ => Unit::of(field),
    };
    let name = if ["errors", "closes"].contains(&top) { "trouble" } else { top };
    (name.to_owned(), unit)
}

fn line(points: &[Value], path: &Path) -> Line {
    let names = if path.len() > 1 { &path[1..] } else { &path[..] };
    let names: Vec<_> = names.iter().map(|name| quantity::name(name)).collect();
    let at = |point: &Value| {
        let value = path.iter().try_fold(point, |value, field| value.get(field));
        let value = value.and_then(Value::as_f64).unwrap_or(f64::NAN);
        (point["at_s"].as_f64().unwrap_or(f64::NAN), value)
    };
    Line { name: names.join(" "), points: points.iter().map(at).collect() }
}

/// The percentile curves together, then a histogram of each.
pub(super) fn of_distributions(page: &mut Markup, distributions: &Value) {
    let Some(distributions) = distributions.as_object().filter(|all| !all.is_empty()) else {
        return;
    };
    page.leaf("h2", "Distribution of latencies");
    let curve = |(name, distribution): (&String, &Value)| Line {
        name: quantity::name(name),
        points: rows(&distribution["curve"]).map(nines).collect(),
    };
    page.element("div", &[("class", "plots")], |page| {
        Plot {
            title: "Percentiles".to_owned(),
            across: (Division::Linear, Unit::Nines),
            up: (Division::Logarithmic, Unit::Microseconds),
            lines: distributions.iter().map(curve).collect(),
            filled: false,
            bands: Vec::new(),
        }
        .draw(page);
        for (name, distribution) in distributions {
            Plot {
                title: format!("How many took how long: {}", quantity::name(name)),
                across: (Division::Logarithmic, Unit::Microseconds),
                up: (Division::Linear, Unit::Plain),
                lines: vec![Line { name: String::new(), points: bars(&distribution["buckets"]) }],
                filled: true,
                bands: Vec::new(),
            }
            .draw(page);
        }
    });
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or(f64::NAN)
}

fn nines(row: &Value) -> (f64, f64) {
    (-(1.0 - number(row, "share")).log10(), number(row, "us"))
}

/// The outline of the bars, down to the floor where there are none.
fn bars(buckets: &Value) -> Vec<(f64, f64)> {
    let mut outline: Vec<(f64, f64)> = Vec::new();
    for row in rows(buckets) {
        let (from, to, count) =
            (number(row, "from_us"), number(row, "to_us"), number(row, "count"));
        match outline.last() {
            // The edges of neighbours are the same but for rounding.
            Some(&(edge, _)) if from <= edge * 1.001 => {}
            Some(&(edge, _)) => outline.extend([(edge, 0.0), (from, 0.0)]),
            None => outline.push((from, 0.0)),
        }
        outline.extend([(from, count), (to, count)]);
    }
    if let Some(&(edge, _)) = outline.last() {
        outline.push((edge, 0.0));
    }
    outline
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_of_one_name_and_unit_share_a_plot_and_unknown_ones_have_their_own() {
        let point = |at_s: u32| {
            json!({
                "at_s": at_s, "interval_s": 1, "doing": "measuring", "connections": 8,
                "errors": 0, "closes": at_s, "resumed": 3,
                "rates": { "sent": 5.0, "delivered": 4.0 },
                "latency": { "deliver": { "count": 4, "p50_us": 10.0, "p99_us": 20.0 } },
                "server": { "cpu_share": 0.5, "resident_bytes": 1000 },
                "kernel": null,
            })
        };
        let mut page = Markup::default();
        let series = json!({ "interval_s": 1, "points": [point(1), point(2)] });
        of_series(&mut page, &json!({ "series": series }));
        let page = page.finish();
        let titles: Vec<_> = page.split("<figcaption>").skip(1).collect();
        let titles: Vec<_> =
            titles.iter().filter_map(|rest| rest.split_once('<')).map(|(title, _)| title).collect();
        assert_eq!(
            titles,
            [
                "Latency",
                "Rates",
                "Connections",
                "Errors and closes",
                "Memory of the server",
                "Processors that the server keeps busy",
                "resumed"
            ]
        );
        assert!(page.contains("deliver p99") && page.contains("sent"), "{page}");
    }

    #[test]
    fn storms_stand_out_over_time() {
        let point = |at_s: u32, doing: &str| json!({ "at_s": at_s, "doing": doing, "errors": 0 });
        let doing = ["connecting", "warming up", "measuring", "storm 1", "calm 1", "draining"];
        let points: Vec<_> = (1..).zip(doing).map(|(at_s, doing)| point(at_s, doing)).collect();
        let band = |from, to, class| Band { from, to, class };
        assert_eq!(idle_bands(&points), [band(0.0, 2.0, IDLE), band(5.0, 6.0, IDLE)]);
        let rounds = json!([
            { "begun_at_s": 3.5, "back_100_s": 0.25 }, { "begun_at_s": 5, "back_100_s": null }, {},
        ]);
        assert_eq!(storm_bands(&rounds), [band(3.5, 3.75, STORM), band(5.0, 5.0, STORM)]);
    }

    #[test]
    fn bars_without_neighbours_stand_on_the_floor() {
        let bucket = |from, to, count| json!({ "from_us": from, "to_us": to, "count": count });
        let buckets = json!([bucket(1, 2, 7), bucket(2, 3, 1), bucket(8, 9, 4)]);
        let outline = [
            (1.0, 0.0),
            (1.0, 7.0),
            (2.0, 7.0),
            (2.0, 1.0),
            (3.0, 1.0),
            (3.0, 0.0),
            (8.0, 0.0),
            (8.0, 4.0),
            (9.0, 4.0),
            (9.0, 0.0),
        ];
        assert_eq!(bars(&buckets), outline);
        assert_eq!(bars(&json!(null)), []);
    }
}
