//! Sync: what a client lacks, in one round trip.
//!
//! ```text
//!  taken: pushes are held ──► room ──► conversations ──► heads, cursors ──► newest entries ──► Synced
//!                                           ▲──── more of them ─┘
//! ```
//!
//! Everything that is stored after the heads were read is pushed, and held, and follows the
//! Synced; everything before is in it. So nothing falls between the two.
//!
//! - `rounds`: what is asked of the store, and what has changed for the client; `filling`: what of
//!   that fits into the response

mod filling;
mod rounds;

use std::collections::VecDeque;

use dunlin_protocol::UserId;
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::{OVERLOADED_RETRY_MS, SYNC_POSITIONS_BYTES_MAX, SYNC_POSITIONS_FEW};
use crate::refusal::Refusal;
use crate::request::{Client, SyncFrom};
use crate::room::Claim;
use crate::store::{Head, Page, Register, Registers};
use crate::transport::ConnId;
use crate::worker::flow::{Answer, Answers, HeadsFlow, PagesFlow, RegisterFlow, RegistersFlow};
use crate::worker::turn::Turn;
use rounds::{Step, Sync};

/// The syncs that were taken and are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    taken: HashMap<SyncId, Box<Sync>, RandomState>,
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

    /// Begins it: there is room for its answer.
    pub(crate) fn begin(&mut self, id: SyncId, claim: Claim, turn: &mut Turn<'_>) {
        if let Some(sync) = self.taken.get_mut(&id) {
            sync.claim = Some(claim);
            turn.ask_registers(vec![sync.conversations()], RegistersFlow::Sync(id));
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

    pub(crate) fn conversations_read(
        &mut self,
        id: SyncId,
        answer: Answer<Registers>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync| sync.conversations_read(answer?), turn)
    }

    pub(crate) fn heads_read(
        &mut self,
        id: SyncId,
        answers: Answers<Head>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync| sync.heads_read(answers?), turn)
    }

    pub(crate) fn cursors_read(
        &mut self,
        id: SyncId,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync| sync.cursors_read(answers?), turn)
    }

    pub(crate) fn pages_read(
        &mut self,
        id: SyncId,
        answers: Answers<Page>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync| sync.pages_read(answers?), turn)
    }

    fn go_on(
        &mut self,
        id: SyncId,
        step: impl FnOnce(&mut Sync) -> Result<Step, Refusal>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        // One that was refused hears the rest of its answers in vain.
        let Some(sync) = self.taken.get_mut(&id) else { return Progress::Waits };
        match step(sync) {
            Ok(Step::Wait) => Progress::Waits,
            Ok(Step::List(range)) => {
                turn.ask_registers(vec![range], RegistersFlow::Sync(id));
                Progress::Waits
            }
            Ok(Step::Compare { logs, cursors }) => {
                turn.ask_heads(logs, HeadsFlow::Sync(id));
                turn.ask_register(cursors, RegisterFlow::Sync(id));
                Progress::Waits
            }
            Ok(Step::Read(ranges)) => {
                turn.ask_pages(ranges, PagesFlow::Sync(id));
                Progress::Waits
            }
            Ok(Step::Done) => self.finish(id, turn),
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

#[cfg(test)]
mod tests {
    use dunlin_protocol::LogId;

    use super::*;
    use crate::refusal::STORE_UNAVAILABLE;
    use crate::room::{Room, Wanted};
    use crate::store::StoreRequest;
    use crate::worker::turn::stage::Stage;

    fn client(id: u64) -> Client {
        let conn = ConnId { shard: 0, slot: id as u32, generation: 0 };
        Client { conn, user: UserId::new(id).unwrap(), request_id: 1, may_deflate: false }
    }

    fn from_nothing() -> SyncFrom {
        SyncFrom { epoch: 0, positions: Vec::new(), entries_per_conversation: 1 }
    }

    /// The accounts whose conversations were asked for.
    fn listed(stage: &mut Stage) -> Vec<LogId> {
        let asked = stage.asked();
        asked
            .iter()
            .map(|request| match request {
                StoreRequest::Registers(ranges) => ranges[0].log,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Room for the answer of a user.
    fn claim(id: u64) -> Claim {
        let mut room = Room::new(1 << 20);
        let Client { user, conn, .. } = client(id);
        room.want(user, conn, Wanted { least: 1, most: 1 }, ());
        room.next().unwrap().1
    }

    /// Takes a sync that is the first of its connection.
    fn take_first(syncs: &mut Syncs, id: u64, stage: &mut Stage) -> SyncId {
        match syncs.take(client(id), from_nothing(), &mut stage.turn()) {
            Taken::Waits(sync) => sync,
            other @ (Taken::Behind | Taken::Refused) => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_of_a_connection_runs_at_a_time_and_its_end_begins_the_next() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let first = take_first(&mut syncs, 1, &mut stage);
        for _ in 0..3 {
            let taken = syncs.take(client(1), from_nothing(), &mut stage.turn());
            assert_eq!(taken, Taken::Behind);
        }
        let other = take_first(&mut syncs, 2, &mut stage);
        assert_eq!(listed(&mut stage), [], "there is no room yet");
        syncs.begin(first, claim(1), &mut stage.turn());
        syncs.begin(other, claim(2), &mut stage.turn());
        let both = [1, 2].map(|id| LogId::account(client(id).user));
        assert_eq!(listed(&mut stage), both);
        let refused = syncs.conversations_read(first, Err(STORE_UNAVAILABLE), &mut stage.turn());
        let Progress::Ended { next: Some(_), synced: false, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(syncs.behind(), 2);
        syncs.forget_behind(client(1).conn);
        assert_eq!((syncs.behind(), syncs.taken.len()), (0, 2));
    }

    #[test]
    fn what_waits_may_name_so_many_conversations() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let large = || SyncFrom { positions: rounds::tests::positions(10_000), ..from_nothing() };
        let taken: Vec<_> = (1..1000)
            .map(|id| syncs.take(client(id), large(), &mut stage.turn()))
            .take_while(|taken| *taken != Taken::Refused)
            .collect();
        assert!((20..100).contains(&taken.len()), "{}", taken.len());
        assert!(syncs.positions_bytes <= SYNC_POSITIONS_BYTES_MAX);
        // Who names few is heard all the same, once.
        assert!(matches!(
            syncs.take(client(5000), from_nothing(), &mut stage.turn()),
            Taken::Waits(_)
        ));
        for taken in taken {
            let Taken::Waits(sync) = taken else { panic!("{taken:?}") };
            syncs.forget(sync);
        }
        let left: usize = syncs.taken.values().map(|sync| sync.positions_bytes()).sum();
        assert_eq!(syncs.positions_bytes, left);
    }

    #[test]
    fn one_that_was_refused_hears_the_rest_of_its_answers_in_vain() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let id = take_first(&mut syncs, 1, &mut stage);
        syncs.begin(id, claim(1), &mut stage.turn());
        assert_eq!(listed(&mut stage), [LogId::account(client(1).user)]);
        let log = LogId::direct(client(1).user, client(2).user);
        let joined = rounds::tests::joined(&[log]);
        let compares = syncs.conversations_read(id, Ok(joined), &mut stage.turn());
        assert!(matches!(compares, Progress::Waits));
        let asked = stage.asked();
        assert!(
            matches!(&asked[..], [StoreRequest::Heads(_), StoreRequest::Register(_)]),
            "{asked:?}"
        );
        // One head too few: the store has answered for somebody else.
        let refused = syncs.heads_read(id, Ok(Vec::new()), &mut stage.turn());
        assert!(matches!(refused, Progress::Ended { synced: false, .. }));
        let late = syncs.cursors_read(id, Ok(Vec::new()), &mut stage.turn());
        assert!(matches!(late, Progress::Waits));
    }
}
