//! A store of many parts.

use std::fmt;
use std::sync::Arc;

use dunlin_protocol::LogId;
use parking_lot::Mutex;

use super::{Dice, Later, Order, written_logs};
use crate::store::question::{self, Changed, Heads, Question};
use crate::store::{
    ChangeRange, ChangedLogs, DedupeKey, Deletion, Head, Moment, Range, RegisterKey, RegisterRange,
    Store, StoreDone, StoreError, StoreReply, StoreRequest, Write,
};

/// A store that keeps each log in a part of its own, say: the items of a request are carried out at
/// different times and in any order, but for those of one log.
pub struct Reordering {
    inner: Arc<dyn Store>,
    later: Arc<dyn Later>,
    dice: Dice,
    order: Order,
}

impl Reordering {
    /// Over another store; the order follows from the seed.
    pub fn over(inner: Arc<dyn Store>, later: Arc<dyn Later>, seed: u64) -> Reordering {
        Reordering { inner, later, dice: Dice::new(seed), order: Order::default() }
    }

    /// Does something with the inner store, in the order of these logs.
    fn delay(&self, logs: &[LogId], deed: impl FnOnce(&dyn Store) + Send + 'static) {
        let due = self.order.due(self.later.now_ms() + self.dice.delay_ms(), logs);
        let inner = Arc::clone(&self.inner);
        self.later.at(due, Box::new(move || deed(&*inner)));
    }

    /// Asks for the items of each log by themselves.
    fn scatter<Item, Asked>(
        &self,
        items: Vec<Item>,
        is_written: bool,
        log_of: impl Fn(&Item) -> LogId,
        gather: Gather<<Asked::Answer as IntoIterator>::Item>,
    ) where
        Item: Send + 'static,
        Asked: Question + From<Vec<Item>>,
        Asked::Answer: IntoIterator,
        <Asked::Answer as IntoIterator>::Item: Send + 'static,
    {
        let mut parts: Vec<(LogId, Vec<usize>, Vec<Item>)> = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let log = log_of(&item);
            match parts.iter_mut().find(|(of, ..)| *of == log) {
                Some((_, places, items)) => {
                    places.push(place);
                    items.push(item);
                }
                None => parts.push((log, vec![place], vec![item])),
            }
        }
        // Some ask in the order of a table of theirs, which is another one each time; a seed is to lead to
        // the same run.
        parts.sort_by_key(|(log, ..)| *log);
        let gather = Arc::new(gather);
        if parts.is_empty() {
            return self.delay(&[], move |_| gather.is_done());
        }
        for (log, places, items) in parts {
            let gather = Arc::clone(&gather);
            let order: &[LogId] = if is_written { &[log] } else { &[] };
            self.delay(order, move |inner| {
                question::ask(inner, Asked::from(items), move |answer| {
                    gather.take(&places, answer.map(IntoIterator::into_iter));
                });
            });
        }
    }
}

/// Which log has changed, if it has.
type OneChanged = Option<Result<Head, StoreError>>;

impl Reordering {
    /// Asks when it is first, and then, at different times, which of the logs have changed: what is
    /// written meanwhile is told this time, and again the next time.
    fn changed(&self, logs: Vec<LogId>, since: Option<Moment>, done: StoreDone) {
        let later = Arc::clone(&self.later);
        let delays: Vec<u64> = logs.iter().map(|_| self.dice.delay_ms()).collect();
        let inner = Arc::clone(&self.inner);
        self.delay(&[], move |store| {
            question::ask(store, Changed { logs: Vec::new(), since }, move |answer| {
                let now = match answer {
                    Ok(ChangedLogs { now, .. }) => now,
                    Err(error) => return done(Err(error)),
                };
                let done: StoreDone = Box::new(move |heads| {
                    done(heads.map(|heads| with_moment(heads, now)));
                });
                let gather: Gather<OneChanged> = Gather::new(logs.len(), done, changed_of);
                let gather = Arc::new(gather);
                gather.is_done();
                for ((place, log), delay_ms) in (0..).zip(logs).zip(delays) {
                    let (gather, inner) = (Arc::clone(&gather), Arc::clone(&inner));
                    let ask = move || {
                        question::ask(&*inner, Changed { logs: vec![log], since }, move |answer| {
                            let one = |answer: ChangedLogs| answer.heads.into_iter().next();
                            let one = answer.map(|answer| one(answer).map(|(_, head)| head));
                            gather.take(&[place], one.map(std::iter::once));
                        });
                    };
                    later.at(later.now_ms() + delay_ms, Box::new(ask));
                }
            });
        });
    }
}

/// The answer of the parts. The moment is not known here.
fn changed_of(verdicts: Vec<OneChanged>) -> StoreReply {
    let heads = (0..).zip(verdicts);
    let heads = heads.filter_map(|(place, head)| Some((place, head?))).collect();
    let now = Moment::from_bytes(&[]).expect("nothing is short enough");
    StoreReply::Changed(ChangedLogs { heads, now })
}

fn with_moment(reply: StoreReply, now: Moment) -> StoreReply {
    match reply {
        StoreReply::Changed(ChangedLogs { heads, .. }) => {
            StoreReply::Changed(ChangedLogs { heads, now })
        }
        other => other,
    }
}

impl fmt::Debug for Reordering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reordering").finish_non_exhaustive()
    }
}

impl From<Vec<LogId>> for Heads {
    fn from(logs: Vec<LogId>) -> Heads {
        Heads(logs)
    }
}

/// The answers of the parts, until all are there.
struct Gather<Answer>(Mutex<Gathered<Answer>>, fn(Vec<Answer>) -> StoreReply);

struct Gathered<Answer> {
    items: Vec<Option<Answer>>,
    error: Option<StoreError>,
    missing: usize,
    done: Option<StoreDone>,
}

impl<Answer> Gather<Answer> {
    fn new(items: usize, done: StoreDone, reply: fn(Vec<Answer>) -> StoreReply) -> Gather<Answer> {
        let gathered = Gathered {
            items: (0..items).map(|_| None).collect(),
            error: None,
            missing: items,
            done: Some(done),
        };
        Gather(Mutex::new(gathered), reply)
    }

    fn take(&self, places: &[usize], answer: Result<impl Iterator<Item = Answer>, StoreError>) {
        {
            let mut gathered = self.0.lock();
            gathered.missing -= places.len();
            match answer {
                Ok(answers) => {
                    for (place, answer) in places.iter().zip(answers) {
                        gathered.items[*place] = Some(answer);
                    }
                }
                // Of what other parts have written nobody hears, as the contract has it.
                Err(error) => gathered.error = Some(error),
            }
        }
        self.is_done();
    }

    /// Answers if nothing is missing.
    fn is_done(&self) {
        let mut gathered = self.0.lock();
        if gathered.missing > 0 {
            return;
        }
        let Some(done) = gathered.done.take() else { return };
        let items = std::mem::take(&mut gathered.items).into_iter().flatten().collect();
        let error = gathered.error.take();
        drop(gathered);
        done(error.map_or_else(|| Ok((self.1)(items)), Err));
    }
}

impl Store for Reordering {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match request {
            StoreRequest::Write(items) => {
                // What is malformed is refused as a whole, so it is looked at before it is parted.
                if let Err(malformed) = items.iter().try_for_each(Write::check) {
                    let error = StoreError::Malformed(malformed);
                    return self.delay(&[], move |_| done(Err(error)));
                }
                let gather = Gather::new(items.len(), done, StoreReply::Written);
                self.scatter::<_, Vec<Write>>(items, true, |write| write.log, gather);
            }
            StoreRequest::Delete(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Deleted);
                self.scatter::<_, Vec<Deletion>>(items, true, Deletion::log, gather);
            }
            StoreRequest::Ranges(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Pages);
                self.scatter::<_, Vec<Range>>(items, false, |range| range.log, gather);
            }
            StoreRequest::Register(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Register);
                self.scatter::<_, Vec<(LogId, RegisterKey)>>(items, false, |name| name.0, gather);
            }
            StoreRequest::Registers(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Registers);
                self.scatter::<_, Vec<RegisterRange>>(items, false, |range| range.log, gather);
            }
            StoreRequest::Changes(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Registers);
                self.scatter::<_, Vec<ChangeRange>>(items, false, |range| range.log, gather);
            }
            StoreRequest::Heads(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Heads);
                self.scatter::<_, Heads>(items, false, |log| *log, gather);
            }
            StoreRequest::Keys(items) => {
                let gather = Gather::new(items.len(), done, StoreReply::Keys);
                self.scatter::<_, Vec<(LogId, DedupeKey)>>(items, false, |key| key.0, gather);
            }
            StoreRequest::Changed { logs, since } => self.changed(logs, since, done),
            whole @ (StoreRequest::Feed(_)
            | StoreRequest::Consumer(_)
            | StoreRequest::Consumers
            | StoreRequest::Logs { .. }) => {
                self.delay(&written_logs(&whole), move |inner| inner.submit(whole, done));
            }
        }
    }
}
