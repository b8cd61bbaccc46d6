//! Memory that connections hold, and how many hold it: so a share of a bound can be told.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So much, or how it has changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held<T> {
    pub(crate) bytes: T,
    /// Connections that hold some of it.
    pub(crate) holders: T,
}

impl Held<isize> {
    /// A connection holds so many bytes, and held so many.
    pub(super) fn change(&mut self, before: usize, after: usize) {
        self.bytes += after.cast_signed() - before.cast_signed();
        self.holders += isize::from(after > 0) - isize::from(before > 0);
    }
}

impl Held<usize> {
    /// The same after a change.
    pub(super) fn with(self, change: Held<isize>) -> Held<usize> {
        Held {
            bytes: self.bytes.saturating_add_signed(change.bytes),
            holders: self.holders.saturating_add_signed(change.holders),
        }
    }

    /// What a connection may hold: anything while the bound is kept, and then what each has of it if
    /// all have the same. Whoever holds more is over the mean, so there always is somebody.
    pub(super) fn share_of(self, bytes_max: usize) -> usize {
        if self.bytes <= bytes_max { usize::MAX } else { bytes_max / self.holders.max(1) }
    }
}

/// What is held at a node.
#[derive(Debug, Default)]
pub(crate) struct HeldAtNode {
    bytes: AtomicUsize,
    holders: AtomicUsize,
}

impl HeldAtNode {
    /// Adds what has changed at a shard. Wraps around within a pair of calls at most.
    pub(super) fn change(&self, change: Held<isize>) {
        if change != Held::default() {
            self.bytes.fetch_add(change.bytes.cast_unsigned(), Ordering::Relaxed);
            self.holders.fetch_add(change.holders.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Now. What a shard took over from another one may be counted a moment later, so it is never less
    /// than nothing.
    pub(crate) fn now(&self) -> Held<usize> {
        let read = |counter: &AtomicUsize| {
            usize::try_from(counter.load(Ordering::Relaxed).cast_signed()).unwrap_or(0)
        };
        Held { bytes: read(&self.bytes), holders: read(&self.holders) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_more_than_the_mean_is_over_the_share() {
        let held = Held { bytes: 1000, holders: 3 };
        assert_eq!(held.share_of(1000), usize::MAX);
        assert_eq!(held.share_of(900), 300);
        assert_eq!(Held { bytes: 1, holders: 0 }.share_of(0), 0);
    }

    #[test]
    fn changes_add_up() {
        let (at_node, mut change) = (HeldAtNode::default(), Held::default());
        change.change(0, 50);
        change.change(0, 70);
        assert_eq!(at_node.now().with(change), Held { bytes: 120, holders: 2 });
        at_node.change(change);
        let mut change = Held::default();
        change.change(50, 0);
        change.change(70, 80);
        at_node.change(change);
        assert_eq!(at_node.now(), Held { bytes: 80, holders: 1 });
    }
}
