//! What is promised, and whether it holds.

use serde::Serialize;

/// A figure and the bound that it should keep.
#[derive(Debug, Clone, Serialize)]
pub struct Budget {
    /// What the figure is.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// Its bound.
    pub bound: Bound,
    /// Whether it keeps it.
    pub kept: bool,
}

/// On which side of the bound it should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Budget {
    /// Compares the two. A figure that is no number keeps nothing.
    pub fn new(what: impl Into<String>, measured: f64, bound: Bound) -> Budget {
        let kept = match bound {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
        };
        Budget { what: what.into(), measured, bound, kept }
    }
}

/// Prints budgets for people.
pub fn print(budgets: &[Budget]) {
    for Budget { what, measured, bound, kept } in budgets {
        let (side, bound) = match bound {
            Bound::AtMost(bound) => ("<=", bound),
            Bound::AtLeast(bound) => (">=", bound),
        };
        let word = if *kept { "kept" } else { "MISSED" };
        println!("budget  {what:<58} {measured:>9.3}  {side} {bound:<8.3} {word}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_has_a_side_and_no_number_keeps_it() {
        assert!(Budget::new("", 1.0, Bound::AtMost(1.0)).kept);
        assert!(!Budget::new("", 1.1, Bound::AtMost(1.0)).kept);
        assert!(!Budget::new("", 0.9, Bound::AtLeast(1.0)).kept);
        assert!(!Budget::new("", f64::NAN, Bound::AtLeast(1.0)).kept);
        assert!(!Budget::new("", f64::NAN, Bound::AtMost(1.0)).kept);
    }
}
