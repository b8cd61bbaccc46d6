//! Things to be done after a while, or as soon as they have become needless.

/// In the order in which they were put there; waits differ, so not in that of their times. There are
/// few at a time.
#[derive(Debug)]
pub(crate) struct Later<T>(Vec<(u64, T)>);

impl<T> Default for Later<T> {
    fn default() -> Later<T> {
        Later(Vec::new())
    }
}

impl<T> Later<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn put(&mut self, due_ns: u64, what: T) {
        self.0.push((due_ns, what));
    }

    /// Takes out what is due.
    pub(crate) fn take(&mut self, now_ns: u64) -> Vec<T> {
        self.take_or(now_ns, |_| false)
    }

    /// Takes out what is due, and with it what need not wait any longer.
    pub(crate) fn take_or(&mut self, now_ns: u64, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let is_taken = |(due_ns, what): &mut (u64, T)| *due_ns <= now_ns || is_over(what);
        self.0.extract_if(.., is_taken).map(|(_, what)| what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_taken_once_and_in_order() {
        let mut later = Later::default();
        later.put(20, 'a');
        later.put(10, 'b');
        later.put(30, 'c');
        assert_eq!(later.take(9), ['-'; 0]);
        assert_eq!(later.take(20), ['a', 'b']);
        assert_eq!(later.take(29), ['-'; 0]);
        assert!(!later.is_empty());
        assert_eq!(later.take(u64::MAX), ['c']);
        assert!(later.is_empty());
    }

    #[test]
    fn what_is_over_need_not_wait() {
        let mut later = Later::default();
        (0..4).for_each(|number| later.put(10 * number, number));
        assert_eq!(later.take_or(10, |&number| number == 3), [0, 1, 3]);
        assert_eq!(later.take(u64::MAX), [2]);
    }
}
