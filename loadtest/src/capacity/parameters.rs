//! What can be said about a search: where to look, and what a rate must meet.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::capacity::search::Bounds;
use crate::chat::{ChatParameters, MessageKind};
use crate::problem::Problem;

/// The section of a file.
pub(crate) const SECTION: &str = "capacity";

/// A search for the highest rate.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapacityParameters {
    /// The lowest rate, in messages per second of all users together; it is doubled from there.
    #[arg(long, value_name = "RATE", default_value_t = CapacityParameters::default().from_per_s)]
    pub from_per_s: f64,
    /// The highest rate of interest.
    #[arg(long, value_name = "RATE", default_value_t = CapacityParameters::default().to_per_s)]
    pub to_per_s: f64,
    /// How exactly to find it: 0.05 is to 5 percent.
    #[arg(long, value_name = "SHARE", default_value_t = CapacityParameters::default().precision)]
    pub precision: f64,
    /// How many windows at a rate must fail before it counts as not met.
    #[arg(long, value_name = "WINDOWS", default_value_t = CapacityParameters::default().tries)]
    pub tries: u32,
    /// Threshold: 99 of 100 messages are acknowledged within this time.
    #[arg(long, value_name = "MILLISECONDS")]
    pub acknowledge_p99_ms: Option<f64>,
    /// Threshold: 99 of 100 messages are delivered within this time.
    #[arg(long, value_name = "MILLISECONDS")]
    pub deliver_p99_ms: Option<f64>,
    /// Threshold: messages that the server put off, connections that it closed, and signals that it
    /// dropped, at most.
    #[arg(long, value_name = "ERRORS", default_value_t = CapacityParameters::default().errors_max)]
    pub errors_max: u64,
}

impl Default for CapacityParameters {
    fn default() -> CapacityParameters {
        CapacityParameters {
            from_per_s: 1000.0,
            to_per_s: 1_000_000.0,
            precision: 0.05,
            tries: 2,
            acknowledge_p99_ms: None,
            deliver_p99_ms: None,
            errors_max: 0,
        }
    }
}

impl CapacityParameters {
    /// Everything that makes no sense, for users who do this.
    pub fn problems(&self, chat: &ChatParameters) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, section, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(section, field, reason));
            }
        };
        let is_above_0 = |value: f64| value.is_finite() && value > 0.0;
        wrong(!is_above_0(self.from_per_s), SECTION, "from_per_s", "more than 0");
        let is_range = self.to_per_s.is_finite() && self.to_per_s >= self.from_per_s;
        wrong(!is_range, SECTION, "to_per_s", "at least from_per_s");
        // Below this, windows differ more from each other than the rates do.
        let is_precision = (0.001..=1.0).contains(&self.precision);
        wrong(!is_precision, SECTION, "precision", "from 0.001 to 1");
        wrong(self.tries == 0, SECTION, "tries", "at least 1");
        let is_wrong = |threshold: Option<f64>| threshold.is_some_and(|ms| !is_above_0(ms));
        wrong(is_wrong(self.acknowledge_p99_ms), SECTION, "acknowledge_p99_ms", "more than 0");
        wrong(is_wrong(self.deliver_p99_ms), SECTION, "deliver_p99_ms", "more than 0");
        let is_bare = self.acknowledge_p99_ms.is_none() && self.deliver_p99_ms.is_none();
        wrong(is_bare, SECTION, "acknowledge_p99_ms", "it or deliver_p99_ms is needed");
        let is_quiet = chat.message.only() == Some(&MessageKind::QuietSignal.into());
        let is_in_vain = is_quiet && self.acknowledge_p99_ms.is_some();
        wrong(is_in_vain, SECTION, "acknowledge_p99_ms", "quiet signals are not acknowledged");
        let reason = "the rate is what is searched for";
        wrong(chat.rate_per_s.is_some(), "chat", "rate_per_s", reason);
        wrong(chat.outstanding.is_some(), "chat", "outstanding", reason);
        problems
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            from_per_s: self.from_per_s,
            to_per_s: self.to_per_s,
            precision: self.precision,
            tries: self.tries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Rate;

    fn fields(capacity: &CapacityParameters, chat: &ChatParameters) -> Vec<String> {
        let problems = capacity.problems(chat).into_iter();
        problems.map(|problem| problem.field.into_owned()).collect()
    }

    #[test]
    fn a_search_needs_a_threshold_and_the_rate_for_itself() {
        let chat = ChatParameters::default();
        let mut capacity = CapacityParameters::default();
        assert_eq!(fields(&capacity, &chat), ["acknowledge_p99_ms"]);
        capacity.acknowledge_p99_ms = Some(20.0);
        assert_eq!(fields(&capacity, &chat), [""; 0]);
        let loaded = ChatParameters {
            message: MessageKind::QuietSignal.into(),
            rate_per_s: Some(Rate::constant(1.0)),
            outstanding: Some(1),
            ..chat.clone()
        };
        assert_eq!(fields(&capacity, &loaded), ["acknowledge_p99_ms", "rate_per_s", "outstanding"]);
        let nonsense = CapacityParameters {
            from_per_s: 0.0,
            to_per_s: -1.0,
            precision: 0.0,
            tries: 0,
            acknowledge_p99_ms: Some(f64::NAN),
            deliver_p99_ms: Some(-1.0),
            errors_max: 0,
        };
        assert_eq!(fields(&nonsense, &chat).len(), 6);
    }
}
