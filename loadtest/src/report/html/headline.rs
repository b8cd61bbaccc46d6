//! The result at one glance: passed or not, the few figures that matter, and what was asked of them.

use serde_json::Value;

use crate::report::html::markup::Markup;
use crate::report::html::tables;
use crate::report::quantity::Unit;

/// Figures that say the most, by their way in the report, whatever scenario has them.
const FIGURES: [(&str, &str); 14] = [
    ("highest_met_per_s", "highest rate that was met"),
    ("lowest_unmet_per_s", "lowest rate that was not"),
    ("rates.acknowledged_per_s", "acknowledged"),
    ("rates.delivered_per_s", "delivered"),
    ("latency.acknowledge.p50_us", "acknowledged within, half of all"),
    ("latency.acknowledge.p99_us", "acknowledged within, 99 of 100"),
    ("latency.deliver.p99_us", "delivered within, 99 of 100"),
    ("server.cpu_us_per_message", "processor time of a message"),
    ("server.cpu_us_per_delivery", "processor time of a delivery"),
    ("arrived", "users who arrived"),
    ("arrivals_per_s", "arrivals"),
    ("arrive.p99_us", "arrived within, 99 of 100"),
    ("server.resident_bytes_per_connection", "memory of a connection"),
    ("server.idle_cpu_share", "processors busy while idle"),
];

/// Of the rounds of a storm, the worst of each.
const OF_ROUNDS: [(&str, &str); 3] = [
    ("back_100_s", "all were back, longest round"),
    ("established.deliver.p99_us", "delivered meanwhile, 99 of 100, worst round"),
    ("established_calm.deliver.p99_us", "delivered in calm, 99 of 100, worst round"),
];

/// Tiles that a glance takes in.
const TILES_MAX: usize = 9;

/// Verdict, circumstances, reasons, figures, thresholds.
pub(super) fn put(page: &mut Markup, report: &Value) {
    let Some(verdict) = report["verdict"].as_str() else {
        return;
    };
    let class = match verdict {
        "ok" => "verdict good",
        "product_failure" => "verdict bad",
        _ => "verdict doubtful",
    };
    page.element("p", &[], |page| {
        page.element("span", &[("class", class)], |page| page.text(&verdict.replace('_', " ")));
        page.element("span", &[("class", "note")], |page| page.text(&circumstances(report)));
    });
    let reasons: Vec<_> =
        report["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !reasons.is_empty() {
        page.element("ul", &[], |page| {
            reasons.iter().for_each(|reason| page.leaf("li", reason));
        });
    }
    let mut tiles = of_rounds(&report["disturbance"]["storm"]["rounds"]);
    tiles.extend(FIGURES.iter().filter_map(|(path, words)| Some((figure(report, path)?, *words))));
    tiles.truncate(TILES_MAX);
    if !tiles.is_empty() {
        page.element("div", &[("class", "tiles")], |page| {
            tiles.iter().for_each(|(figure, words)| tile(page, figure, words));
        });
    }
    thresholds(page, &report["thresholds"]);
}

fn tile(page: &mut Markup, figure: &str, words: &str) {
    page.element("div", &[], |page| {
        page.leaf("b", figure);
        page.leaf("span", words);
    });
}

/// When, by what, and where.
fn circumstances(report: &Value) -> String {
    let run = &report["run"];
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let version = word(&run["version"]).map(|version| match word(&run["commit"]) {
        Some(commit) => format!("version {version} ({commit})"),
        None => format!("version {version}"),
    });
    let processors = run["host"]["processors"].as_u64().map(|count| format!("{count} processors"));
    let memory = run["host"]["memory_bytes"].as_f64().map(|bytes| Unit::Bytes.format(bytes));
    let parts =
        [word(&run["started_at"]), version, word(&run["host"]["kernel"]), processors, memory];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" {}", parts.join(", ")) }
}

/// A number of the report; nothing of latencies of which there are none.
fn figure(report: &Value, path: &str) -> Option<String> {
    let (section, field) = path.rsplit_once('.').unwrap_or(("", path));
    let names = section.split('.').filter(|name| !name.is_empty());
    let section = names.fold(report, |value, name| &value[name]);
    let value = section[field].as_f64().filter(|&value| value > 0.0)?;
    (section["count"].as_u64() != Some(0)).then(|| Unit::of(field).format(value))
}

fn of_rounds(rounds: &Value) -> Vec<(String, &'static str)> {
    let rounds: Vec<_> = rounds.as_array().into_iter().flatten().collect();
    let worst = |path: &str| {
        let at = |round: &Value| path.split('.').fold(round, |value, name| &value[name]).as_f64();
        let worst = rounds.iter().filter_map(|round| at(round)).fold(f64::NAN, f64::max);
        worst.is_finite().then(|| Unit::of(path).format(worst))
    };
    OF_ROUNDS.iter().filter_map(|(path, words)| Some((worst(path)?, *words))).collect()
}

fn thresholds(page: &mut Markup, outcomes: &Value) {
    let Some(outcomes) = outcomes.as_array().filter(|all| !all.is_empty()) else {
        return;
    };
    page.leaf("h2", "Thresholds");
    page.element("table", &[], |page| {
        page.element("tr", &[], |page| {
            ["threshold", "it is", ""].iter().for_each(|name| page.leaf("th", name));
        });
        for outcome in outcomes {
            let is_kept = outcome["kept"] == true;
            let (class, word) = if is_kept { ("good", "kept") } else { ("bad", "broken") };
            page.element("tr", &[], |page| {
                page.leaf("th", outcome["threshold"].as_str().unwrap_or_default());
                page.leaf("td", &tables::text("", &outcome["value"]));
                page.element("td", &[("class", class)], |page| page.text(word));
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page_of(report: &Value) -> String {
        let mut page = Markup::default();
        put(&mut page, report);
        page.finish()
    }

    #[test]
    fn the_verdict_stands_beside_when_and_where_and_above_the_few_figures() {
        let page = page_of(&json!({
            "verdict": "product_failure",
            "reasons": ["lost: 1"],
            "run": {
                "started_at": "2026-11-30T00:00:00Z", "version": "0.1.0", "commit": "abc",
                "host": { "kernel": "Linux 6.18", "processors": 2, "memory_bytes": 24e9 },
            },
            "rates": { "acknowledged_per_s": 990.0 },
            "latency": {
                "acknowledge": { "count": 7, "p99_us": 2000.0 },
                "deliver": { "count": 0, "p99_us": 0.0 },
            },
            "thresholds": [
                { "threshold": "closes<=0", "value": 3.0, "kept": false },
                { "threshold": "deliver.p99_ms<=5", "value": null, "kept": false },
                { "threshold": "totals.sent>=1", "value": 7.0, "kept": true },
            ],
        }));
        let words = "2026-11-30T00:00:00Z, version 0.1.0 (abc), Linux 6.18, 2 processors, 24 GB";
        for text in ["product failure", words, "lost: 1", "<b>990 /s</b>", "<b>2 ms</b>"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("delivered within"), "{page}");
        assert_eq!((page.matches(">broken<").count(), page.matches(">kept<").count()), (2, 1));
        assert!(page.contains("<th>closes&lt;=0</th><td>3</td>"), "{page}");
    }

    #[test]
    fn of_a_storm_the_worst_round_is_shown() {
        let round = |back: f64, p99: f64| json!({ "back_100_s": back, "established": { "deliver": { "p99_us": p99 } } });
        let rounds = json!([round(1.5, 2000.0), round(2.5, 1000.0)]);
        let page = page_of(&json!({
            "verdict": "ok", "disturbance": { "storm": { "rounds": rounds } },
        }));
        assert!(page.contains("<b>2.5 s</b>") && page.contains("<b>2 ms</b>"), "{page}");
        assert_eq!(page_of(&json!({ "verdict": null })), "");
        assert!(!page_of(&json!({ "verdict": "ok" })).contains("tiles"));
    }
}
