//! A report as a page for people: one file that needs nothing else, neither network nor scripts.
//!
//! The page is made of the JSON alone, whatever scenario it is of: the result on top, then plots of
//! storms, `series` and `distributions`, and everything else as tables. A scenario that reports
//! something new has it on its page without a change here.

mod headline;
mod markup;
mod plot;
mod plots;
mod rows;
mod scale;
mod tables;

use serde_json::{Map, Value};

use crate::report::quantity;
use markup::Markup;

/// Sections that come first among the tables, in this order.
const FIRST: [&str; 8] = [
    "scenario",
    "rates",
    "latency",
    "latency_by_kind",
    "request_latency",
    "totals",
    "closes",
    "faults",
];

/// What is no table: the headline and the plots.
const NO_TABLES: [&str; 6] =
    ["schema", "verdict", "reasons", "thresholds", "series", "distributions"];

/// Light or dark as the reader's system is, and on paper in black on white without torn figures.
const STYLE: &str = include_str!("style.css");

/// The page of a report.
pub fn render(report: &Value) -> String {
    let title = title(report);
    let mut page = Markup::default();
    page.element("html", &[("lang", "en")], |page| {
        page.element("head", &[], |page| {
            page.empty("meta", &[("charset", "utf-8")]);
            let viewport = [("name", "viewport"), ("content", "width=device-width")];
            page.empty("meta", &viewport);
            page.leaf("title", &title);
            page.leaf("style", STYLE);
        });
        page.element("body", &[], |page| {
            page.leaf("h1", &title);
            headline::put(page, report);
            body(page, report);
        });
    });
    format!("<!DOCTYPE html>\n{}\n", page.finish())
}

/// `dunlin-loadtest/chat/1` is a "Load test: chat".
fn title(report: &Value) -> String {
    let schema = report["schema"].as_str().unwrap_or("a report without a schema");
    let mut parts = schema.split('/');
    let disturbance = report["disturbance"].as_object().and_then(|all| all.keys().next());
    match (parts.next(), disturbance.map(String::as_str).or(parts.next())) {
        (Some("dunlin-loadtest"), Some(scenario)) => format!("Load test: {scenario}"),
        (Some("dunlin-bench"), Some(measured)) => format!("Benchmark: {measured}"),
        _ => schema.to_owned(),
    }
}

fn body(page: &mut Markup, report: &Value) {
    let Some(fields) = report.as_object() else {
        return page.leaf("pre", &report.to_string());
    };
    rows::of_steps(page, &report["steps"]);
    rows::of_rounds(page, &report["disturbance"]["storm"]["rounds"]);
    plots::of_series(page, report);
    plots::of_distributions(page, &report["distributions"]);
    let is_table = |name: &str| !NO_TABLES.contains(&name);
    let scalars = fields.iter().filter(|(name, value)| is_table(name) && tables::is_scalar(value));
    let scalars: Vec<_> = scalars.map(|(name, value)| (name.as_str(), value)).collect();
    if !scalars.is_empty() {
        page.leaf("h2", "In figures");
    }
    tables::pairs(page, &scalars);
    // Latencies that stand by themselves are compared best in one table.
    let latencies = fields.iter().filter(|(_, value)| is_latency(value));
    let latencies: Map<_, _> =
        latencies.map(|(name, value)| (name.clone(), value.clone())).collect();
    tables::section(page, "latency", &Value::Object(latencies));
    for name in FIRST {
        if let Some(value) = fields.get(name).filter(|value| !tables::is_scalar(value)) {
            tables::section(page, name, value);
        }
    }
    for (name, value) in fields {
        let is_shown = FIRST.contains(&name.as_str()) || is_latency(value) || is_report(value);
        if is_table(name) && !is_shown && !tables::is_scalar(value) {
            tables::section(page, name, value);
        }
    }
    for (name, report) in fields.iter().filter(|(_, value)| is_report(value)) {
        page.leaf("h1", &format!("{} ({})", title(report), quantity::name(name)));
        headline::put(page, report);
        body(page, report);
    }
}

/// A report within the report, with all of its plots: the best window of a search.
fn is_report(value: &Value) -> bool {
    value.get("schema").is_some()
}

fn is_latency(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| {
        fields.contains_key("p99_us") && fields.values().all(tables::is_scalar)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_json_has_a_page_and_none_leaves_its_place() {
        let nasty = "</script><b a='\">&";
        let deep = (0..100).fold(json!(1), |inner, _| json!({ nasty: [inner] }));
        let reports = [
            json!(null),
            json!([1, 2]),
            json!({}),
            json!({ "schema": nasty, "verdict": nasty, "reasons": [nasty, 1], nasty: nasty }),
            json!({ "series": nasty, "distributions": [nasty] }),
            json!({ "series": { "points": [nasty, { "at_s": nasty }, { "at_s": 1 }] } }),
            json!({ "latency": { "a": { "p99_us": 1 }, nasty: { nasty: nasty } }, "x": deep }),
            json!({ "distributions": { nasty: { "curve": [{}], "buckets": [{}, { "us": 1 }] } } }),
        ];
        for report in reports {
            let page = render(&report);
            assert_eq!(markup::fault(&page), None, "{report}: {page}");
            assert!(!page.contains("<b a=") && !page.contains("NaN"), "{page}");
        }
    }

    #[test]
    fn latencies_that_stand_by_themselves_share_a_table() {
        let report = json!({
            "arrive": { "count": 1, "p99_us": 2.0 },
            "heartbeat": { "count": 3, "p99_us": 4.0 },
            "closes": { "gone": 1 },
        });
        let page = render(&report);
        assert_eq!(page.matches("<table>").count(), 2, "{page}");
        assert_eq!(page.matches("<th>p99</th>").count(), 1, "{page}");
    }

    #[test]
    fn a_report_within_a_report_has_its_plots() {
        let best = json!({
            "schema": "dunlin-loadtest/chat/1",
            "verdict": "ok",
            "series": { "points": [{ "at_s": 1, "rates": { "sent": 5 } }] },
        });
        let report = json!({ "schema": "dunlin-loadtest/capacity/1", "best": best, "none": null });
        let page = render(&report);
        assert_eq!(markup::fault(&page), None, "{page}");
        assert!(page.contains("<h1>Load test: chat (best)</h1>"), "{page}");
        assert_eq!(page.matches("<svg").count(), 1, "{page}");
        assert!(!page.contains("<h2>best</h2>"), "{page}");
    }

    #[test]
    fn a_section_that_nobody_knows_is_a_table() {
        let report = json!({
            "schema": "dunlin-loadtest/storm/1",
            "verdict": "ok",
            "storms": [{ "back_s": 1.5, "resumed": 7 }, { "back_s": 2.5, "resumed": 8 }],
        });
        let page = render(&report);
        for words in ["Load test: storm", "verdict good", "<h2>storms</h2>", "1.5 s", "resumed"] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
}
