//! The messages of one sender, as one reader of the log meets them.

/// Ranges of missing counters that are kept; a log with more holes is beyond description.
const HOLES_MAX: usize = 1024;

/// What the next counter of a sender means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// Above all before it.
    InOrder,
    /// One that was skipped before.
    AfterLater,
    /// One that came before.
    Again,
}

/// The highest counter so far and the holes below it. In a sound log there is hardly ever a hole,
/// so this needs no memory that grows with the run.
#[derive(Debug, Clone, Default)]
pub(crate) struct SenderOrder {
    highest: u32,
    /// Inclusive ranges, ascending.
    holes: Vec<(u32, u32)>,
}

impl SenderOrder {
    pub(crate) fn note(&mut self, counter: u32) -> Met {
        if counter > self.highest {
            if counter > self.highest + 1 && self.holes.len() < HOLES_MAX {
                self.holes.push((self.highest + 1, counter - 1));
            }
            self.highest = counter;
            return Met::InOrder;
        }
        let Some(at) = self.holes.iter().position(|&(from, to)| (from..=to).contains(&counter))
        else {
            return Met::Again;
        };
        let (from, to) = self.holes[at];
        let rest = [(from, counter - 1), (counter + 1, to)];
        self.holes.splice(at..=at, rest.into_iter().filter(|(from, to)| from <= to));
        Met::AfterLater
    }

    /// The counters up to `sent` that were not met.
    pub(crate) fn missing(&self, sent: u32) -> impl Iterator<Item = u32> {
        let behind = (self.highest < sent).then_some((self.highest + 1, sent));
        self.holes.iter().copied().chain(behind).flat_map(|(from, to)| from..=to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_open_and_close() {
        let mut order = SenderOrder::default();
        assert_eq!(order.note(1), Met::InOrder);
        assert_eq!(order.note(5), Met::InOrder);
        assert_eq!(order.missing(6).collect::<Vec<_>>(), [2, 3, 4, 6]);
        assert_eq!(order.note(3), Met::AfterLater);
        assert_eq!(order.note(3), Met::Again);
        assert_eq!(order.missing(5).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(order.note(2), Met::AfterLater);
        assert_eq!(order.note(4), Met::AfterLater);
        assert_eq!(order.missing(5).count(), 0);
        assert_eq!(order.note(5), Met::Again);
    }
}
