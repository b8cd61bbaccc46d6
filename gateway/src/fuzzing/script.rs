//! What shall happen, as bytes: any bytes are a script.

/// What is left of a script.
#[derive(Debug)]
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script(bytes)
    }

    /// The next step; `None` at the end.
    pub(super) fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A choice of so many. The first one at the end.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.step().unwrap_or(0)) % end.max(1)
    }

    /// A size up to 64 KiB, small ones more often.
    pub(super) fn size(&mut self) -> usize {
        let (scale, step) = (self.below(9), self.below(256));
        step << scale
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let count = self.below(64).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }
}
