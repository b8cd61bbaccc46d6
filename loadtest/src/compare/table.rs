//! A comparison as people read it.

use std::fmt;

use super::{Comparison, Figure, Judgement, Side};
use crate::report::quantity::Unit;

/// What matters comes first. What is neither good nor bad is left to the JSON.
const ORDER: [Judgement; 3] = [Judgement::Worse, Judgement::Better, Judgement::Same];

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A  {}\nB  {}", self.a, self.b)?;
        for difference in &self.differences {
            writeln!(f, "differs: {}: {} and {}", difference.name, difference.a, difference.b)?;
        }
        writeln!(
            f,
            "\n{:<8} {:<44} {:>12} {:>12} {:>7} {:>7}",
            "", "figure", "A", "B", "B / A", "noise"
        )?;
        for judgement in ORDER {
            let figures = self.figures.iter().filter(|figure| figure.judgement == judgement);
            // What did not happen in either takes no line.
            for figure in figures.filter(|figure| figure.a != 0.0 || figure.b != 0.0) {
                writeln!(f, "{figure}")?;
            }
        }
        let judged = self.figures.iter().filter(|one| one.judgement != Judgement::Unjudged);
        let others = judged.count() - self.worse - self.better;
        writeln!(
            f,
            "\n{} worse and {} better by more than {} and by more than noise; {others} neither",
            self.worse, self.better, self.worse_than
        )?;
        if self.breaks() {
            writeln!(f, "B is a product failure, and A is not")?;
        }
        for reason in &self.invalid {
            writeln!(f, "the figures prove nothing: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or =
            |word: &Option<String>, other: &str| word.clone().unwrap_or_else(|| other.to_owned());
        write!(
            f,
            "{}, {}, version {} ({})",
            self.verdict.replace('_', " "),
            or(&self.started_at, "at no known time"),
            or(&self.version, "unknown"),
            or(&self.commit, "no commit")
        )
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.judgement {
            Judgement::Worse => "WORSE",
            Judgement::Better => "better",
            Judgement::Same => "same",
            Judgement::Unjudged => "",
        };
        let field = self.figure.rsplit('.').next().unwrap_or_default();
        let text = |value| Unit::of(field).format(value);
        let ratio = self.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let noise = self.noise.map_or("?".to_owned(), |noise| format!("{noise:.3}"));
        write!(
            f,
            "{word:<8} {:<44} {:>12} {:>12} {ratio:>7} {noise:>7}",
            self.figure,
            text(self.a),
            text(self.b)
        )
    }
}
