//! Measures, and their text for scrapers.
//!
//! A node makes them when it is asked, out of what it has counted; nothing of it is kept here. So the way
//! of a message has no part in it, whoever scrapes how often.
//!
//! ```
//! use dunlin_http::metrics::{Metrics, Unit};
//!
//! let mut metrics = Metrics::new();
//! metrics.counter("dunlin_requests", None, "Requests that were taken").labelled([("kind", "send")], 7);
//! metrics.gauge("dunlin_outboxes", Some(Unit::Bytes), "What waits to be written").value(512.0);
//! let text = metrics.text();
//! assert!(text.contains("dunlin_requests_total{kind=\"send\"} 7\n"));
//! assert!(text.contains("# UNIT dunlin_outboxes_bytes bytes\n"));
//! assert!(text.ends_with("# EOF\n"));
//! ```

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit as NamedUnit};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The unit of a measure, which is a part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// What is now.
    Gauge,
    /// How large the values of something were.
    Histogram,
}

/// Labels of a number: names that the code has, values of a bounded number.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// All measures of a node, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    families: Vec<Family>,
}

/// A measure: one number, or one for each set of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Labels, Value)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Count(u64),
    Amount(f64),
    Level(f64),
    Spread(Spread),
}

/// How many values were how large.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spread {
    /// The upper bounds of the buckets, ascending, each with how many values are in it and in no lower one.
    pub buckets: Vec<(f64, u64)>,
    /// Values beyond the last bound.
    pub beyond: u64,
    /// All values together.
    pub sum: f64,
}

impl Metrics {
    /// None.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// Something that only grows. (Its text has `_total` behind the name.)
    pub fn counter(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        help: &'static str,
    ) -> Counter<'_> {
        Counter(self.family(name, unit, help, Kind::Counter))
    }

    /// Something that is as it is now.
    pub fn gauge(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        help: &'static str,
    ) -> Gauge<'_> {
        Gauge(self.family(name, unit, help, Kind::Gauge))
    }

    /// How large the values of something were.
    pub fn histogram(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        help: &'static str,
    ) -> Histogram<'_> {
        Histogram(self.family(name, unit, help, Kind::Histogram))
    }

    /// All of them.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// As scrapers read it: OpenMetrics.
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut written = String::new();
        // A String takes all that is written to it.
        text::encode(&mut written, &registry).expect("a String refuses nothing");
        written
    }

    fn family(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        help: &'static str,
        kind: Kind,
    ) -> &mut Family {
        debug_assert!(self.families.iter().all(|family| family.name != name), "{name} comes twice");
        self.families.push(Family { name, unit, help, kind, samples: Vec::new() });
        self.families.last_mut().expect("one was added")
    }
}

/// A measure of [`Kind::Counter`] that gets its numbers.
#[derive(Debug)]
pub struct Counter<'a>(&'a mut Family);

impl Counter<'_> {
    /// The one number.
    pub fn value(self, count: u64) {
        self.0.add(Vec::new(), Value::Count(count));
    }

    /// The one number, of something that is measured in parts.
    pub fn amount(self, amount: f64) {
        self.0.add(Vec::new(), Value::Amount(amount));
    }

    /// A number with labels; one of several.
    pub fn labelled<const N: usize>(
        self,
        labels: [(&'static str, impl Into<Cow<'static, str>>); N],
        count: u64,
    ) -> Self {
        self.0.add(owned(labels), Value::Count(count));
        self
    }
}

/// A measure of [`Kind::Gauge`] that gets its numbers.
#[derive(Debug)]
pub struct Gauge<'a>(&'a mut Family);

impl Gauge<'_> {
    /// The one number.
    pub fn value(self, level: f64) {
        self.0.add(Vec::new(), Value::Level(level));
    }

    /// The one number, of something that is counted.
    pub fn number(self, level: u64) {
        self.value(level as f64);
    }

    /// A number with labels; one of several.
    pub fn labelled<const N: usize>(
        self,
        labels: [(&'static str, impl Into<Cow<'static, str>>); N],
        level: f64,
    ) -> Self {
        self.0.add(owned(labels), Value::Level(level));
        self
    }
}

/// A measure of [`Kind::Histogram`] that gets its values.
#[derive(Debug)]
pub struct Histogram<'a>(&'a mut Family);

impl Histogram<'_> {
    /// All values.
    pub fn values(self, spread: Spread) {
        self.0.add(Vec::new(), Value::Spread(spread));
    }
}

fn owned<const N: usize>(labels: [(&'static str, impl Into<Cow<'static, str>>); N]) -> Labels {
    labels.into_iter().map(|(name, value)| (name, value.into())).collect()
}

impl Family {
    /// Its name as it is in the text, without what a kind puts behind it for a number.
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(Unit::named);
        unit.map_or_else(|| self.name.to_owned(), |unit| format!("{}_{}", self.name, unit.as_str()))
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it means.
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// The labels of each of its numbers.
    pub fn labels(&self) -> impl Iterator<Item = &Labels> {
        self.samples.iter().map(|(labels, _)| labels)
    }

    fn add(&mut self, labels: Labels, value: Value) {
        self.samples.push((labels, value));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unit = self.unit.map(Unit::named);
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut encoder = encoder.encode_descriptor(self.name, self.help, unit.as_ref(), kind)?;
        for (labels, value) in &self.samples {
            if labels.is_empty() {
                value.encode(&mut encoder)?;
            } else {
                value.encode(&mut encoder.encode_family(&&labels[..])?)?;
            }
        }
        Ok(())
    }
}

impl Unit {
    fn named(self) -> NamedUnit {
        match self {
            Unit::Bytes => NamedUnit::Bytes,
            Unit::Seconds => NamedUnit::Seconds,
        }
    }
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Value::Count(count) => encoder.encode_counter(count, NO_EXEMPLAR),
            Value::Amount(amount) => encoder.encode_counter(amount, NO_EXEMPLAR),
            Value::Level(level) => encoder.encode_gauge(level),
            Value::Spread(Spread { buckets, beyond, sum }) => {
                let count = beyond + buckets.iter().map(|(_, count)| count).sum::<u64>();
                let mut buckets = buckets.clone();
                buckets.push((f64::INFINITY, *beyond));
                encoder.encode_histogram::<Nothing>(*sum, count, &buckets, None)
            }
        }
    }
}

/// No labels, where a type has to be named.
type Nothing = [(&'static str, &'static str); 0];

const NO_EXEMPLAR: Option<&Exemplar<Nothing, f64>> = None;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A measure without a number would be a heading without a line.
        let filled = self.families.iter().filter(|family| !family.samples.is_empty());
        filled.into_iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_has_all_values() {
        let mut metrics = Metrics::new();
        let buckets = vec![(0.001, 2), (0.002, 0), (0.004, 5)];
        let spread = Spread { buckets, beyond: 1, sum: 0.5 };
        metrics.histogram("took", Some(Unit::Seconds), "How long it took").values(spread);
        let expected = "# HELP took_seconds How long it took\n\
            # TYPE took_seconds histogram\n\
            # UNIT took_seconds seconds\n\
            took_seconds_sum 0.5\n\
            took_seconds_count 8\n\
            took_seconds_bucket{le=\"0.001\"} 2\n\
            took_seconds_bucket{le=\"0.002\"} 2\n\
            took_seconds_bucket{le=\"0.004\"} 7\n\
            took_seconds_bucket{le=\"+Inf\"} 8\n\
            # EOF\n";
        assert_eq!(metrics.text(), expected);
    }

    #[test]
    fn a_label_can_say_anything() {
        let mut metrics = Metrics::new();
        let name = "a\"b\\c\nd".to_owned();
        metrics.gauge("behind", Some(Unit::Bytes), "Of it").labelled([("consumer", name)], 1.5);
        let text = metrics.text();
        assert!(text.contains(r#"behind_bytes{consumer="a\"b\\c\nd"} 1.5"#), "{text}");
    }

    #[test]
    fn what_has_no_number_has_no_heading() {
        let mut metrics = Metrics::new();
        let _nothing_is_said = metrics.counter("nothing", None, "Of nothing");
        metrics.counter("large", None, "Of much").value(1 << 52);
        let text = metrics.text();
        assert!(!text.contains("nothing"), "{text}");
        assert!(text.contains("large_total 4503599627370496"), "{text}");
    }
}
