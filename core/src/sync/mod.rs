//! Sync: what a client lacks, in one round trip.
//!
//! ```text
//!  taken: pushes are held ──► conversations ──► heads, cursors ──► newest entries ──► Synced
//!                                   ▲──── more of them ─┘
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
use dunlin_protocol::wire::frame::Body;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::SYNCS_MAX;
use crate::refusal::Refusal;
use crate::request::{Client, SyncFrom};
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
    /// So many of them were begun.
    running: usize,
    /// Those that were not.
    waiting: VecDeque<SyncId>,
}

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
    },
}

impl Syncs {
    /// Takes a sync; it may have to wait for others.
    pub(crate) fn take(&mut self, client: Client, from: SyncFrom, turn: &mut Turn<'_>) {
        self.last += 1;
        let id = SyncId(self.last);
        self.taken.insert(id, Box::new(Sync::new(client, from, turn.shared.epoch)));
        if self.running == SYNCS_MAX {
            self.waiting.push_back(id);
        } else {
            self.begin(id, turn);
        }
    }

    fn begin(&mut self, id: SyncId, turn: &mut Turn<'_>) {
        self.running += 1;
        if let Some(sync) = self.taken.get(&id) {
            turn.ask_registers(vec![sync.conversations()], RegistersFlow::Sync(id));
        }
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
        let Some(sync) = self.taken.remove(&id) else { return Progress::Waits };
        let client = sync.client;
        alarm(client.user, sync.ahead(), turn);
        let synced = sync.synced(turn.shared.epoch, turn.now.unix_ms);
        turn.effects.respond_large(client, Body::Synced(synced));
        self.ended(client, true, turn)
    }

    /// It can't be answered now.
    fn refuse(&mut self, id: SyncId, refusal: Refusal, turn: &mut Turn<'_>) -> Progress {
        let Some(sync) = self.taken.remove(&id) else { return Progress::Waits };
        let client = sync.client;
        turn.effects.refuse(client.conn, client.request_id, refusal);
        self.ended(client, false, turn)
    }

    fn ended(&mut self, client: Client, synced: bool, turn: &mut Turn<'_>) -> Progress {
        self.running -= 1;
        if let Some(next) = self.waiting.pop_front() {
            self.begin(next, turn);
        }
        Progress::Ended { user: client.user, conn: client.conn, synced }
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

    #[test]
    fn so_many_run_at_a_time_and_the_end_of_one_begins_the_next() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let ids = 1..=SYNCS_MAX as u64 + 1;
        ids.for_each(|id| syncs.take(client(id), from_nothing(), &mut stage.turn()));
        assert_eq!(listed(&mut stage).len(), SYNCS_MAX);
        let refused =
            syncs.conversations_read(SyncId(3), Err(STORE_UNAVAILABLE), &mut stage.turn());
        match refused {
            Progress::Ended { user, synced: false, .. } => assert_eq!(user, client(3).user),
            Progress::Ended { .. } | Progress::Waits => panic!("{refused:?}"),
        }
        let last = client(SYNCS_MAX as u64 + 1).user;
        assert_eq!(listed(&mut stage), [LogId::account(last)]);
    }

    #[test]
    fn one_that_was_refused_hears_the_rest_of_its_answers_in_vain() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let id = SyncId(1);
        syncs.take(client(1), from_nothing(), &mut stage.turn());
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
