//! How a figure of a report is named: by its way in the JSON, whatever scenario it is of.
//!
//! `latency.` in front may be left out; `_us` may be asked for in `_ms` or `_s`, and `_bytes` in `_kb`
//! or `_mb`; counts by reason are added up; of a list, such as the rounds of a storm, all are meant.

use serde_json::Value;

/// Units of figures that can be asked for instead of the one in the report, and how many of that
/// make one.
const UNITS: [(&str, &str, f64); 4] =
    [("_ms", "_us", 1e3), ("_s", "_us", 1e6), ("_kb", "_bytes", 1e3), ("_mb", "_bytes", 1e6)];

/// Sections of counts by reason. Reasons are what comes up: one that did not come up has a count of 0.
const COUNTS: [&str; 6] = ["closes", "counts", "retried", "failed", "closed", "machine"];

/// Names that are proposed for one that does not exist.
const NEAREST_MAX: usize = 3;

/// The values of a figure, several if it is one of a list. `None` stands for one of which nothing was
/// measured. No such figure at all if there are no values to be had.
pub(super) fn find(report: &Value, figure: &str) -> Option<Vec<Option<f64>>> {
    let names: Vec<_> = figure.split('.').collect();
    let (field, sections) = names.split_last()?;
    let parents = walk(report, sections).or_else(|| walk(report.get("latency")?, sections))?;
    parents.into_iter().map(|parent| value(parent, sections.last().copied(), field)).collect()
}

/// Names of figures that this may have been meant to be, the most likely one first.
pub(crate) fn nearest(report: &Value, figure: &str) -> Vec<String> {
    let mut names = Vec::new();
    list(report, "", &mut names);
    let asked = in_reported_unit(figure);
    let distance = |name: &String| {
        let short = name.strip_prefix("latency.").unwrap_or(name);
        edits(&asked, name).min(edits(&asked, short))
    };
    names.sort_by_cached_key(distance);
    names.truncate(NEAREST_MAX);
    names
}

/// Down the sections; of a list, into each of its members.
fn walk<'a>(value: &'a Value, names: &[&str]) -> Option<Vec<&'a Value>> {
    if let Some(members) = value.as_array() {
        let members = members.iter().map(|member| walk(member, names));
        return Some(members.collect::<Option<Vec<_>>>()?.concat());
    }
    match names.split_first() {
        Some((name, rest)) => walk(value.get(name)?, rest),
        None => Some(vec![value]),
    }
}

/// A number, in the unit that the name asks for; of counts by name, their sum. Outside `None`: there is
/// no such field; inside `None`: nothing was measured.
fn value(parent: &Value, section: Option<&str>, field: &str) -> Option<Option<f64>> {
    let fields = parent.as_object()?;
    let number = match fields.get(field) {
        Some(Value::Null) => return Some(None),
        Some(value) => {
            // The sum of nothing is -0.
            let counts =
                || Some(value.as_object()?.values().map(Value::as_f64).sum::<Option<f64>>()? + 0.0);
            value.as_f64().or_else(counts)?
        }
        None => {
            let converted = UNITS.into_iter().find_map(|(asked, reported, size)| {
                let name = field.strip_suffix(asked)?;
                Some(fields.get(&format!("{name}{reported}"))?.as_f64()? / size)
            });
            let is_counts = section.is_some_and(|name| COUNTS.contains(&name))
                && fields.values().all(Value::is_number);
            converted.or(is_counts.then_some(0.0))?
        }
    };
    // Nothing is quick if nothing happened.
    let is_nothing = field != "count" && fields.get("count").and_then(Value::as_u64) == Some(0);
    Some((!is_nothing).then_some(number))
}

fn in_reported_unit(figure: &str) -> String {
    let convert = |(asked, reported, _): (&str, &str, f64)| {
        // What is per second, or lasts seconds, is reported so.
        let stem = figure.strip_suffix(asked).filter(|_| asked != "_s")?;
        Some(format!("{stem}{reported}"))
    };
    UNITS.into_iter().find_map(convert).unwrap_or_else(|| figure.to_owned())
}

/// All figures below a value.
fn list(value: &Value, path: &str, names: &mut Vec<String>) {
    let fields = match value {
        Value::Array(members) => return members.iter().for_each(|one| list(one, path, names)),
        Value::Object(fields) => fields,
        Value::Number(_) => return names.push(path.to_owned()),
        Value::Null | Value::Bool(_) | Value::String(_) => return,
    };
    if fields.is_empty() && COUNTS.iter().any(|name| path.rsplit('.').next() == Some(name)) {
        names.push(path.to_owned());
    }
    for (name, value) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        list(value, &path, names);
    }
}

/// Letters to be put in, left out or changed until one name is the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (column, &there) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != there);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_figure_of_a_list_has_a_value_for_each_member() {
        let round = |back: Value, p99_us: f64| json!({ "back_100_s": back, "deliver": { "count": 5, "p99_us": p99_us } });
        let report =
            json!({ "rounds": [round(json!(1.5), 2e3), round(Value::Null, 3e3)], "none": [] });
        assert_eq!(find(&report, "rounds.back_100_s"), Some(vec![Some(1.5), None]));
        assert_eq!(find(&report, "rounds.deliver.p99_ms"), Some(vec![Some(2.0), Some(3.0)]));
        assert_eq!(find(&report, "none.anything"), Some(Vec::new()));
        assert_eq!(find(&report, "rounds.nothing"), None);
    }

    #[test]
    fn a_reason_that_did_not_come_up_came_up_never() {
        let report =
            json!({ "closes": { "gone": 2 }, "totals": { "sent": 1 }, "faults": { "counts": {} } });
        assert_eq!(find(&report, "closes.broken"), Some(vec![Some(0.0)]));
        assert_eq!(find(&report, "faults.counts.lost"), Some(vec![Some(0.0)]));
        assert_eq!(find(&report, "faults.counts"), Some(vec![Some(0.0)]));
        assert_eq!(find(&report, "totals.snet"), None);
        let idle = json!({ "closes": { "retried": {}, "failed": {} } });
        assert_eq!(find(&idle, "closes.retried"), Some(vec![Some(0.0)]));
        assert_eq!(find(&idle, "closes.gone"), None);
    }

    #[test]
    fn the_nearest_names_are_proposed() {
        let report = json!({
            "latency": { "acknowledge": { "count": 0, "p99_us": 0 }, "deliver": { "p99_us": 0 } },
            "rates": { "acknowledged_per_s": 0 },
            "closes": {},
        });
        let first = |figure| nearest(&report, figure)[0].clone();
        assert_eq!(first("acknowlege.p99_ms"), "latency.acknowledge.p99_us");
        assert_eq!(first("acknowledge.p98_us"), "latency.acknowledge.p99_us");
        assert_eq!(first("rates.acknowledge_per_s"), "rates.acknowledged_per_s");
        assert_eq!(first("close"), "closes");
        assert_eq!((edits("kitten", "sitting"), edits("", "ab"), edits("ab", "ab")), (3, 2, 0));
    }
}
