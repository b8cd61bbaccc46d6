//! Two reports of one scenario beside each other: what is better or worse, and what is only noise.
//!
//! One run says how much its figures fluctuate: a rate, a percentile and the processor time of a message
//! have a value for every second of the measured window, and a storm one for every round. The means of
//! two such lists differ by chance by about the root of the sum of their squared standard errors; what
//! differs by `ERRORS_OF_NOISE` times as much differs in earnest. Seconds that follow each other are
//! alike, so this is the least that noise can be: what one machine does on two days is not in it.

mod figures;
mod noise;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use figures::{Direction, Figures};

/// How many standard errors are taken for noise: three leave one of 370 figures that have not changed.
/// The error of a count is its root.
const ERRORS_OF_NOISE: f64 = 3.0;

/// Sections of parameters: what differs in them is shown, and not judged.
const PARAMETERS: [&str; 5] = ["scenario", "search", "settings", "plan", "host"];

/// What to look at, and what counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// A figure is worse, or better, if its ratio is beyond this factor and beyond noise.
    pub worse_than: f64,
    /// Beginnings of the figures to look at; all if empty.
    pub only: Vec<String>,
}

/// What came of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Beyond noise and the factor.
    Worse,
    /// Likewise, in the good direction.
    Better,
    /// Neither.
    Same,
    /// It is neither good nor bad that it changes.
    Unjudged,
}

/// A figure in both reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its way in the JSON, as thresholds name it.
    pub figure: String,
    /// In the first report.
    pub a: f64,
    /// In the second one.
    pub b: f64,
    /// The second by the first; null if that is 0.
    pub ratio: Option<f64>,
    /// Ratios up to this factor, and down to its inverse, are noise; null if the reports do not say.
    pub noise: Option<f64>,
    /// What came of it.
    pub judgement: Judgement,
}

/// What one report says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest.md explains each field")]
pub struct Side {
    pub verdict: String,
    pub started_at: Option<String>,
    pub version: Option<String>,
    pub commit: Option<String>,
}

/// A parameter, or a fact of the machine, in which the reports differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest.md explains each field")]
pub struct Difference {
    pub name: String,
    pub a: Value,
    pub b: Value,
}

/// Two reports beside each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest.md explains each field")]
pub struct Comparison {
    pub schema: &'static str,
    pub of: String,
    pub a: Side,
    pub b: Side,
    pub differences: Vec<Difference>,
    pub worse_than: f64,
    pub figures: Vec<Figure>,
    pub worse: usize,
    pub better: usize,
    /// Why the figures prove nothing, if they do not.
    pub invalid: Vec<String>,
}

/// Compares the second report with the first one; an error in words if they can't be.
pub fn compare(a: &Value, b: &Value, options: &Options) -> Result<Comparison, String> {
    let schema = |report: &Value| report["schema"].as_str().map(str::to_owned);
    let (Some(of), Some(other)) = (schema(a), schema(b)) else {
        return Err("a report has a schema".to_owned());
    };
    if of != other {
        return Err(format!("{of} can't be compared with {other}"));
    }
    let (one, another) = (scenario_of(a), scenario_of(b));
    if one != another {
        return Err(format!("{one} can't be compared with {another}"));
    }
    let (of_a, of_b) = (Figures::of(a), Figures::of(b));
    let figures: Vec<_> = of_a.both(&of_b).filter(|(name, ..)| options.looks_at(name)).collect();
    if figures.is_empty() {
        return Err("they have no figure in common".to_owned());
    }
    let figures: Vec<_> =
        figures.into_iter().map(|(name, a, b)| figure(name, a, b, options.worse_than)).collect();
    let count = |judgement| figures.iter().filter(|figure| figure.judgement == judgement).count();
    let (worse, better) = (count(Judgement::Worse), count(Judgement::Better));
    let (side_a, side_b) = (Side::of(a), Side::of(b));
    let mut invalid = Vec::new();
    for (name, side) in [("A", &side_a), ("B", &side_b)] {
        // A broken promise is judged by itself; figures that are invalid can't be compared.
        if !["ok", "product_failure"].contains(&side.verdict.as_str()) {
            invalid.push(format!("{name} is {}", side.verdict.replace('_', " ")));
        }
    }
    Ok(Comparison {
        schema: "dunlin-loadtest/compare/1",
        of,
        differences: differences(a, b),
        a: side_a,
        b: side_b,
        worse_than: options.worse_than,
        figures,
        worse,
        better,
        invalid,
    })
}

/// A chat that was disturbed has the report of a chat, and says by what.
fn scenario_of(report: &Value) -> &str {
    let disturbance = report["disturbance"].as_object();
    disturbance.and_then(|by| by.keys().next()).map_or("an undisturbed run", String::as_str)
}

impl Options {
    fn looks_at(&self, figure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| figure.starts_with(start))
    }
}

impl Comparison {
    /// Whether the second one failed where the first one did not.
    pub fn breaks(&self) -> bool {
        self.a.verdict == "ok" && self.b.verdict == "product_failure"
    }

    /// 1 if something is worse, 3 if the figures prove nothing, else 0.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match (self.breaks(), self.invalid.is_empty(), self.worse) {
            (true, _, _) => 1,
            (false, false, _) => 3,
            (false, true, 1..) => 1,
            (false, true, 0) => 0,
        })
    }
}

impl Side {
    fn of(report: &Value) -> Side {
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let run = &report["run"];
        Side {
            // Reports of benchmarks have none: they end with figures or not at all.
            verdict: word(&report["verdict"]).unwrap_or_else(|| "ok".to_owned()),
            started_at: word(&run["started_at"]),
            version: word(&run["version"]),
            commit: word(&run["commit"]),
        }
    }
}

fn figure(name: String, a: figures::Value, b: figures::Value, worse_than: f64) -> Figure {
    let ratio = (a.value != 0.0).then(|| b.value / a.value);
    let noise = a.noise(&b).map(|error| (error * ERRORS_OF_NOISE).exp());
    let bound = worse_than.max(noise.unwrap_or(1.0));
    let judgement = match a.direction {
        Direction::None => Judgement::Unjudged,
        Direction::Trouble => trouble(a.value, b.value, worse_than),
        // Better than nothing, or worse than it, is neither.
        Direction::Lower => judge(ratio, bound),
        Direction::Higher => judge(ratio.map(f64::recip), bound),
    };
    Figure { figure: name, a: a.value, b: b.value, ratio, noise, judgement }
}

/// By how many times it is worse.
fn judge(worse: Option<f64>, bound: f64) -> Judgement {
    match worse {
        Some(times) if times > bound => Judgement::Worse,
        Some(times) if times < bound.recip() => Judgement::Better,
        Some(_) | None => Judgement::Same,
    }
}

fn trouble(a: f64, b: f64, worse_than: f64) -> Judgement {
    let is_noise = (a - b).abs() <= ERRORS_OF_NOISE * (a + b).sqrt();
    if is_noise || (b <= a * worse_than && a <= b * worse_than) {
        Judgement::Same
    } else if b > a {
        Judgement::Worse
    } else {
        Judgement::Better
    }
}

/// Parameters and facts of the machine that are not the same.
fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let (mut of_a, mut of_b) = (BTreeMap::new(), BTreeMap::new());
    parameters(a, "", false, &mut of_a);
    parameters(b, "", false, &mut of_b);
    let names = of_a.keys().chain(of_b.keys()).collect::<std::collections::BTreeSet<_>>();
    let get = |of: &BTreeMap<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let both = names.into_iter().map(|name| (name.clone(), get(&of_a, name), get(&of_b, name)));
    both.filter(|(_, a, b)| a != b).map(|(name, a, b)| Difference { name, a, b }).collect()
}

/// Everything in sections of parameters; of an idle run, which has none, what stands above all.
fn parameters(value: &Value, path: &str, inside: bool, into: &mut BTreeMap<String, Value>) {
    const ABOVE: [&str; 4] = ["connections", "threads", "tls", "worse_than"];
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let inside = inside || PARAMETERS.contains(&name.as_str());
        if value.is_object() {
            // A report within a report is of a window whose rate was found.
            if value.get("schema").is_none() {
                parameters(value, &path, inside, into);
            }
        } else if inside || ABOVE.contains(&path.as_str()) {
            into.insert(path, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OPTIONS: Options = Options { worse_than: 1.05, only: Vec::new() };

    /// A report with seconds whose p99 is around this.
    fn report(p99_us: f64, closes: u64) -> Value {
        let point = |number: u32| {
            let wave = if number.is_multiple_of(2) { 1.02 } else { 0.98 };
            json!({
                "doing": "measuring",
                "interval_s": 1.0,
                "rates": { "acknowledged": 1000.0 },
                "latency": { "acknowledge": { "count": 1000, "p50_us": 50.0, "p99_us": p99_us * wave } },
            })
        };
        json!({
            "schema": "dunlin-loadtest/chat/1",
            "verdict": "ok",
            "run": { "started_at": "2026-11-30T00:00:00Z", "host": { "processors": 2 } },
            "scenario": { "users": 10 },
            "rates": { "acknowledged_per_s": 1000.0 },
            "latency": { "acknowledge": { "count": 9000, "p50_us": 50.0, "p99_us": p99_us } },
            "closes": { "gone": closes },
            "series": { "points": (0..16).map(point).collect::<Vec<_>>() },
        })
    }

    fn judgements(a: &Value, b: &Value) -> BTreeMap<String, Judgement> {
        let comparison = compare(a, b, &OPTIONS).unwrap();
        let figures = comparison.figures.into_iter();
        figures.map(|figure| (figure.figure, figure.judgement)).collect()
    }

    #[test]
    fn what_differs_beyond_noise_is_better_or_worse() {
        let (slow, quick) = (report(110.0, 0), report(100.0, 0));
        let p99 = "latency.acknowledge.p99_us";
        assert_eq!(judgements(&quick, &slow)[p99], Judgement::Worse);
        assert_eq!(judgements(&slow, &quick)[p99], Judgement::Better);
        assert_eq!(judgements(&quick, &quick)[p99], Judgement::Same);
        assert_eq!(judgements(&quick, &slow)["rates.acknowledged_per_s"], Judgement::Same);
        let worse = compare(&quick, &slow, &OPTIONS).unwrap();
        assert_eq!((worse.worse, worse.better, worse.breaks()), (1, 0, false));
        // Seconds that differ by 4 % each: their means are known to some 0.5 % only.
        let noise =
            worse.figures.iter().find(|figure| figure.figure == p99).unwrap().noise.unwrap();
        assert!((1.015..1.035).contains(&noise), "{noise}");
    }

    #[test]
    fn what_fluctuates_by_as_much_as_it_differs_is_the_same() {
        let wild = |factor: f64| {
            let mut report = report(100.0 * factor, 0);
            for (number, point) in
                report["series"]["points"].as_array_mut().unwrap().iter_mut().enumerate()
            {
                let wave = if number % 2 == 0 { 1.8 } else { 0.2 };
                point["latency"]["acknowledge"]["p99_us"] = json!(100.0 * factor * wave);
            }
            report
        };
        assert_eq!(
            judgements(&wild(1.0), &wild(1.1))["latency.acknowledge.p99_us"],
            Judgement::Same
        );
    }

    #[test]
    fn more_trouble_is_worse_unless_it_may_be_chance() {
        for (a, b, expected) in [
            (0, 0, Judgement::Same),
            (0, 3, Judgement::Same),
            (0, 50, Judgement::Worse),
            (50, 0, Judgement::Better),
            (1000, 1010, Judgement::Same),
        ] {
            assert_eq!(judgements(&report(1.0, a), &report(1.0, b))["closes"], expected, "{a} {b}");
        }
    }

    #[test]
    fn parameters_and_machines_that_differ_are_named() {
        let (a, mut b) = (report(1.0, 0), report(1.0, 0));
        assert_eq!(compare(&a, &b, &OPTIONS).unwrap().differences, []);
        b["scenario"]["users"] = json!(20);
        b["run"]["host"]["processors"] = json!(4);
        let differences = compare(&a, &b, &OPTIONS).unwrap().differences;
        let names: Vec<_> = differences.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["run.host.processors", "scenario.users"]);
    }

    #[test]
    fn only_what_is_good_can_be_compared() {
        let (ok, mut bad) = (report(1.0, 0), report(1.0, 0));
        bad["verdict"] = json!("harness_invalid");
        assert_eq!(compare(&ok, &bad, &OPTIONS).unwrap().invalid, ["B is harness invalid"]);
        bad["verdict"] = json!("product_failure");
        assert!(compare(&ok, &bad, &OPTIONS).unwrap().breaks());
        bad["schema"] = json!("dunlin-loadtest/idle/1");
        assert!(compare(&ok, &bad, &OPTIONS).is_err());
        assert!(compare(&json!({}), &ok, &OPTIONS).is_err());
        let mut storm = report(1.0, 0);
        storm["disturbance"] = json!({ "storm": {} });
        let refused = compare(&ok, &storm, &OPTIONS).unwrap_err();
        assert_eq!(refused, "an undisturbed run can't be compared with storm");
        assert!(compare(&storm, &storm, &OPTIONS).is_ok());
        let only = Options { only: vec!["nothing".to_owned()], ..OPTIONS };
        assert!(compare(&ok, &ok, &only).is_err());
    }
}
