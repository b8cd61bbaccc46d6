//! How the rate of an open load changes over time, and when each message is due by it.
//!
//! Let `r(t)` be the rate, in messages per second of all users together, and `N(t)` its integral
//! from the start to `t`. Message `k`, counted from 0, is due at
//!
//! ```text
//! T(k) = the first moment after which N(t) > k
//! ```
//!
//! so that `ceil(N(t))` messages are due before `t`. The rate is made of parts, each a straight
//! line from `a` to `b` in `d` seconds; within one that begins at time `s` with `N(s) = n`
//!
//! ```text
//! N(s + x) = n + a x + (b - a) x² / 2d
//! T(k)     = s + 2m / (a + √(a² + 2m (b - a) / d))        with m = k - n
//! ```
//!
//! which is the root of the quadratic in the form that neither divides by a slope of 0 nor
//! subtracts what is nearly equal. Each `T(k)` is computed from `k` alone: nothing adds up.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text;

/// A rate over time. As text, parts are separated by commas: `100:10` is 100 per second for 10 s,
/// `100..1000:60` rises from 100 to 1,000 per second within 60 s. What the last part ends with goes
/// on for ever; a bare number is that alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    parts: Vec<Part>,
    last_per_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    from_per_s: f64,
    to_per_s: f64,
    seconds: f64,
}

impl Part {
    fn messages(self) -> f64 {
        (self.from_per_s + self.to_per_s) / 2.0 * self.seconds
    }

    /// The time within the part at which its integral is `messages`.
    fn seconds_until(self, messages: f64) -> f64 {
        let slope = (self.to_per_s - self.from_per_s) / self.seconds;
        let rate_then = (self.from_per_s.powi(2) + 2.0 * messages * slope).max(0.0).sqrt();
        let twice_the_mean = self.from_per_s + rate_then;
        // Both are 0 only at the very start of a part that rises from 0.
        if twice_the_mean == 0.0 { 0.0 } else { 2.0 * messages / twice_the_mean }
    }
}

impl Rate {
    /// The same at all times.
    pub fn constant(per_s: f64) -> Rate {
        Rate { parts: Vec::new(), last_per_s: per_s }
    }

    /// From one rate to another within a time, which goes on from there.
    pub fn ramp(from_per_s: f64, to_per_s: f64, time: Duration) -> Rate {
        let part = Part { from_per_s, to_per_s, seconds: time.as_secs_f64() };
        Rate { parts: vec![part], last_per_s: to_per_s }
    }

    /// The rate of the first moment.
    pub fn first_per_s(&self) -> f64 {
        self.parts.first().map_or(self.last_per_s, |part| part.from_per_s)
    }

    /// The same after a time of its first rate.
    pub(crate) fn after(mut self, time: Duration) -> Rate {
        let first_per_s = self.first_per_s();
        let seconds = time.as_secs_f64();
        if seconds > 0.0 && !self.parts.is_empty() {
            self.parts.insert(0, Part { from_per_s: first_per_s, to_per_s: first_per_s, seconds });
        }
        self
    }

    /// When message `number`, counted from 0, is due, in seconds from the start: infinitely late if
    /// the rate ends at 0 before.
    pub fn due_s(&self, number: u64) -> f64 {
        let (mut start_s, mut left) = (0.0, number as f64);
        for part in &self.parts {
            let messages = part.messages();
            if left < messages {
                return start_s + part.seconds_until(left).min(part.seconds);
            }
            start_s += part.seconds;
            left -= messages;
        }
        if self.last_per_s > 0.0 { start_s + left / self.last_per_s } else { f64::INFINITY }
    }

    /// How long it takes until its last part begins.
    pub(crate) fn last_begins_s(&self) -> f64 {
        self.parts.iter().rev().skip(1).map(|part| part.seconds).sum()
    }

    /// Why no load can have it, if so.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let ends = self.parts.iter().flat_map(|part| [part.from_per_s, part.to_per_s]);
        let mut rates = ends.chain([self.last_per_s]);
        let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
        if !rates.clone().all(is_rate) || !rates.any(|rate| rate > 0.0) {
            return Some("more than 0 is expected");
        }
        let has_time = |part: &Part| part.seconds.is_finite() && part.seconds > 0.0;
        (!self.parts.iter().all(has_time)).then_some("each part takes more than 0 seconds")
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| expected(text));
        if let Ok(per_s) = number(text) {
            return Ok(Rate::constant(per_s));
        }
        let part = |text: &str| {
            let (rates, seconds) = text.split_once(':').ok_or_else(|| expected(text))?;
            let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
            Ok(Part { from_per_s: number(from)?, to_per_s: number(to)?, seconds: number(seconds)? })
        };
        let parts = text.split(',').map(part).collect::<Result<Vec<_>, String>>()?;
        let last_per_s = parts.last().map_or(0.0, |part| part.to_per_s);
        Ok(Rate { parts, last_per_s })
    }
}

fn expected(text: &str) -> String {
    format!(
        "{text:?}: expected is RATE, or RATE:SECONDS and FROM..TO:SECONDS with commas between them"
    )
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return self.last_per_s.fmt(f);
        }
        for (index, part) in self.parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", part.from_per_s)?;
            if part.to_per_s != part.from_per_s {
                write!(f, "..{}", part.to_per_s)?;
            }
            write!(f, ":{}", part.seconds)?;
        }
        Ok(())
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    /// Messages that are due before a time.
    fn due_before(rate: &Rate, time_s: f64) -> u64 {
        (0..).find(|&number| rate.due_s(number) >= time_s).unwrap()
    }

    #[test]
    fn as_many_are_due_as_the_integral_says() {
        // Integrals by hand, at the end of each part and beyond.
        assert_eq!(due_before(&rate("800"), 0.5), 400);
        let ramp = rate("100..300:10");
        assert_eq!([5.0, 10.0, 12.0].map(|time| due_before(&ramp, time)), [750, 2000, 2600]);
        let steps = rate("10:2,0:5,50..0:4");
        assert_eq!([2.0, 7.0, 11.0].map(|time| due_before(&steps, time)), [20, 20, 120]);
        assert_eq!(steps.due_s(120), f64::INFINITY);
        assert_eq!(due_before(&rate("0..90:3"), 3.0), 135);
    }

    #[test]
    fn the_moments_are_those_of_the_formula_and_never_go_back() {
        assert_eq!(rate("0:10,100:1").due_s(0), 10.0);
        assert_eq!(rate("0..2:1").due_s(0), 0.0);
        // N(t) = t² here, so message k is due at √k.
        let ramp = rate("0..2000:1000");
        for number in 0..10_000 {
            assert!((ramp.due_s(number) - (number as f64).sqrt()).abs() < 1e-9, "{number}");
        }
        let all = rate("100..5:3,5:2,5..900:1,900..0:2,7:1");
        let moments: Vec<f64> = (0..2500).map(|number| all.due_s(number)).collect();
        assert!(moments.is_sorted());
        // After a million seconds there is no drift: the moment depends on the number alone.
        assert_eq!(rate("1000").due_s(1_000_000_000), 1e6);
    }

    #[test]
    fn a_time_before_has_the_first_rate() {
        let after = rate("10..20:1").after(Duration::from_secs(2));
        assert_eq!(after, rate("10:2,10..20:1"));
        assert_eq!(rate("7").after(Duration::from_secs(2)), rate("7"));
    }

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for text in ["800", "0.5", "100..1000:60", "10:2,0:5,50..0:4.5"] {
            assert_eq!(rate(text).to_string(), text);
            assert_eq!(rate(text).problem(), None);
            let json = serde_json::to_string(&rate(text)).unwrap();
            assert_eq!(serde_json::from_str::<Rate>(&json).unwrap(), rate(text));
        }
        assert_eq!(serde_json::to_string(&rate("800")).unwrap(), "800");
        for text in ["", "x", "1..2", "1:", ":1", "1:2,", "1..x:3"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["0", "-1", "NaN", "inf", "1:0", "1:-1", "-1..5:1", "0:5", "1:NaN"] {
            assert!(rate(text).problem().is_some(), "{text}");
        }
    }
}
