//! A store that loses answers.

use std::fmt;
use std::sync::Arc;

use super::{Dice, Rate};
use crate::store::{Store, StoreDone, StoreRequest};

/// A store that never answers some requests; half of them it has carried out.
pub struct Losing {
    inner: Arc<dyn Store>,
    dice: Dice,
    rate: Rate,
}

impl Losing {
    /// Over another store; which requests are lost follows from the seed.
    pub fn over(inner: Arc<dyn Store>, rate: Rate, seed: u64) -> Losing {
        Losing { inner, dice: Dice::new(seed), rate }
    }
}

impl fmt::Debug for Losing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Losing").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Store for Losing {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match (self.rate.strikes(&self.dice), self.dice.below(2)) {
            (false, _) => self.inner.submit(request, done),
            (true, 0) => self.inner.submit(request, Box::new(drop)),
            (true, _) => {}
        }
    }
}
