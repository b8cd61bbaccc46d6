//! Whether numbers that should rise do.

/// Where a number stands among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Above all before it.
    Rising,
    /// The same as one of the last 64.
    Again,
    /// Below the highest, and not one of the last 64 that came.
    Late,
}

/// Remembers the highest number and which of the 63 below it came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    highest: u64,
    came: u64,
}

impl Window {
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    pub(crate) fn note(&mut self, number: u64) -> Place {
        if number > self.highest {
            let step = number - self.highest;
            self.came = if step < 64 { self.came << step | 1 } else { 1 };
            self.highest = number;
            return Place::Rising;
        }
        let distance = self.highest - number;
        if distance >= 64 {
            return Place::Late;
        }
        let bit = 1 << distance;
        let place = if self.came & bit != 0 { Place::Again } else { Place::Late };
        self.came |= bit;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rising_again_and_late_are_told_apart() {
        let mut window = Window::default();
        let places = [1, 2, 2, 5, 4, 4, 200, 5].map(|number| window.note(number));
        use Place::{Again, Late, Rising};
        assert_eq!(places, [Rising, Rising, Again, Rising, Late, Again, Rising, Late]);
    }
}
