//! A store that fails in parts.

use std::fmt;
use std::sync::Arc;

use dunlin_protocol::LogId;

use super::{Dice, Rate};
use crate::store::question::{self, Changed, Heads, Question};
use crate::store::{
    ChangedLogs, Deleted, Deletion, Moment, Store, StoreDone, StoreError, StoreReply, StoreRequest,
    Write, Written,
};

/// A store that does not know of some items whether it has done them (half of them it has), and can't
/// read others. Of some logs it says that they may have changed though they have not.
pub struct Failing {
    inner: Arc<dyn Store>,
    dice: Dice,
    rate: Rate,
}

impl Failing {
    /// Over another store; which items fail follows from the seed.
    pub fn over(inner: Arc<dyn Store>, rate: Rate, seed: u64) -> Failing {
        Failing { inner, dice: Dice::new(seed), rate }
    }

    /// The fate of each of so many items.
    fn fates(&self, items: usize) -> Vec<Fate> {
        let fate = |_| match (self.rate.strikes(&self.dice), self.dice.below(2)) {
            (false, _) => Fate::Answered,
            (true, 0) => Fate::Done,
            (true, _) => Fate::Lost,
        };
        (0..items).map(fate).collect()
    }

    /// The same for writes: what follows a lost entry in its log is lost with it, since it was numbered by
    /// somebody who took it for granted that the one before it would be stored there.
    fn fates_of_writes(&self, writes: &[Write]) -> Vec<Fate> {
        let mut fates = self.fates(writes.len());
        for place in 0..writes.len() {
            let log = writes[place].entry.is_some().then_some(writes[place].log);
            let before = writes[..place].iter().zip(&fates);
            let is_lost = |(write, fate): (&Write, &Fate)| {
                *fate == Fate::Lost && write.entry.is_some() && Some(write.log) == log
            };
            if before.into_iter().any(is_lost) {
                fates[place] = Fate::Lost;
            }
        }
        fates
    }

    /// Asks for what is not lost. What is not answered is told to be `unknown`.
    fn ask_some<Item, Answer>(
        &self,
        items: Vec<Item>,
        fates: Vec<Fate>,
        unknown: fn() -> Answer,
        reply: fn(Vec<Answer>) -> StoreReply,
        done: StoreDone,
    ) where
        Vec<Item>: Question<Answer = Vec<Answer>>,
        Answer: 'static,
    {
        let kept = items.into_iter().zip(&fates).filter(|(_, fate)| **fate != Fate::Lost);
        let kept: Vec<Item> = kept.map(|(item, _)| item).collect();
        question::ask(&*self.inner, kept, move |answers| {
            done(answers.map(|answers| {
                let mut answers = answers.into_iter();
                let told = fates.iter().map(|fate| match fate {
                    Fate::Lost => unknown(),
                    Fate::Done => {
                        drop(answers.next());
                        unknown()
                    }
                    Fate::Answered => answers.next().expect("one for each that was asked"),
                });
                reply(told.collect())
            }));
        });
    }
}

impl Failing {
    /// Of some logs it can't read whether they have changed, and some it tells that have not.
    fn changed(&self, logs: Vec<LogId>, since: Option<Moment>, done: StoreDone) {
        let fates = self.fates(logs.len());
        let struck = (0..).zip(&logs).zip(&fates).filter(|(_, fate)| **fate == Fate::Done);
        let (places, heads): (Vec<u32>, Vec<LogId>) = struck.map(|(log, _)| log).unzip();
        let inner = Arc::clone(&self.inner);
        question::ask(&*self.inner, Changed { logs, since }, move |answer| {
            let ChangedLogs { heads: mut changed, now } = match answer {
                Ok(answer) => answer,
                Err(error) => return done(Err(error)),
            };
            question::ask(&*inner, Heads(heads), move |heads| {
                let heads = heads.unwrap_or_default();
                changed.retain(|(place, _)| !places.contains(place));
                changed.extend(places.into_iter().zip(heads));
                let lost = (0..).zip(&fates).filter(|(_, fate)| **fate == Fate::Lost);
                for (place, _) in lost {
                    changed.retain(|(of, _)| *of != place);
                    changed.push((place, unreadable()));
                }
                changed.sort_unstable_by_key(|(place, _)| *place);
                done(Ok(StoreReply::Changed(ChangedLogs { heads: changed, now })));
            });
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It is done, and nobody hears of it.
    Done,
    /// It never arrives.
    Lost,
}

fn unreadable<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { reason: "one of several".into() })
}

impl fmt::Debug for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failing").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Store for Failing {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match request {
            StoreRequest::Write(items)
                if items.iter().all(|write: &Write| write.check().is_ok()) =>
            {
                let fates = self.fates_of_writes(&items);
                self.ask_some(items, fates, || Written::Unknown, StoreReply::Written, done);
            }
            StoreRequest::Delete(items) => {
                let unknown: fn() -> Deleted = || Deleted::Unknown;
                let fates = self.fates(items.len());
                self.ask_some::<Deletion, _>(items, fates, unknown, StoreReply::Deleted, done);
            }
            StoreRequest::Ranges(items) => {
                let fates = self.fates(items.len());
                self.ask_some(items, fates, unreadable, StoreReply::Pages, done);
            }
            StoreRequest::Register(items) => {
                let fates = self.fates(items.len());
                self.ask_some(items, fates, unreadable, StoreReply::Register, done);
            }
            StoreRequest::Registers(items) => {
                let fates = self.fates(items.len());
                self.ask_some(items, fates, unreadable, StoreReply::Registers, done);
            }
            StoreRequest::Keys(items) => {
                let fates = self.fates(items.len());
                self.ask_some(items, fates, unreadable, StoreReply::Keys, done);
            }
            StoreRequest::Changed { logs, since } => self.changed(logs, since, done),
            // Has no verdict for each item, or no items.
            whole @ (StoreRequest::Write(_)
            | StoreRequest::Changes(_)
            | StoreRequest::Feed(_)
            | StoreRequest::Consumer(_)
            | StoreRequest::Consumers
            | StoreRequest::Heads(_)
            | StoreRequest::Logs { .. }) => self.inner.submit(whole, done),
        }
    }
}
