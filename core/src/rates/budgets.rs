//! The budgets of all users and addresses of a node.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_protocol::UserId;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::cost::{Cost, Kind};
use super::rate::Rates;

/// Parts of the table, each with its lock: it is touched by all threads of a transport, though only for lumps.
const PARTS: usize = 64;

/// Budgets in a part before it is looked through for those that are full, at least. A part of 1,024 takes some 100 KB.
const SWEEP_AT: usize = 1024;

const MS: u64 = 1_000_000;

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payer {
    /// A user, on all connections.
    User(UserId),
    /// An address, or the network that counts as one: IPv4 mapped into IPv6.
    Address([u8; 16]),
}

/// There is no more of it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdrawn {
    /// Of what.
    pub kind: Kind,
    /// When there is some again, in nanoseconds.
    wait_ns: u64,
    /// In how much time comes back what was asked for.
    cost_ns: u64,
}

/// See the module. Memory goes to those whose budgets are not full: some 80 bytes for each.
#[derive(Debug)]
pub struct Budgets {
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
    /// How often there was no more of each kind.
    overdrawn: [AtomicU64; Kind::ALL.len()],
}

impl Default for Budgets {
    fn default() -> Budgets {
        let parts = std::array::from_fn(|_| Mutex::default());
        Budgets { hasher: RandomState::new(), parts, overdrawn: Default::default() }
    }
}

#[derive(Debug, Default)]
struct Part {
    /// When each will be full, in nanoseconds of the clock of whoever asks.
    full_ns: HashMap<Payer, [u64; Kind::ALL.len()], RandomState>,
    /// How many were left when it was last looked through: that is done again when there are twice as many, so that
    /// each look pays for itself.
    left: usize,
}

impl Budgets {
    /// Takes a cost out of a budget that fills at these rates, if there is anything of each kind that it costs. If
    /// not, nothing is taken.
    pub fn take(
        &self,
        payer: Payer,
        rates: &Rates,
        cost: Cost,
        now_ms: u64,
    ) -> Result<(), Overdrawn> {
        if rates.limiting(cost).next().is_none() {
            return Ok(());
        }
        let now_ns = now_ms.saturating_mul(MS);
        let mut part = self.part(payer).lock();
        if part.full_ns.len() >= SWEEP_AT.max(2 * part.left) {
            part.forget_full(now_ns);
        }
        let full_ns = part.full_ns.entry(payer).or_insert([0; Kind::ALL.len()]);
        let mut taken = *full_ns;
        for (kind, rate, amount) in rates.limiting(cost) {
            let own = &mut taken[kind as usize];
            match rate.take(*own, amount, now_ns) {
                Ok(full_ns) => *own = full_ns,
                Err(wait_ns) => {
                    self.overdrawn[kind as usize].fetch_add(1, Ordering::Relaxed);
                    return Err(Overdrawn { kind, wait_ns, cost_ns: rate.time_of(amount) });
                }
            }
        }
        *full_ns = taken;
        Ok(())
    }

    /// Takes a cost out of a budget, whether it is there or not: what was done has to be paid.
    pub fn owe(&self, payer: Payer, rates: &Rates, cost: Cost, now_ms: u64) {
        if rates.limiting(cost).next().is_none() {
            return;
        }
        let now_ns = now_ms.saturating_mul(MS);
        let mut part = self.part(payer).lock();
        let full_ns = part.full_ns.entry(payer).or_insert([0; Kind::ALL.len()]);
        for (kind, rate, amount) in rates.limiting(cost) {
            let own = &mut full_ns[kind as usize];
            *own = (*own).max(now_ns).saturating_add(rate.time_of(amount));
        }
    }

    /// How often there was no more of a kind.
    pub fn overdrawn(&self, kind: Kind) -> u64 {
        self.overdrawn[kind as usize].load(Ordering::Relaxed)
    }

    /// Forgets those that are full, as happens by itself where many ask: to be called now and then, for what is left
    /// when nobody does. How many are left.
    pub fn forget_full(&self, now_ms: u64) -> usize {
        let forget = |part: &Mutex<Part>| part.lock().forget_full(now_ms.saturating_mul(MS));
        self.parts.iter().map(forget).sum()
    }

    fn part(&self, payer: Payer) -> &Mutex<Part> {
        &self.parts[self.hasher.hash_one(payer) as usize % PARTS]
    }
}

impl Overdrawn {
    /// When to ask again, in milliseconds, if so many others of that cost wait as well and go first: whoever has many
    /// requests under way when a budget is gone, and repeats each when it was told to, is not refused again.
    pub fn retry_after_ms(&self, others: u16) -> u32 {
        let wait_ns = self.cost_ns.saturating_mul(others.into()).saturating_add(self.wait_ns);
        u32::try_from(wait_ns.div_ceil(MS)).unwrap_or(u32::MAX).max(1)
    }
}

impl Part {
    fn forget_full(&mut self, now_ns: u64) -> usize {
        self.full_ns.retain(|_, full_ns| full_ns.iter().any(|full_ns| *full_ns > now_ns));
        self.left = self.full_ns.len();
        self.full_ns.shrink_to(2 * self.left);
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::Rate;

    fn user(number: u64) -> Payer {
        Payer::User(UserId::new(number).unwrap())
    }

    fn rates() -> Rates {
        Rates::of(|kind| match kind {
            Kind::Messages => Rate::new(10, 1, 20),
            Kind::Bytes => Rate::new(1000, 1, 5000),
            Kind::Requests | Kind::Signals | Kind::Names | Kind::StoredBytes | Kind::Connects => {
                Rate::UNLIMITED
            }
        })
    }

    fn messages(count: usize) -> Cost {
        Cost::of_kind(Kind::Messages, count)
    }

    #[test]
    fn each_has_a_budget_of_its_own() {
        let budgets = Budgets::default();
        let take = |payer| budgets.take(payer, &rates(), messages(16), 0);
        let address = Payer::Address([7; 16]);
        assert_eq!([take(user(1)), take(user(1))], [Ok(()), Ok(())]);
        let overdrawn = take(user(1)).unwrap_err();
        assert_eq!(overdrawn.kind, Kind::Messages);
        let told = [0, 1, 2].map(|others| overdrawn.retry_after_ms(others));
        assert_eq!(told, [1300, 2900, 4500], "sixteen of them each");
        assert_eq!(budgets.overdrawn(Kind::Messages), 1);
        assert_eq!([take(user(2)), take(address)], [Ok(()), Ok(())]);
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        let budgets = Budgets::default();
        let large = Cost::of_kind(Kind::Bytes, 6000);
        let take = |cost, now_ms| budgets.take(user(1), &rates(), cost, now_ms);
        assert_eq!(take(large + messages(1), 0), Ok(()));
        for _ in 0..100 {
            let refused = take(messages(1) + large, 0).unwrap_err();
            assert_eq!((refused.kind, refused.retry_after_ms(0)), (Kind::Bytes, 1001));
        }
        assert_eq!(take(messages(18), 0), Ok(()), "19 are left, and none was taken");
        assert_eq!(take(large, 1001), Ok(()));
    }

    #[test]
    fn what_was_done_is_owed() {
        let budgets = Budgets::default();
        (0..3).for_each(|_| budgets.owe(user(1), &rates(), messages(10), 0));
        let overdrawn = budgets.take(user(1), &rates(), messages(1), 0).unwrap_err();
        assert_eq!(overdrawn.retry_after_ms(0), 1100, "ten more than there were");
    }

    #[test]
    fn no_limit_takes_no_memory() {
        let budgets = Budgets::default();
        budgets.take(user(1), &rates(), Cost::points(1000), 0).unwrap();
        budgets.take(user(1), &Rates::UNLIMITED, messages(1000), 0).unwrap();
        assert_eq!(budgets.forget_full(0), 0);
    }

    #[test]
    fn full_budgets_are_forgotten() {
        let budgets = Budgets::default();
        let ask = |users: std::ops::Range<u64>, now_ms| {
            for number in users {
                budgets.take(user(number + 1), &rates(), messages(10), now_ms).unwrap();
            }
        };
        let held = || budgets.parts.iter().map(|part| part.lock().full_ns.len()).sum::<usize>();
        ask(0..200_000, 0);
        assert_eq!(held(), 200_000, "nobody's is full");
        // A second later they all are, and others come.
        ask(200_000..600_000, 1000);
        assert!(held() < 500_000, "{}", held());
        assert_eq!(budgets.forget_full(1000), 400_000);
        assert_eq!((budgets.forget_full(2000), held()), (0, 0));
    }
}
