//! An even choice among many.

use std::ops::Range;

/// How many numbers of a range an even choice takes, of which this share is taken in all. Rounded up:
/// the first one is always chosen.
pub(crate) fn chosen(numbers: Range<u32>, share: f64) -> u32 {
    // It is even since this rises by one at every so many numbers, wherever one looks.
    let below = |number: u32| (f64::from(number) * share).ceil() as u32;
    below(numbers.end) - below(numbers.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_evenly_and_the_first_one_always() {
        assert_eq!((chosen(0..1000, 0.1), chosen(0..1, 0.1), chosen(0..10, 0.0)), (100, 1, 0));
        assert!((0..100).all(|tenth| chosen(10 * tenth..10 * tenth + 10, 0.1) == 1));
    }
}
