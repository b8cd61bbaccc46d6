//! Whatever a report says, as tables.

use serde_json::{Map, Value};

use crate::report::html::markup::Markup;
use crate::report::quantity::{self, Unit};

/// Rows of a list that are shown; the rest is in the JSON.
const ROWS_MAX: usize = 20;

/// Sections within sections that have a heading; what lies deeper is shown as JSON.
const DEPTH_MAX: usize = 2;

/// Whether a value fits into a cell.
pub(super) fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// A section of the report under its name.
pub(super) fn section(page: &mut Markup, name: &str, value: &Value) {
    put_section(page, name, value, 0);
}

/// Names and values, one in each row.
pub(super) fn pairs(page: &mut Markup, pairs: &[(&str, &Value)]) {
    if pairs.is_empty() {
        return;
    }
    page.element("table", &[], |page| {
        for (field, value) in pairs {
            page.element("tr", &[], |page| {
                page.leaf("th", &quantity::name(field));
                cell(page, field, Some(value));
            });
        }
    });
}

fn put_section(page: &mut Markup, name: &str, value: &Value, depth: usize) {
    if is_empty(value) {
        return;
    }
    let heading = ["h2", "h3", "h4"][depth.min(DEPTH_MAX)];
    page.leaf(heading, &quantity::name(name));
    match value {
        Value::Object(fields) if is_matrix(fields.values()) => {
            let rows: Vec<_> =
                fields.iter().map(|(name, row)| (Some(name.as_str()), row)).collect();
            matrix(page, &rows);
        }
        Value::Object(fields) if fields.values().all(is_matrix_of_latencies) => {
            let rows: Vec<_> = fields.iter().flat_map(|(name, value)| named(name, value)).collect();
            let rows: Vec<_> = rows.iter().map(|(name, row)| (Some(name.as_str()), *row)).collect();
            matrix(page, &rows);
        }
        Value::Object(fields) => put_fields(page, fields, depth),
        Value::Array(rows) if is_matrix(rows.iter()) => {
            let rows: Vec<_> = rows.iter().map(|row| (None, row)).collect();
            matrix(page, &rows);
        }
        Value::Array(values) if values.iter().all(Value::is_object) => {
            let rows: Vec<_> = values.iter().map(essence).collect();
            matrix(page, &rows.iter().map(|row| (None, row)).collect::<Vec<_>>());
            let note = "Of latencies, the 99th percentiles. All else is in the JSON.";
            page.element("p", &[("class", "note")], |page| page.text(note));
        }
        Value::Array(values) => list(page, values),
        scalar => page.leaf("p", &text(name, scalar)),
    }
}

fn put_fields(page: &mut Markup, fields: &Map<String, Value>, depth: usize) {
    let is_shown = |value: &Value| is_scalar(value) || depth >= DEPTH_MAX;
    let shown = fields.iter().filter(|(_, value)| is_shown(value));
    pairs(page, &shown.map(|(name, value)| (name.as_str(), value)).collect::<Vec<_>>());
    for (name, value) in fields.iter().filter(|(_, value)| !is_shown(value)) {
        put_section(page, name, value, depth + 1);
    }
}

/// Whether there is nothing to show, in sections within it either.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(values) => values.is_empty(),
        scalar => scalar.is_null(),
    }
}

/// Whether all are objects of scalars, so that they can be the rows of one table.
fn is_matrix<'a>(mut rows: impl Iterator<Item = &'a Value>) -> bool {
    rows.all(|row| {
        row.as_object().is_some_and(|fields| !fields.is_empty() && fields.values().all(is_scalar))
    })
}

/// Latencies of one thing by name: beside those of others, they are compared best in one table.
fn is_matrix_of_latencies(value: &Value) -> bool {
    value.as_object().is_some_and(|rows| {
        is_matrix(rows.values()) && rows.values().all(|row| row.get("p99_us").is_some())
    })
}

/// The rows of a matrix, each with the name of the matrix in front of its own.
fn named<'a>(matrix: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    let rows = value.as_object().into_iter().flatten();
    rows.map(|(name, row)| (format!("{matrix}_{name}"), row)).collect()
}

/// What of an object with others in it has a place in a row: whatever fits into a cell, and of
/// latencies, however deep, one figure.
fn essence(row: &Value) -> Value {
    fn add(cells: &mut Map<String, Value>, path: &str, value: &Value) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value.get("p99_us") {
                Some(p99_us) => drop(cells.insert(format!("{path}{name}_p99_us"), p99_us.clone())),
                None if name == "latency" => add(cells, path, value),
                None => add(cells, &format!("{path}{name}_"), value),
            }
        }
    }
    let mut cells = Map::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        let words: Option<Vec<_>> =
            value.as_array().and_then(|words| words.iter().map(Value::as_str).collect());
        if let Some(words) = words {
            cells.insert(name.clone(), words.join("; ").into());
        } else if is_scalar(value) {
            cells.insert(name.clone(), value.clone());
        }
    }
    add(&mut cells, "", row);
    Value::Object(cells)
}

fn matrix(page: &mut Markup, rows: &[(Option<&str>, &Value)]) {
    let mut columns: Vec<&str> = Vec::new();
    for (_, row) in rows {
        for field in row.as_object().into_iter().flat_map(Map::keys) {
            if !columns.contains(&field.as_str()) {
                columns.push(field);
            }
        }
    }
    columns.sort_by_key(|column| order(column));
    let named = rows.iter().any(|(name, _)| name.is_some());
    page.element("table", &[], |page| {
        page.element("tr", &[], |page| {
            if named {
                page.leaf("th", "");
            }
            columns.iter().for_each(|column| page.leaf("th", &quantity::name(column)));
        });
        for (name, row) in rows.iter().take(ROWS_MAX) {
            page.element("tr", &[], |page| {
                if let Some(name) = name {
                    page.leaf("th", &quantity::name(name));
                }
                columns.iter().for_each(|column| cell(page, column, row.get(column)));
            });
        }
    });
    note_rest(page, rows.len());
}

/// JSON has its fields by alphabet; latencies are read from the smallest to the largest, and a row
/// begins with what it is about.
fn order(column: &str) -> usize {
    let known = [
        "rate_per_s",
        "judgement",
        "count",
        "min_us",
        "mean_us",
        "p50_us",
        "p90_us",
        "p99_us",
        "p999_us",
        "p9999_us",
        "max_us",
    ];
    known.iter().position(|&name| name == column).unwrap_or(known.len())
}

fn list(page: &mut Markup, values: &[Value]) {
    page.element("ul", &[], |page| {
        values.iter().take(ROWS_MAX).for_each(|value| page.leaf("li", &text("", value)));
    });
    note_rest(page, values.len());
}

fn note_rest(page: &mut Markup, rows: usize) {
    if let Some(rest @ 1..) = rows.checked_sub(ROWS_MAX) {
        let note = format!("{rest} more are in the JSON.");
        page.element("p", &[("class", "note")], |page| page.text(&note));
    }
}

fn cell(page: &mut Markup, field: &str, value: Option<&Value>) {
    let Some(value) = value else {
        return page.leaf("td", "");
    };
    let class = if value.is_number() { "number" } else { "words" };
    page.element("td", &[("class", class)], |page| page.text(&text(field, value)));
}

pub(super) fn text(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "\u{2013}".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // A name, not a quantity.
        Value::Number(number) if field == "pid" => number.to_string(),
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |value| Unit::of(field).format(value)),
        Value::String(words) => words.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page_of(value: &Value) -> String {
        let mut page = Markup::default();
        section(&mut page, "latency", value);
        page.finish()
    }

    #[test]
    fn rows_with_the_same_fields_are_one_table() {
        let page = page_of(&json!({
            "acknowledge": { "max_us": 7000.0, "count": 5, "p50_us": 3.0 },
            "deliver": { "count": 6, "p50_us": 4.0 },
        }));
        assert_eq!(page.matches("<table>").count(), 1);
        let columns = "<th>count</th><th>p50</th><th>max</th>";
        assert!(page.contains(columns), "{page}");
        assert!(page.contains("7 ms") && page.contains("<td></td>"), "{page}");
    }

    #[test]
    fn latencies_by_kind_are_one_table_with_a_row_for_each() {
        let page = page_of(&json!({
            "durable": {
                "acknowledge": { "count": 5, "p99_us": 3.0 },
                "deliver": { "count": 5, "p99_us": 4.0 },
            },
            "signal": { "acknowledge": { "count": 6, "p99_us": 1.0 } },
        }));
        assert_eq!(page.matches("<table>").count(), 1, "{page}");
        for name in ["durable acknowledge", "durable deliver", "signal acknowledge"] {
            assert!(page.contains(&format!("<th>{name}</th>")), "{name}: {page}");
        }
        let other = page_of(&json!({ "a": { "b": { "c": 1 } }, "d": { "e": { "c": 1 } } }));
        assert_eq!(other.matches("<table>").count(), 2, "{other}");
    }

    #[test]
    fn a_list_of_what_has_latencies_is_a_table_of_their_percentiles() {
        let step = |rate| {
            json!({
                "rate_per_s": rate, "judgement": "missed", "errors": 0, "reasons": ["one", "two"],
                "latency": { "deliver": { "count": 5, "p99_us": 3000.0 } },
                "calm": { "deliver": { "p99_us": 4000.0 }, "more": { "than": "fits" } },
            })
        };
        let page = page_of(&json!([step(1000), step(2000)]));
        assert_eq!(page.matches("<table>").count(), 1, "{page}");
        let head = "<th>rate</th><th>judgement</th>";
        for text in [head, "<th>deliver p99</th>", "<th>calm deliver p99</th>", "3 ms", "one; two"]
        {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("fits"), "{page}");
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let rows: Vec<_> = (0..120).map(|number| json!({ "number": number })).collect();
        let page = page_of(&json!(rows));
        assert_eq!(page.matches("<tr>").count(), ROWS_MAX + 1);
        assert!(page.contains("100 more are in the JSON"), "{page}");
        assert!(!page_of(&json!(["a"])).contains("more"));
    }

    #[test]
    fn what_is_mixed_has_pairs_and_sections() {
        let page = page_of(&json!({ "a": 1, "b": { "c": { "d": [{ "e": [1] }] } }, "f": {} }));
        assert!(page.contains("<h3>b</h3>"), "{page}");
        assert!(!page.contains("<h3>f</h3>"), "{page}");
        assert_eq!(page_of(&json!({ "retried": {}, "failed": {}, "last": null })), "");
        assert!(page.contains("[{&quot;e&quot;:[1]}]"), "{page}");
    }
}
