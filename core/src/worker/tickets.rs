//! The questions that are not answered yet.
//!
//! Each has a ticket, which is good once, and until [`STORE_DEADLINE_MS`] have passed. A store should
//! say itself in time that it can't do something; one that does not must not make anybody wait for
//! ever. Time is counted in ticks of the worker, so that a question costs nothing for it, and a clock
//! that is set does no harm.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::effect::Ticket;
use super::flow::{StoreFlow, StoreResult};
use crate::credential::PasswordFlow;
use crate::limits::{STORE_ABANDONED_MAX, STORE_ABANDONED_MS, STORE_DEADLINE_MS, TICK_MS};
use crate::store::StoreError;

/// Ticks after which a question is given up.
const DEADLINE_TICKS: usize = (STORE_DEADLINE_MS / TICK_MS) as usize;

/// Ticks after which one that was given up is forgotten.
const ABANDONED_TICKS: u64 = STORE_ABANDONED_MS / TICK_MS;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// With the number of items that were asked, if each has an answer of its own.
    store: HashMap<Ticket, (StoreFlow, Option<usize>), RandomState>,
    /// How many of them are writes.
    writes: usize,
    passwords: HashMap<Ticket, PasswordFlow, RandomState>,
    next: u64,
    /// Ticks since the beginning.
    ticks: u64,
    /// The next ticket at each of the last ticks: what is older than the first of them is overdue.
    began: VecDeque<u64>,
    /// What was given up and may still hold memory of the store, with the tick.
    abandoned: BTreeMap<Ticket, u64>,
    /// What was not asked because too much had been given up.
    unasked: Vec<Ticket>,
}

impl Tickets {
    /// Questions that are not answered yet.
    pub(super) fn len(&self) -> usize {
        self.store.len() + self.passwords.len()
    }

    /// The same without those to write something.
    pub(super) fn questions(&self) -> usize {
        self.len() - self.writes
    }

    /// A tick has passed. What is overdue by now, in the order in which it was asked.
    pub(super) fn tick(&mut self) -> Vec<Ticket> {
        self.ticks += 1;
        let forgotten = self.ticks.saturating_sub(ABANDONED_TICKS);
        self.abandoned.retain(|_, since| *since > forgotten);
        let mut overdue = std::mem::take(&mut self.unasked);
        self.began.push_back(self.next);
        if self.began.len() > DEADLINE_TICKS {
            let end = self.began.pop_front().unwrap_or_default();
            let late = self.store.keys().filter(|ticket| ticket.0 < end);
            let late: Vec<_> = late.copied().collect();
            self.abandoned.extend(late.iter().map(|ticket| (*ticket, self.ticks)));
            overdue.extend(late);
        }
        overdue.sort_unstable();
        overdue
    }

    /// Whether the store may be asked. If so much was given up that it must be taken for lost, a
    /// question is not asked, and is overdue at the next tick.
    pub(super) fn may_ask(&mut self, ticket: Ticket) -> bool {
        let may = self.abandoned.len() < STORE_ABANDONED_MAX;
        if !may {
            self.unasked.push(ticket);
        }
        may
    }

    pub(super) fn keep(&mut self, flow: StoreFlow, items: Option<usize>) -> Ticket {
        let ticket = self.next();
        self.writes += usize::from(flow.is_write());
        self.store.insert(ticket, (flow, items));
        ticket
    }

    pub(super) fn keep_password(&mut self, flow: PasswordFlow) -> Ticket {
        let ticket = self.next();
        self.passwords.insert(ticket, flow);
        ticket
    }

    /// Who goes on with an answer. One that has not as many items as were asked becomes an error.
    pub(super) fn take(&mut self, ticket: Ticket, result: &mut StoreResult) -> Option<StoreFlow> {
        let Some((flow, asked)) = self.store.remove(&ticket) else {
            // It comes late, or was meant for the worker before a restart.
            self.abandoned.remove(&ticket);
            return None;
        };
        self.writes -= usize::from(flow.is_write());
        if result.as_ref().is_ok_and(|reply| reply.items() != asked) {
            *result = Err(StoreError::Mismatched);
        }
        Some(flow)
    }

    pub(super) fn take_password(&mut self, ticket: Ticket) -> Option<PasswordFlow> {
        self.passwords.remove(&ticket)
    }

    fn next(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Head, StoreReply};
    use crate::worker::flow::HeadsFlow;

    #[test]
    fn a_ticket_is_good_once_and_for_one_kind_of_answer() {
        let mut tickets = Tickets::default();
        let ticket = tickets.keep(load(), Some(0));
        let mut heads = Ok(StoreReply::Heads(Vec::new()));
        assert!(tickets.take_password(ticket).is_none());
        assert!(tickets.take(ticket, &mut heads).is_some());
        assert!(tickets.take(ticket, &mut heads).is_none());
        assert_eq!((tickets.len(), heads), (0, Ok(StoreReply::Heads(Vec::new()))));
    }

    #[test]
    fn an_answer_has_as_many_items_as_were_asked() {
        let mut tickets = Tickets::default();
        let reply = || Ok(StoreReply::Heads(vec![Ok(Head::default())]));
        for (asked, expected) in [(1, reply()), (2, Err(StoreError::Mismatched))] {
            let ticket = tickets.keep(StoreFlow::Heads(HeadsFlow::Load(Vec::new())), Some(asked));
            let mut result = reply();
            assert!(tickets.take(ticket, &mut result).is_some());
            assert_eq!(result, expected);
        }
    }

    fn load() -> StoreFlow {
        StoreFlow::Heads(HeadsFlow::Load(Vec::new()))
    }

    #[test]
    fn what_is_not_answered_in_time_is_overdue_once() {
        let mut tickets = Tickets::default();
        let first = tickets.keep(load(), None);
        let mut answered = 0;
        for _ in 0..DEADLINE_TICKS {
            assert_eq!(tickets.tick(), []);
            // Others come and are answered meanwhile.
            let other = tickets.keep(load(), None);
            let mut result = Ok(StoreReply::Done);
            answered += u64::from(tickets.take(other, &mut result).is_some());
        }
        assert_eq!(answered, DEADLINE_TICKS as u64);
        let second = tickets.keep(load(), None);
        assert_eq!(tickets.tick(), [first]);
        let mut late = Err(StoreError::Unavailable { reason: "late".into() });
        assert!(tickets.take(first, &mut late).is_some());
        assert!((1..DEADLINE_TICKS).all(|_| tickets.tick().is_empty()));
        assert_eq!(tickets.tick(), [second]);
    }

    #[test]
    fn a_store_that_answers_nothing_is_asked_no_more_for_a_while() {
        let mut tickets = Tickets::default();
        let mut lost: Vec<_> =
            (0..STORE_ABANDONED_MAX).map(|_| tickets.keep(load(), None)).collect();
        assert!((0..DEADLINE_TICKS).all(|_| tickets.tick().is_empty()));
        assert_eq!(tickets.tick(), lost);
        let give_up = |tickets: &mut Tickets, ticket| {
            let mut result = Err(StoreError::Unavailable { reason: "late".into() });
            assert!(tickets.take(ticket, &mut result).is_some());
        };
        lost.iter().for_each(|ticket| give_up(&mut tickets, *ticket));
        // It is told at the next tick, and not asked.
        let refused = tickets.keep(load(), None);
        assert!(!tickets.may_ask(refused));
        assert_eq!(tickets.tick(), [refused]);
        give_up(&mut tickets, refused);
        // One answer, however late, makes room for one question.
        let mut late = Ok(StoreReply::Done);
        assert!(tickets.take(lost.remove(0), &mut late).is_none());
        let ticket = tickets.keep(load(), None);
        assert!(tickets.may_ask(ticket));
        give_up(&mut tickets, ticket);
        // What never comes is forgotten some time.
        for _ in 0..ABANDONED_TICKS {
            tickets.tick();
        }
        assert!(tickets.abandoned.is_empty());
        assert_eq!(tickets.len(), 0);
    }
}
