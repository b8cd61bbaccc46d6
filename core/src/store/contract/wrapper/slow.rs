//! A store far away.

use std::fmt;
use std::sync::Arc;

use super::{Dice, Later, Order, written_logs};
use crate::store::{Store, StoreDone, StoreRequest};

/// A store that takes 2 to 20 ms for each request. Requests overtake each other, and so do answers;
/// only what is written to one log keeps its order.
pub struct Slow {
    inner: Arc<dyn Store>,
    later: Arc<dyn Later>,
    dice: Dice,
    order: Order,
}

impl Slow {
    /// Over another store; the delays follow from the seed.
    pub fn over(inner: Arc<dyn Store>, later: Arc<dyn Later>, seed: u64) -> Slow {
        Slow { inner, later, dice: Dice::new(seed), order: Order::default() }
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slow").finish_non_exhaustive()
    }
}

impl Store for Slow {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        let there = self.later.now_ms() + self.dice.delay_ms();
        let due = self.order.due(there, &written_logs(&request));
        let (inner, later) = (Arc::clone(&self.inner), Arc::clone(&self.later));
        let back_ms = self.dice.delay_ms();
        let answer: StoreDone = Box::new({
            let later = Arc::clone(&later);
            move |reply| later.at(later.now_ms() + back_ms, Box::new(move || done(reply)))
        });
        later.at(due, Box::new(move || inner.submit(request, answer)));
    }
}
