//! The messages of all writers of a log, as one reader meets them.

/// Ranges of missing counters that are kept; a log with more holes is beyond description.
const HOLES_MAX: usize = 1024;

/// What the next counter of a writer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// Above all before it.
    InOrder,
    /// One that was skipped before.
    AfterLater,
    /// One that came before.
    Again,
}

/// Counters of one writer that were skipped, both ends included.
#[derive(Debug, Clone, Copy)]
struct Hole {
    writer: usize,
    from: u32,
    to: u32,
}

/// The highest counter of each writer so far, and the holes below it. In a sound log there is hardly
/// ever a hole, so this needs 4 bytes for each writer and no memory that grows with the run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// By writer, as far as any was met.
    highest: Vec<u32>,
    /// Of one writer ascending.
    holes: Vec<Hole>,
}

impl Orders {
    pub(crate) fn note(&mut self, writer: usize, counter: u32) -> Met {
        if self.highest.len() <= writer {
            self.highest.resize(writer + 1, 0);
        }
        let highest = self.highest[writer];
        if counter > highest {
            if counter > highest + 1 && self.holes.len() < HOLES_MAX {
                self.holes.push(Hole { writer, from: highest + 1, to: counter - 1 });
            }
            self.highest[writer] = counter;
            return Met::InOrder;
        }
        let is_in = |hole: &Hole| hole.writer == writer && (hole.from..=hole.to).contains(&counter);
        let Some(at) = self.holes.iter().position(is_in) else {
            return Met::Again;
        };
        let Hole { from, to, .. } = self.holes[at];
        let rest = [(from, counter - 1), (counter + 1, to)].into_iter();
        let rest = rest.filter(|(from, to)| from <= to);
        self.holes.splice(at..=at, rest.map(|(from, to)| Hole { writer, from, to }));
        Met::AfterLater
    }

    /// The counters of a writer up to `sent` that were not met.
    pub(crate) fn missing(&self, writer: usize, sent: u32) -> impl Iterator<Item = u32> {
        let highest = self.highest.get(writer).copied().unwrap_or(0);
        let behind = (highest < sent).then_some(highest + 1..=sent);
        let holes = self.holes.iter().filter(move |hole| hole.writer == writer);
        holes.map(|hole| hole.from..=hole.to).chain(behind).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_open_and_close() {
        let mut orders = Orders::default();
        assert_eq!(orders.note(0, 1), Met::InOrder);
        assert_eq!(orders.note(0, 5), Met::InOrder);
        assert_eq!(orders.missing(0, 6).collect::<Vec<_>>(), [2, 3, 4, 6]);
        assert_eq!(orders.note(0, 3), Met::AfterLater);
        assert_eq!(orders.note(0, 3), Met::Again);
        assert_eq!(orders.missing(0, 5).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(orders.note(0, 2), Met::AfterLater);
        assert_eq!(orders.note(0, 4), Met::AfterLater);
        assert_eq!(orders.missing(0, 5).count(), 0);
        assert_eq!(orders.note(0, 5), Met::Again);
    }

    #[test]
    fn each_writer_has_an_order_of_its_own() {
        let mut orders = Orders::default();
        assert_eq!(orders.note(2, 3), Met::InOrder);
        assert_eq!(orders.note(0, 2), Met::InOrder);
        assert_eq!(orders.note(2, 1), Met::AfterLater);
        assert_eq!(orders.missing(2, 4).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(orders.missing(0, 2).collect::<Vec<_>>(), [1]);
        assert_eq!(orders.missing(1, 1).collect::<Vec<_>>(), [1]);
        assert_eq!((orders.note(0, 2), orders.note(0, 1)), (Met::Again, Met::AfterLater));
    }
}
