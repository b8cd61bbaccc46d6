//! Where a value lies on an axis, and where the axis has its marks.

/// Marks that an axis should have, about.
const MARKS: f64 = 5.0;

/// Marks that it has at most, even if values so far apart were drawn that a step is lost in them.
const MARKS_MAX: usize = 20;

/// Decades of a logarithmic axis that each get their mark.
const DECADES_MAX: i32 = 6;

/// From values to the drawing.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    /// The ends, in logarithms if it is logarithmic.
    from: f64,
    to: f64,
    logarithmic: bool,
    /// Places of the ends in the drawing.
    places: (f64, f64),
    /// Values with a mark.
    pub(super) marks: Vec<f64>,
}

impl Scale {
    /// Around finite values. `from_zero` shows the zero, too; marks are at least `step_min` apart.
    pub(super) fn linear(
        values: impl Iterator<Item = f64>,
        from_zero: bool,
        step_min: f64,
        places: (f64, f64),
    ) -> Scale {
        let (lowest, highest) = ends(values.chain(from_zero.then_some(0.0)));
        // One value alone has a place, too.
        let highest = if highest > lowest { highest } else { lowest + lowest.abs().max(1.0) };
        let step = step((highest - lowest) / MARKS).max(step_min);
        let from = if from_zero { (lowest / step).floor() * step } else { lowest };
        let to = if from_zero { (highest / step).ceil() * step } else { highest };
        let first = (from / step).ceil() as i64;
        let last = (to / step).floor() as i64;
        let marks = (first..=last).take(MARKS_MAX).map(|number| number as f64 * step).collect();
        Scale { from, to, logarithmic: false, places, marks }
    }

    /// Around values above 0, by powers of ten.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Scale {
        let logarithms = values.filter(|&value| value > 0.0).map(f64::log10);
        let (lowest, highest) = ends(logarithms);
        let first = lowest.floor() as i32;
        let last = (highest.ceil() as i32).max(first + 1);
        let every = (last - first) / DECADES_MAX + 1;
        let decades = (first..=last).step_by(every.unsigned_abs() as usize);
        let mut marks: Vec<_> = decades.map(|decade| 10f64.powi(decade)).collect();
        if last - first <= 2 {
            // Few decades leave room for marks between them.
            let between =
                (first..last).flat_map(|decade| [2.0, 5.0].map(|by| by * 10f64.powi(decade)));
            marks.extend(between);
        }
        let (from, to) = (f64::from(first), f64::from(last));
        Scale { from, to, logarithmic: true, places, marks }
    }

    /// The place of a value; `None` if it has none on this axis.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let value = if self.logarithmic { value.log10() } else { value };
        let share = (value - self.from) / (self.to - self.from);
        share.is_finite().then_some(self.places.0 + share * (self.places.1 - self.places.0))
    }
}

/// The lowest and the highest finite value; 0 and 0 if there is none.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let nothing = (f64::INFINITY, f64::NEG_INFINITY);
    let finite = values.filter(|value| value.is_finite());
    let ends = finite.fold(nothing, |(low, high), value| (low.min(value), high.max(value)));
    if ends.0 > ends.1 { (0.0, 0.0) } else { ends }
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn step(at_least: f64) -> f64 {
    let decade = 10f64.powf(at_least.log10().floor());
    let digits = [1.0, 2.0, 5.0].map(|digit| digit * decade);
    digits.into_iter().find(|&digit| digit >= at_least * (1.0 - 1e-9)).unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(values: &[f64]) -> Scale {
        Scale::linear(values.iter().copied(), true, 0.0, (100.0, 0.0))
    }

    fn logarithmic(values: &[f64]) -> Scale {
        Scale::logarithmic(values.iter().copied(), (0.0, 100.0))
    }

    #[test]
    fn marks_are_round_and_all_values_are_between_the_ends() {
        let scale = linear(&[3.0, 870.0]);
        assert_eq!(scale.marks, [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        assert_eq!(scale.place(0.0), Some(100.0));
        assert_eq!(scale.place(500.0), Some(50.0));
        assert_eq!(scale.place(1000.0), Some(0.0));
        let scale = logarithmic(&[30.0, 8_000_000.0]);
        assert_eq!((scale.marks[0], *scale.marks.last().unwrap()), (10.0, 1e7));
        assert_eq!(scale.place(10_000.0), Some(50.0));
    }

    #[test]
    fn nothing_one_value_and_odd_values_have_a_scale() {
        let odd: [&[f64]; 9] = [
            &[],
            &[0.0],
            &[7.0],
            &[5.0; 3],
            &[-3.0],
            &[f64::NAN, f64::INFINITY],
            &[1e-9, 2e-9],
            &[1e300, f64::MAX],
            &[f64::from_bits(1)],
        ];
        for values in odd {
            for scale in [linear(values), logarithmic(values)] {
                let marks = scale.marks.iter().map(|&mark| scale.place(mark));
                assert!((1..=MARKS_MAX).contains(&scale.marks.len()), "{values:?}: {scale:?}");
                for place in marks.flatten() {
                    assert!((-0.01..=100.01).contains(&place), "{values:?}: {scale:?}");
                }
                for place in values.iter().filter_map(|&value| scale.place(value)) {
                    assert!((-0.01..=100.01).contains(&place), "{values:?}: {scale:?}");
                }
            }
        }
        assert_eq!(logarithmic(&[1.0]).place(0.0), None);
        assert_eq!(linear(&[1.0]).place(f64::NAN), None);
    }

    #[test]
    fn steps_are_never_smaller_than_asked_for() {
        let scale = Scale::linear([0.0, 2.0].into_iter(), true, 1.0, (0.0, 1.0));
        assert_eq!(scale.marks, [0.0, 1.0, 2.0]);
    }
}
