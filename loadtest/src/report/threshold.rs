//! What a run must keep, beyond the promise of the server: thresholds for the figures of a report.
//!
//! A threshold names a figure by its way in the JSON, so that it works for every scenario.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::error::LoadtestError;
use crate::report::{Report, Verdict, figure};

/// `acknowledge.p99_ms<=50`: a figure and its bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    figure: String,
    comparison: Comparison,
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtMost,
    AtLeast,
    Below,
    Above,
}

/// Each with the sign that is looked for; the longer ones first.
const COMPARISONS: [(&str, Comparison); 4] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// Why a text is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// Neither of `<=`, `>=`, `<` and `>` is in it.
    #[error("FIGURE<=BOUND is expected, with one of <= >= < >")]
    ComparisonMissing,
    /// Nothing stands before the comparison, or between two dots.
    #[error("{0:?} names no figure: for example acknowledge.p99_ms")]
    FigureUnnamed(String),
    /// What stands behind it is no number.
    #[error("{0:?} is no number")]
    BoundNotANumber(String),
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Threshold, ThresholdError> {
        let parts = COMPARISONS
            .iter()
            .find_map(|&(sign, comparison)| Some((text.split_once(sign)?, comparison)));
        let ((figure, bound), comparison) = parts.ok_or(ThresholdError::ComparisonMissing)?;
        let (figure, bound) = (figure.trim(), bound.trim());
        if figure.split('.').any(str::is_empty) {
            return Err(ThresholdError::FigureUnnamed(figure.to_owned()));
        }
        let number = bound.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.ok_or_else(|| ThresholdError::BoundNotANumber(bound.to_owned()))?;
        Ok(Threshold { figure: figure.to_owned(), comparison, bound: number })
    }
}

impl TryFrom<String> for Threshold {
    type Error = ThresholdError;

    fn try_from(text: String) -> Result<Threshold, ThresholdError> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> String {
        threshold.to_string()
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS.iter().find(|(_, comparison)| *comparison == self.comparison);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.figure, self.bound)
    }
}

/// What came of a threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThresholdOutcome {
    /// As it was asked for.
    pub threshold: Threshold,
    /// The figure, in the unit that was asked for; null if nothing was measured.
    pub value: Option<f64>,
    /// Whether it was kept.
    pub kept: bool,
}

impl fmt::Display for ThresholdOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{}: it is {value}", self.threshold),
            None => write!(f, "{}: nothing was measured", self.threshold),
        }
    }
}

/// Holds a report against thresholds. Those that are not kept are among its reasons then, and make
/// a product failure of a run that was ok: figures that are invalid, or of a run that was cut short,
/// prove nothing. An error if the report lacks a figure.
pub fn judge(
    report: &mut impl Report,
    thresholds: &[Threshold],
) -> Result<Vec<ThresholdOutcome>, LoadtestError> {
    let wrong = |reason: String| LoadtestError::Scenario { field: "--threshold", reason };
    let value = serde_json::to_value(&*report).map_err(|error| wrong(error.to_string()))?;
    let outcomes = thresholds.iter().map(|threshold| threshold.outcome(&value));
    let outcomes = outcomes.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    for outcome in outcomes.iter().filter(|outcome| !outcome.kept) {
        let (verdict, reasons) = report.judgement();
        reasons.push(format!("threshold {outcome}"));
        if *verdict == Verdict::Ok {
            *verdict = Verdict::ProductFailure;
        }
    }
    Ok(outcomes)
}

impl Threshold {
    /// The figure that it names.
    pub(crate) fn figure(&self) -> &str {
        &self.figure
    }

    /// Whether a report has its figure.
    pub(crate) fn is_about(&self, report: &Value) -> bool {
        figure::find(report, &self.figure).is_some()
    }

    /// Whether a report keeps it; an error in words if the report has no such figure.
    fn outcome(&self, report: &Value) -> Result<ThresholdOutcome, String> {
        let values = figure::find(report, &self.figure)
            .ok_or_else(|| format!("{self}: this report has no such figure"))?;
        let threshold = self.clone();
        let (is_at_most, kept): (_, fn(f64, f64) -> bool) = match self.comparison {
            Comparison::AtMost => (true, |value, bound| value <= bound),
            Comparison::Below => (true, |value, bound| value < bound),
            Comparison::AtLeast => (false, |value, bound| value >= bound),
            Comparison::Above => (false, |value, bound| value > bound),
        };
        // All of a list are to keep it, so the worst one tells. What was not measured keeps nothing.
        let worse = |one: f64, other: f64| if is_at_most { one.max(other) } else { one.min(other) };
        let values: Option<Vec<_>> = values.into_iter().collect();
        let value = values.and_then(|values| values.into_iter().reduce(worse));
        let kept = value.is_some_and(|value| kept(value, self.bound));
        Ok(ThresholdOutcome { threshold, value, kept })
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Sample {
        verdict: Verdict,
        reasons: Vec<String>,
        #[serde(flatten)]
        figures: Value,
    }

    impl Report for Sample {
        fn judgement(&mut self) -> (&mut Verdict, &mut Vec<String>) {
            (&mut self.verdict, &mut self.reasons)
        }
    }

    fn judged(verdict: Verdict, thresholds: &[&str]) -> (Verdict, usize) {
        let figures = json!({
            "latency": { "acknowledge": { "count": 7, "p99_us": 50_000.0 } },
            "idle": { "count": 0, "p99_us": 0.0 },
            "closes": { "gone": 2, "broken": 1 },
            "rates": { "acknowledged_per_s": 990.0 },
            "server": { "resident_bytes_after": 64e6 },
            "memory_bytes": 64e6,
            "words": "three",
        });
        let mut sample = Sample { verdict, reasons: Vec::new(), figures };
        let thresholds: Vec<Threshold> =
            thresholds.iter().map(|text| text.parse().unwrap()).collect();
        judge(&mut sample, &thresholds).unwrap();
        (sample.verdict, sample.reasons.len())
    }

    #[test]
    fn figures_are_found_by_their_names_and_in_the_unit_that_was_asked_for() {
        let kept = [
            "acknowledge.p99_ms<=50",
            "latency.acknowledge.p99_us < 50000.1",
            "acknowledge.p99_s>=0.05",
            "closes<=3",
            "closes.gone>1",
            "rates.acknowledged_per_s>=990",
            "server.resident_bytes_after<=64e6",
            "memory_mb<=64",
        ];
        assert_eq!(judged(Verdict::Ok, &kept), (Verdict::Ok, 0));
        for broken in ["acknowledge.p99_ms<50", "closes<=2", "rates.acknowledged_per_s>990"] {
            assert_eq!(judged(Verdict::Ok, &[broken]), (Verdict::ProductFailure, 1), "{broken}");
        }
    }

    #[test]
    fn a_threshold_that_is_not_kept_says_nothing_about_a_product_with_invalid_figures() {
        for verdict in [Verdict::HarnessInvalid, Verdict::MachineFailure] {
            assert_eq!(judged(verdict, &["closes<=0"]), (verdict, 1));
        }
    }

    #[test]
    fn nothing_that_was_measured_keeps_no_threshold() {
        assert_eq!(judged(Verdict::Ok, &["idle.p99_ms<=50"]), (Verdict::ProductFailure, 1));
        assert_eq!(judged(Verdict::Ok, &["idle.count<=0"]), (Verdict::Ok, 0));
    }

    #[test]
    fn a_figure_that_the_report_lacks_is_an_error() {
        for text in ["acknowlege.p99_ms<=50", "words<=3", "server<=1", "p99_us<=1", "idle.x_ms<1"] {
            let figures = json!({ "words": "three", "server": { "pid": null }, "idle": {} });
            let mut sample = Sample { verdict: Verdict::Ok, reasons: Vec::new(), figures };
            let threshold: Threshold = text.parse().unwrap();
            assert!(judge(&mut sample, &[threshold]).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        let parse = |text: &str| text.parse::<Threshold>().map(|threshold| threshold.to_string());
        assert_eq!(parse(" closes <= 3 "), Ok("closes<=3".to_owned()));
        let json = "\"a>=0.5\"";
        let read: Threshold = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert!(serde_json::from_str::<Threshold>("\"a\"").is_err());
        assert_eq!(parse("closes"), Err(ThresholdError::ComparisonMissing));
        assert_eq!(parse("<=3"), Err(ThresholdError::FigureUnnamed(String::new())));
        assert_eq!(parse("a..b<3"), Err(ThresholdError::FigureUnnamed("a..b".to_owned())));
        assert_eq!(parse("a<=x"), Err(ThresholdError::BoundNotANumber("x".to_owned())));
        assert_eq!(parse("a<=NaN"), Err(ThresholdError::BoundNotANumber("NaN".to_owned())));
    }
}
