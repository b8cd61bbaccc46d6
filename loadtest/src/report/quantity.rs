//! Numbers with their units, as people write them. The name of a field says its unit.

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Plain,
    PerSecond,
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Bytes,
    /// Processors that are busy.
    Processors,
    /// A share of all latencies as the number of its nines: 2 is 99 %.
    Nines,
    /// What is counted: nothing is between two marks.
    Whole,
}

impl Unit {
    /// By the name of a field.
    pub(crate) fn of(field: &str) -> Unit {
        let ends = [
            ("_per_s", Unit::PerSecond),
            ("_ns", Unit::Nanoseconds),
            ("_us", Unit::Microseconds),
            ("_ms", Unit::Milliseconds),
            ("_s", Unit::Seconds),
            ("_bytes", Unit::Bytes),
            ("cpu_share", Unit::Processors),
        ];
        let by_end = ends.into_iter().find(|(end, _)| field.ends_with(end) || *end == field);
        let inside = || match field {
            "us" => Unit::Microseconds,
            _ if field.contains("_bytes_") => Unit::Bytes,
            _ if field.contains("cpu_us_") => Unit::Microseconds,
            _ => Unit::Plain,
        };
        by_end.map_or_else(inside, |(_, unit)| unit)
    }

    /// A number with its unit.
    pub(crate) fn format(self, value: f64) -> String {
        const DURATIONS: [(f64, &str); 4] =
            [(1e9, "s"), (1e6, "ms"), (1e3, "\u{b5}s"), (1.0, "ns")];
        const BYTES: [(f64, &str); 4] = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")];
        match self {
            Unit::Plain | Unit::Processors | Unit::Whole => number(value),
            Unit::PerSecond => format!("{} /s", number(value)),
            Unit::Nanoseconds => scaled(value, &DURATIONS),
            Unit::Microseconds => scaled(value * 1e3, &DURATIONS),
            Unit::Milliseconds => scaled(value * 1e6, &DURATIONS),
            Unit::Seconds => format!("{} s", number(value)),
            Unit::Bytes => scaled(value, &BYTES),
            Unit::Nines => nines(value),
        }
    }
}

/// The name of a field without its unit.
pub(crate) fn name(field: &str) -> String {
    let units = ["_ns", "_us", "_ms", "_bytes", "_per_s", "_s"];
    let stem = units.iter().find_map(|unit| field.strip_suffix(unit)).unwrap_or(field);
    stem.replace("_us_per_", "_per_").replace("_bytes_per_", "_per_").replace('_', " ")
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |&&(size, _): &&(f64, &str)| value.abs() >= size;
    let smallest = units.last().copied().unwrap_or((1.0, ""));
    let (size, unit) = units.iter().find(fits).copied().unwrap_or(smallest);
    format!("{} {unit}", number(value / size))
}

/// Whole numbers in full, others with three digits that matter.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    let decimals =
        if value.fract() == 0.0 { 0 } else { (2.0 - magnitude).clamp(0.0, 9.0) as usize };
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(text)
}

/// 1234567.5 as 1,234,567.5.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

fn nines(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let decimals = (nines - 2.0).clamp(0.0, 9.0).ceil() as usize;
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_say_their_unit() {
        let known = [
            ("p99_us", Unit::Microseconds, "p99"),
            ("sent_per_s", Unit::PerSecond, "sent"),
            ("duration_s", Unit::Seconds, "duration"),
            ("resident_bytes", Unit::Bytes, "resident"),
            ("resident_bytes_per_connection", Unit::Bytes, "resident per connection"),
            ("cpu_share", Unit::Processors, "cpu share"),
            ("users", Unit::Plain, "users"),
        ];
        for (field, unit, title) in known {
            assert_eq!((Unit::of(field), name(field).as_str()), (unit, title), "{field}");
        }
    }

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!(Unit::Plain.format(1_234_567.0), "1,234,567");
        assert_eq!(Unit::Plain.format(-1234.56), "-1,235");
        assert_eq!(Unit::Plain.format(0.012_345), "0.0123");
        assert_eq!(Unit::Microseconds.format(21_840.0), "21.8 ms");
        assert_eq!(Unit::Microseconds.format(0.5), "500 ns");
        assert_eq!(Unit::Bytes.format(640.0), "640 B");
        assert_eq!(Unit::Bytes.format(0.0), "0 B");
        assert_eq!(Unit::Nines.format(0.0), "0 %");
        assert_eq!(Unit::Nines.format(3.0), "99.9 %");
    }
}
