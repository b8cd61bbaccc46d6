//! Sends whose conversation has its home on another node.
//!
//! ```text
//!            end of tick                    every send answered
//!  waiting ──────────────► on the way ───────────────────────────► the next batch, or forgotten
//!                              │  no answer in time, or the home is gone, or too much waits
//!                              └──────────────────► everything is appended here, in its order
//! ```
//!
//! At most one batch of a conversation is on the way, as at most one is at the store, and for the
//! same reason: order. A batch that is lost, late or doubled can't be overtaken by the next one,
//! since there is none before all of it is answered. And while anything waits to be appended here,
//! nothing more is forwarded.
//!
//! If the home was only slow, it appends the same sends as this node, at the same time. Each of the
//! two appends them in their order, and the store takes each of them once; so it does not matter who
//! is faster at which. The home keeps to one more rule: once it refuses a send, it refuses the rest
//! of its batch. So what it has stored is always the beginning of the batch, and when its answers are
//! lost, appending the rest here does not put an earlier send behind a later one.

use std::collections::VecDeque;

use dunlin_protocol::LogId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::item::{Answer, Forward, ForwardedSend, Item};
use super::{Cluster, FORWARD_TICKS};
use crate::bus::NodeId;
use crate::conversation::pending::{Pending, Stored};
use crate::conversation::{QUEUE_FULL, Refused};
use crate::limits::{
    CONVERSATION_BATCH_MAX, CONVERSATION_QUEUE_MAX, FORWARD_BYTES_MAX, FORWARDED_MAX,
};
use crate::membership::other_member;
use crate::placement::{self, Origin};
use crate::refusal::{NO_SUCH_CONVERSATION, Refusal};
use crate::worker::turn::Turn;

/// Conversations of which sends wait for another node.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    lanes: HashMap<LogId, Lane, RandomState>,
    /// Lanes of which a batch can be sent at the end of the tick, each once.
    ready: Vec<LogId>,
    /// Batches that are on the way, and the tick at which they are late; the earliest first.
    due: VecDeque<(u64, LogId, u64)>,
    last_batch: u64,
    sends: usize,
    bytes: usize,
}

/// The sends of one conversation.
#[derive(Debug, Default)]
struct Lane {
    /// What is on the way.
    batch: Option<Batch>,
    /// What comes after it.
    waiting: VecDeque<Pending>,
}

/// Sends that are on the way.
#[derive(Debug)]
struct Batch {
    number: u64,
    home: NodeId,
    /// `None` where the answer has come.
    sends: Vec<Option<Pending>>,
}

impl Lane {
    fn len(&self) -> usize {
        self.waiting.len() + self.batch.as_ref().map_or(0, |batch| batch.sends.len())
    }

    /// Everything that is not answered, in order.
    fn into_rest(self) -> impl Iterator<Item = Pending> {
        let batch = self.batch.into_iter().flat_map(|batch| batch.sends).flatten();
        batch.chain(self.waiting)
    }
}

impl Forwards {
    pub(super) fn held(&self) -> (usize, usize) {
        (self.sends, self.bytes)
    }

    fn add(&mut self, pending: Pending) {
        let log = pending.log;
        self.sends += 1;
        self.bytes += bytes_of(&pending);
        let lane = self.lanes.entry(log).or_default();
        if lane.batch.is_none() && lane.waiting.is_empty() {
            self.ready.push(log);
        }
        lane.waiting.push_back(pending);
    }

    /// Takes a lane off; gives back everything in it that is not answered.
    fn remove(&mut self, log: LogId) -> Vec<Pending> {
        let rest: Vec<_> =
            self.lanes.remove(&log).map(Lane::into_rest).into_iter().flatten().collect();
        rest.iter().for_each(|pending| self.let_go(pending));
        rest
    }

    fn let_go(&mut self, pending: &Pending) {
        self.sends -= 1;
        self.bytes -= bytes_of(pending);
    }

    /// Puts the next batch of a lane on the way.
    fn begin_batch(&mut self, log: LogId, home: NodeId, late_at: u64) -> Option<Forward> {
        let lane = self.lanes.get_mut(&log)?;
        let mut bytes = 0;
        let fitting = lane.waiting.iter().take(CONVERSATION_BATCH_MAX).take_while(|pending| {
            bytes += bytes_of(pending);
            bytes <= FORWARD_BYTES_MAX
        });
        let count = fitting.count().max(1);
        let taken: Vec<_> = lane.waiting.drain(..count.min(lane.waiting.len())).collect();
        let sends = taken.iter().map(|pending| ForwardedSend {
            sender: pending.sender,
            conn: pending.conn,
            message: pending.message.clone(),
        });
        self.last_batch += 1;
        let number = self.last_batch;
        let forward = Forward { log, batch: number, sends: sends.collect() };
        lane.batch = Some(Batch { number, home, sends: taken.into_iter().map(Some).collect() });
        self.due.push_back((late_at, log, number));
        Some(forward)
    }

    /// The send that an answer is for, if it still waits; then the lane goes on if that was the last.
    fn answered(&mut self, answer: &Answer) -> Option<Pending> {
        let lane = self.lanes.get_mut(&answer.log)?;
        let batch = lane.batch.as_mut().filter(|batch| batch.number == answer.batch)?;
        let pending = batch.sends.get_mut(usize::from(answer.index))?.take()?;
        if batch.sends.iter().all(Option::is_none) {
            lane.batch = None;
            if lane.waiting.is_empty() {
                self.lanes.remove(&answer.log);
            } else {
                self.ready.push(answer.log);
            }
        }
        self.let_go(&pending);
        Some(pending)
    }

    /// The conversations whose batch is late.
    fn take_late(&mut self, now: u64) -> Vec<(LogId, NodeId)> {
        let mut late = Vec::new();
        while let Some((_, log, number)) = self.due.pop_front_if(|(due, ..)| *due <= now) {
            let batch = self.lanes.get(&log).and_then(|lane| lane.batch.as_ref());
            let batch = batch.filter(|batch| batch.number == number);
            late.extend(batch.map(|batch| (log, batch.home)));
        }
        late
    }

    /// The conversations of which a batch is on the way to a node that is not there.
    pub(super) fn lost(&self, is_there: impl Fn(NodeId) -> bool) -> Vec<LogId> {
        let is_lost = |lane: &Lane| lane.batch.as_ref().is_some_and(|batch| !is_there(batch.home));
        let lanes = self.lanes.iter();
        let mut lost: Vec<_> =
            lanes.filter(|(_, lane)| is_lost(lane)).map(|(log, _)| *log).collect();
        // A seed of the simulation must lead to the same run, whatever the order of the table.
        lost.sort_unstable();
        lost
    }
}

fn bytes_of(pending: &Pending) -> usize {
    // About 64 for ids and lengths.
    pending.message.content.len() + pending.message.content_type.len() + 64
}

/// Where a send of a client of this node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Here,
    /// Behind others that wait for a home elsewhere.
    Behind,
    /// To a home elsewhere, unless something waits here.
    Elsewhere,
}

/// What becomes of a send that is to be forwarded.
#[derive(Debug)]
#[must_use]
pub(crate) enum Forwarded {
    /// It will be.
    Taken,
    Refused(Refused),
    /// Too much waits already: it is appended here, behind the [rest](Cluster::take_rest) of its
    /// conversation.
    TooMany(Pending),
}

impl Cluster {
    pub(crate) fn route_of(&self, log: LogId) -> Route {
        if self.forwards.lanes.contains_key(&log) {
            return Route::Behind;
        }
        // With one member nothing was looked up so far but an empty table.
        if self.peers.is_empty() || self.home_elsewhere(log).is_none() {
            return Route::Here;
        }
        Route::Elsewhere
    }

    /// The home of a conversation, if that is another node that can be expected to answer.
    fn home_elsewhere(&self, log: LogId) -> Option<Origin> {
        let home = placement::home_of_log(log, &self.members)?;
        let peer = self.peers.get(&home.node).filter(|peer| !peer.is_silent)?;
        let worker = placement::worker_of_log(log, peer.streams.len());
        Some(Origin { node: home.node, worker })
    }

    /// Takes a send whose conversation has its home elsewhere.
    pub(crate) fn forward(&mut self, pending: Pending) -> Forwarded {
        let Pending { log, reply_to, sender, .. } = pending;
        let refused = |refusal| Forwarded::Refused(Refused { log, reply_to, refusal });
        if other_member(log, sender).is_none() {
            return refused(NO_SUCH_CONVERSATION);
        }
        let forwards = &mut self.forwards;
        if forwards.lanes.get(&log).is_some_and(|lane| lane.len() >= CONVERSATION_QUEUE_MAX) {
            return refused(QUEUE_FULL);
        }
        if forwards.sends >= FORWARDED_MAX {
            return Forwarded::TooMany(pending);
        }
        forwards.add(pending);
        Forwarded::Taken
    }

    /// Everything of a conversation that waits for another node and shall not any more.
    pub(crate) fn take_rest(&mut self, log: LogId) -> Vec<Pending> {
        self.forwards.remove(log)
    }

    /// Sends what has become ready during the tick. Gives back the conversations whose home is this
    /// node by now.
    pub(crate) fn send_forwards(&mut self, turn: &mut Turn<'_>) -> Vec<LogId> {
        let mut here = Vec::new();
        for log in std::mem::take(&mut self.forwards.ready) {
            let lane = self.forwards.lanes.get(&log);
            if !lane.is_some_and(|lane| lane.batch.is_none() && !lane.waiting.is_empty()) {
                continue;
            }
            match self.home_elsewhere(log) {
                Some(home) => self.send_batch(log, home, turn),
                None => here.push(log),
            }
        }
        here
    }

    fn send_batch(&mut self, log: LogId, home: Origin, turn: &mut Turn<'_>) {
        let late_at = self.ticks + FORWARD_TICKS;
        if let Some(forward) = self.forwards.begin_batch(log, home.node, late_at) {
            turn.effects.counters.forwarded += forward.sends.len() as u64;
            self.tell(home, &Item::Forward(forward), turn);
        }
    }

    /// Answers a send that another node has forwarded.
    pub(crate) fn answer_forwarded(
        &mut self,
        log: LogId,
        to: Origin,
        (batch, index): (u64, u16),
        outcome: Result<Stored, Refusal>,
        turn: &mut Turn<'_>,
    ) {
        self.tell(to, &Item::Answer(Answer { log, batch, index, outcome }), turn);
    }

    /// The home has answered a send: gives it back. An answer that comes too late finds nothing.
    pub(crate) fn answered(&mut self, answer: &Answer) -> Option<Pending> {
        self.forwards.answered(answer)
    }

    /// The conversations of which a batch was not answered in time. Until the node is heard again,
    /// nothing more is forwarded to it.
    pub(crate) fn take_late(&mut self, turn: &mut Turn<'_>) -> Vec<LogId> {
        let late = self.forwards.take_late(self.ticks);
        for (_, home) in &late {
            if let Some(peer) = self.peers.get_mut(home) {
                peer.is_silent = true;
            }
        }
        turn.effects.counters.forwards_late += late.len() as u64;
        late.into_iter().map(|(log, _)| log).collect()
    }
}

const _: () = assert!(CONVERSATION_BATCH_MAX <= u16::MAX as usize);
