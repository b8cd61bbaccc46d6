//! Sync: what has changed since a client was told everything, in one round trip.
//!
//! ```text
//!  taken: pushes are held ──► room ──► account ──► what has changed ──► numbers ──► entries ──► Synced
//!                                                  ▲─ more of them ─┘
//! ```
//!
//! Everything that is stored after the question what has changed is pushed, and held, and follows the
//! Synced; everything before is in it, or in one that follows it. So nothing falls between them.
//!
//! - `token`: up to where a client was told everything
//! - `rounds`: what is asked of the store, in which order
//! - `account`, `lists`, `comparing`: the settings, the conversations of a user, and which have changed
//! - `newest`, `detailing`, `filling`: what of that fits into the response

mod account;
mod comparing;
mod detailing;
mod filling;
mod lists;
mod newest;
mod rounds;
#[cfg(test)]
mod tests;
mod token;

use std::collections::VecDeque;

use dunlin_protocol::UserId;
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::{OVERLOADED_RETRY_MS, SYNC_POSITIONS_BYTES_MAX, SYNC_POSITIONS_FEW};
use crate::refusal::Refusal;
use crate::request::{Client, SyncFrom};
use crate::room::Claim;
use crate::store::{ChangedLogs, Head, Page, Register, Registers};
use crate::transport::ConnId;
use crate::worker::flow::{
    Answer, Answers, ChangedFlow, HeadsFlow, PagesFlow, RegisterFlow, RegistersFlow,
};
use crate::worker::turn::Turn;
pub(crate) use comparing::Since;
use lists::Lists;
use rounds::{Step, Sync};

/// The syncs that were taken and are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    taken: HashMap<SyncId, Box<Sync>, RandomState>,
    lists: Lists,
    last: u64,
    /// The connections of which one waits for room or runs, with those that wait behind it.
    open: HashMap<ConnId, VecDeque<SyncId>, RandomState>,
    /// How many those behind are.
    behind: usize,
    /// Memory of what all of them name.
    positions_bytes: usize,
}

/// What becomes of a sync at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Taken {
    /// It may begin when there is room for its answer.
    Waits(SyncId),
    /// Another one of its connection comes first.
    Behind,
    /// It was refused.
    Refused,
}

const TOO_MANY: Refusal =
    Refusal::retry(ErrorCode::Overloaded, "too many large syncs wait", OVERLOADED_RETRY_MS);

/// Names a sync of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SyncId(u64);

/// How a sync goes on.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) enum Progress {
    /// Answers are missing.
    Waits,
    /// It was answered: what was pushed meanwhile follows.
    Ended {
        user: UserId,
        conn: ConnId,
        /// It was not refused.
        synced: bool,
        /// The one that waited behind it.
        next: Option<SyncId>,
    },
}

impl Syncs {
    /// Takes a sync. One of a connection runs at a time: it costs what an account has, and not what it
    /// takes to ask.
    pub(crate) fn take(&mut self, client: Client, from: SyncFrom, turn: &mut Turn<'_>) -> Taken {
        let is_first = !self.open.contains_key(&client.conn);
        let is_light = is_first && from.positions.len() <= SYNC_POSITIONS_FEW;
        let sync = Box::new(Sync::new(client, from, turn.shared.epoch));
        if !is_light && self.positions_bytes + sync.positions_bytes() > SYNC_POSITIONS_BYTES_MAX {
            turn.effects.refuse(client.conn, client.request_id, TOO_MANY);
            return Taken::Refused;
        }
        self.last += 1;
        let id = SyncId(self.last);
        self.positions_bytes += sync.positions_bytes();
        self.taken.insert(id, sync);
        let behind = self.open.entry(client.conn).or_default();
        if is_first {
            return Taken::Waits(id);
        }
        behind.push_back(id);
        self.behind += 1;
        Taken::Behind
    }

    /// Room that it needs; none if it is gone.
    pub(crate) fn room_bytes(&self, id: SyncId) -> usize {
        self.taken.get(&id).map_or(0, |sync| sync.room_bytes())
    }

    /// Begins it: there is room for its answer.
    pub(crate) fn begin(&mut self, id: SyncId, claim: Claim, turn: &mut Turn<'_>) {
        if let Some(sync) = self.taken.get_mut(&id) {
            sync.claim = Some(claim);
            let step = sync.begin(&mut self.lists);
            ask(id, step, turn);
        }
    }

    /// How many wait behind another one.
    pub(crate) fn behind(&self) -> usize {
        self.behind
    }

    /// Nobody waits any more for one that was not begun.
    pub(crate) fn forget(&mut self, id: SyncId) {
        drop(self.remove(id));
    }

    /// The connection is gone, and so is what waits behind its sync.
    pub(crate) fn forget_behind(&mut self, conn: ConnId) {
        for id in self.open.remove(&conn).into_iter().flatten() {
            self.behind -= 1;
            self.forget(id);
        }
    }

    fn remove(&mut self, id: SyncId) -> Option<Box<Sync>> {
        let sync = self.taken.remove(&id)?;
        self.positions_bytes -= sync.positions_bytes();
        Some(sync)
    }

    pub(crate) fn registers_read(
        &mut self,
        id: SyncId,
        answer: Answer<Registers>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync, lists| sync.registers_read(answer?, lists), turn)
    }

    pub(crate) fn changed_known(
        &mut self,
        id: SyncId,
        since: Since,
        answer: Answer<ChangedLogs>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync, lists| sync.changed_known(since, answer, lists), turn)
    }

    pub(crate) fn heads_read(
        &mut self,
        id: SyncId,
        answers: Answers<Head>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync, _| sync.heads_read(answers?), turn)
    }

    pub(crate) fn details_read(
        &mut self,
        id: SyncId,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync, _| sync.details_read(answers?), turn)
    }

    pub(crate) fn pages_read(
        &mut self,
        id: SyncId,
        answers: Answers<Page>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync, _| sync.pages_read(answers?), turn)
    }

    fn go_on(
        &mut self,
        id: SyncId,
        step: impl FnOnce(&mut Sync, &mut Lists) -> Result<Step, Refusal>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        // One that was refused hears the rest of its answers in vain.
        let Some(sync) = self.taken.get_mut(&id) else { return Progress::Waits };
        match step(sync, &mut self.lists) {
            Ok(Step::Done) => self.finish(id, turn),
            Ok(step) => {
                ask(id, step, turn);
                Progress::Waits
            }
            Err(refusal) => self.refuse(id, refusal, turn),
        }
    }

    fn finish(&mut self, id: SyncId, turn: &mut Turn<'_>) -> Progress {
        let Some(mut sync) = self.remove(id) else { return Progress::Waits };
        let client = sync.client;
        alarm(client.user, sync.ahead(), turn);
        let claim = sync.claim.take();
        let synced = sync.synced(turn.shared.epoch, turn.now.unix_ms);
        turn.effects.respond_large(client, Body::Synced(synced), claim);
        self.ended(client.user, client.conn, true)
    }

    /// It can't be answered now.
    pub(crate) fn refuse(&mut self, id: SyncId, refusal: Refusal, turn: &mut Turn<'_>) -> Progress {
        let Some(sync) = self.remove(id) else { return Progress::Waits };
        let Client { conn, request_id, user, .. } = sync.client;
        turn.effects.refuse(conn, request_id, refusal);
        self.ended(user, conn, false)
    }

    fn ended(&mut self, user: UserId, conn: ConnId, synced: bool) -> Progress {
        let next = self.open.get_mut(&conn).and_then(VecDeque::pop_front);
        match next {
            Some(_) => self.behind -= 1,
            None => drop(self.open.remove(&conn)),
        }
        Progress::Ended { user, conn, synced, next }
    }
}

/// Asks the store for what a sync needs next.
fn ask(id: SyncId, step: Step, turn: &mut Turn<'_>) {
    match step {
        Step::Wait | Step::Done => {}
        Step::List(range) => turn.ask_registers(vec![range], RegistersFlow::Sync(id)),
        Step::Changes(range) => turn.ask_changes(vec![range], RegistersFlow::Sync(id)),
        Step::Compare { logs, since, again } => {
            if again.is_some() {
                turn.ask_changed(logs.clone(), again, ChangedFlow::Sync(id, Since::LastAnswer));
            }
            turn.ask_changed(logs, since, ChangedFlow::Sync(id, Since::Everything));
        }
        Step::Heads(logs) => turn.ask_heads(logs, HeadsFlow::Sync(id)),
        Step::Detail(names) => turn.ask_register(names, RegisterFlow::Sync(id)),
        Step::Read(ranges) => turn.ask_pages(ranges, PagesFlow::Sync(id)),
    }
}

/// A client that has more of a conversation than there is proves that the store was put back to an
/// earlier state (or it lies: then it is one user, and not many).
fn alarm(user: UserId, ahead: u64, turn: &mut Turn<'_>) {
    if ahead > 0 {
        turn.effects.counters.clients_ahead += ahead;
        tracing::error!(
            %user,
            conversations = ahead,
            "a client has more than the store: was an older copy of the data put back?"
        );
    }
}
