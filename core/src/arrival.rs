//! When a request was read: for measuring how long what follows from it takes.
//!
//! It goes with a message through the engine, to the sender's response and to the pushes, and takes the
//! place of padding in each of them. The engine does nothing with it but to pass it on: what
//! it means, and whether anybody looks at it, is the transport's.

use std::num::NonZeroU32;

/// A moment by a clock that all threads of a transport share, in microseconds.
///
/// The clock goes round after 71 minutes, long after every deadline. Nothing may depend on it but
/// statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrival(Option<NonZeroU32>);

impl Arrival {
    /// Nobody has looked at a clock: a program asked, or another node.
    pub const UNKNOWN: Arrival = Arrival(None);

    /// At this moment of the clock.
    #[must_use]
    pub fn at_us(now_us: u64) -> Arrival {
        // A microsecond in 71 minutes is counted to the next one.
        Arrival(NonZeroU32::new((now_us as u32).max(1)))
    }

    /// How long ago it was, in microseconds; `None` if it is not known.
    #[inline]
    pub fn elapsed_us(self, now_us: u64) -> Option<u64> {
        let passed = (now_us as u32).wrapping_sub(self.0?.get());
        // Two threads read one clock, and not at the same moment: what is a little later is now.
        Some(u64::from(if passed > u32::MAX / 2 { 0 } else { passed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_may_go_round_in_between() {
        for read_us in [0, 1, 70_000_000, u64::from(u32::MAX), 1 << 32, (1 << 40) - 3] {
            let arrival = Arrival::at_us(read_us);
            assert_eq!(
                arrival.elapsed_us(read_us + 1_000_000),
                Some(1_000_000 - u64::from(read_us as u32 == 0))
            );
            assert_eq!(arrival.elapsed_us(read_us.wrapping_sub(500)), Some(0), "{read_us}");
        }
        assert_eq!(Arrival::UNKNOWN.elapsed_us(5), None);
    }

    #[test]
    fn it_takes_no_room_that_was_free_for_something_else() {
        assert_eq!(size_of::<Arrival>(), 4);
    }
}
